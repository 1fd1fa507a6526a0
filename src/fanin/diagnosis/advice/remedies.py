"""Remedies that judges attach to their findings: which rule suits a layer, as patches.

| what is wrong | ask for |
|---|---|
| the scale of weights | `suggest_weights` |
| biases | `suggest_biases` |
| a last layer that is too large | `shrink` |
| a bias that does not know the labels' frequencies | `suggest_prior_bias` |
| inputs or targets far from unit scale | `write_standardization`, code for the caller's data |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fanin import gains
from fanin.diagnosis.patch import Patch
from fanin.errors import UsageError
from fanin.fans import describe_parameters
from fanin.initializers.auto import DEEP
from fanin.structure import Follower, Graph, find_graph_followers

HEAD_STD = 0.1
"""The standard deviation of logits that a head is shrunk to, if nothing else is asked for. With
logits of N(0, s²) the initial cross-entropy exceeds ln(classes) by about s²/2: 0.005 here."""
PRIOR_COUNT = 0.5
"""Added to the count of every label (Jeffreys' prior), so that a label that a batch lacks does not
get a bias of -∞."""
_ROUNDED = 4


def choose_rule(follower: Follower | None) -> tuple[str, str]:
    """The spec of the initializer that suits what follows a layer, and why.

    | what follows | rule |
    |---|---|
    | ReLU, leaky ReLU | he_normal, with its slope |
    | an odd activation in a plain chain of ten layers or more | orthogonal with the critical gain |
    | another activation | lecun_normal with its gain: 1 for SELU, 1.5925 for tanh; in such a \
chain the critical one |
    | normalization, another layer, the output | lecun_normal |

    As `auto`, except that a deep chain of an odd activation is orthogonal, which keeps all singular
    values of its Jacobian near 1 (Pennington et al. 2017).
    """
    if follower is None:
        return "lecun_normal", "what follows is not known"
    activation = follower.activation
    if follower.kind != "activation" or activation is None:
        return "lecun_normal", follower.reason
    if isinstance(activation, nn.LeakyReLU):
        return f"he_normal(a={activation.negative_slope:g})", follower.reason
    try:
        if follower.plain_depth < DEEP:
            return _name_gain(gains.gain(activation)), follower.reason
        critical = gains.critical_gain(activation)
    except UsageError:
        return "lecun_normal", f"{follower.reason}, which has no gain"
    reason = f"{follower.reason} in a plain chain of {follower.plain_depth} layers"
    if critical.depth is None and not math.isclose(critical.gain, math.sqrt(2), rel_tol=1e-6):
        gain = round(critical.gain, _ROUNDED)
        return ("orthogonal" if gain == 1 else f"orthogonal(gain={gain:g})"), reason
    if critical.depth is not None and critical.depth < follower.plain_depth:
        reason += f"; no gain keeps its signal for more than {critical.depth} layers"
    return _name_gain(critical.gain), reason


def suggest_weights(model: nn.Module, graph: Graph, layers: Iterable[str]) -> tuple[Patch, ...]:
    """Patches that draw the weights of these layers anew, one per rule, for what follows each.

    Recurrent matrices become orthogonal. Transposed convolutions with strides count effective fans.
    Layers whose weights no class describes, embeddings and layers that the model does not have are
    left out.

    Args:
        model: the bare model.
        graph: its graph, such as `Measurement.graph`.
        layers: bare names.
    """
    followers = find_graph_followers(graph)
    by_rule: dict[str, list[str]] = {}
    for layer in layers:
        spec, _ = choose_rule(followers.get(layer))
        for name, rule in _choose_layer_rules(model, layer, spec):
            by_rule.setdefault(rule, []).append(name)
    return tuple(
        Patch(operation="initialize", parameters=tuple(names), initializer=rule)
        for rule, names in by_rule.items()
    )


def suggest_biases(model: nn.Module, layers: Iterable[str], value: float = 0.0) -> Patch | None:
    """A patch that sets the biases of these layers; None if they have none."""
    names = [
        name
        for layer in layers
        for name, role in _list_roles(model, layer)
        if role in ("bias", "recurrent bias")
    ]
    return Patch(operation="set", parameters=tuple(names), value=value) if names else None


def shrink(parameters: Sequence[str], measured: float, wanted: float = HEAD_STD) -> Patch | None:
    """A patch that scales weights so that their layer's output shrinks from the measured standard
    deviation to the wanted one; None if it is not larger, or not finite.
    """
    if not math.isfinite(measured) or measured <= wanted:
        return None
    factor = float(f"{wanted / measured:.2g}")
    return Patch(operation="scale", parameters=tuple(parameters), value=factor)


PriorKind = Literal["classes", "probabilities", "numbers"]


def suggest_prior_bias(
    parameter: str, target: Tensor, *, kind: PriorKind, outputs: int | None = None
) -> Patch:
    """A patch that lets a last layer's bias predict what is known without an input.

    classes
        Integer labels, of which negative ones are ignored: the logarithm of the labels' shares.
    probabilities
        Numbers from 0 to 1, one column per output, for a sigmoid: their log odds.
    numbers
        A float target, one column per output: the means.

    Args:
        parameter: the bias.
        target: what a batch, or better the whole training set, is to give.
        kind: what the numbers are.
        outputs: the number of classes; None: as many as the largest label says.

    Raises `UsageError` if there is no target to count.
    """
    values = calculate_prior(target, kind=kind, outputs=outputs)
    return Patch(operation="set", parameters=(parameter,), value=values)


def calculate_prior(
    target: Tensor, *, kind: PriorKind, outputs: int | None = None
) -> tuple[float, ...]:
    """The numbers of `suggest_prior_bias`, one per output."""
    target = target.detach().cpu()
    if target.numel() == 0:
        raise UsageError("Expected a target to count, and received one without elements.")
    if kind == "classes":
        labels = target[target >= 0].flatten()
        counts = torch.bincount(labels, minlength=outputs or 0).double() + PRIOR_COUNT
        shares = (counts / counts.sum()).log()
        values = shares - shares.mean()
    else:
        columns = target.double().reshape(len(target), -1)
        values = columns.mean(dim=0)
        if kind == "probabilities":
            ones = columns.sum(dim=0) + PRIOR_COUNT
            values = (ones / (len(columns) + 2 * PRIOR_COUNT)).logit()
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def write_standardization(name: str, mean: float, std: float) -> str:
    """The line of code that gives inputs or targets mean 0 and standard deviation 1.

    >>> write_standardization("x", 127.5, 73.6)
    'x = (x - 127.5) / 73.6'
    """
    shifted = f"{name} {'-' if mean >= 0 else '+'} {abs(mean):.4g}"
    return f"{name} = ({shifted}) / {std:.4g}"


# --- parts --------------------------------------------------------------------------------------


def _name_gain(gain: float) -> str:
    """The rule whose variance is gain² / fan-in, by the name that people know."""
    if math.isclose(gain, math.sqrt(2), rel_tol=1e-6):
        return "he_normal"
    rounded = round(gain, _ROUNDED)
    return "lecun_normal" if rounded == 1 else f"lecun_normal(gain={rounded:g})"


def _choose_layer_rules(model: nn.Module, layer: str, spec: str) -> Iterator[tuple[str, str]]:
    for name, role in _list_roles(model, layer):
        if role == "recurrent weight":
            yield name, "orthogonal"
        elif role == "weight":
            yield name, _correct_for_strides(model, layer, name, spec)


def _correct_for_strides(model: nn.Module, layer: str, name: str, spec: str) -> str:
    """The rule with a gain that makes up for what the kernel's fan-in counts too much."""
    module, local = model.get_submodule(layer), name.rpartition(".")[2]
    fans = [
        found.layout.fans
        for convention in ("kernel", "effective")
        if (found := describe_parameters(module, convention).get(local)) is not None
    ]
    if len(fans) < 2 or fans[0] is None or fans[1] is None or not fans[1].fan_in:
        return spec
    ratio = fans[0].fan_in / fans[1].fan_in
    if math.isclose(ratio, 1):
        return spec
    known = {"he_normal": math.sqrt(2), "lecun_normal": 1.0}
    return _name_gain(known[spec] * math.sqrt(ratio)) if spec in known else spec


def list_roles(module: nn.Module) -> Iterator[tuple[str, str]]:
    """A layer's own parameters by their names in it, and their roles."""
    for local, found in describe_parameters(module, "kernel").items():
        if getattr(module, local, None) is not None:
            yield local, found.role


def _list_roles(model: nn.Module, layer: str) -> Iterator[tuple[str, str]]:
    """The bare names of a layer's own parameters, and their roles."""
    try:
        module = model.get_submodule(layer)
    except AttributeError:
        return
    prefix = f"{layer}." if layer else ""
    yield from ((prefix + local, role) for local, role in list_roles(module))
