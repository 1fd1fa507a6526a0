"""What to think of the signals of a training, in words: the worst first.

The limits are round numbers, far from what healthy networks show: in the built-in study `quick` (10
trainings, with other initializers than zero) the first layer's gradient was 0.035 to 0.43 times the
last layer's, no more than 2 % of the units were dead, a step changed the weights by 0.06 to 2 % of
their norm, and nothing was said to stand out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from fanin.watching.layer_reading import ALL
from fanin.watching.signal_series import SignalSeries

SMALL, LARGE = 1e-3, 1e3
"""The rms of a layer's gradient over the last layer's, beyond which it has vanished or exploded."""

DEAD, SATURATED = 0.3, 0.5
"""The share of dead units, and of saturated outputs, from which they are worth a sentence."""

FAST, SLOW = 0.3, 1e-6
"""The update ratio beyond which a step overwrites a layer, and below which it does nothing."""

GROWTH = 100.0
"""The gradient's rms over its median, of the whole model, from which it is a burst."""

_MOST = 3
"""Layers that one sentence names."""


@dataclass(frozen=True)
class SignalRemark:
    """One thing that the signals show."""

    severity: int
    """From 0, the worst."""
    text: str


def judge_signals(series: SignalSeries) -> list[str]:
    """Sentences, the worst first; one that says so if nothing stands out."""
    if not series.times:
        return ["Nothing was measured: no step of the optimizer was seen."]
    remarks = [
        *_find_not_finite(series),
        *_find_silent_layers(series),
        *_find_vanished(series),
        *_find_dead(series),
        *_find_saturated(series),
        *_find_bursts(series),
        *_find_fast_updates(series),
        *_find_slow_updates(series),
    ]
    remarks.sort(key=lambda remark: remark.severity)
    return [remark.text for remark in remarks] or [_describe_health(series)]


def _find_not_finite(series: SignalSeries) -> Iterator[SignalRemark]:
    for statistic, thing in (("rms", "output"), ("gradient_rms", "gradient")):
        places = {
            layer: place
            for layer in series.layers
            if layer in series.values.get(statistic, {})
            and (place := _find_first(series.get(statistic, layer), math.isinf)) is not None
        }
        if places:
            layer, place = min(places.items(), key=lambda item: item[1])
            time = _name_time(series, place)
            yield SignalRemark(0, f"The {thing} of {layer} is NaN or infinite at {time}.")


def _find_silent_layers(series: SignalSeries) -> Iterator[SignalRemark]:
    silent = [x for x in series.trained if not any(map(_is_positive, _get_gradient(series, x)))]
    if silent:
        yield SignalRemark(
            1,
            f"{_join(silent)} {_get_verb(silent, 'gets', 'get')} no gradient at any measured "
            f"{series.unit}: exactly zero. Weights there do not learn.",
        )


def _find_vanished(series: SignalSeries) -> Iterator[SignalRemark]:
    if len(series.trained) < 2:
        return
    last = series.trained[-1]
    reference = _get_gradient(series, last)
    small: dict[str, tuple[float, str]] = {}
    large: dict[str, tuple[float, str]] = {}
    for layer in series.trained[:-1]:
        ratios = [
            one / other if other else math.nan
            for one, other in zip(_get_gradient(series, layer), reference, strict=True)
        ]
        known = [ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0]
        if known and min(known) < SMALL:
            when = _describe_when(series, ratios, lambda ratio: 0 < ratio < SMALL)
            small[layer] = median([x for x in known if x < SMALL]), when
        if known and max(known) > LARGE:
            when = _describe_when(series, ratios, lambda ratio: ratio > LARGE)
            large[layer] = max(known), when
    for found, choose, more in ((small, min, "vanish"), (large, max, "explode")):
        if found:
            layer = choose(found, key=lambda name: found[name][0])
            ratio, when = found[layer]
            others = len(found) - 1
            also = f" (and {others} other {'layer' if others == 1 else 'layers'})" if others else ""
            yield SignalRemark(
                1,
                f"Gradients of {layer}{also} {more}: {_format(ratio)} of those of {last}, the last "
                f"layer, {when}.",
            )


def _find_dead(series: SignalSeries) -> Iterator[SignalRemark]:
    for layer, values in _sort_by_peak(series, "zero_units"):
        peak = max(filter(math.isfinite, values))
        if peak < DEAD:
            continue
        start = next(value for value in values if math.isfinite(value))
        place, function = layer.partition(":")[::2]
        if start >= DEAD and start >= 0.8 * peak:
            text = f"{start:.0%} of the units of {place} are dead from the start"
        else:
            time = _name_time(series, values.index(peak))
            text = f"{peak:.0%} of the units of {place} died by {time} (at the start {start:.0%})"
        yield SignalRemark(1 if peak > 0.9 else 2, f"{text}: 0 after {function} for a whole batch.")


def _find_saturated(series: SignalSeries) -> Iterator[SignalRemark]:
    for layer, values in _sort_by_peak(series, "saturated"):
        peak = max(filter(math.isfinite, values))
        if peak >= SATURATED:
            place, function = layer.partition(":")[::2]
            time = _name_time(series, values.index(peak))
            yield SignalRemark(
                2, f"{peak:.0%} of the outputs of {function} after {place} are saturated at {time}."
            )


def _find_bursts(series: SignalSeries) -> Iterator[SignalRemark]:
    values = series.get("gradient_rms")
    known = [value for value in values if math.isfinite(value) and value > 0]
    if len(known) < 3 or max(known) < GROWTH * median(known):
        return
    place = values.index(max(known))
    yield SignalRemark(
        2,
        f"The gradient of the whole model bursts at {_name_time(series, place)}: "
        f"{_format(max(known) / median(known))} times its median.",
    )


def _find_fast_updates(series: SignalSeries) -> Iterator[SignalRemark]:
    found: dict[str, float] = {}
    for layer in series.trained:
        values = series.get("update_ratio", layer)
        known = [value for value in values if math.isfinite(value)]
        if known and max(known) > FAST:
            found[layer] = max(known)
    if found:
        layer = max(found, key=found.__getitem__)
        place = series.get("update_ratio", layer).index(found[layer])
        also = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield SignalRemark(
            2,
            f"One step changes the weights of {layer}{also} by {found[layer]:.0%} of their norm at "
            f"{_name_time(series, place)}. A healthy step changes about 0.1 %: lower the learning "
            "rate, or warm it up.",
        )


def _find_slow_updates(series: SignalSeries) -> Iterator[SignalRemark]:
    slow = [
        layer
        for layer in series.trained
        if any(map(_is_positive, _get_gradient(series, layer)))
        and (known := [x for x in series.get("update_ratio", layer) if math.isfinite(x)])
        and max(known) < SLOW
    ]
    if slow:
        yield SignalRemark(
            3,
            f"{_join(slow)} {_get_verb(slow, 'hardly moves', 'hardly move')}: no step that was "
            f"measured changes the weights by more than {SLOW:g} of their norm.",
        )


def _describe_health(series: SignalSeries) -> str:
    parts = []
    ratios = [x for x in series.compare_gradients() if math.isfinite(x)]
    if ratios:
        parts.append(
            f"the first layer's gradient is {_format(min(ratios))} to {_format(max(ratios))} times "
            "the last layer's"
        )
    dead = [x for x in series.get("zero_units") if math.isfinite(x)]
    if dead and max(dead) >= 0.005:
        parts.append(f"at most {max(dead):.0%} of the units are dead")
    updates = [x for x in series.get("update_ratio") if math.isfinite(x)]
    if updates:
        parts.append(
            f"a step changes the weights by {_format(min(updates))} to {_format(max(updates))} of "
            "their norm"
        )
    return f"Nothing stands out: {'; '.join(parts)}." if parts else "Nothing stands out."


def _get_gradient(series: SignalSeries, layer: str) -> tuple[float, ...]:
    return series.get("gradient_rms", layer)


def _sort_by_peak(series: SignalSeries, statistic: str) -> list[tuple[str, tuple[float, ...]]]:
    """The layers that have a finite value, the highest first; at most `_MOST`."""
    found = [
        (layer, values)
        for layer, values in series.values.get(statistic, {}).items()
        if layer != ALL and any(map(math.isfinite, values))
    ]
    found.sort(key=lambda item: -max(filter(math.isfinite, item[1])))
    return found[:_MOST]


def _describe_when(
    series: SignalSeries, values: Sequence[float], is_bad: Callable[[float], bool]
) -> str:
    """``from step 1 on``, or ``from step 1 to step 30``, of the values that are bad."""
    places = [place for place, value in enumerate(values) if is_bad(value)]
    first, last = _name_time(series, places[0]), _name_time(series, places[-1])
    if places[-1] == max(p for p, value in enumerate(values) if not math.isnan(value)):
        return f"from {first} on" if len(places) > 1 or places[0] else f"at {first}"
    return f"at {first}" if first == last else f"from {first} to {last}"


def _name_time(series: SignalSeries, place: int) -> str:
    time = series.times[place]
    if series.unit == "epoch" and time == 0:
        return "the start"
    return f"{series.unit} {time:,}"


def _find_first(values: Sequence[float], is_it: Callable[[float], bool]) -> int | None:
    return next((place for place, value in enumerate(values) if is_it(value)), None)


def _is_positive(value: float) -> bool:
    return value > 0


def _join(names: Sequence[str]) -> str:
    shown = list(names[:_MOST])
    if len(names) > _MOST:
        return f"{', '.join(shown)} and {len(names) - _MOST} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _get_verb(names: Sequence[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several


def _format(value: float) -> str:
    return f"{value:.2g}"
