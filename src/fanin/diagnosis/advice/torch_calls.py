"""The call of ``torch.nn.init`` that draws from the same distribution as an initializer of fanin.

torch counts fans from a tensor's shape alone, so a call that lets it count is the same only if the
layer's fans are those. Where they are not, the standard deviation is written as a number; where no
number says it (packed parts, orthogonal blocks), there is no such call. torch draws into a tensor's
own precision, so for half precision there is none either.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fanin.apply import ParameterRecord
from fanin.apply.model_parameters import ParameterUse
from fanin.fans import Mode, get_tensor_layout
from fanin.initializers import Initializer
from fanin.initializers.distributions import truncated_std
from fanin.initializers.variance_scaling import CUT

TARGET = "@"
"""Stands for the tensor in what is written here."""


def write_torch_call(
    initializer: Initializer, record: ParameterRecord, use: ParameterUse
) -> str | None:
    """A statement of torch that fills `TARGET` from the initializer's distribution; None if torch
    has none.

    Args:
        record: what `fanin.initialize` would do with the parameter.
        use: the parameter.
    """
    exact = use.parameter.dtype in (torch.float32, torch.float64)
    padding = getattr(use.module, "padding_idx", None) is not None
    if record.rule is None or use.through or not exact or padding:
        return None
    return _write_own_rule(initializer, record, use) or _write_scaled(initializer, record)


def _write_own_rule(
    initializer: Initializer, record: ParameterRecord, use: ParameterUse
) -> str | None:
    """The function of torch that is about the same rule."""
    options: Any = initializer
    match initializer.name:
        case "zero":
            return _call("zeros_")
        case "constant":
            return _call("constant_", options.value)
        case "normal" if options.mean == 0:
            return _call("normal_", std=options.std)
        case "normal":
            return _call("normal_", mean=options.mean, std=options.std)
        case "uniform":
            return _call("uniform_", options.low, options.high)
        case "truncated_normal":
            return _write_truncated(options)
        case "he_normal" | "he_uniform" if _counts_alike(record, options.mode):
            if getattr(options, "truncated", False):
                return None
            name = initializer.name.replace("he_", "kaiming_") + "_"
            mode = {} if options.mode == "fan_in" else {"mode": options.mode}
            slope = {"a": options.a} if options.a else {"nonlinearity": "relu"}
            return _call(name, **mode, **slope)
        case "lecun_normal" | "lecun_uniform" if _counts_alike(record, "fan_in"):
            if getattr(options, "truncated", False) or options.gain != 1:
                return None
            name = initializer.name.replace("lecun_", "kaiming_") + "_"
            return _call(name, nonlinearity="linear")
        case "xavier_normal" | "xavier_uniform" if _counts_alike(record, "fan_avg"):
            if getattr(options, "truncated", False):
                return None
            gain = {} if options.gain == 1 else {"gain": options.gain}
            return _call(initializer.name + "_", **gain)
        case "orthogonal" if _counts_alike(record, "fan_avg") and _is_one_matrix(use):
            gain = {} if options.gain == 1 else {"gain": options.gain}
            return _call("orthogonal_", **gain)
    return None


def _write_scaled(initializer: Initializer, record: ParameterRecord) -> str | None:
    """A draw with the standard deviation as a number, if all entries are drawn alike."""
    kind = _get_distribution(initializer)
    stds = {one.intended_std for one in (record.parts or (record,))}
    std = stds.pop() if len(stds) == 1 else None
    if kind is None or std is None:
        return None
    fan = f"# {initializer.spec}, fan-in {record.fan_in:g}\n" if record.fan_in else ""
    match kind:
        case "normal":
            return fan + _call("normal_", std=std)
        case "uniform":
            return fan + _call("uniform_", -math.sqrt(3) * std, math.sqrt(3) * std)
    before = std / truncated_std(CUT)
    return fan + _call("trunc_normal_", std=before, a=-CUT * before, b=CUT * before)


def _get_distribution(initializer: Initializer) -> str | None:
    """normal, uniform or truncated, of the initializers whose entries are independent and scaled by
    a fan.
    """
    name = initializer.name
    if name == "variance_scaling":
        return str(getattr(initializer, "distribution"))  # noqa: B009
    if name not in ("he_normal", "he_uniform", "lecun_normal", "lecun_uniform") and name not in (
        "xavier_normal",
        "xavier_uniform",
    ):
        return None
    if name.endswith("uniform"):
        return "uniform"
    return "truncated" if getattr(initializer, "truncated", False) else "normal"


def _write_truncated(options: Any) -> str | None:
    low, high = options.low, options.high
    if low is None and high is None:
        low, high = (options.mean + sign * options.cut * options.std for sign in (-1, 1))
    elif low is None or high is None:
        return None
    mean = {"mean": options.mean} if options.mean else {}
    return _call("trunc_normal_", **mean, std=options.std, a=low, b=high)


def _counts_alike(record: ParameterRecord, mode: Mode) -> bool:
    """Whether torch, from the shape, counts the fan that the layer has."""
    fans = get_tensor_layout(record.shape).fans
    if record.parts or fans is None or record.fan_in is None or record.fan_out is None:
        return False
    both = (fans.fan_in == record.fan_in, fans.fan_out == record.fan_out)
    return both[0] if mode == "fan_in" else both[1] if mode == "fan_out" else all(both)


def _is_one_matrix(use: ParameterUse) -> bool:
    layout = use.layout
    return layout.groups == 1 and not layout.transposed and layout.inputs == 1


def _call(function: str, *values: float, **named: object) -> str:
    given = [write_number(value) for value in values]
    given += [
        f"{name}={write_number(value) if isinstance(value, float | int) else repr(value)}"
        for name, value in named.items()
    ]
    text = ", ".join([TARGET, *given]).replace("'", '"')
    return f"nn.init.{function}({text})"


def write_number(value: float) -> str:
    """A number with six significant digits, as Python reads it."""
    text = f"{value:.6g}"
    return f'float("{text}")' if not math.isfinite(value) else text
