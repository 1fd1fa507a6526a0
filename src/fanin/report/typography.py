"""Numbers as a printer sets them, for pages and LaTeX. Terminals, CSV and Markdown keep hyphens."""

from __future__ import annotations

import re

_HYPHEN_BEFORE_NUMBER = re.compile(r"(?<![\w.)])-(?=[\d.∞])")
_SPACE_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%)|(?<=±) (?=\d)")


def set_minus_signs(text: str) -> str:
    """The text with a minus sign in place of the hyphen before each negative number.

    >>> set_minus_signs("-0.013 ± 0.004, p 1e-05")
    '−0.013 ± 0.004, p 1e-05'
    """
    return _HYPHEN_BEFORE_NUMBER.sub("\N{MINUS SIGN}", text)


def tie_units(text: str) -> str:
    """The text without a line break between a number and its per cent sign, or after a ±."""
    return _SPACE_BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)
