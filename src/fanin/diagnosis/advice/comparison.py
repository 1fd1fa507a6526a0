"""What `compare` found: a row per initializer, the ranking, and the conclusion in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from fanin.diagnosis.advice.start_score import StartScore

AS_IT_IS = "as it is"
"""The row of the model's own start."""

MIN_DIFFERENCE = 0.3
"""Scores that differ by less are tied whatever their spread is: the score is that coarse."""
_ALIKE = 1.0
"""Penalties that differ by less explain a score as well."""
_WIDTH = 80
_REASONS = {
    "signal": "the size of its signals changes most from layer to layer",
    "gradient": "the size of its gradients changes most from layer to layer",
    "updates": "one learning rate moves its weights least evenly",
    "loss": "its initial loss is farther above that of an uninformed prediction",
}


@dataclass(frozen=True, kw_only=True)
class ComparedStart:
    """How a model starts from one initializer."""

    initializer: str
    """Its spec, or `AS_IT_IS`."""
    scores: tuple[StartScore, ...]
    """One per seed, in the same order for all; empty if it does not fit the model."""
    loss: float | None
    """The initial loss, the mean over the seeds."""
    signal: float | None
    """rms of the output of the last hidden layer over that of the first, the geometric mean."""
    gradient: float | None
    """The gradient's rms at the first hidden layer's output over that at the last one's."""
    codes: tuple[str, ...]
    """The errors and warnings of any seed."""
    problem: str = ""
    """Why the model cannot be initialized in this way."""

    @property
    def score(self) -> float:
        """The mean over the seeds; infinite if there is none."""
        return fmean(one.total for one in self.scores) if self.scores else math.inf

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None of one seed."""
        return stdev(one.total for one in self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The initializers of one model, ranked by how it starts from them."""

    rows: tuple[ComparedStart, ...]
    """The best first."""
    seeds: int
    model_name: str

    @property
    def best(self) -> ComparedStart:
        """The lowest score."""
        return self.rows[0]

    @property
    def tied(self) -> tuple[ComparedStart, ...]:
        """Those that cannot be told from the best, itself left out."""
        return tuple(row for row in self.rows[1:] if is_tied(self.best, row))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        tied = {row.initializer for row in self.tied}
        return {
            "model": self.model_name,
            "seeds": self.seeds,
            "best": self.best.initializer,
            "tied": sorted(tied),
            "rows": [
                asdict(row) | {"score": row.score, "spread": row.spread, "why": self.explain(row)}
                for row in self.rows
            ],
        }

    def explain(self, row: ComparedStart) -> str:
        """Why a row is not the best one; empty if it is, or is tied with it."""
        if row.problem:
            return row.problem
        if row is self.best or row in self.tied:
            return ""
        more = {name: _average(row, name) - _average(self.best, name) for name in _REASONS}
        # The first that tells nearly as much as the largest: causes come before effects.
        worst = next(name for name in _REASONS if more[name] >= max(more.values()) - _ALIKE)
        if _average(row, "findings") > _average(self.best, "findings"):
            return f"the audit finds {', '.join(row.codes)}"
        if worst == "signal" and row.signal is not None:
            return f"its signal changes by ×{row.signal:.2g} on its way through the layers"
        if worst == "gradient" and row.gradient is not None:
            return f"its gradient changes by ×{row.gradient:.2g} on its way back"
        return _REASONS[worst]

    def __str__(self) -> str:
        """The conclusion, and a row per initializer, in at most 80 columns."""
        lines = [*textwrap.wrap(self._conclude(), _WIDTH, subsequent_indent="  "), "", _HEADING]
        lines += [_format_row(row, row is self.best or row in self.tied) for row in self.rows]
        for row in self.rows:
            if text := self.explain(row):
                lines += textwrap.wrap(f"{row.initializer}: {text}", _WIDTH, subsequent_indent="  ")
        return "\n".join(lines)

    def _conclude(self) -> str:
        if not self.best.scores:
            return f"No initializer fits {self.model_name}."
        if not self.tied:
            return f"{self.model_name} starts best from {_name(self.best)}."
        others = [_name(row) for row in self.tied]
        if len(others) == len(self.rows) - 1:
            return f"All {len(self.rows)} starts of {self.model_name} are tied."
        listed = " and ".join([", ".join(others[:-1]), others[-1]] if len(others) > 1 else others)
        verb = "are" if len(others) > 1 else "is"
        return (
            f"{self.model_name} starts best from {_name(self.best)}; {listed} {verb} tied with it."
        )


def is_tied(best: ComparedStart, other: ComparedStart) -> bool:
    """Whether the difference of two scores is within two standard errors, or too small to count.

    Seed by seed, all initializers start from the same normal draw, so the differences are taken
    within each seed.
    """
    if not best.scores or not other.scores:
        return False
    if len(best.scores) == len(other.scores) > 1:
        pairs = zip(other.scores, best.scores, strict=True)
        differences = [one.total - two.total for one, two in pairs]
        error = stdev(differences) / math.sqrt(len(differences))
    else:
        spread = max(best.spread or 0.0, other.spread or 0.0)
        error = spread / math.sqrt(max(len(best.scores), len(other.scores)))
    return other.score - best.score <= max(2 * error, MIN_DIFFERENCE)


def _name(row: ComparedStart) -> str:
    return "the weights it has" if row.initializer == AS_IT_IS else row.initializer


def _average(row: ComparedStart, penalty: str) -> float:
    return fmean(getattr(one, penalty) for one in row.scores) if row.scores else 0.0


_HEADING = f"  {'initializer':<28} {'score':>6} {'±':>5} {'loss':>8} {'signal':>8} {'gradient':>8}"


def _format_row(row: ComparedStart, is_best: bool) -> str:
    name = row.initializer if len(row.initializer) <= 28 else row.initializer[:27] + "…"
    mark = "*" if is_best else " "
    if not row.scores:
        return f"{mark} {name:<28} does not fit"
    spread = "–" if row.spread is None else f"{row.spread:.2f}"
    numbers = f"{row.score:>6.2f} {spread:>5} {_format(row.loss):>8}"
    return (
        f"{mark} {name:<28} {numbers} {_format(row.signal, '×'):>8} {_format(row.gradient, '×'):>8}"
    )


def _format(value: float | None, before: str = "") -> str:
    return "–" if value is None else f"{before}{value:.3g}"


def average_logs(values: Sequence[float | None]) -> float | None:
    """The geometric mean of what is known and above 0."""
    known = [value for value in values if value is not None and 0 < value < math.inf]
    return math.exp(fmean(map(math.log, known))) if known else None
