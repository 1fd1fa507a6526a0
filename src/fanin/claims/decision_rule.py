"""The decision rule: from an effect, its interval and the smallest effect of interest to a verdict.

With an effect θ in the direction of the claim, its simultaneous 95 % interval [low, high] and the
smallest effect of interest δ > 0:

=========  =================================  ==================================
form       supported if                       refuted if
=========  =================================  ==================================
more       low > 0 and θ ≥ δ                  high < δ
differs    0 outside [low, high], \\|θ\\| ≥ δ   [low, high] inside (−δ, δ)
same       [low, high] inside (−δ, δ)         0 outside [low, high], \\|θ\\| ≥ δ
no worse   low > −δ                           high < 0 and θ ≤ −δ
=========  =================================  ==================================

Anything else is inconclusive.
"""

from __future__ import annotations

import math
from typing import Literal

from fanin.analysis import statistics

Form = Literal["more", "differs", "same", "no worse"]
"""What a contrast claims of its effect."""

Verdict = Literal["supported", "refuted", "inconclusive", "no results yet"]


def decide(form: Form, effect: float, low: float, high: float, smallest: float) -> Verdict:
    """The verdict on one contrast; an interval that is nan decides nothing."""
    if any(map(math.isnan, (effect, low, high))):
        return "inconclusive"
    is_shown = (low > 0 or high < 0) and abs(effect) >= smallest
    is_within = -smallest < low and high < smallest
    match form:
        case "more":
            holds, fails = low > 0 and effect >= smallest, high < smallest
        case "differs":
            holds, fails = is_shown, is_within
        case "same":
            holds, fails = is_within, is_shown
        case "no worse":
            holds, fails = low > -smallest, high < 0 and effect <= -smallest
    return "supported" if holds else "refuted" if fails else "inconclusive"


def find_distance(form: Form, effect: float, smallest: float) -> float:
    """How far the effect is from what has to be excluded if it is the true one."""
    match form:
        case "more":
            return effect if effect >= smallest else smallest - effect
        case "differs" | "same":
            return abs(effect) if abs(effect) >= smallest else smallest - abs(effect)
        case "no worse":
            return effect + smallest if effect > -smallest else -effect


def count_deciding_replicates(
    form: Form, effect: float, sd: float, smallest: float, alpha: float
) -> int | None:
    """The fewest replicates that decide if this effect is the true one, with a power of 0.8.

    None if no number of replicates is likely to, or the spread is not known.
    """
    if not (math.isfinite(effect) and math.isfinite(sd) and sd > 0):
        return None
    distance = find_distance(form, effect, smallest)
    return statistics.count_needed_replicates(distance, sd, alpha=alpha)


def combine_all(verdicts: list[Verdict]) -> Verdict:
    """All must be supported; one that is refuted refutes."""
    if "refuted" in verdicts:
        return "refuted"
    return _combine_undecided(verdicts, "supported")


def combine_any(verdicts: list[Verdict]) -> Verdict:
    """One that is supported supports; all must be refuted to refute."""
    if "supported" in verdicts:
        return "supported"
    return _combine_undecided(verdicts, "refuted")


def _combine_undecided(verdicts: list[Verdict], unanimous: Verdict) -> Verdict:
    if set(verdicts) == {unanimous}:
        return unanimous
    return "inconclusive" if set(verdicts) - {"no results yet"} else "no results yet"
