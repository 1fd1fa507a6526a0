"""What commands say of compared values: the answer, the differences, the reference."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from cli_session import fanin
from rich.cells import cell_len
from study_cases import of_outcomes, plan_of

from fanin.store.results_store import Store

DIGITS = [("mlp", "digits")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of six initializers, twelve replicates, of which one diverged."""
    place = tmp_path_factory.mktemp("compared") / "out"
    plan = plan_of(DIGITS, replicates=12)
    with Store.create_or_open(place) as store:
        store.set_plan(plan)
        store.add_all([*of_outcomes(plan, "ok", "diverged", *["ok"] * 70).values()])
    return place


def test_the_report_begins_with_the_answer_and_ends_with_the_differences(
    folder: Path, tmp_path: Path
) -> None:
    done = fanin("report", folder, "--output", tmp_path)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "has the best test accuracy" in " ".join(lines[2:4])
    assert done.out.index("has the best") < done.out.index("val accuracy")
    assert done.out.index("val accuracy") < done.out.index("Differences from he_normal")
    assert "won " in done.out.partition("Differences from")[2]
    assert max(map(cell_len, done.out.partition("Page:")[0].splitlines())) <= 80


def test_json_of_a_report_has_every_difference(folder: Path, tmp_path: Path) -> None:
    record = fanin("report", folder, "--output", tmp_path, "--json").record
    [section] = record["verdict"]["sections"]
    assert section["reference"] == "he_normal"
    assert len(section["differences"]) == 5
    assert record["table"]["answer"] == [section["sentence"]]


def test_status_shows_differences_on_request_only(folder: Path) -> None:
    assert "Differences" not in fanin("status", folder).out
    done = fanin("status", folder, "--differences")
    assert "72 of 72 cells done" in done.out
    assert "Differences from he_normal" in done.out
    assert "verdict" not in fanin("status", folder, "--json").record
    asked = fanin("status", folder, "--differences", "--json").record
    assert len(asked["verdict"]["sections"][0]["differences"]) == 5


def test_another_reference_is_named_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    for words in (("status", folder), ("report", folder, "--output", tmp_path)):
        done = fanin(*words, "--reference", "orthogonal")
        assert "Differences from orthogonal" in done.out
        wrong = fanin(*words, "--reference", "ortogonal")
        assert (wrong.code, "Did you mean orthogonal" in wrong.err) == (2, True)
    text = fanin("export", folder, "--to", "differences", "--reference", "zero").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["reference"] for row in rows} == {"zero"}
    assert len(rows) == 5


def test_a_run_keeps_the_reference_that_it_was_given(tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text(
        '[base]\nmodel = "mlp(widths=[8], activation=relu)"\ndata = "digits"\n'
        '[axes]\ninitializer = ["zero", "he_normal"]\n'
    )
    wrong = fanin("run", study, "--out", tmp_path / "out", "--reference", "hee", "--dry-run")
    assert (wrong.code, "No value of study mine" in wrong.err) == (2, True)
    study.write_text('reference = "he"\n' + study.read_text())
    wrong = fanin("run", study, "--out", tmp_path / "out", "--dry-run")
    assert wrong.code == 2
    assert "Did you mean he_normal" in wrong.err or "Known: he_normal, zero" in wrong.err


def test_a_study_file_without_a_reference_is_written_as_before() -> None:
    from fanin.study.study import Study

    study = Study.load("quick")
    assert "reference" not in study.to_toml()
    named = study.override(reference="orthogonal")
    assert 'reference = "orthogonal"' in named.to_toml()
    assert Study.from_toml(named.to_toml(), "quick") == named
    plan = named.plan()
    assert plan.reference == "orthogonal"
    assert type(plan).from_json(plan.to_json()) == plan
    assert "reference" not in study.plan().to_json()
