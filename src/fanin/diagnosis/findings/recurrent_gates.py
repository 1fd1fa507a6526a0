"""The biases of the gates of LSTM and GRU layers: whether a gate starts shut, or wide open (F034).

A gate is σ(…+ b): with b = −3 it lets 5 % through, with b = 3 95 %. Every gate sees the sum of two
biases in torch. Chrono initialization sets the forget gate to log u and the input gate to −log u,
different for every unit, which is on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.apply.model_parameters import ParameterUse
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import get_anatomy, read_values
from fanin.diagnosis.patch import Patch

SHUT = 3.0
"""σ(−3) = 0.047: less than 5 % passes, and the slope is less than a fifth of its largest."""
NO_FORGET_BIAS = 0.5
"""Forget gates that are half open, σ(0) = 0.5, halve the memory with every step; 1 is usual."""
DOUBLE_FORGET_BIAS = 1.5
"""The sum of two biases of 1, where one was meant."""

_MEMORY = {"f": "forget", "z": "update"}
_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}


@dataclass(frozen=True)
class _Gate:
    """One gate of one layer."""

    name: str
    """As torch calls it: i, f, o, r, z."""
    biases: tuple[str, ...]
    """The parameters whose sum it sees."""
    rows: tuple[int, int]
    sum: Tensor

    @property
    def mean(self) -> float:
        return float(self.sum.mean())

    @property
    def spread(self) -> bool:
        """Whether units differ by more than a factor of two in time, as in chrono."""
        return float(self.sum.max() - self.sum.min()) > 0.7


def find_shut_gates(examination: Examination) -> Iterator[Finding]:
    """F034 of recurrent layers: gates that are shut or stuck open, and missing forget biases."""
    layers = list(_list_layers(examination))
    yield from _find_shut(layers)
    forget = [gates["f"] for gates in layers if "f" in gates]
    yield from _find_missing([one for one in forget if abs(one.mean) < NO_FORGET_BIAS])
    yield from _find_doubled([one for one in forget if _is_doubled(one)])


def _list_layers(examination: Examination) -> Iterator[Mapping[str, _Gate]]:
    """The gates of each layer and direction, by name."""
    anatomy = get_anatomy(examination)
    by_name = {use.bare_name: use for use in anatomy.uses}
    for use in anatomy.uses:
        if use.role == "bias" and use.layout.parts and use.local.startswith("bias_ih"):
            other = use.bare_name.removesuffix(use.local) + use.local.replace("_ih", "_hh")
            gates = dict(_list_gates(use, by_name.get(other)))
            if gates:
                yield gates


def _list_gates(use: ParameterUse, other: ParameterUse | None) -> Iterator[tuple[str, _Gate]]:
    first = read_values(use)
    second = read_values(other) if other is not None else None
    if first is None:
        return
    total = first.float() if second is None else first.float() + second.float()
    names = (use.bare_name,) if other is None else (use.bare_name, other.bare_name)
    start = 0
    for part in use.layout.parts:
        values = part.read(total)
        rows = (start, start + values.numel())
        start = rows[1]
        if part.name in _NAMES and bool(torch.isfinite(values).all()):
            yield part.name, _Gate(part.name, names, rows, values)


def _find_shut(layers: list[Mapping[str, _Gate]]) -> Iterator[Finding]:
    found: dict[tuple[str, bool], list[_Gate]] = {}
    for gates in layers:
        for gate in gates.values():
            if _is_stuck(gate) and not _is_chrono(gates):
                found.setdefault((gate.name, gate.mean > 0), []).append(gate)
    for (name, is_open), some in found.items():
        if not (is_open and name in ("i", "o", "r")):
            yield _describe_shut(name, is_open, some)


def _is_stuck(gate: _Gate) -> bool:
    """Whether all units are shut, or all are open."""
    return bool((gate.sum <= -SHUT).all()) or bool((gate.sum >= SHUT).all())


def _is_chrono(gates: Mapping[str, _Gate]) -> bool:
    """Whether memories of different lengths were set: units differ, or b_i = −b_f."""
    memory = gates.get("f") or gates.get("z")
    if memory is None:
        return False
    entry = gates.get("i")
    mirrored = entry is not None and bool(torch.allclose(entry.sum, -memory.sum, atol=1e-4))
    return memory.mean > 0 and (memory.spread or mirrored)


def _describe_shut(name: str, is_open: bool, some: list[_Gate]) -> Finding:
    first = some[0]
    opening = float(torch.sigmoid(first.sum).mean())
    effect = {
        ("f", False): "the state is forgotten at once",
        ("f", True): "nothing is ever forgotten",
        ("z", False): "the state is replaced in every step",
        ("z", True): "new input hardly enters the state",
        ("i", False): "input hardly enters the state",
        ("o", False): "the output is nearly 0",
        ("r", False): "the state is left out of the new value",
    }[name, is_open]
    target = 1.0 if name in _MEMORY and not is_open else 0.0
    return Finding(
        code="F034",
        severity="warning",
        where=first.biases[0],
        also=tuple(one.biases[0] for one in some[1:]),
        summary=(
            f"The biases of the {_NAMES[name]} gate add up to {first.mean:.3g}: every unit's gate "
            f"is {opening:.1%} open, so that {effect}, and its slope is small."
        ),
        remedy=(
            f"Set the {_NAMES[name]} gate's bias to {target:g}; for long memories use "
            "'chrono(t_max=…)', which spreads the units over all lengths."
        ),
        evidence={
            "gate": _NAMES[name],
            "bias_sum": first.mean,
            "opening": opening,
            "expected_opening": "0.05 to 0.95",
        },
        patches=tuple(patch for one in some for patch in _set_sum(one, target)),
    )


def _set_sum(gate: _Gate, value: float) -> Iterator[Patch]:
    """The first bias carries the value, the second is zero."""
    for number, name in enumerate(gate.biases):
        yield Patch(
            operation="set",
            parameters=(name,),
            value=0.0 if number else value,
            rows=gate.rows,
        )


def _find_missing(gates: list[_Gate]) -> Iterator[Finding]:
    if gates:
        first = gates[0]
        yield Finding(
            code="F034",
            severity="note",
            where=first.biases[0],
            also=tuple(one.biases[0] for one in gates[1:]),
            summary=(
                f"The forget gate has no bias of its own (its mean is {first.mean:.2g}): half of "
                "the state is forgotten in every step."
            ),
            remedy=(
                "Start the forget gate's bias at 1, as Keras does: 'forget_gate' among fanin's "
                "initializers."
            ),
            evidence={"bias_sum": first.mean, "expected_bias_sum": 1.0},
            patches=tuple(patch for one in gates for patch in _set_sum(one, 1.0)),
        )


def _is_doubled(gate: _Gate) -> bool:
    equal = float(gate.sum.max() - gate.sum.min()) < 1e-3
    return len(gate.biases) == 2 and equal and abs(gate.mean - 2) < 2 - DOUBLE_FORGET_BIAS


def _find_doubled(gates: list[_Gate]) -> Iterator[Finding]:
    if gates:
        first = gates[0]
        yield Finding(
            code="F034",
            severity="note",
            where=first.biases[1],
            also=tuple(one.biases[1] for one in gates[1:]),
            summary=(
                f"The forget gate's two biases add up to {first.mean:.3g}: a bias of 1 was "
                "probably set twice."
            ),
            remedy="torch adds bias_ih and bias_hh: set one of them to 1 and the other to 0.",
            evidence={"bias_sum": first.mean, "expected_bias_sum": 1.0},
            patches=tuple(patch for one in gates for patch in _set_sum(one, 1.0)),
        )
