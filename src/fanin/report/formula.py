"""Formulas: a small part of TeX's notation as MathML, which browsers draw without a library.

Known are letters, numbers, operators, ``^``, ``_``, ``{…}``, ``\\frac``, ``\\sqrt``, ``\\bar``,
``\\text``, ``\\mathrm`` and the names in `SYMBOLS`. Anything else is an error: formulas are part
of the package, and a test renders them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from fanin.errors import FaninError

LETTERS = {
    "alpha": "α",
    "beta": "β",
    "chi": "χ",
    "delta": "δ",
    "epsilon": "ε",
    "ell": "ℓ",
    "gamma": "γ",
    "lambda": "λ",
    "mu": "μ",
    "partial": "∂",
    "phi": "φ",
    "pi": "π",
    "sigma": "σ",
    "infty": "∞",
}

OPERATORS = {
    "approx": "≈",
    "cdot": "·",
    "cdots": "⋯",
    "in": "∈",
    "int": "∫",
    "le": "≤",
    "ge": "≥",
    "ne": "≠",
    "prod": "∏",
    "pm": "±",
    "sim": "∼",
    "sum": "∑",
    "times": "×",
    "to": "→",
    "top": "⊤",
}

SPACES = {",": "0.17em", ";": "0.28em", "quad": "1em"}

NAMES = ("Var", "E", "diag", "sign", "max", "min", "erf", "MAE")
"""Names of functions, upright."""

SYMBOLS = (*LETTERS, *OPERATORS, *SPACES, *NAMES)

_FENCES = "()[]|"
"""They keep the size of letters, also where a reader has no font for mathematics."""

_LARGE = ("∑", "∏")
_TOKEN = re.compile(r"\\([A-Za-z]+|[,;])|([A-Za-z])|(\d+(?:\.\d+)?)|([{}^_])|(\s+)|(.)")


def render_formula(text: str, *, block: bool = False) -> str:
    """The formula as a MathML element; a block stands on a line of its own.

    >>> render_formula("x^2")
    '<math><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    reader = _Reader(text, block=block)
    body = "".join(reader.read_row(""))
    return f'<math display="block">{body}</math>' if block else f"<math>{body}</math>"


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, text: str, *, block: bool) -> None:
        self.text = text
        self.block = block
        self.tokens = [m for m in _TOKEN.finditer(text) if m[5] is None]
        self.place = 0

    def read_row(self, end: str) -> Iterator[str]:
        """The elements up to a token, which is read too."""
        while self.place < len(self.tokens):
            if end and self.tokens[self.place][0] == end:
                self.place += 1
                return
            yield self._read_scripted()
        if end:
            raise FaninError(f"Expected {end} in the formula {self.text!r}.")

    def _read_scripted(self) -> str:
        base = self._read_atom()
        scripts = {}
        while self._peek() in ("_", "^"):
            mark = self._next()[0]
            scripts[mark] = self._read_atom()
        if not scripts:
            return base
        stacked = self.block and any(sign in base for sign in _LARGE)
        low, high = ("munder", "mover") if stacked else ("msub", "msup")
        if len(scripts) == 2:
            both = "munderover" if stacked else "msubsup"
            return f"<{both}>{base}{scripts['_']}{scripts['^']}</{both}>"
        name = low if "_" in scripts else high
        return f"<{name}>{base}{next(iter(scripts.values()))}</{name}>"

    def _read_atom(self) -> str:
        token = self._next()
        command, letter, number, mark, _, other = token.groups()
        if command is not None:
            return self._read_command(command)
        if letter is not None:
            return f"<mi>{letter}</mi>"
        if number is not None:
            return f"<mn>{number}</mn>"
        if mark == "{":
            return f"<mrow>{''.join(self.read_row('}'))}</mrow>"
        if mark is not None:
            raise FaninError(f"Did not expect {mark} in the formula {self.text!r}.")
        if other in _FENCES:
            return f'<mo stretchy="false">{other}</mo>'
        return f"<mo>{escape('−' if other == '-' else other)}</mo>"

    def _read_command(self, name: str) -> str:
        if name == "frac":
            return f"<mfrac>{self._read_atom()}{self._read_atom()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self._read_atom()}</msqrt>"
        if name == "bar":
            return f"<mover>{self._read_atom()}<mo>¯</mo></mover>"
        if name in ("text", "mathrm"):
            return f"<mtext>{escape(self._read_words())}</mtext>"
        if name in LETTERS:
            return f"<mi>{LETTERS[name]}</mi>"
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"/>'
        if name in OPERATORS:
            return f"<mo>{OPERATORS[name]}</mo>"
        if name in NAMES:
            return f'<mi mathvariant="normal">{name}</mi>'
        raise FaninError(f"Unknown command \\{name} in the formula {self.text!r}.")

    def _read_words(self) -> str:
        """The text between braces, spaces included."""
        start = self._next()
        if start[0] != "{":
            raise FaninError(f"Expected {{ in the formula {self.text!r}.")
        end = self.text.index("}", start.end())
        while self.tokens[self.place].start() < end:
            self.place += 1
        self.place += 1
        return self.text[start.end() : end]

    def _peek(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def _next(self) -> re.Match[str]:
        if self.place >= len(self.tokens):
            raise FaninError(f"The formula {self.text!r} ends too early.")
        self.place += 1
        return self.tokens[self.place - 1]
