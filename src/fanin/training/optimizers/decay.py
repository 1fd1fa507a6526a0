"""Weight decay: which parameters it reaches.

``decay=weights``: parameters of two or more dimensions that are neither biases nor scales or shifts
of normalization. The others multiply no inputs of a layer, and recipes for images (Goyal et al.
2017) and for transformers leave them out too. ``decay=all``: every parameter, the default of
torch's and Keras' optimizers.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from fanin.errors import SpecError
from fanin.fans import Role, describe_parameters
from fanin.training.optimizers.optimizer import require_not_negative

Decay = Literal["weights", "all"]

_NOT_DECAYED: tuple[Role, ...] = (
    "bias",
    "recurrent bias",
    "norm scale",
    "norm offset",
    "norm shift",
)


def make_parameter_groups(
    model: nn.Module, weight_decay: float, decay: Decay = "weights"
) -> list[dict[str, Any]]:
    """The model's parameters in groups for a torch optimizer: two groups if some are not decayed.

    The decayed parameters come first; within a group the order is that of ``model.parameters()``.
    So the order depends on the model alone, and `read_state_tensors` can name parameters by their
    position.
    """
    parameters = list(model.parameters())
    if weight_decay == 0 or decay == "all":
        return [{"params": parameters, "weight_decay": weight_decay}]
    decayed = {id(p) for p in find_decayed_weights(model)}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def find_decayed_weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that ``decay=weights`` decays.

    A tied parameter is left out if any of its owners leaves it out.
    """
    left_out = set()
    for module in model.modules():
        roles = {name: described.role for name, described in describe_parameters(module).items()}
        left_out |= {
            id(parameter)
            for name, parameter in module.named_parameters(recurse=False)
            if roles.get(name) in _NOT_DECAYED
        }
    return [p for p in model.parameters() if p.ndim >= 2 and id(p) not in left_out]


def check_decay(name: str, weight_decay: float, decay: Decay) -> None:
    """Raise `SpecError` for a negative weight decay, and for ``decay=all`` without weight decay."""
    require_not_negative(f"{name}(weight_decay=…)", weight_decay)
    if decay == "all" and weight_decay == 0:
        raise SpecError(
            f"{name}(decay=all) changes nothing without weight decay. Give weight_decay, or leave "
            "decay out."
        )
