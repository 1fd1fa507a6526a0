"""Gates outside of recurrent layers (F034): of highway networks, squeeze-and-excitation, and gated
linear units.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fanin.apply.model_parameters import ParameterUse
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, WeightState, get_anatomy, read_values
from fanin.diagnosis.findings.quick_moments import KnownActivation
from fanin.diagnosis.patch import Patch

STUCK = 5.0
"""σ(−5) = 0.7 %. Highway networks start their gates at −1 to −3 on purpose, so that they carry."""


def find_stuck_gates(examination: Examination) -> Iterator[Finding]:
    """F034 of layers whose output, activated, multiplies another signal."""
    structure = examination.structure
    if structure is None:
        return
    anatomy = get_anatomy(examination)
    biases = {use.bare_name.rpartition(".")[0]: use for use in anatomy.uses if use.role == "bias"}
    for layer in structure.list_layers("gate"):
        state = anatomy.by_layer.get(layer)
        if state is not None and len(state.maps) == 1:
            yield from _judge_bias(anatomy, layer, state, biases.get(layer))
    yield from _judge_units(anatomy, biases)


def _judge_bias(
    anatomy: Anatomy, layer: str, state: WeightState, bias: ParameterUse | None
) -> Iterator[Finding]:
    """Biases beyond ±5 in all units, where the weights cannot make up for them."""
    values = read_values(bias) if bias is not None else None
    if bias is None or values is None or not _is_sigmoid(anatomy, layer):
        return
    low, high = (one.item() for one in torch.aminmax(values.float()))
    reach = 3 * state.draw.std * state.maps[0].fans.fan_in ** 0.5
    if high + reach <= -STUCK or low - reach >= STUCK:
        mean = float(values.float().mean())
        opening = float(torch.sigmoid(values.float()).mean())
        yield Finding(
            code="F034",
            severity="warning",
            where=bias.bare_name,
            summary=(
                f"The gate's bias of {mean:.3g} keeps it {opening:.2%} open in every unit, "
                "whatever the input: neither the gate nor what it gates can learn."
            ),
            remedy="Start it between −3 and 3: 0 is half open, −2 lets 12 % through.",
            evidence={"bias": mean, "opening": opening, "expected_opening": "0.05 to 0.95"},
            patches=(
                Patch(
                    operation="set", parameters=(bias.bare_name,), value=2.0 if mean > 0 else -2.0
                ),
            ),
        )


def _is_sigmoid(anatomy: Anatomy, layer: str) -> bool:
    follower = anatomy.followers.get(layer)
    if follower is None or follower.activation is None:
        return False
    return KnownActivation(follower.activation).name.lower() in ("sigmoid", "hardsigmoid")


def _judge_units(anatomy: Anatomy, biases: dict[str, ParameterUse]) -> Iterator[Finding]:
    """Gated linear units whose gate is zero while their down projection is not: what they gate gets
    no gradient. A zero down projection is the usual way to start a branch at zero.
    """
    structure = anatomy.structure
    assert structure is not None
    found: list[str] = []
    for unit in structure.gated_units:
        if not all(_is_zero(anatomy, name, biases) for name in unit.gate):
            continue
        downs = [anatomy.by_layer[name] for name in unit.down if name in anatomy.by_layer]
        activation = KnownActivation(unit.activation)
        closed = activation.identity or abs(activation.evaluate_at_zero()) < 1e-6
        if closed and any(state.draw.std > 0 for state in downs):
            found += [anatomy.by_layer[name].name for name in unit.gate]
    if found:
        yield Finding(
            code="F034",
            severity="warning",
            where=found[0],
            also=tuple(found[1:]),
            summary=(
                f"{len(found)} gate projection{'s are' if len(found) > 1 else ' is'} zero, so that "
                "the unit's output is 0 and neither the up nor the down projection gets a gradient "
                "in the first step."
            ),
            remedy=(
                "Draw the gate as the up projection is drawn; to start the branch at zero, make "
                "the down projection zero."
            ),
            evidence={"gate_std": 0.0},
            patches=(
                Patch(operation="initialize", parameters=tuple(found), initializer="lecun_normal"),
            ),
        )


def _is_zero(anatomy: Anatomy, layer: str, biases: dict[str, ParameterUse]) -> bool:
    state = anatomy.by_layer.get(layer)
    if state is None or state.draw.std != 0:
        return False
    bias: Tensor | None = read_values(biases[layer]) if layer in biases else None
    return bias is None or not bool(bias.any())
