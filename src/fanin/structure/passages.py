"""Steps that only move, select or scale numbers: what they make of second moments, both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fanin.structure.function_kinds import DIVISIONS, SUMS
from fanin.structure.graph import Node
from fanin.structure.tensor_moments import Shapes, measure_tensor


def _split(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOVES = _split(
    "view view_as reshape reshape_as flatten unflatten ravel permute transpose t swapaxes swapdims "
    "movedim moveaxis squeeze unsqueeze contiguous clone alias to type type_as float half bfloat16 "
    "double cuda cpu chunk split split_with_sizes tensor_split unbind select narrow getitem "
    "getattr expand expand_as broadcast_to repeat repeat_interleave tile index_select roll flip "
    "rot90 positive pixel_shuffle pixel_unshuffle channel_shuffle requires_grad T mT data "
    "as_subclass rearrange"
)
"""What keeps, leaves out or repeats numbers. A gradient is spread over what was left out, as
zeros, and adds up over what was repeated: its second moment changes by the ratio of the sizes."""
_BESIDE = _split("cat concat concatenate stack hstack vstack dstack")
_CLOSED = _split("detach")
_POOLS = ("pool", "mean")
_MODULE_MOVES = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What a step makes of the numbers that pass."""

    factor: float = 1.0
    """Every number is multiplied by it."""
    thin: float = 1.0
    """Second moments are multiplied by it beyond that, means are not: dropout."""
    mean: float = 0.0
    second: float = 0.0
    """Moments of a constant that is added."""
    independent: bool = False
    """Whether that is a parameter."""
    backward: float = 1.0
    """What the second moment of a gradient is multiplied by on its way back."""
    beside: bool = False
    """Whether several tensors are put beside one another."""

    @property
    def keeps_numbers(self) -> bool:
        """Whether the numbers of one tensor pass as they are, such as in a view, or through dropout
        that drops nothing.
        """
        forward = (self.factor, self.thin, self.mean, self.second)
        return forward == (1.0, 1.0, 0.0, 0.0) and not self.beside


def is_training(model: nn.Module, module: nn.Module) -> bool:
    """Whether a module is in train mode in the probe: a model in eval mode is set to it as a whole,
    one in train mode is left as it is.
    """
    return module.training or not model.training


def read_passage(node: Node, shapes: Shapes, model: nn.Module) -> Passage | str:
    """What a transparent step does, or why theory cannot say."""
    if node.module is not None:
        return _read_module(node, node.module, shapes, is_training(model, node.module))
    name = node.target
    if name in _BESIDE:
        return Passage(beside=True)
    if len(node.inputs) != 1:
        return f"{name} of several tensors"
    if name in _MOVES:
        return Passage(backward=_compare_sizes(node, shapes))
    if name in _CLOSED:
        return Passage(backward=0.0)
    if name in ("neg", "negative"):
        return Passage(factor=-1.0)
    if name in SUMS:
        return _read_sum(node, model)
    if name in ("mul", "multiply") or name in DIVISIONS:
        return _read_product(node)
    if "dropout" in name:
        return _read_dropout(_get_number(node, 1, "p", 0.5), _is_training_call(node))
    return _describe_unknown(node, shapes)


def _read_module(node: Node, module: nn.Module, shapes: Shapes, training: bool) -> Passage | str:
    if isinstance(module, _MODULE_MOVES):
        return Passage(backward=_compare_sizes(node, shapes))
    if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
        return _read_dropout(module.p, training)
    rate = getattr(module, "drop_prob", None)
    if isinstance(rate, (int, float)):
        return _read_dropout(float(rate), training)
    name = type(module).__name__.lower()
    if not training and "drop" in name:
        return Passage()
    return _describe_unknown(node, shapes)


def _read_dropout(rate: float, training: bool) -> Passage | str:
    """What is kept is divided by the probability of keeping it."""
    if not training or rate == 0:
        return Passage()
    if not 0 < rate < 1:
        return "dropout leaves nothing"
    return Passage(thin=1 / (1 - rate), backward=1 / (1 - rate))


def _read_sum(node: Node, model: nn.Module) -> Passage | str:
    """A constant or a parameter that is added."""
    call = node.call
    if call is None:
        return "what it adds cannot be seen"
    sign = -1.0 if node.target in ("sub", "subtract", "rsub") else 1.0
    factor = -1.0 if node.target == "rsub" else 1.0
    if call.parameters:
        if len(call.parameters) > 1 or not call.direct:
            return "what it adds is computed from parameters"
        second, mean = measure_tensor(model.get_parameter(call.parameters[0]))
        if not math.isfinite(second):
            return "what it adds is not finite"
        return Passage(mean=sign * mean, second=second, independent=True)
    number = _get_other(node)
    if number is None or "alpha" in call.kwargs:
        return "adds a tensor that the graph does not keep"
    if call.get_node(0, "input") is None:
        factor, sign = sign, 1.0  # a constant minus what was computed
    elif node.target == "rsub":
        sign = 1.0
    return Passage(factor=factor, mean=sign * number, second=number * number)


def _read_product(node: Node) -> Passage | str:
    """A constant that is multiplied, or divides."""
    number = _get_other(node)
    if number is None:
        return "multiplies by a tensor that the graph does not keep"
    if node.target in DIVISIONS:
        if number == 0:
            return "divides by 0"
        number = 1 / number
    return Passage(factor=number, backward=number * number)


def _get_other(node: Node) -> float | None:
    """The number that the computed tensor of a call of two meets."""
    call = node.call
    if call is None or call.slots != call.inputs or len(call.args) + len(call.kwargs) < 2:
        return None
    first = call.get_node(0, "input")
    value = call.get_option(1, "other") if first is not None else call.get_option(0, "input")
    return _to_number(value)


def _to_number(value: Any) -> float | None:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _get_number(node: Node, position: int, keyword: str, default: float) -> float:
    value = None if node.call is None else _to_number(node.call.get_option(position, keyword))
    return default if value is None else value


def _is_training_call(node: Node) -> bool:
    """Whether a functional dropout drops."""
    return node.call is None or node.call.get_option(2, "training") is not False


def _compare_sizes(node: Node, shapes: Shapes) -> float:
    """The size of a node over that of its input; 1 where one is not known."""
    after, before = shapes.get(node.index), shapes.get(node.inputs[0]) if node.inputs else None
    if after is None or before is None or 0 in before:
        return 1.0
    return math.prod(after) / math.prod(before)


def _describe_unknown(node: Node, shapes: Shapes) -> str:
    label = node.label
    ratio = _compare_sizes(node, shapes)
    if is_max_pool(node):
        return f"{label}: what is selected depends on the data"
    if is_pool(node) and 0 < ratio < 1:
        low = math.sqrt(ratio)
        return f"averages: the size is multiplied by {low:.2g} to 1, as neighbours are alike"
    return f"{label}: theory has no rule"


def get_pool_growth(node: Node, shapes: Shapes, slope: float) -> float | None:
    """What a pooling multiplies the squared length of a gradient by; None if it is no pooling.

    An average of k gives 1/k of the gradient to each of k numbers. A maximum gives all of it to
    one, and that is more often where the activation before it has a slope than `slope`, its E f'²,
    says: behind a ReLU, unless all k are 0.
    """
    if not is_pool(node):
        return None
    share = min(_compare_sizes(node, shapes), 1.0)
    if not is_max_pool(node) or not share:
        return share
    return (1 - (1 - min(slope, 1.0)) ** (1 / share)) / slope if slope else 1.0


def is_pool(node: Node) -> bool:
    """Whether a step averages, or takes the maximum of, neighbours."""
    label = node.label.lower()
    return node.kind == "transparent" and any(word in label for word in _POOLS)


def is_max_pool(node: Node) -> bool:
    """Whether a step takes the maximum of neighbours."""
    return is_pool(node) and "max" in node.label.lower()
