"""The page of a set of claims: verdicts, criteria, contrasts; every text escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser_session import CHROMIUM, NO_BROWSER, start_browser
from claim_cases import NOTHING, Numbers
from test_report_escaping import HOSTILE

from fanin import claim_runs, claims
from fanin.claims.claim import Claim, Part
from fanin.claims.claim_verdict import ClaimVerdict, judge_claim
from fanin.claims.contrast import MeanContrast, subtract
from fanin.report.claim_page import render_claims
from fanin.report.sections.claim_figures import COLOURS, make_claim_figure, make_overview


def plant(by: float | None, *, name: str = "planted", label: str = "a minus b") -> ClaimVerdict:
    """The verdict on a claim of at least 0.02, of replicates that differ by so much."""
    noise = [0.001 * (i % 3 - 1) for i in range(10)]
    values = [] if by is None else [by + x for x in noise]
    contrast = subtract(label, Numbers(values), Numbers([0.0] * len(values)), 0.02)
    part = Part("the part", (contrast,), if_refuted="What is true.")
    return judge_claim(
        Claim(
            name=name,
            statement=f"The statement of {name}.",
            supported_if="more",
            refuted_if="less",
            smallest_effect="0.02",
            parts=(part,),
        ),
        NOTHING,
    )


def test_a_claim_is_shown_with_its_criterion_verdict_and_contrasts() -> None:
    page = render_claims([plant(0.05, name="one"), plant(-0.05, name="two"), plant(None)])
    assert "Of 3 claims: 1 supported, 1 refuted, 1 no results yet." in page
    assert '<span class="badge supported">supported</span>' in page
    for name in ("one", "two", "planted"):
        assert f'<h2 id="claim-{name}">' in page
        assert f'<a href="#claim-{name}">' in page
        assert f"The statement of {name}." in page
    assert page.count("<dt>supported if</dt><dd>more</dd>") == 3
    assert page.count("What is true.") == 1  # of the refuted one
    assert page.count("<figure id=") == 3  # the overview and two claims with results


def test_the_figure_is_in_smallest_effects_and_coloured_by_verdict() -> None:
    figure = make_claim_figure(plant(0.05))
    assert figure is not None
    (row,) = figure.data["panels"][0]["rows"]
    assert row["y"] == pytest.approx(0.05 / 0.02, rel=0.02)
    assert row["lo"] < row["y"] < row["hi"]
    assert row["c"] == COLOURS["supported"]
    assert make_overview([plant(None)]) is None


def test_effects_beyond_the_axis_are_arrows() -> None:
    figure = make_claim_figure(plant(-3.0))
    assert figure is not None
    assert figure.data["panels"][0]["rows"][0]["far"] == -1
    everywhere = MeanContrast("lost", ((1.0, Numbers([float("inf")] * 10)),), 0.02)
    claim = plant(0.0).claim
    verdict = judge_claim(
        Claim(**{**vars(claim), "parts": (Part("lost", (everywhere,)),)}), NOTHING
    )
    figure = make_claim_figure(verdict)
    assert figure is not None
    assert figure.data["panels"][0]["rows"][0]["note"] == "∞"


def test_names_of_contrasts_and_claims_are_escaped() -> None:
    page = render_claims([plant(0.05, label=HOSTILE[0])])
    assert "<img" not in page
    assert len(re.findall(r"<script", page)) == 2


def test_the_run_of_claims_writes_its_page(tmp_path: Path) -> None:
    results = claim_runs.ClaimResults((plant(0.05),), tmp_path)
    assert tmp_path / "report.html" in results.write()


def test_all_claims_of_the_case_study_are_shown_without_results() -> None:
    verdicts = [judge_claim(claims.get(name), NOTHING) for name in claims.names()]
    page = render_claims(verdicts)
    assert page.count('<section class="claim">') == 23


@pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
def test_the_page_of_claims_works_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "claims.html"
    verdicts = [plant(0.05, name="one", label=HOSTILE[0]), plant(-0.05, name="two"), plant(None)]
    page.write_text(render_claims(verdicts), encoding="utf-8")
    with start_browser(tmp_path / "profile") as browser:
        browser.open(page, width=390, height=844)
        browser.draw_all()
        assert browser.run("document.querySelectorAll('.panel[data-drawn] svg .mark').length") == 4
        assert browser.run("document.documentElement.scrollWidth") == 390
        browser.run("document.getElementById('find').focus()")
        browser.type("refuted")
        rows = "[...document.querySelector('table.sortable').tBodies[0].rows]"
        assert browser.run(f"{rows}.filter(row => !row.hidden).length") == 1
        assert browser.messages == []
        assert browser.requests == [page.as_uri()]
