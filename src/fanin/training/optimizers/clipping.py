"""Clipping of gradients by their norm over all parameters."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def clip_gradients_(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients by min(1, max_norm / (‖g‖ + 1e-6)), in place, and return ‖g‖.

    ‖g‖ is the Euclidean norm over the gradients of all parameters together, before clipping: a
    tensor of one element on their device, so that nothing waits for it. Parameters without a
    gradient are left out. Where ‖g‖ is not finite the gradients become NaN or 0, and the weights of
    the next step show it.

    ``torch.nn.utils.clip_grad_norm_``; Keras' ``global_clipnorm`` is the same without the 1e-6.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False)
