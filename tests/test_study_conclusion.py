"""The sentences of a conclusion, in every case that a study can come to."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from study_cases import of_outcomes, plan_of, results_of
from test_analysis_frames import with_accuracies
from test_section_comparisons import draw, make_runs

from fanin.analysis.section_comparisons import compare_section
from fanin.analysis.section_runs import ABSENT, DIVERGED, OK, UNKNOWN
from fanin.report.conclusion_words import (
    choose_difference_format,
    describe_section,
    format_p_value,
)
from fanin.report.results import Results

DIGITS = [("mlp", "digits")]


def results_with(**columns: list[float | None]) -> Results:
    return Results(*with_accuracies(columns))


def near(center: float, n: int = 12, name: str = "") -> list[float | None]:
    return [float(value) for value in center + draw(n, "near", name) / 1000]


def test_the_best_is_named_with_what_is_worse_and_by_how_much():
    results = results_with(zero=near(0.1), he_normal=near(0.95, name="he"), lecun_normal=near(0.9))
    text = str(results.verdict())
    assert text.startswith("he_normal is the best in test accuracy (0.94")
    frame = results.differences()
    gap = abs(frame.set_index("value").loc["lecun_normal", "mean"])
    assert f"worse: lecun_normal by {gap:.4f} ± " in text
    assert "zero by 0.8" in text
    assert "With 12 pairs a difference of" in text


def test_a_tie_says_how_many_replicates_would_tell():
    results = results_with(he_normal=near(0.9), lecun_normal=near(0.9003, name="l"))
    text = str(results.verdict())
    [needed] = results.differences()["needed"]
    assert "not told apart" in text
    assert f"about {int(needed):,} replicates would tell" in text


def test_a_leader_that_is_not_told_from_the_reference_claims_nothing():
    results = results_with(
        he_normal=near(0.9), lecun_normal=near(0.9008, name="l"), zero=near(0.1, name="z")
    )
    text = str(results.verdict())
    assert "but is not told apart from the reference he_normal" in text
    assert "worse than he_normal: zero by 0.8" in text


def test_runs_that_diverged_are_counted_in_words():
    runs = make_runs({"a": [0.9] * 12, "b": [0.95] * 12}, {"b": [DIVERGED] * 11 + [OK]})
    assert "worse: b (lost 11 of 12 pairs, 11 with a diverged run)" in describe_section(
        compare_section(runs, "a")
    )


def test_failed_runs_are_counted_in_words():
    d = np.linspace(0.1, 0.2, 12)
    runs = make_runs({"a": d, "b": np.zeros(12)}, {"b": [UNKNOWN] + [OK] * 11})
    assert ", 1 failed." in describe_section(compare_section(runs, "a"))


def test_too_few_replicates_say_so_and_what_could_have_been_seen():
    text = str(results_with(he_normal=near(0.9, 5), zero=near(0.1, 5, "z")).verdict())
    assert "5 replicates are too few to test (10 needed). With 5 pairs a difference of" in text
    one = str(results_with(he_normal=[0.9], zero=[0.1]).verdict())
    assert (
        one
        == "he_normal scored best in test accuracy (0.9000); with one replicate it may be chance. "
        "One pair shows no spread, so no difference could have been told (10 needed)."
    )


def test_a_value_that_has_not_run_yet_hides_nothing_of_the_others():
    columns = {"a": near(0.9), "b": near(0.5, name="b"), "c": [0.0] * 12}
    runs = make_runs(columns, {"c": [ABSENT] * 12})  # type: ignore[arg-type]
    text = describe_section(compare_section(runs, "a"))
    assert "worse: b by 0.4" in text
    assert "too few pairs to test (10 needed): c" in text
    alone = make_runs({"a": [0.9] * 12, "c": [0.0] * 12}, {"c": [ABSENT] * 12})
    assert "there is no pair of runs" in describe_section(compare_section(alone, "a"))


def test_exact_ties_say_that_all_are_the_same():
    values = near(0.5)
    text = str(results_with(he_normal=values, zero=values).verdict())
    assert text.startswith("all have the same test accuracy in each replicate")


def test_nothing_to_compare_and_nothing_run_are_said():
    plan = plan_of(DIGITS, ("he_normal",), replicates=3)
    assert "Nothing is compared" in str(Results(plan, results_of(plan)).verdict())
    six = plan_of(DIGITS, replicates=3)
    failed = Results(six, of_outcomes(six, "failed"))
    assert str(failed.verdict()) == (
        "Nothing can be concluded: no run has a result to compare (18 failed)."
    )
    diverged = Results(six, of_outcomes(six, "diverged"))
    assert "(18 diverged)" in str(diverged.verdict())
    assert "(18 not run yet)" in str(Results(six, {}).verdict())


def test_many_sections_are_counted_and_all_are_told_on_request():
    plan = plan_of(replicates=12)
    conclusion = Results(plan, results_of(plan)).verdict()
    assert len(conclusion.sections) == 9
    assert len(conclusion.lines) == 2
    assert "of the 9 sections" in conclusion.lines[0]
    assert "Shown to be worse than the best or the reference: zero in 9." in conclusion.lines[0]
    assert conclusion.lines[1].startswith("Average rank over 9 sections: ")
    assert str(conclusion).count("mlp · ") == 4


def test_many_sections_with_few_replicates_are_counted_too():
    plan = plan_of(replicates=3)
    line = Results(plan, results_of(plan)).verdict().lines[0]
    assert line.startswith("Too few replicates to test in all 9 sections (3 of 10).")


def test_a_test_over_many_problems_is_told():
    pairs = [("mlp", f"data{i}") for i in range(12)]
    plan = plan_of(pairs, ("zero", "he_normal"), replicates=3)
    text = Results(plan, results_of(plan)).verdict().overall
    assert "They differ (Friedman, p = 0.0" in text
    assert "Nemenyi): no other ties it." in text


def test_a_difference_that_is_told_never_reads_as_zero():
    d = np.linspace(1, 2, 12) * 1e-5
    comparison = compare_section(make_runs({"a": np.full(12, 0.9), "b": 0.9 + d}), "a")
    assert comparison.differences[0].mean == pytest.approx(1.5e-5)
    assert choose_difference_format(comparison).decimals == 5


def test_json_has_every_number_and_no_nan():
    plan = plan_of(replicates=12)
    found = Results(plan, of_outcomes(plan, *["ok"] * 40, "diverged", "failed", None)).verdict()
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["schema"] == 1
    assert len(record["sections"]) == 9
    assert all(len(section["differences"]) == 5 for section in record["sections"])
    assert {"mean", "low", "p_holm", "judgement"} <= set(record["sections"][0]["differences"][0])


@pytest.mark.parametrize("replicates", [1, 4, 12])
def test_tables_with_an_answer_fit_eighty_columns(replicates: int):
    plan = plan_of(replicates=replicates)
    for outcomes in (["ok"], ["ok"] * 20 + ["diverged", None, "failed"]):
        results = Results(plan, of_outcomes(plan, *outcomes))
        lines = [*str(results).splitlines(), *str(results.difference_table()).splitlines()]
        assert max(map(cell_len, lines)) <= 80


def test_the_answer_stands_above_the_table_in_every_form():
    plan = plan_of(DIGITS, replicates=12)
    results = Results(plan, results_of(plan))
    [answer] = results.verdict().lines
    assert " ".join(str(results).split()).index(answer) < str(results).index("zero")
    assert results.table().to_json()["answer"] == [answer]
    assert results.export("markdown").replace("\\", "").index(answer[:60]) < 200
    assert results._repr_html_().index("has the best") < results._repr_html_().index("<table>")
    assert "\\begin{table}" in results.export("latex")


def test_marks_of_significance_and_p_values_of_the_table():
    plan = plan_of(DIGITS, replicates=12)
    table = Results(plan, results_of(plan)).difference_table()
    keys = [column.key for column in table.columns]
    zero = dict(zip(keys, table.rows[0], strict=True))
    assert zero["p"].text == "0.0024 **"
    assert zero["difference"].text.startswith("-0.8")
    assert zero["difference"].spread is not None
    assert [format_p_value(p) for p in (0.00001, 0.0024, 0.043, 0.5)] == [
        "< 0.0001",
        "= 0.0024",
        "= 0.043",
        "= 0.50",
    ]


def test_one_replicate_has_no_table_of_differences():
    plan = plan_of(DIGITS)
    assert not Results(plan, results_of(plan)).difference_table().rows


def test_a_reference_that_a_section_lacks_is_the_usual_one_there():
    plan = plan_of(DIGITS, ("zero", "he_normal"), replicates=12)
    other = replace(plan, reference="orthogonal")
    frame = Results(other, results_of(other)).differences()
    assert set(frame["reference"]) == {"he_normal"}
    assert not math.isnan(frame["p"][0])
