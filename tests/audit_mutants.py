"""Mutants: sound models with one fault each, by kind, place and size.

`make_mutants` lists them; `Mutant.build` makes one, with the same start as its sound twin but for
the fault. `benchmarks/audit_mutants.py` trains each of them and its twin, so that every mutant has
a label: its fault makes training worse, or it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from audit_faults.bases import BASES
from audit_faults.kinds import KINDS
from sound_models.entry import Case
from torch import nn

from fanin import seeds

SCALES = (1e-3, 0.1, 10.0, 1e3)


@dataclass(frozen=True)
class Mutant:
    """One fault in one model."""

    base: str
    kind: str
    place: str
    """The parameter or module, as it is called in the sound model; empty: all of it."""
    size: float

    @property
    def name(self) -> str:
        """Unique, and stable: labels are stored by it."""
        return f"{self.base}/{self.kind}/{self.place}/{self.size:g}"

    def build(self, seed: int = 0) -> Case:
        """The sound model of that seed, with the fault."""
        with seeds.preserve_torch_state(seed):
            return KINDS[self.kind](BASES[self.base](), self.place, self.size)


def build_twin(base: str, seed: int = 0) -> Case:
    """The sound model that the mutants of that seed are made of."""
    with seeds.preserve_torch_state(seed):
        return BASES[base]()


@dataclass(frozen=True)
class Layers:
    """What can be changed in a model."""

    weights: list[str]
    """The matrices, in the model's order."""
    biases: list[str]
    norms: list[str]
    tables: list[str]
    modules: list[str]
    """The linear layers and convolutions."""
    pairs: list[str]
    """Matrices of one shape, as from>to."""

    @classmethod
    def of(cls, model: nn.Module) -> Layers:
        """By the classes of the modules."""
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
        tables = [n for n, m in model.named_modules() if isinstance(m, nn.Embedding)]
        modules = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        norms = [n for n, m in model.named_modules() if isinstance(m, norm)]
        held = dict(model.named_parameters())
        weights = [n for n, p in held.items() if p.dim() > 1 and n[: -len(".weight")] not in tables]
        biases = [f"{one}.bias" for one in modules if f"{one}.bias" in held]
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name in weights:
            shapes.setdefault(tuple(held[name].shape), []).append(name)
        pairs = [f"{names[0]}>{other}" for names in shapes.values() for other in names[1:]]
        return cls(weights, biases, norms, tables, modules, pairs)


def choose(names: list[str], count: int = 3) -> list[str]:
    """The first, the last and some between."""
    if len(names) <= count:
        return names
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def make_mutants() -> list[Mutant]:
    """Every second one that there could be, so that all train in an hour or two; which half
    alternates from base to base, so that each kind and size occurs.
    """
    found: list[Mutant] = []
    for index, base in enumerate(BASES):
        found += list(_mutate(base))[index % 2 :: 2]
    return found


def _mutate(base: str) -> Iterator[Mutant]:
    case = build_twin(base)
    layers = Layers.of(case.model)

    def make(kind: str, place: str = "", *sizes: float) -> Iterator[Mutant]:
        return (Mutant(base, kind, place, size) for size in sizes or (1.0,))

    yield from _mutate_weights(base, layers)
    for place in choose(layers.biases, 2):
        yield from make("shift", place, -10.0, 10.0)
    for place in choose(layers.norms, 2):
        yield from make("scale", f"{place}.weight", 0.0, 1e-3, 100.0)
        yield from make("standard_normal", f"{place}.weight", 0.02)
    for place in layers.tables:
        yield from make("scale", f"{place}.weight", 1e-3, 30.0, 1e3)
        yield from make("equal_rows", f"{place}.weight", 0.5, 1.0)
    for place in choose(layers.pairs, 2):
        yield from make("copy_layer", place)
    for place in choose(layers.modules, 2):
        yield from make("freeze", place)
    for place in layers.modules[:-1][-1:]:
        yield from make("detach", place)
        yield from make("drop", place, 0.5, 0.95, 1.0)
    if base in ("lstm", "gru"):
        yield from make("shut_gate", "layer.bias_ih_l0", -10.0, -3.0, 10.0)
    yield from make("leave_out", "spare")
    yield from _mutate_model(base, case)


def _mutate_weights(base: str, layers: Layers) -> Iterator[Mutant]:
    held = dict(build_twin(base).model.named_parameters())
    for place in choose(layers.weights):
        weight = held[place]
        std = float(weight.detach().std())
        yield from (Mutant(base, "scale", place, size) for size in SCALES)
        yield Mutant(base, "fill", place, 0.0)
        yield Mutant(base, "fill", place, round(std, 3))
        if len(weight) > 1:
            yield Mutant(base, "equal_rows", place, 1.0)
    for place in choose(layers.weights, 3)[1:2]:
        weight = held[place]
        yield Mutant(base, "standard_normal", place, 1.0)
        yield Mutant(base, "equal_rows", place, 0.5)
        yield Mutant(base, "zero_rows", place, 0.5)
        yield Mutant(base, "low_rank", place, 1.0)
        yield Mutant(base, "uniform_positive", place, 1.0)
        yield Mutant(base, "half_scaled", place, 30.0)
        ratio = weight[0].numel() / (weight.numel() / weight.shape[1])
        if not math.isclose(ratio, 1.0):
            yield Mutant(base, "wrong_fan", place, round(math.sqrt(ratio), 3))
    yield Mutant(base, "not_finite", layers.weights[0], math.nan)
    yield Mutant(base, "not_finite", layers.weights[-1], math.inf)


def _mutate_model(base: str, case: Case) -> Iterator[Mutant]:
    yield from (Mutant(base, "scale_all", "", size) for size in (1e-3, 0.1, 0.3, 3.0, 10.0))
    yield from (Mutant(base, "fill_all", "", size) for size in (0.0, 0.1))
    yield from (Mutant(base, "draw_all", "", size) for size in (1e-3, 0.02, 1.0))
    yield from (Mutant(base, "shift_biases", "", size) for size in (-10.0, 1.0))
    if base != "binary":
        yield from (Mutant(base, "end_multiplied", "", size) for size in (1e-3, 30.0, 1e3))
    if any(isinstance(one, nn.ReLU | nn.Tanh | nn.GELU) for one in case.model.modules()):
        yield Mutant(base, "squash", "", 1.0)
        yield Mutant(base, "linearize", "", 1.0)
    if isinstance(case.batch, tuple) or not case.batch.is_floating_point():
        pass
    elif base != "autoencoder":
        yield from (Mutant(base, "input_scale", "", size) for size in (1e-3, 0.1, 30.0, 255.0))
        yield from (Mutant(base, "input_shift", "", size) for size in (10.0, 1000.0))
    if not case.target.is_floating_point():
        yield Mutant(base, "end_softmax", "", 1.0)
        yield Mutant(base, "end_relu", "", 1.0)
    elif case.loss is None:
        yield from (Mutant(base, "target_scale", "", size) for size in (1e-3, 100.0, 1e4))
        yield Mutant(base, "end_relu", "", 1.0)
        yield Mutant(base, "end_sigmoid", "", 1.0)
