"""Dropout that drops everything or nearly so, and parts that a pass or an optimizer does not reach:
F047, F050, F052.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding

MOST = 0.8
"""Dropout of 0.5 is usual. From 0.8 on what is left is multiplied by 5 or more, and with it the
noise: of seven small models with 0.95 six trained worse.
"""


def judge_dropout(examination: Examination) -> Iterator[Finding]:
    """F047: a dropout of 1 multiplies its input by 0 in training; one near 1 leaves little."""
    rates = [
        (path, float(module.p))
        for path, module in examination.model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd)
    ]
    rates += _list_calls(examination)
    everything = [path for path, rate in rates if rate >= 1]
    if everything:
        yield Finding(
            code="F047",
            severity="error",
            where=everything[0],
            also=tuple(everything[1:]),
            summary="Dropout with p = 1 drops every number in training: nothing before it learns.",
            remedy="p is the share that is dropped, not the share that is kept: use 0.1 to 0.5.",
            evidence={"p": 1},
        )
    much = [(path, rate) for path, rate in rates if MOST <= rate < 1]
    if much:
        path, rate = max(much, key=lambda one: one[1])
        yield Finding(
            code="F047",
            severity="warning",
            where=path,
            also=tuple(other for other, _ in much if other != path),
            summary=(
                f"Dropout with p = {rate:g} keeps {1 - rate:.0%} of the numbers, and multiplies "
                f"them by {1 / (1 - rate):.3g}: gradients are mostly noise."
            ),
            remedy="p is the share that is dropped, not the share that is kept: use 0.1 to 0.5.",
            evidence={"p": rate},
        )


def _list_calls(examination: Examination) -> Iterator[tuple[str, float]]:
    """Dropout that is called as a function, with its rate."""
    measurement = examination.measurement
    for node in measurement.graph.nodes if measurement is not None else ():
        if (
            node.module is None
            and node.target in ("dropout", "feature_dropout", "alpha_dropout")
            and node.call is not None
            and node.call.get_option(2, "training") is not False
            and isinstance(rate := node.call.get_option(1, "p"), int | float)
        ):
            yield f"{node.target} called as a function", float(rate)


def judge_reach(examination: Examination) -> Iterator[Finding]:
    """F050: layers that the pass did not reach, and that were therefore not judged."""
    structure, measurement = examination.structure, examination.measurement
    if structure is None or measurement is None:
        return
    called = {one.name for one in measurement.layers}
    missed = [
        name
        for name in structure.unreached
        if name not in called and not any(one.startswith(f"{name}.") for one in called)
    ]
    states = measurement.parameters.values()
    missed = [
        name
        for name in missed
        if any(not one.trainable for one in states if one.layer == name)  # others: F021
    ]
    if missed:
        yield Finding(
            code="F050",
            severity="note",
            where=missed[0],
            also=tuple(missed[1:]),
            summary=f"{len(missed)} frozen layers took no part in the pass, and were not judged.",
            remedy="Give a batch that reaches them, if they matter.",
            evidence={"layers": len(missed)},
        )


def judge_strays(examination: Examination) -> Iterator[Finding]:
    """F052: the pass computes with parameters that the model does not list."""
    strays = examination.measurement.strays if examination.measurement else ()
    if not strays:
        return
    places = tuple(dict.fromkeys(one.name.partition("[")[0] or one.owner for one in strays))
    numbers = sum(math.prod(one.shape) for one in strays)
    held = any(one.name for one in strays)
    yield Finding(
        code="F052",
        severity="error",
        where=places[0],
        also=places[1:],
        summary=(
            f"The forward pass uses {len(strays)} parameters ({numbers:,} numbers"
            + (f", such as {strays[0].name}" if held else ", made in the pass itself")
            + ") that model.parameters() does not list: an optimizer never changes them, and "
            "state_dict() does not store them."
        ),
        remedy=(
            "Hold layers in nn.ModuleList or nn.ModuleDict, and parameters in nn.ParameterList, "
            "not in a list or dict."
            if held
            else "Make layers and parameters once, in __init__, as attributes of the module."
        ),
        evidence={"parameters": len(strays), "numbers": numbers},
    )
