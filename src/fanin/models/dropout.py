"""Dropout whose mask is a pure function of (seed, epoch, step, layer, index)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds
from fanin.errors import SpecError, quote


class Dropout(nn.Module):
    """Inverted dropout: y = x · mask / (1 − rate) in training, y = x otherwise.

    With a key from `DropoutKeys`, the mask is that of ``seeds.draw_keep_mask``: the same alone and
    under ``torch.func.vmap``, on every device, and after any interruption. Two calls with one key
    drop the same elements. Without a key, it is ``torch.nn.Dropout``, which draws from torch's
    global generator.

    Args:
        rate: probability of dropping an element, in [0, 1).

    Raises: `SpecError` for a rate outside [0, 1).

    Source: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
    2014.
    """

    key: Tensor
    """int64, one element. It is a buffer, so that it can be mapped over members, moves with the
    module to its device and may change under a captured graph; it is not persistent, so that no
    checkpoint holds it."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = check_rate(rate)
        self.keyed = False
        self.register_buffer("key", torch.zeros(1, dtype=torch.int64), persistent=False)

    def reset_buffers(self) -> None:
        """Reset the key; called when a model on the meta device gets memory."""
        self.key.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape, with elements dropped in training."""
        if not self.training or self.rate == 0:
            return x
        if not self.keyed:
            return F.dropout(x, self.rate)
        keep = seeds.draw_keep_mask(self.key, tuple(x.shape), 1 - self.rate)
        return x * (keep.to(x.dtype) * (1 / (1 - self.rate)))

    def extra_repr(self) -> str:
        """The text in the brackets of the module's repr."""
        return f"rate={self.rate}"


class DropoutKeys:
    """Sets the key of every `Dropout` of a model, step by step.

    The layers are found once, when the instance is made, which also sets the keys of step 0 of
    epoch 0. A key depends on the qualified name of the layer, so that adding a layer changes no
    other layer's masks.

    Args:
        model: any module, also one without `Dropout`.
        seed: the seed of the masks.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        self.seed = seeds.check_seed(seed, "dropout seed")
        self.layers = {
            name: module for name, module in model.named_modules() if isinstance(module, Dropout)
        }
        for layer in self.layers.values():
            layer.keyed = True
        self.set(0, 0)

    def set(self, epoch: int, step: int) -> None:
        """Set the keys of one step in place, without waiting for the device."""
        for name, key in self.derive_keys(epoch, step).items():
            self.layers[name].key.fill_(key)

    def derive_keys(self, epoch: int, step: int) -> dict[str, int]:
        """The keys of one step by layer, for code that stacks them (members under ``vmap``)."""
        return {
            name: seeds.derive_dropout_key(self.seed, epoch, step, name) for name in self.layers
        }


def check_rate(rate: object) -> float:
    """`rate` as a float; `SpecError` unless it is a number in [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise SpecError(
            f"A dropout rate is a number of at least 0 and below 1, such as 0.5; received "
            f"{quote(rate)}."
        )
    return float(rate)
