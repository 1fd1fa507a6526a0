"""Weight decay: which parameters it reaches.

``decay=weights``: parameters of two or more dimensions that are neither biases nor scales or shifts
of normalization. What is left out multiplies no inputs of a layer, and recipes for images (Goyal et
al. 2017) and for transformers spare it. ``decay=all``: every parameter, as torch's and Keras'
optimizers do unless told otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from fanin.errors import SpecError
from fanin.fans import Role, describe_parameters
from fanin.training.optimizers.ranges import require_not_negative

Decay = Literal["weights", "all"]

_SPARED: tuple[Role, ...] = ("bias", "recurrent bias", "norm scale", "norm shift")


def make_parameter_groups(
    model: nn.Module, weight_decay: float, decay: Decay = "weights"
) -> list[dict[str, Any]]:
    """The model's parameters as a torch optimizer takes them: in one group, or in two where some
    are spared.

    The order is that of ``model.parameters()`` within each group, the decayed ones first; so it
    depends on the model alone, and `read_state_tensors` may name parameters by their position.
    """
    parameters = list(model.parameters())
    if weight_decay == 0 or decay == "all":
        return [{"params": parameters, "weight_decay": weight_decay}]
    reached = {id(p) for p in find_decayed_weights(model)}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in reached], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in reached], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def find_decayed_weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that ``decay=weights`` reaches. A tied one is spared where any of its owners
    spares it.
    """
    spared = set()
    for module in model.modules():
        held = {name: held.role for name, held in describe_parameters(module).items()}
        spared |= {
            id(p) for name, p in module.named_parameters(recurse=False) if held.get(name) in _SPARED
        }
    return [p for p in model.parameters() if p.ndim >= 2 and id(p) not in spared]


def check_decay(name: str, weight_decay: float, decay: Decay) -> None:
    """Raise a `SpecError` for a negative weight decay, and for ``decay=all`` where there is none."""
    require_not_negative(f"{name}(weight_decay=…)", weight_decay)
    if decay == "all" and weight_decay == 0:
        raise SpecError(
            f"{name}(decay=all) changes nothing without weight decay. Give weight_decay, or leave "
            "decay out."
        )
