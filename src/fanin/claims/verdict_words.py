"""Effects and verdicts in words."""

from __future__ import annotations

import math

from fanin.claims.contrast import ContrastResult, Effect
from fanin.claims.decision_rule import Verdict

_SIGNED = {"accuracy": ".3f", "epochs": ".1f", "dollars": ",.0f", "loss": ".4f", "error": ".2f"}
_SUFFIX = {"accuracy": "", "ratio": "", "share": "", "loss": "", "error": ""}


def describe_effect(result: ContrastResult) -> str:
    """Such as ``+0.047 (95 % +0.011 to +0.083, n = 10)``."""
    effect = result.effect
    if effect.n == 0:
        return "no results yet"
    if effect.statistic == "fact":
        return f"{describe_amount(result)} networks"
    median = "median " * (effect.statistic == "median")
    ends = describe_interval(result)
    interval = f"95 % {ends}" if ends else "no interval"
    return f"{median}{describe_amount(result)} ({interval}, n = {effect.n}{_count_lost(effect)})"


def describe_decision(verdict: Verdict, decisive: ContrastResult) -> str:
    """The verdict, what it rests on, and what would decide if nothing has."""
    if verdict == "no results yet":
        return "No results yet."
    label = decisive.contrast.label
    text = f"{label[:1].upper()}{label[1:]}: {describe_effect(decisive)}; "
    text += f"{describe_criterion(decisive)}."
    if verdict == "inconclusive" and decisive.needed is not None:
        text += f" About {decisive.needed:,} replicates would decide."
    return text


def describe_amount(result: ContrastResult) -> str:
    """The effect without its interval: ``+0.047``, or ``10 of 10`` for a fact."""
    effect, unit = result.effect, result.contrast.unit
    if effect.statistic == "fact":
        return f"{round(effect.value * effect.n)} of {effect.n}"
    return f"{format_amount(effect.value, unit)}{name_unit(unit)}"


def describe_interval(result: ContrastResult) -> str:
    """Such as ``+0.011 to +0.083``; empty without an interval."""
    effect, unit = result.effect, result.contrast.unit
    if effect.statistic == "fact" or math.isnan(effect.low):
        return ""
    return " to ".join(format_amount(end, unit) for end in (effect.low, effect.high))


def describe_criterion(result: ContrastResult) -> str:
    """What the contrast's effect was compared with."""
    contrast = result.contrast
    smallest = format_amount(contrast.smallest, contrast.unit, signed=False)
    smallest += name_unit(contrast.unit)
    if result.effect.statistic == "fact":
        return "all were asked for"
    return {
        "more": f"at least {smallest} was asked for",
        "differs": f"a difference of at least {smallest} was asked for",
        "same": f"less than {smallest} in either direction was asked for",
        "no worse": f"no more than {smallest} below was asked for",
    }[contrast.form]


def format_amount(value: float, unit: str, *, signed: bool = True) -> str:
    """A number in its unit; ratios, which are logarithms, as factors: ``× 1.50``."""
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return ("+" if value > 0 else "−") + "∞"
    if unit == "ratio":
        return f"× {_format_factor(math.exp(value))}"
    if unit == "share":
        return f"{value:.2f}"
    text = f"{value:{'+' * signed}{_SIGNED.get(unit, '.3g')}}"
    return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", "−")


def _format_factor(factor: float) -> str:
    """Three digits; far from 1 a power of ten."""
    if 1e-3 <= factor < 1e4:
        return f"{factor:#.3g}".rstrip(".")
    mantissa, _, exponent = f"{factor:.1e}".partition("e")
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{digits}"


def name_unit(unit: str) -> str:
    """What follows an amount: `` epochs``; nothing for accuracies, ratios and shares."""
    suffix = _SUFFIX.get(unit, unit)
    return f" {suffix}" if suffix else ""


def _count_lost(effect: Effect) -> str:
    lost = f", {effect.diverged} with a run that diverged or missed its target"
    failed = f", {effect.failed} more that cannot be told"
    return lost * bool(effect.diverged) + failed * bool(effect.failed)
