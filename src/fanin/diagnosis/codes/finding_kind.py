"""What a finding's code means: one record per code."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Any

from fanin.diagnosis.finding import Severity


@dataclass(frozen=True, kw_only=True)
class FindingKind:
    """One code of the audit, explained for somebody who meets it for the first time.

    Texts may be written over several lines; they are stored as one line each.
    """

    code: str
    """Stable: F001, F002, …; a code that is given up is not used again."""
    title: str
    """What is wrong, in a few words without a capital letter."""
    severity: Severity
    """The usual one; the finding's own depends on what was measured."""
    meaning: str
    """What is wrong, and why it matters: one paragraph."""
    measured: str
    """How the audit sees it, and what it does not report."""
    causes: tuple[str, ...]
    """What usually leads to it, the most frequent first."""
    remedy: str
    """What to do."""
    reference: str
    """A paper, or a report of the same defect, with its address."""
    example: str
    """A snippet that defines `model`, `batch` and perhaps `target`, `loss` and `expected`. The
    audit of it has this finding."""

    def __post_init__(self) -> None:
        for name in ("meaning", "measured", "remedy", "reference"):
            self._store(name, " ".join(getattr(self, name).split()))
        self._store("causes", tuple(" ".join(text.split()) for text in self.causes))
        self._store("example", inspect.cleandoc(self.example))

    def _store(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def anchor(self) -> str:
        """The address of its page in the documentation, below the site's root."""
        return f"findings/{self.code}.html"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {"causes": list(self.causes)}
