"""Formulas: TeX's notation becomes MathML, and what is not known is an error."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from fanin.errors import FaninError
from fanin.report.formula import LETTERS, NAMES, OPERATORS, SPACES, render_formula


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("x^2", "<msup><mi>x</mi><mn>2</mn></msup>"),
        (r"\frac{1}{n}", "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>n</mi></mrow></mfrac>"),
        (r"\sqrt{3}", "<msqrt><mrow><mn>3</mn></mrow></msqrt>"),
        (r"n_\text{in}", "<msub><mi>n</mi><mtext>in</mtext></msub>"),
        (r"\sigma^2_i", "<msubsup><mi>σ</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("-a < 0.05", "<mo>−</mo><mi>a</mi><mo>&lt;</mo><mn>0.05</mn>"),
        ("(w)", '<mo stretchy="false">(</mo><mi>w</mi><mo stretchy="false">)</mo>'),
    ],
)
def test_a_formula_becomes_mathml(text: str, body: str) -> None:
    assert render_formula(text) == f"<math>{body}</math>"


def test_a_sum_has_its_limits_below_and_above_in_a_block_only() -> None:
    assert "<munderover>" in render_formula(r"\sum_{i}^{n} x", block=True)
    assert "<msubsup>" in render_formula(r"\sum_{i}^{n} x")


def test_every_known_name_is_well_formed_xml() -> None:
    for name in (*LETTERS, *OPERATORS, *SPACES, *NAMES):
        assert ElementTree.fromstring(render_formula(f"\\{name} x"))


@pytest.mark.parametrize(
    "text", [r"\unknown", "x^", "{x", "}", r"\frac{1}", r"\text x", "^2", r"\sqrt"]
)
def test_what_is_not_a_formula_is_an_error(text: str) -> None:
    with pytest.raises(FaninError, match="formula"):
        render_formula(text)
