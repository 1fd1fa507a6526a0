"""Minus signs and units as a printer sets them."""

from __future__ import annotations

import pytest

from fanin.report.tables.latex import to_latex
from fanin.report.tables.table import Column, Table, TableEntry
from fanin.report.typography import set_minus_signs, tie_units


@pytest.mark.parametrize(
    ("plain", "printed"),
    [
        ("-0.013 ± 0.004", "−0.013 ± 0.004"),
        ("(-0.1 to -.05)", "(−0.1 to −.05)"),
        ("-∞", "−∞"),
        ("1e-05", "1e-05"),
        ("2-3", "2-3"),
        ("he-normal", "he-normal"),
        ("lr-0.1", "lr-0.1"),
        ("a - b", "a - b"),
    ],
)
def test_only_a_hyphen_that_begins_a_number_is_a_minus_sign(plain: str, printed: str) -> None:
    assert set_minus_signs(plain) == printed


def test_a_number_stays_with_its_unit_and_half_width() -> None:
    assert tie_units("95 % of 0.1 ± 0.2") == "95\u00a0% of 0.1 ±\u00a00.2"


def test_latex_has_minus_signs_in_numbers_and_hyphens_in_names() -> None:
    columns = (Column("name", "name", numeric=False), Column("difference", "difference"))
    row = (TableEntry("run -1"), TableEntry("-0.5 ± 0.1", -0.5))
    text = to_latex([Table("differences", columns, (row,))], "s")
    assert r"run -1 & $-$0.5 $\pm$ 0.1 \\" in text
