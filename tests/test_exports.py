"""Exports say the same in every format, compile with a real LaTeX, and run nothing in a
spreadsheet.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from combinations import for_each
from factor_cases import kind_of_study
from study_cases import plan_of, result_of
from test_report_escaping import HOSTILE, hostile_results

from fanin.report.latex_text import escape_latex, make_label
from fanin.report.results import Results
from fanin.report.tables.latex import FIT_WIDTH

LETTERS = (
    "√2 · gain",
    "αβγδεζηθικλμνξοπρστυφχψω ΓΔΘΛΞΠΣΥΦΨΩ ϵ ϕ",
    "σ² ≤ ½ ≥ 1 ≠ 2 ≈ 3 → ∞ ∂∇∈∑∏ 90° 5 µm",
    "éèêëñçåøæœßłŁİıŽžșă Đð €",
    '“quoted” ‘it’ " ` ~',
    "日本語 العربية עברית हिन्दी 😀",
    "a\u0301\u0323 lone \u0301",
    "[1cm] \\\\ % & # _ ^ { } $x$",
)


def results_with(labels: tuple[str, ...], replicates: int = 12) -> Results:
    """A study in which the first initializer clearly beats the others."""
    plan = plan_of([("mlp", "digits")], labels, replicates=replicates)
    results = {}
    for planned in plan.cells:
        result = result_of(planned.cell)
        best = labels.index(planned.labels["initializer"]) == 0
        metrics = result.metrics | {"test_accuracy": 0.9 * best + planned.cell.replicate / 1e4}
        results[planned.cell.id] = replace(result, metrics=metrics)
    return Results(plan, results)


def test_the_star_that_the_note_explains_stands_in_every_export() -> None:
    results = results_with(("zero", "orthogonal"))
    marked = next(entry.text for row in results.table().rows for entry in row if entry.best)
    assert any(note.startswith("* beats every other") for note in results.table().notes)
    assert f"**{marked}** \\* |" in results.export("markdown")
    assert "- \\* beats every other" in results.export("markdown")
    latex = results.export("latex")
    assert f"\\textbf{{{escape_latex(marked)}}}{{*}} &" in latex
    assert "\\footnotesize {*} beats every other" in latex
    assert f"{marked} *" in str(results)
    assert f"<strong>{marked} *</strong>" in results._repr_html_()


def test_latex_holds_only_ascii_but_for_what_a_command_guards() -> None:
    text = results_with(LETTERS, 1).export("latex") + hostile_results().export("latex")
    rest = re.sub(r"\\unicodechar\{.\}\{[0-9A-F]+\}", "", text)
    assert {character for character in rest if not character.isascii()} == set()
    assert "\\providecommand{\\unicodechar}" in text
    assert "unicodechar" not in results_with(("zero", "√2"), 1).export("latex")


def test_a_latex_table_has_a_label_made_of_the_study() -> None:
    text = results_with(("zero", "orthogonal"), 1).export("latex")
    assert "\\label{tab:case-study}" in text
    both = results_with(("zero", "orthogonal")).export("latex")
    assert re.findall(r"\\label\{(.*?)\}", both) == ["tab:case-study", "tab:case-study-2"]
    assert text.index("\\caption") < text.index("\\label")
    assert make_label("Größe_1 %") == "tab:groe-1"
    assert make_label("日本") == "tab:study"


def test_a_latex_table_has_marks_of_significance_and_minus_signs() -> None:
    latex = results_with(("orthogonal", "zero"), 12).compare_with("orthogonal").export("latex")
    row = next(line for line in latex.splitlines() if line.startswith("zero &") and "worse" in line)
    assert row.startswith("zero & $-$0.9000 $\\pm$ 0.0000 & 12 & 0.0005 {*}{*}{*} &")


def test_every_difference_is_exported_in_floats_that_fit_a_page() -> None:
    labels = tuple(f"normal(std={number / 100})" for number in range(1, 62))
    results = results_with(labels, 2)
    latex = results.export("latex")
    floats = latex.split("\\begin{table}")[1:]
    assert len(floats) == 4
    rows = [part.count(" \\\\\n") - 2 for part in floats]  # less titles and heading
    assert sum(rows) == 61 + 60
    assert max(rows) <= 40
    assert latex.count("(continued)") == 2
    assert latex.count("Seen from") == 1


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="needs pdflatex with booktabs (Debian: texlive-latex-recommended)",
)


def compile_latex(body: str, folder: Path, preamble: str = "") -> str:
    """The log of pdflatex for an article; fails if it stops at an error."""
    (folder / "table.tex").write_text(
        f"\\documentclass{{article}}\n{preamble}\\usepackage{{booktabs,graphicx}}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=100, check=False)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, [line for line in log.splitlines() if line.startswith("!")]
    return log


@needs_latex
@pytest.mark.parametrize("preamble", ["", "\\usepackage[T1]{fontenc}\n"], ids=["OT1", "T1"])
def test_a_real_latex_compiles_any_name(preamble: str, tmp_path: Path) -> None:
    plan = plan_of([("mlp", "digits")], LETTERS, study=LETTERS[5], question=LETTERS[0])
    tables = [
        hostile_results().export("latex"),
        results_with(LETTERS, 1).export("latex"),
        results_with(("zero", "orthogonal")).export("latex"),
        Results(plan, {}).export("latex"),
    ]
    body = "\n\\clearpage\n".join(tables) + "\nSee \\ref{tab:case-study}."
    assert "Missing character" not in compile_latex(body, tmp_path, preamble)


@needs_latex
def test_a_wide_table_is_made_as_wide_as_the_text(tmp_path: Path) -> None:
    wide = Results(*kind_of_study("learning-rate", 12)).export("latex")
    assert "Overfull" not in compile_latex(wide, tmp_path)
    unfitted = wide.replace(FIT_WIDTH, "{")
    assert "Overfull" in compile_latex(unfitted, tmp_path)


def test_the_head_of_a_csv_runs_nothing_either() -> None:
    plan = plan_of([("mlp", "digits")], ("zero",))
    results = {
        p.cell.id: replace(result_of(p.cell), metrics={"=cmd()": 1.0, "test_accuracy": 0.5})
        for p in plan.cells
    }
    for kind in ("csv", "csv-cells"):
        text = Results(plan, results).export(kind)
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


@for_each("name", HOSTILE)
def test_markdown_makes_nothing_of_a_name(name: str) -> None:
    plan = plan_of([("mlp", "digits")], (name,), study=name, question="", notes=(name,))
    lines = Results(plan, {p.cell.id: result_of(p.cell) for p in plan.cells}).export("markdown")
    assert not re.search(r"(?<!\\)[<`\[]", lines)
    assert all(c == "\n" or c.isprintable() for c in lines)
    assert lines.splitlines()[0].endswith("**")
