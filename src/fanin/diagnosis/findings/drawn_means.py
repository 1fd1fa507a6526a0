"""F053: weights that are not drawn around zero.

A mean adds the same multiple of the sum of all inputs to every unit. From a certain size on that
one direction is larger than everything that the random part does: units become copies of one
another, and the signal grows with the number of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import DrawnMap, get_anatomy, read_values
from fanin.diagnosis.findings.drawn_numbers import is_random
from fanin.diagnosis.patch import Patch

CODE = "F053"

DOMINANT = 1.25
"""The singular value of the mean over the largest one of the random part. Of 1,700 weights of 178
sound models none is above 1.
"""
FEWEST = 8
"""Of fewer numbers a mean says nothing."""


def find_drawn_means(examination: Examination) -> Iterator[Finding]:
    """One finding for all weights whose mean outweighs their spread, and for single rows that are
    constant: of several equal rows another finding speaks.
    """
    found = [one for one in get_anatomy(examination).maps if _is_trained(one) and _is_biased(one)]
    if not found:
        return
    worst = max(found, key=lambda one: abs(one.draw.mean) / one.draw.std)
    names = tuple(dict.fromkeys([worst.name, *(one.name for one in found)]))
    spread = math.sqrt(max(worst.draw.std**2 - worst.draw.mean**2, 0.0))
    yield Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"The numbers of {worst.name} have the mean {worst.draw.mean:.3g} and the standard "
            f"deviation {spread:.3g}: every unit starts by adding up all inputs, and hardly "
            "differs from the others."
        ),
        remedy="Draw weights around 0: U(-a, a) or N(0, σ²) with a rule for the fan-in.",
        evidence={"mean": worst.draw.mean, "std": spread, "weights": len(names)},
        patches=(Patch(operation="initialize", parameters=names, initializer="auto"),),
    )


def _is_trained(one: DrawnMap) -> bool:
    return any(part.parameter.requires_grad for part in one.use.carriers)


def _is_biased(one: DrawnMap) -> bool:
    draw, fans = one.draw, one.fans
    if draw.count < FEWEST or not draw.std > 0 or one.layout.fans is None:
        return False
    if draw.kind == "constant":
        return fans.fan_out == 1 and fans.fan_in >= FEWEST
    mean = abs(draw.mean) * math.sqrt(fans.fan_in * fans.fan_out)
    noise = draw.std * (math.sqrt(fans.fan_in) + math.sqrt(fans.fan_out))
    values = read_values(one.use)
    return mean > DOMINANT * noise and values is not None and is_random(values)
