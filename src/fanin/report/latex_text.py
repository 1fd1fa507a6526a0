"""Text for LaTeX: special characters escaped, others written so that every engine can set them.

pdfTeX has no letter for most of Unicode and stops at one. Letters with accents, Greek letters and
mathematical signs are written as commands. All others become ``\\unicodechar{日}{65E5}``: the
character itself in XeTeX and LuaTeX, and its number in pdfTeX.
"""

from __future__ import annotations

import re
import unicodedata

from fanin.report.escaping import escape_invisible

UNICODE_COMMAND = r"\providecommand{\unicodechar}[2]{\ifdefined\Umathchar #1\else [U+#2]\fi}"
"""Defines the command that characters may need which pdfTeX lacks."""

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)

_MATH = {
    "±": r"\pm",
    "·": r"\cdot",
    "×": r"\times",
    "÷": r"\div",
    "−": "-",
    "√": r"\surd",
    "∞": r"\infty",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "→": r"\to",
    "←": r"\leftarrow",
    "∂": r"\partial",
    "∇": r"\nabla",
    "∈": r"\in",
    "Σ": r"\Sigma",
    "∑": r"\sum",
    "∏": r"\prod",
    "¹": "^{1}",
    "²": "^{2}",
    "³": "^{3}",
    "₀": "_{0}",
    "₁": "_{1}",
    "₂": "_{2}",
    "°": r"^{\circ}",
    "µ": r"\mu",
    "ε": r"\varepsilon",
    "ϵ": r"\epsilon",
    "φ": r"\varphi",
    "ϕ": r"\phi",
}

_TEXT = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",  # in both of the usual font encodings
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after \\ a bracket would begin its optional argument, and a star its starred form
    "*": "{*}",
    "—": "---",
    "–": "--",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "€": "EUR",
}

_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c",
        ("`", "'", "^", "~", "=", "u", ".", '"', "r", "H", "v"),
        strict=True,
    )
) | {"\u0327": "c", "\u0323": "d"}
"""Combining mark → the command that sets it over or under a letter."""


def escape_latex(text: object) -> str:
    """Text with all special characters of LaTeX escaped, for any engine and font encoding."""
    line = unicodedata.normalize("NFC", escape_invisible(text))
    return "".join(map(_escape_character, line))


def make_label(name: str) -> str:
    r"""A key for ``\label``: ASCII letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return f"tab:{re.sub(r'[^a-z0-9]+', '-', plain).strip('-')[:60] or 'study'}"


def _escape_character(character: str) -> str:
    if character in _TEXT:
        return _TEXT[character]
    if character in _MATH:
        return f"${_MATH[character]}$"
    if character.isascii():
        return character
    return (
        _write_greek(character)
        or _write_accent(character)
        or rf"\unicodechar{{{character}}}{{{ord(character):04X}}}"
    )


def _write_greek(character: str) -> str:
    """A Greek letter as a command of mathematics; empty for any other character."""
    name = unicodedata.name(character, "")
    case, _, letter = name.removeprefix("GREEK ").partition(" LETTER ")
    if letter == "LAMDA":
        letter = "LAMBDA"
    command = letter.lower() if case == "SMALL" else letter.capitalize()
    return rf"$\{command}$" if command in _GREEK.split() else ""


def _write_accent(character: str) -> str:
    """A letter with one accent as a command; empty for any other character."""
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) != 1 or marks[0] not in _ACCENTS or not (letter.isascii() and letter.isalpha()):
        return ""
    base = {"i": r"\i", "j": r"\j"}.get(letter, letter)
    return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
