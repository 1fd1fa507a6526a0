"""Kinds of faults, each a change of a sound model, or of its data, that is made after it was built.

A kind is a function of (case, place, size) that changes the model in place and returns the case.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from sound_models.entry import Case, collect_tensors
from torch import Tensor, nn

Change = Callable[[Case, str, float], Case]

KINDS: dict[str, Change] = {}


def kind(change: Change) -> Change:
    """Register a kind under its name."""
    KINDS[change.__name__] = change
    return change


def in_place(change: Callable[[Tensor, float], object]) -> Change:
    """A kind that changes one weight."""

    def make(case: Case, place: str, size: float) -> Case:
        with torch.no_grad():
            change(case.model.get_parameter(place), size)
        return case

    make.__name__ = change.__name__
    return make


@kind
@in_place
def scale(weight: Tensor, size: float) -> object:
    """All entries times a number."""
    return weight.mul_(size)


@kind
@in_place
def fill(weight: Tensor, size: float) -> object:
    """All entries alike."""
    return weight.fill_(size)


@kind
@in_place
def shift(weight: Tensor, size: float) -> object:
    """A number is added to all entries."""
    return weight.add_(size)


@kind
@in_place
def equal_rows(weight: Tensor, size: float) -> object:
    """That share of the rows is a copy of the first."""
    return weight[: math.ceil(size * len(weight))].copy_(weight[:1].clone())


@kind
@in_place
def zero_rows(weight: Tensor, size: float) -> object:
    """That share of the rows is 0."""
    return weight[: math.ceil(size * len(weight))].zero_()


@kind
@in_place
def low_rank(weight: Tensor, size: float) -> object:
    """Only that many directions are left, at the same size."""
    flat = weight.flatten(1)
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    kept = int(size)
    made = (u[:, :kept] * s[:kept]) @ v[:kept]
    return weight.copy_((made * flat.norm() / made.norm()).view_as(weight))


@kind
@in_place
def standard_normal(weight: Tensor, size: float) -> object:
    """N(0, size²), whatever the fan."""
    return weight.normal_(0.0, size)


@kind
@in_place
def uniform_positive(weight: Tensor, size: float) -> object:
    """U(0, size): a mean that is not 0."""
    return weight.uniform_(0.0, size)


@kind
@in_place
def wrong_fan(weight: Tensor, size: float) -> object:
    """As if fan-out were fan-in."""
    return weight.mul_(math.sqrt(weight[0].numel() / (weight.numel() / weight.shape[1])))


@kind
@in_place
def not_finite(weight: Tensor, size: float) -> object:
    """One entry is NaN or infinite."""
    return weight.view(-1)[0].fill_(size)


@kind
@in_place
def half_scaled(weight: Tensor, size: float) -> object:
    """Half of the rows are times a number."""
    return weight[: len(weight) // 2].mul_(size)


@kind
@in_place
def shut_gate(weight: Tensor, size: float) -> object:
    """The bias of the second of torch's gates: forgetting of an LSTM, the update of a GRU."""
    gates = 4 if len(weight) % 4 == 0 and len(weight) // 20 == 4 else 3
    return weight.chunk(gates)[1].fill_(size)


@kind
def scale_all(case: Case, place: str, size: float) -> Case:
    """All matrices times a number."""
    with torch.no_grad():
        for weight in case.model.parameters():
            if weight.dim() > 1:
                weight.mul_(size)
    return case


@kind
def fill_all(case: Case, place: str, size: float) -> Case:
    """All matrices are one constant."""
    with torch.no_grad():
        for weight in case.model.parameters():
            if weight.dim() > 1:
                weight.fill_(size)
    return case


@kind
def draw_all(case: Case, place: str, size: float) -> Case:
    """All matrices from N(0, size²), whatever the fan."""
    with torch.no_grad():
        for weight in case.model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, size)
    return case


@kind
def shift_biases(case: Case, place: str, size: float) -> Case:
    """All biases of layers get the same number."""
    with torch.no_grad():
        for module in case.model.modules():
            bias = getattr(module, "bias", None)
            if isinstance(module, nn.Linear | nn.Conv2d) and isinstance(bias, Tensor):
                bias.fill_(size)
    return case


@kind
def copy_layer(case: Case, place: str, size: float) -> Case:
    """One weight is a copy of another of the same shape: "from>to"."""
    source, target = place.split(">")
    with torch.no_grad():
        case.model.get_parameter(target).copy_(case.model.get_parameter(source))
    return case


@kind
def freeze(case: Case, place: str, size: float) -> Case:
    """A module, or one parameter, does not train."""
    found = dict(case.model.named_modules()).get(place)
    if found is not None:
        found.requires_grad_(False)
    else:
        case.model.get_parameter(place).requires_grad_(False)
    return case


@kind
def leave_out(case: Case, place: str, size: float) -> Case:
    """A parameter that no forward pass uses."""
    case.model.register_parameter(place, nn.Parameter(torch.randn(8, 8)))
    return case


def swap_module(model: nn.Module, place: str, new: nn.Module) -> None:
    """Put another module in one place."""
    parent, _, name = place.rpartition(".")
    setattr(model.get_submodule(parent), name, new)


class Detached(nn.Module):
    """Gives no gradient back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The output without its history."""
        made: Tensor = self.inner(x)
        return made.detach()


class Multiplied(nn.Module):
    """An output times a number."""

    def __init__(self, inner: nn.Module, size: float) -> None:
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, *args: Tensor) -> Tensor:
        """Of the inner module."""
        made: Tensor = self.inner(*args)
        return self.size * made


@kind
def detach(case: Case, place: str, size: float) -> Case:
    """One module's output gives no gradient back."""
    swap_module(case.model, place, Detached(case.model.get_submodule(place)))
    return case


@kind
def squash(case: Case, place: str, size: float) -> Case:
    """All activations are sigmoid."""
    for name, module in list(case.model.named_modules()):
        if isinstance(module, nn.ReLU | nn.Tanh | nn.GELU):
            swap_module(case.model, name, nn.Sigmoid())
    return case


@kind
def linearize(case: Case, place: str, size: float) -> Case:
    """There are no activations."""
    for name, module in list(case.model.named_modules()):
        if isinstance(module, nn.ReLU | nn.Tanh | nn.GELU):
            swap_module(case.model, name, nn.Identity())
    return case


@kind
def drop(case: Case, place: str, size: float) -> Case:
    """Dropout after one module."""
    inner = copy.copy(case.model.get_submodule(place))
    swap_module(case.model, place, nn.Sequential(inner, nn.Dropout(size)))
    return case


class Followed(nn.Module):
    """A module and another one on its output."""

    def __init__(self, inner: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.inner, self.last = inner, last

    def forward(self, *args: Tensor) -> Tensor:
        """Both."""
        made: Tensor = self.last(self.inner(*args))
        return made


def wrap_output(case: Case, last: nn.Module) -> Case:
    """Something follows the output."""
    return replace(case, model=Followed(case.model, last))


@kind
def end_softmax(case: Case, place: str, size: float) -> Case:
    """A softmax before cross-entropy of logits."""
    return wrap_output(case, nn.Softmax(-1))


@kind
def end_relu(case: Case, place: str, size: float) -> Case:
    """A ReLU as the output."""
    return wrap_output(case, nn.ReLU())


@kind
def end_sigmoid(case: Case, place: str, size: float) -> Case:
    """A sigmoid as the output, for targets of any size."""
    return wrap_output(case, nn.Sigmoid())


@kind
def end_multiplied(case: Case, place: str, size: float) -> Case:
    """The output times a number."""
    return replace(case, model=Multiplied(case.model, size))


@kind
def input_scale(case: Case, place: str, size: float) -> Case:
    """Inputs that nobody has standardized."""
    (x,) = collect_tensors(case.batch)
    return replace(case, batch=size * x)


@kind
def input_shift(case: Case, place: str, size: float) -> Case:
    """Inputs whose mean is far from 0."""
    (x,) = collect_tensors(case.batch)
    return replace(case, batch=x + size)


@kind
def target_scale(case: Case, place: str, size: float) -> Case:
    """Targets that nobody has standardized; the loss is told in their squared unit."""
    unit = size * size

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean() / unit

    loss.__name__ = "mse"
    return replace(case, target=size * case.target, loss=loss)


_WEIGHT_KINDS = """
    scale fill shift equal_rows zero_rows low_rank standard_normal uniform_positive wrong_fan
    not_finite half_scaled shut_gate scale_all fill_all draw_all shift_biases copy_layer freeze
"""
WEIGHT_KINDS = frozenset(_WEIGHT_KINDS.split())
"""Kinds after which the model computes as before, with other parameters."""
