"""Copies of channels: in the layers that make them, those that read them, and those between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.additions.channel_spaces import count_inputs, count_outputs, find_axes
from fanin.errors import FitError

Split = Literal["uneven", "even"]

_OUTPUT_COUNTS = ("out_features", "out_channels", "embedding_dim", "nf")
_INPUT_COUNTS = ("in_features", "in_channels", "nx")
_PASSED_COUNTS = (
    *("num_features", "num_channels", "num_parameters", "normalized_shape", "hidden_size"),
    *("groups", "in_channels", "out_channels"),
)


@dataclass(frozen=True)
class ChannelCopies:
    """Which old channel each new one copies; the first n are themselves."""

    sources: Tensor
    """int64, shape (new number,)."""
    old: int

    @classmethod
    def draw(cls, old: int, new: int, seed: int, name: str, *, evenly: bool) -> ChannelCopies:
        """The first n once, then random ones (Net2Net); or each equally often, side by side, as a
        normalization over the channels needs it.
        """
        if evenly:
            return cls(torch.arange(old).repeat_interleave(new // old), old)
        generator = seeds.make_generator(seed, "widen", name)
        added = torch.randint(old, (new - old,), generator=generator)
        return cls(torch.cat([torch.arange(old), added]), old)

    def draw_shares(self, split: Split, seed: int, *name: str) -> Tensor:
        """What each copy contributes to a layer that reads it, fp64: they sum to 1 for each old
        channel.

        Uneven shares give copies different gradients, so that they part in training; equal ones
        keep them equal for ever if nothing else parts them.
        """
        raw = torch.ones(len(self.sources), dtype=torch.float64)
        if split == "uneven":
            generator = seeds.make_generator(seed, "share", *name)
            raw += seeds.standard_normal((len(raw),), generator).double().div_(4).clamp_(-0.5, 0.5)
        sums = torch.zeros(self.old, dtype=torch.float64).index_add_(0, self.sources, raw)
        return raw / sums[self.sources]

    def spread(self, each: int) -> Tensor:
        """The copies of places, if each channel is `each` places side by side."""
        places = torch.arange(each)
        return (self.sources[:, None] * each + places).flatten()


def copy_outputs(module: nn.Module, index: Tensor) -> str:
    """Let a layer put out the channels `index`; returns what changed."""
    axes = find_axes(module)
    assert axes is not None
    before, weight = count_outputs(module), module.get_parameter("weight")
    _replace(module, "weight", weight.index_select(axes[0], index.to(weight.device)))
    bias = module._parameters.get("bias")
    if bias is not None:
        _replace(module, "bias", bias.index_select(0, index.to(bias.device)))
    _set_counts(module, _OUTPUT_COUNTS, before, len(index))
    return f"outputs {before} → {len(index)}"


def split_inputs(module: nn.Module, index: Tensor, shares: Tensor) -> str:
    """Let a layer read the channels `index`, each times its share; returns what changed."""
    axes, before = find_axes(module), count_inputs(module)
    assert axes is not None
    assert axes[1] is not None
    assert before is not None
    weight = module.get_parameter("weight").detach()
    shape = [1] * weight.dim()
    shape[axes[1]] = -1
    picked = weight.index_select(axes[1], index.to(weight.device)).double()
    _replace(module, "weight", (picked * shares.to(weight.device).reshape(shape)).to(weight.dtype))
    _set_counts(module, _INPUT_COUNTS, before, len(index))
    return f"inputs {before} → {len(index)}"


def copy_passed(module: nn.Module, copies: ChannelCopies) -> str | None:
    """Let a normalization, a depthwise convolution or a PReLU have the copied channels; returns
    what changed, None if nothing.
    """
    changed = False
    for table in (module._parameters, module._buffers):
        for name, tensor in table.items():
            if isinstance(tensor, Tensor) and tensor.dim() and tensor.shape[0] == copies.old:
                _replace(module, name, tensor.index_select(0, copies.sources.to(tensor.device)))
                changed = True
    _set_counts(module, _PASSED_COUNTS, copies.old, len(copies.sources))
    return f"channels {copies.old} → {len(copies.sources)}" if changed else None


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    if name in module._buffers:
        module._buffers[name] = value.detach().clone()
        return
    trained = module.get_parameter(name).requires_grad
    module._parameters[name] = nn.Parameter(value.detach().clone(), trained)


def _set_counts(module: Any, names: Sequence[str], before: int, after: int) -> None:
    for name in names:
        count = getattr(module, name, None)
        if count == before and not isinstance(count, Tensor):
            setattr(module, name, after)
        elif count == (before,):
            setattr(module, name, (after,))


def require_untied(model: nn.Module, modules: Sequence[nn.Module]) -> None:
    """Raise `FitError` if a parameter of these modules has several names: both uses would have to
    change alike.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for module in modules:
        for parameter in module.parameters(recurse=False):
            if len(names.get(id(parameter), ())) > 1:
                raise FitError(
                    f"{' and '.join(names[id(parameter)])} are tied. What writes the channels is "
                    "copied and what reads them is divided, which one parameter cannot be. Untie "
                    "them first."
                )
