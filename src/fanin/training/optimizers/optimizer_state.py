"""An optimizer's state as named tensors, for checkpoints, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def read_state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named ``<index of the parameter>.<name>``.

    The index counts through the groups in their order. An optimizer without state has none.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{key}": value
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def is_resumable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's state consists of tensors, which a checkpoint can hold."""
    return all(
        isinstance(value, Tensor) or value is None
        for state in optimizer.state.values()
        for value in state.values()
    )


def restore_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore what `read_state_tensors` returned, in tensors with each parameter's strides.

    ``load_state_dict`` keeps the strides of the stored tensors, which are contiguous: a fused
    optimizer on channels_last weights then silently pairs the wrong elements. The learning rate is
    not part of the state; a schedule sets it anew.
    """
    stored: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, _, name = key.partition(".")
        stored.setdefault(int(owner), {})[name] = value
    index = 0
    for group in optimizer.param_groups:
        steps = 0
        for parameter in group["params"]:
            of_parameter = stored.get(index, {})
            state: dict[str, Any] = {
                name: _copy_like(parameter, value)
                for name, value in of_parameter.items()
                if name != "step"
            }
            if "step" in of_parameter:
                # Fused optimizers count on the parameter's device, the others on the CPU.
                device = parameter.device if group.get("fused") else "cpu"
                state["step"] = of_parameter["step"].to(device, copy=True)
                steps = max(steps, int(of_parameter["step"]))
            optimizer.state[parameter] = state
            index += 1
        group["steps_done"] = steps


def _copy_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of the stored tensor, in the parameter's memory format if it has the same shape."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
