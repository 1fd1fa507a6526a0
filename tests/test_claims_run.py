"""`fanin run claims`: what it trains, what it says, and the figures of what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_cases import NOTHING, Numbers
from cli_session import fanin

from fanin import claim_runs, claims
from fanin.claims.claim import Claim, Part
from fanin.claims.claim_inputs import ClaimInputs
from fanin.claims.claim_verdict import ClaimVerdict, judge_claim
from fanin.claims.contrast import MeanContrast, subtract
from fanin.claims.observations import NAMES, load_observations
from fanin.claims.observations.unit_symmetry import has_equal_rows
from fanin.report.figures.claim_figure import draw_claim, draw_overview
from fanin.report.figures.rendering import render
from fanin.report.tables.claim_table import REHEARSAL, make_claim_table
from fanin.store import results_store


@pytest.mark.slow
def test_claims_run_shortened_end_to_end_and_say_that_they_do_not_count(
    tmp_path: Path, preloaded_workers: None
) -> None:
    words = ("run", "claims", "--fast", "--only", "claim=lr-schedule,uniform-normal")
    done = fanin(*words, "--out", tmp_path, "--workers", 1)
    assert done.code == 0, done.err
    assert "do not count" in done.out
    assert "(inconclusive)" in done.out
    assert (tmp_path / "verdicts.json").is_file()
    assert (tmp_path / "figures" / "lr-schedule.png").is_file()
    results = results_store.read(tmp_path / "claim-schedule").results
    assert {result.cell.epochs for result in results.values()} == {1}
    assert {result.cell.replicate for result in results.values()} == {0, 1}
    again = fanin(*words, "--out", tmp_path, "--json")
    assert [item["counts"] for item in again.record["claims"]] == [False, False]
    assert again.record["claims"][0]["parts"][0]["items"][0]["n"] == 2
    assert len(results_store.read(tmp_path / "claim-schedule").results) == len(results)


@pytest.mark.slow
def test_observations_are_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    first = claim_runs.run_claims(["cost-order"], tmp_path, is_rehearsal=True, say=said.append)
    second = claim_runs.run_claims(["cost-order"], tmp_path, is_rehearsal=True, say=said.append)
    assert said == ["Observation: time"]
    assert first.to_json() == second.to_json()


def test_data_that_would_be_downloaded_are_left_out_of_a_rehearsal() -> None:
    from fanin.study.study import Study

    found = {
        name: claim_runs.is_embedded(Study.load(name)) for name in ("shared-stream", "claim-long")
    }
    assert found == {"shared-stream": False, "claim-long": True}


def test_a_dry_run_lists_the_trainings_of_the_chosen_claims() -> None:
    done = fanin("run", "claims", "--dry-run", "--only", "claim=lr-schedule", "--json")
    assert done.record == {
        "schema": 1,
        "claims": ["lr-schedule"],
        "studies": {"claim-schedule": 240},
    }


def test_a_dry_run_of_a_rehearsal_lists_what_it_would_train() -> None:
    only = "claim=lr-schedule,generalization"  # one study of the latter needs a download
    record = fanin("run", "claims", "--dry-run", "--fast", "--only", only, "--json").record
    assert record["studies"] == {"claim-schedule": 24, "claim-start": 240}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "claims", "--only", "data=digits"), "claim=NAME"),
        (("run", "claims", "--only", "claim=he-rely"), "he-relu"),
        (("run", "quick", "--fast"), "--max-epochs"),
        (("run", "claims", "--replicates", "3", "--timeout=9"), "take --replicates, --timeout:"),
    ],
)
def test_a_mistake_is_explained(words: tuple[str, ...], message: str) -> None:
    done = fanin(*words)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_table_has_a_row_per_claim() -> None:
    table = make_claim_table([plant(0.05), plant(-0.05), plant(None)])
    text = str(table)
    assert "Of 3 claims: 1 supported, 1 refuted, 1 no results yet." in text
    assert "+0.050" in text
    assert [row[4].text for row in table.rows] == ["10", "10", "—"]
    assert max(map(len, text.splitlines())) <= 80


def test_a_rehearsal_says_so_on_top() -> None:
    table = make_claim_table([plant(0.05, is_rehearsal=True)])
    assert table.answer == (REHEARSAL,)
    assert table.rows[0][1].text == "(supported)"


def test_figures_of_every_verdict_are_drawn() -> None:
    verdicts = [plant(0.05), plant(-0.05), plant(0.019), plant(None)]
    assert render(draw_overview(verdicts), "png").startswith(b"\x89PNG")
    for verdict in verdicts:
        assert render(draw_claim(verdict), "png").startswith(b"\x89PNG")


def test_infinite_effects_are_drawn_at_the_edge() -> None:
    everywhere = Numbers([float("inf")] * 10)
    contrast = MeanContrast("lost", ((1.0, everywhere),), 0.02)
    verdict = judge_claim(wrap(Part("lost", (contrast,))), NOTHING)
    assert render(draw_claim(verdict), "png").startswith(b"\x89PNG")


def test_the_names_of_observations_are_known_without_torch() -> None:
    assert tuple(load_observations()) == NAMES
    used = {name for claim in claims.names() for name in claims.get(claim).observations}
    assert used == set(NAMES)


def test_units_are_equal_up_to_rounding() -> None:
    import torch

    weight = torch.full((3, 4), 0.3)
    assert has_equal_rows(weight)
    assert has_equal_rows(weight + 1e-6 * torch.arange(12).view(3, 4))
    assert not has_equal_rows(weight + 1e-3 * torch.arange(12).view(3, 4))
    assert has_equal_rows(torch.zeros(3, 4))


def plant(by: float | None, *, is_rehearsal: bool = False) -> ClaimVerdict:
    """The verdict on an effect of this size; of none without."""
    noise = [-0.003, -0.002, -0.002, -0.001, 0.0, 0.0, 0.001, 0.002, 0.002, 0.003]
    values = [] if by is None else [by + item for item in noise]
    contrast = subtract("A − B", Numbers(values), Numbers([0.0] * len(values)), 0.02)
    claim = wrap(Part("ahead", (contrast,), if_refuted="B is ahead."))
    return judge_claim(claim, ClaimInputs(), is_rehearsal=is_rehearsal)


def wrap(part: Part) -> Claim:
    return Claim(
        name="planted",
        statement="",
        supported_if="",
        refuted_if="",
        smallest_effect="",
        parts=(part,),
    )
