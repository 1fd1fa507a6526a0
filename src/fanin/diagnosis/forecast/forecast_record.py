"""What a forecast says: `Forecast`, the answer first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fanin.diagnosis.forecast.start_quantities import StartQuantities
from fanin.diagnosis.views.plain_records import make_finite
from fanin.diagnosis.views.styled_lines import StyledLine, join_lines, make_line, wrap_lines

Outlook = Literal["trains", "does not train", "cannot tell"]

SCHEMA = 1
"""Of the record as JSON; it changes if an entry is removed or gets another meaning."""

_ANSWERS: dict[Outlook, str] = {
    "trains": "will probably train",
    "does not train": "will probably not train",
    "cannot tell": "may train or not: the forecast cannot tell",
}
_SHOWN = 0.05
"""Reasons that move the log-odds by less are not shown."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One measured quantity, and what it does to the forecast."""

    name: str
    value: float
    log_odds: float
    """What it takes from the log-odds of a start without fault; 0 or negative."""
    text: str
    """In words, with the number."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Whether training will work, from one audit.

    A start *trains* if, at the best learning rate of a grid and after `steps` steps, the validation
    error comes at least 80 % of the way from knowing nothing to what the best initializer of the
    same model reaches; it *does not train* if it comes at most 40 % of the way.
    """

    verdict: Outlook
    probability: float
    """That it trains rather than not."""
    reasons: tuple[Reason, ...]
    """The weightiest first; the last are those that weigh nothing."""
    outside: tuple[str, ...]
    """What lies beyond what the forecast was fitted on; empty if nothing does."""
    optimizer: str
    steps: int
    model_name: str
    quantities: StartQuantities
    """What was measured."""

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts, with finite numbers only."""
        record: dict[str, Any] = make_finite({"schema": SCHEMA} | asdict(self))
        return record

    def __str__(self) -> str:
        """The answer and its reasons, in 80 columns."""
        return join_lines(self.list_lines())

    def list_lines(self) -> list[StyledLine]:
        """The answer, what decided it, and how far it holds."""
        style = {"trains": "good", "does not train": "error"}.get(self.verdict, "warning")
        chance = f"{100 * min(max(self.probability, 0.01), 0.99):.0f} %"
        answer = f"{self.model_name} {_ANSWERS[self.verdict]} ({chance})."
        lines = [
            *wrap_lines(answer, style=style),
            *wrap_lines(f"By {self.optimizer}, in {self.steps} steps, at the best learning rate."),
            make_line(""),
        ]
        for one in self.reasons:
            shown = one.log_odds <= -_SHOWN
            first = f"{one.log_odds:+6.1f}  " if shown else "     ✓  "
            lines += wrap_lines(
                one.text, first=first, indent=" " * 8, style="" if shown else "quiet"
            )
        for text in self.outside:
            lines += wrap_lines(f"Beyond its range: {text}", style="warning", indent="  ")
        return lines
