"""Chapters of a built-in study: derivations, measured impact, and what was published."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from study_cases import INITIALIZERS, plan_of, result_of, results_of

from fanin.analysis import published
from fanin.analysis.analysis import Analysis
from fanin.report.results import Results
from fanin.report.sections.impact_rows import list_impact
from fanin.study.study import Study

PLAN = Study.load("case-study").plan(replicates=2)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = {
        cell: replace(result, timings={**result.timings, "initialize": 0.25})
        for cell, result in results_of(PLAN).items()
    }
    path = Results(PLAN, found).report(tmp_path_factory.mktemp("pages") / "page.html")
    return path.read_text(encoding="utf-8")


def get_chapter(page: str, title: str) -> str:
    """The part of the page between a chapter's title and the next one's."""
    parts = re.split(r"<h2[^>]*>", page)
    return next(part for part in parts if part.startswith(title))


def test_the_case_study_has_its_chapters_in_order(page: str) -> None:
    titles = re.findall(r'<section class="chapter">\n<h2[^>]*>(.*?)</h2>', page)
    assert titles == [
        "The six initializers: derivations and measured impact",
        "Discussion",
        "Conclusion",
        "Limits",
        "Errata of the published study",
    ]


def test_all_six_are_derived_with_both_distributions_and_have_their_measured_impact(
    page: str,
) -> None:
    chapter = get_chapter(page, "The six initializers")
    sections = re.split(r"<h3>", chapter)[1:]
    assert len(sections) == 6
    for name, section in zip(INITIALIZERS, sections, strict=True):
        assert f"Measured impact of {name}." in section
        rows = section.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
        assert len(rows) == 9
        assert all("0 of 2" in row and "0.2500" in row for row in rows)
        assert '<math display="block">' in section
    for section in sections[1:5]:  # normal, and uniform
        assert "<mi>N</mi>" in section
        assert "<mi>U</mi>" in section


def test_published_values_stand_beside_ours(page: str) -> None:
    assert "95 % for one run" in page
    results = page[page.index('id="results"') :]
    row = results[results.index(">xavier_uniform</th>") :].partition("</tr>")[0]
    assert "0.9810" in row
    assert page.count(">exact</td>") == 9


def test_the_discussion_counts_what_agrees(page: str) -> None:
    discussion = get_chapter(page, "Discussion")
    assert "Of 45 cells with random weights," in discussion
    assert "Of 9 zero cells," in discussion


def test_a_study_of_the_same_name_with_another_question_has_none(tmp_path: Path) -> None:
    plan = plan_of([("mlp", "mnist")])
    assert plan.study == PLAN.study
    text = Results(plan, results_of(plan)).report(tmp_path / "page.html").read_text("utf-8")
    assert '<section class="chapter">' not in text
    assert "95 % for one run" not in text


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_study_that_has_run_in_part_has_its_chapters(share: float, tmp_path: Path) -> None:
    cells = PLAN.cells[: int(share * len(PLAN.cells))]
    found = {planned.cell.id: result_of(planned.cell) for planned in cells}
    text = Results(PLAN, found).report(tmp_path / "page.html").read_text("utf-8")
    assert text.count('<section class="chapter">') == 5


def test_the_cells_of_the_published_study_are_known_and_no_others() -> None:
    assert len(published.select_published(PLAN).cells) == len(PLAN.cells) == 108
    changed = Study.load("case-study").plan(replicates=1, max_epochs=3)
    assert published.select_published(changed).cells == ()
    for change in (
        {"learning_rate": 0.1},
        {"initializer": "normal(std=0.01)"},
        {"precision": "bf16"},
    ):
        other = tuple(replace(p, cell=replace(p.cell, **change)) for p in PLAN.cells)
        assert len(published.select_published(replace(PLAN, cells=other)).cells) == 0


def test_epochs_to_the_target_are_counted_by_hand() -> None:
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"), replicates=3)
    # best means: zero 0.5, he 1.0; the target is 0.98
    curves = {
        "zero": [[0.5], [0.5], [0.5]],
        "he_normal(truncated=true)": [[0.2, 0.99, 1.0], [0.98, 1.0], [0.97, 1.0]],
    }
    found = {}
    for planned in plan.cells:
        curve = curves[planned.cell.initializer][planned.cell.replicate]
        result = result_of(planned.cell)
        history = {"loss": curve, "val_loss": curve, "accuracy": curve, "val_accuracy": curve}
        found[planned.cell.id] = replace(result, history=history)
    impact = list_impact(Analysis(plan, found))
    assert impact["zero"][0].epochs == "never (0 of 3)"
    assert impact["he_normal"][0].epochs == "2 (3 of 3)"
    assert impact["zero"][0].target == "0.9800"
    assert impact["zero"][0].seconds == "—"


def test_a_run_that_diverged_is_counted_and_reaches_nothing() -> None:
    plan = plan_of([("mlp", "mnist")], ("zero", "he_normal"), replicates=2)
    outcomes = {"zero": "ok", "he_normal(truncated=true)": "diverged"}
    found = {
        p.cell.id: result_of(p.cell, outcomes[p.cell.initializer])  # type: ignore[arg-type]
        for p in plan.cells
    }
    impact = list_impact(Analysis(plan, found))
    assert impact["he_normal"][0].diverged == "2 of 2"
    assert impact["he_normal"][0].epochs == "never (0 of 2)"


def count_epochs(outcome: str) -> str:
    """Epochs to 0.98 of three runs: one reaches it in epoch 2, one in 4, one ends after epoch 1."""
    plan = plan_of([("mlp", "mnist")], ("he_normal",), replicates=3)
    curves, found = [[0.5, 1.0], [0.5, 0.5, 0.5, 1.0], [0.5]], {}
    for planned, curve in zip(plan.cells, curves, strict=True):
        result = result_of(planned.cell, "ok" if len(curve) > 1 else outcome)  # type: ignore[arg-type]
        history = {"loss": curve, "val_loss": curve, "val_accuracy": curve}
        found[planned.cell.id] = replace(result, history=history)
    (row,) = list_impact(Analysis(plan, found))["he_normal"]
    return row.epochs


def test_epochs_to_the_target_are_censored_by_early_stopping_and_not_by_divergence() -> None:
    # Unknown after epoch 1: S(2) = 1 − 1/2. Watched to epoch 4: S(2) = 2/3, S(4) = 2/3·1/2.
    assert count_epochs("failed") == "2 (2 of 3)"
    assert count_epochs("diverged") == "4 (2 of 3)"
