"""An optimizer's state as named tensors, for checkpoints, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def read_state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: ``<index of the parameter>.<name>``; none where it
    has no memory.

    The index counts through the groups in their order.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{key}": value
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def is_resumable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether all that the optimizer remembers is tensors in its state, which a checkpoint can
    hold.
    """
    return all(
        isinstance(value, Tensor) or value is None
        for state in optimizer.state.values()
        for value in state.values()
    )


def restore_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put `read_state_tensors` back, into tensors that keep each parameter's strides.

    Differs from ``load_state_dict``, which takes the strides of what was stored; a stored tensor is
    contiguous, and a fused optimizer on channels_last weights then pairs wrong elements in silence.
    The learning rate is not part of the state: a schedule gives it anew.
    """
    stored: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, _, name = key.partition(".")
        stored.setdefault(int(owner), {})[name] = value
    index = 0
    for group in optimizer.param_groups:
        steps = 0
        for parameter in group["params"]:
            own = stored.get(index, {})
            state: dict[str, Any] = {
                name: _like(parameter, value) for name, value in own.items() if name != "step"
            }
            if (
                "step" in own
            ):  # fused optimizers count on the parameter's device, the others on the CPU
                state["step"] = own["step"].to(
                    parameter.device if group.get("fused") else "cpu", copy=True
                )
                steps = max(steps, int(own["step"]))
            optimizer.state[parameter] = state
            index += 1
        group["steps_done"] = steps


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of the stored tensor: in the parameter's memory format where it has its shape."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
