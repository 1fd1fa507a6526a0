"""The study's table: what it says, and its forms."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from factor_cases import kind_of_study
from rich.cells import cell_len
from study_cases import of_outcomes, plan_of, result_of, results_of

from fanin.analysis import analysis
from fanin.analysis.analysis import Analysis
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.errors import UnknownName
from fanin.report.numbers import NumberFormat, choose_number_format
from fanin.report.results import Results
from fanin.report.tables.study_table import make_study_table
from fanin.report.tables.table_entries import describe_outcomes
from fanin.report.tables.terminal import print_table

PUBLISHED = [
    "model",
    "dataset",
    "initializer",
    "val_accuracy",
    "test_accuracy",
    "test_mae",
    "test_loss",
    "epochs",
]
DIGITS = [("mlp", "digits")]


def notes_of(plan: Plan, results: dict[str, Result]) -> str:
    return " / ".join(make_study_table(Analysis(plan, results)).notes)


def test_the_columns_are_the_case_studys_own():
    plan = plan_of()
    titles = [column.title for column in make_study_table(Analysis(plan, results_of(plan))).columns]
    assert titles == [
        "model",
        "data",
        "initializer",
        "val accuracy",
        "test accuracy",
        "test MAE",
        "test loss",
        "epochs",
    ]


@pytest.mark.parametrize("replicates", [1, 3, 5, 12])
def test_text_fits_eighty_columns(replicates: int):
    plan = plan_of(replicates=replicates)
    for results in (
        results_of(plan),
        of_outcomes(plan, *["ok"] * 12, "diverged", None, "failed", "killed"),
    ):
        assert (
            max(
                cell_len(line)
                for line in str(make_study_table(Analysis(plan, results))).splitlines()
            )
            <= 80
        )


def test_folding_and_wrapping_lose_nothing():
    pairs = [
        (
            "mlp(widths=[256, 128, 64, 32, 16, 8, 4], activation=sigmoid)",
            "a-data-set-with-a-long-name",
        )
    ]
    names = ("zero", "normal(std=0.012345, low=-0.5, high=0.5)")
    plan = plan_of(pairs, names, replicates=5)
    table = make_study_table(Analysis(plan, of_outcomes(plan, *["ok"] * 9, "diverged")))
    text = str(table).replace("±", " ± ")
    words = {word for row in table.rows for entry in row for word in entry.text.split()}
    assert words - set(text.split()) == set()


def test_decimals_align_within_a_section():
    plan = plan_of(DIGITS, replicates=5)
    table = make_study_table(Analysis(plan, of_outcomes(plan, *["ok"] * 7, None, *["ok"] * 12)))
    lines = str(replace(table, answer=())).splitlines()
    points = {
        line.index("0.")
        for line in lines
        if line.startswith(("zero", "random", "xavier", "he_", "lecun", "ortho")) and "0." in line
    }
    assert len(points) == 1


def test_one_replicate_is_too_few_to_rank_and_has_no_spread():
    plan = plan_of()
    table = make_study_table(Analysis(plan, results_of(plan)))
    assert "too few to rank" in " ".join(table.notes)
    assert not any("±" in entry.text or entry.best for row in table.rows for entry in row)


def test_three_replicates_show_the_deviation_and_five_the_interval():
    three, five = (plan_of(DIGITS, replicates=n) for n in (3, 5))
    assert "standard deviation" in notes_of(three, results_of(three))
    assert "95 % interval" in notes_of(five, results_of(five))
    summary = Results(five, results_of(five)).summary()
    spreads = [row[4].spread for row in make_study_table(Analysis(five, results_of(five))).rows]
    assert spreads == pytest.approx(summary["test_accuracy_half_width"].tolist())


def test_no_interval_stands_where_too_few_replicates_are_left():
    plan = plan_of(DIGITS, replicates=5)
    table = make_study_table(
        Analysis(plan, of_outcomes(plan, "ok", "ok", "ok", "ok", "ok", "ok", None))
    )
    xavier = [entry for row in table.rows if row[2].text == "xavier_uniform" for entry in row]
    n = next(entry.value for entry in xavier[-2:-1])
    assert n == 4
    assert "±" not in xavier[4].text
    assert xavier[-1].text == "1/5 missing"


def test_a_diverged_replicate_leaves_no_mean_but_median_rank_and_share():
    plan = plan_of(DIGITS, replicates=5)
    table = make_study_table(Analysis(plan, of_outcomes(plan, "ok", "diverged", *["ok"] * 28)))
    keys = [column.key for column in table.columns]
    diverged = dict(zip(keys, table.rows[1], strict=True))
    assert diverged["test_accuracy"].text.startswith("med 0.9")
    assert diverged["outcome"].text == "1/5 diverged (4–62 %)"  # Wilson's interval, by hand
    assert diverged["mean_rank"].value > 1
    assert "1 diverged" in " ".join(table.notes)


def test_the_interval_of_a_divergence_rate_is_about_the_runs_that_finished():
    """Two of five finished runs: (0.4 + z²/10 ± z·√(0.24/5 + z²/100)) / (1 + z²/5), z = 1.96."""
    group = {"planned": 10, "ok": 3, "diverged": 2, "failed": 1, "killed": 0, "missing": 4}
    text = "2/10 diverged (12–77 %), 1/10 failed, 4/10 missing"
    assert describe_outcomes(group, interval=True) == text
    assert describe_outcomes(group) == "2/10 diverged, 1/10 failed, 4/10 missing"
    few = {**group, "ok": 2}
    assert "%" not in describe_outcomes(few, interval=True)
    everything = {**group, "ok": 0, "diverged": 10, "failed": 0, "missing": 0}
    assert describe_outcomes(everything, interval=True) == "diverged"


def test_a_best_value_is_marked_only_where_ten_replicates_show_it():
    for n, marked in ((9, 0), (12, 1)):
        plan = plan_of([("regression", "california-housing")], ("zero", "he_normal"), replicates=n)
        table = make_study_table(Analysis(plan, results_of(plan)))
        assert sum(entry.best for row in table.rows for entry in row) == marked
        assert (" *" in str(table).partition("\n- ")[0]) == bool(marked)
        assert ("too few to rank" in " ".join(table.notes).lower()) != bool(marked)


def test_nine_replicates_say_what_could_have_been_seen():
    plan = plan_of(DIGITS, replicates=9)
    table = make_study_table(Analysis(plan, results_of(plan)))
    assert "would have been seen (80 % power)" in " ".join(table.answer)
    many = plan_of(replicates=9)
    assert "Smallest difference that could have been seen (80 % power" in notes_of(
        many, results_of(many)
    )


def test_notes_carry_the_plan_and_count_what_is_missing_and_failed():
    plan = plan_of(notes=("early stopping looks at the test set",))
    notes = notes_of(plan, of_outcomes(plan, *["ok"] * 10, None, "diverged", "failed", "killed"))
    for words in (
        "Early stopping looks at the test set",
        "missing (not run yet)",
        "diverged",
        "failed",
        "killed",
        "the run failed",
    ):
        assert words in notes


def test_mixed_environments_and_foreign_data_are_said():
    plan = plan_of(DIGITS)
    results = results_of(plan)
    first = plan.cells[0].cell.id
    results[first] = replace(
        results[first], environment={"device": "a GPU"}, data={"canonical": False}
    )
    assert "mix environments" in notes_of(plan, results)
    assert "not the published bytes of the data set: digits" in notes_of(plan, results).lower()


def test_other_factors_that_vary_head_the_sections():
    plan = plan_of(DIGITS, ("zero", "he_normal"))
    other = tuple(
        replace(planned, cell=replace(planned.cell, learning_rate=0.01)) for planned in plan.cells
    )
    both = replace(plan, cells=plan.cells + other)
    table = make_study_table(Analysis(both, results_of(both)))
    assert "learning rate" in [column.title for column in table.columns]
    assert "mlp · digits · learning rate 0.01" in str(table)


def test_group_csv_begins_with_the_published_columns_at_full_precision():
    plan = plan_of()
    results = results_of(plan)
    rows = list(csv.DictReader(io.StringIO(Results(plan, results).export("csv"))))
    assert list(rows[0])[:8] == PUBLISHED
    assert len(rows) == 54
    metrics = results[plan.cells[7].cell.id].metrics
    assert float(rows[7]["test_loss"]) == metrics["test_loss"]
    assert rows[7]["epochs"] == str(int(metrics["epochs"]))
    assert rows[7]["test_mae"] == ""


def test_cell_csv_has_a_row_per_planned_cell():
    plan = plan_of(DIGITS, replicates=3)
    rows = list(
        csv.DictReader(
            io.StringIO(
                Results(plan, of_outcomes(plan, "ok", "diverged", None)).export("csv-cells")
            )
        )
    )
    assert [row["outcome"] for row in rows] == ["ok", "diverged", "missing"] * 6
    assert rows[1]["test_accuracy"] == ""


def test_markdown_and_latex_have_every_row():
    plan = plan_of(DIGITS, replicates=5)
    results = Results(plan, results_of(plan))
    assert results.export("markdown").count("\n| mlp |") == 6 + 5  # and five differences
    latex = results.export("latex")
    assert latex.count(r"\emph{mlp $\cdot$ digits") == 2
    assert latex.count(r"\begin") == latex.count(r"\end")
    assert r"\toprule" in latex


def test_json_holds_values_and_texts_and_no_nan():
    plan = plan_of(replicates=5)
    record = make_study_table(
        Analysis(plan, of_outcomes(plan, *["ok"] * 52, "diverged", None))
    ).to_json()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again["schema"] == 1
    assert len(again["rows"]) == 54
    assert again["rows"][0]["test_accuracy"]["value"] == pytest.approx(0.1)


def test_a_terminal_gets_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    plan = plan_of(DIGITS)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    coloured, plain, piped = Terminal(), Terminal(), io.StringIO()
    print_table(make_study_table(Analysis(plan, results_of(plan))), coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(make_study_table(Analysis(plan, results_of(plan))), plain)
    print_table(make_study_table(Analysis(plan, results_of(plan))), piped)
    assert "\x1b[1;36m" in coloured.getvalue()
    assert "36m" not in plain.getvalue()
    assert "\x1b" not in piped.getvalue()
    assert piped.getvalue().rstrip("\n") == str(make_study_table(Analysis(plan, results_of(plan))))


@pytest.mark.parametrize(
    ("metric", "values", "spreads", "text"),
    [
        ("test_accuracy", [0.97884], [], "0.9788"),
        ("test_loss", [0.0675], [], "0.0675"),
        ("test_loss", [2.301], [], "2.301"),
        ("test_loss", [4.844045312e9], [], "4.844e9"),
        ("test_mae", [50577.8125], [], "50,578"),
        ("test_mae", [46.2178], [], "46.22"),
        ("epochs", [9.0], [], "9"),
        ("epochs", [9.4], [1.2], "9.4 ± 1.2"),
        ("test_loss", [0.06754], [0.0012], "0.0675 ± 0.0012"),
        ("test_loss", [4.844e9], [3.1e7], "(4.844 ± 0.031)e9"),
        ("test_mae", [50577.8125], [312.4], "50,578 ± 312"),
        ("test_loss", [0.0], [], "0.000"),
        ("test_loss", [1e-9], [], "1.000e-9"),
    ],
)
def test_digits_follow_the_spread(
    metric: str, values: list[float], spreads: list[float], text: str
):
    form = choose_number_format(metric, values, spreads)
    assert form.text(values[0], *spreads) == text


def test_what_is_not_a_number_is_a_dash():
    assert NumberFormat(2).text(math.nan) == NumberFormat(2).text(math.inf) == "—"


def test_an_unknown_format_offers_the_known_ones():
    with pytest.raises(UnknownName, match="markdown"):
        Results(plan_of(DIGITS), {}).export("markdwn")


def test_results_count_outcomes_and_print_their_table():
    plan = plan_of(DIGITS)
    results = Results(plan, {plan.cells[0].cell.id: result_of(plan.cells[0].cell)})
    assert results.outcomes == {"ok": 1, "missing": 5}
    assert repr(results) == "<Results of case-study: 1 ok, 5 missing>"
    assert str(results) == str(results.table())


def test_one_report_computes_frame_design_summary_and_verdicts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: Counter[str] = Counter()

    def count(module: str, name: str) -> None:
        original = getattr(importlib.import_module(f"fanin.analysis.{module}"), name)

        def counted(*arguments: object, **options: object) -> object:
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(f"fanin.analysis.{module}.{name}", counted)

    # A function is looked up where it is called: in its own module if it is imported late.
    places = {
        "build_frame": "frames",
        "infer_design": "analysis",
        "summarise": "analysis",
        "arrange_sections": "section_runs",
    }
    names = tuple(places)
    for name, module in places.items():
        count(module, name)
    results = Results(*kind_of_study("optimizers", 2))
    results.report(tmp_path / "report.html")
    results.curves(tmp_path / "curves.png")
    results.figures(tmp_path)
    for kind in ("csv", "csv-cells", "markdown", "latex"):
        results.export(kind)
    assert str(results)
    assert calls == dict.fromkeys(names, 1)
    report = Path(analysis.__file__).parents[1] / "report"
    elsewhere = re.compile(rf"\b({'|'.join(names)})\(")
    assert [p.name for p in report.rglob("*.py") if elsewhere.search(p.read_text())] == []
