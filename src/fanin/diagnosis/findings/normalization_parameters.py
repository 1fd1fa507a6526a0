"""Parameters of normalizations that do not start as they should (F035): scales at 1, shifts at 0,
running statistics at 0 and 1.

Known reasons for other values are no findings: a zero scale at the end of a residual branch, a
constant below 1 there, scales drawn around 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fanin.apply.model_parameters import ParameterUse
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, get_anatomy, read_values
from fanin.diagnosis.patch import Patch
from fanin.structure import Graph
from fanin.structure.signal_graph import is_lookup

CONSTANT = 1e-3
"""The standard deviation up to which numbers of about 1 count as constant."""
FEWEST_NUMBERS = 4
"""Of fewer numbers one cannot see whether they were drawn around 0."""
SMALL, LARGE = 0.1, 3.0
"""Constant scales beyond are no published start of a normalization inside of a model."""
SMALL_SHIFT = 0.1
"""Relative to the scale: shifts of less are no more than noise."""
LARGE_MEAN, SMALL_VARIANCE, LARGE_VARIANCE = 3.0, 0.05, 20.0
"""Running statistics of a model that was never trained are 0 and 1."""

_OFFSETS = {"norm scale": 0.0, "norm offset": 1.0}
"""What is added to the parameter before it multiplies."""


def find_odd_norms(examination: Examination) -> Iterator[Finding]:
    """F035, one finding for each way to be odd."""
    anatomy = get_anatomy(examination)
    scales = [
        (use, values.float() + _OFFSETS[use.role])
        for use in anatomy.uses
        if use.role in _OFFSETS and (values := read_values(use)) is not None
    ]
    scales = [(use, scale) for use, scale in scales if bool(torch.isfinite(scale).all())]
    ends = _find_branch_ends(anatomy) if scales else set()
    drawn = [one for one in scales if _is_drawn_around_zero(one[1])]
    zero = [one for one in scales if not one[1].any() and _get_module(one[0]) not in ends]
    constant = [
        one for one in scales if _is_odd_constant(one[1], at_end=_get_module(one[0]) in ends)
    ]
    yield from _describe(drawn, _explain_drawn, "warning")
    yield from _describe(zero, _explain_zero, "warning")
    yield from _describe(constant, _explain_constant, "warning")
    yield from _find_shifts(anatomy, {_get_module(use): scale for use, scale in scales})
    yield from _find_statistics(examination.model)


def _get_module(use: ParameterUse) -> str:
    return use.bare_name.rpartition(".")[0]


def _is_drawn_around_zero(scale: Tensor) -> bool:
    """Whether the numbers differ, with a mean that is 0 within three standard errors. Those of a
    trained model have a mean, and so have scales that were drawn around 1.
    """
    if scale.numel() < FEWEST_NUMBERS:
        return False
    std = float(scale.std())
    return std > 0 and abs(float(scale.mean())) < 3 * std / math.sqrt(scale.numel())


def _is_odd_constant(scale: Tensor, *, at_end: bool) -> bool:
    mean = float(scale.mean())
    size = abs(mean)
    if not size or float((scale - mean).abs().max()) > CONSTANT * max(size, 1):
        return False
    return size > LARGE or mean < 0 or (size < SMALL and not at_end)


def _find_branch_ends(anatomy: Anatomy) -> set[str]:
    """The normalizations that end a residual branch: a sum follows them with no layer between."""
    graph = anatomy.graph
    found: set[str] = set()
    if graph is None:
        return found
    for node in graph.nodes:
        if node.kind != "normalization" or _is_on_stream(graph, node.index):
            continue
        waiting, seen = [node.index], {node.index}
        while waiting:
            for user in graph.users[waiting.pop()]:
                follower = graph.nodes[user]
                if follower.kind == "add":
                    found.add(anatomy.get_bare_path(node.target))
                elif user not in seen and not (
                    follower.kind == "layer" and not is_lookup(follower)
                ):
                    seen.add(user)
                    waiting.append(user)
    return found


def _is_on_stream(graph: Graph, index: int) -> bool:
    """Whether a sum is normalized: the stream of a post-norm model, and no branch."""
    while len(graph.nodes[index].inputs) == 1:
        (index,) = graph.nodes[index].inputs
        if graph.nodes[index].kind != "transparent":
            return graph.nodes[index].kind == "add"
    return False


Explanation = Callable[[ParameterUse, Tensor], tuple[str, str]]


def _describe(
    found: list[tuple[ParameterUse, Tensor]], explain: Explanation, severity: str
) -> Iterator[Finding]:
    if not found:
        return
    use, scale = found[0]
    summary, remedy = explain(use, scale)
    offsets = {name: [u.bare_name for u, _ in found if u.role == name] for name in _OFFSETS}
    yield Finding(
        code="F035",
        severity="warning" if severity == "warning" else "note",
        where=use.bare_name,
        also=tuple(one.bare_name for one, _ in found[1:]),
        summary=summary,
        remedy=remedy,
        evidence={
            "mean_scale": float(scale.mean()),
            "std_of_scale": float(scale.std()) if scale.numel() > 1 else 0.0,
            "expected_scale": 1.0,
            "parameters": len(found),
        },
        patches=tuple(
            Patch(operation="set", parameters=tuple(names), value=1.0 - _OFFSETS[role])
            for role, names in offsets.items()
            if names
        ),
    )


def _explain_drawn(use: ParameterUse, scale: Tensor) -> tuple[str, str]:
    return (
        f"The scale of a normalization was drawn around 0 (standard deviation "
        f"{float(scale.std()):.2g}), as if it were a weight: half of the units are turned round, "
        "and all are shrunk.",
        "Scales of normalizations start at 1. A rule for all parameters must leave them out.",
    )


def _explain_zero(use: ParameterUse, scale: Tensor) -> tuple[str, str]:
    return (
        "The scale of a normalization is 0, and it does not end a residual branch: its output is "
        "constant.",
        "Start it at 1. Only the last normalization of a residual branch may start at 0.",
    )


def _explain_constant(use: ParameterUse, scale: Tensor) -> tuple[str, str]:
    extra = " (this layer multiplies by 1 + its parameter)" if use.role == "norm offset" else ""
    return (
        f"A normalization multiplies by {float(scale.mean()):.3g} in all units{extra}; usual is 1.",
        "Start its scale at 1, unless a scale of this size is meant.",
    )


def _find_shifts(anatomy: Anatomy, scales: dict[str, Tensor]) -> Iterator[Finding]:
    """Shifts that are not 0 beside scales that are constant, so that the model is untrained."""
    found: list[tuple[ParameterUse, float]] = []
    for use in anatomy.uses:
        scale, values = scales.get(_get_module(use)), read_values(use)
        if use.role != "norm shift" or scale is None or values is None:
            continue
        size = float(values.float().square().mean().sqrt())
        constant = float((scale - scale.mean()).abs().max()) < CONSTANT
        if constant and size > SMALL_SHIFT * max(float(scale.abs().mean()), SMALL):
            found.append((use, size))
    if found:
        use, size = found[0]
        yield Finding(
            code="F035",
            severity="note",
            where=use.bare_name,
            also=tuple(one.bare_name for one, _ in found[1:]),
            summary=f"The shift of a normalization starts at a size of {size:.3g}, not at 0.",
            remedy="Set it to 0, unless the shift is meant.",
            evidence={"size": size, "expected_size": 0.0},
            patches=(
                Patch(
                    operation="set", parameters=tuple(one.bare_name for one, _ in found), value=0.0
                ),
            ),
        )


def _find_statistics(model: nn.Module) -> Iterator[Finding]:
    """Running statistics that no training has made, and that eval mode would divide by."""
    found: list[tuple[str, str]] = []
    for path, module in model.named_modules():
        mean, variance = (getattr(module, name, None) for name in ("running_mean", "running_var"))
        if not isinstance(mean, Tensor) or not isinstance(variance, Tensor) or variance.is_meta:
            continue
        problem = _judge_statistics(mean.float(), variance.float(), module)
        if problem:
            found.append((path, problem))
    if found:
        path, problem = found[0]
        yield Finding(
            code="F035",
            severity="warning",
            where=path,
            also=tuple(name for name, _ in found[1:]),
            summary=f"{problem}: in eval mode the output is of another size than in train mode.",
            remedy=(
                "Call reset_running_stats() of the layer, or train before you evaluate; load "
                "statistics together with the weights that they belong to."
            ),
            evidence={"layers": len(found), "expected": "mean 0 and variance 1"},
        )


def _judge_statistics(mean: Tensor, variance: Tensor, module: nn.Module) -> str:
    if not bool(torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        return "Running statistics are not finite"
    if bool((variance <= 0).any()):
        share = float((variance <= 0).float().mean())
        return f"The running variance is 0 or negative in {share:.0%} of the channels"
    tracked = getattr(module, "num_batches_tracked", None)
    if isinstance(tracked, Tensor) and int(tracked) > 0:
        return ""
    spread, size = float(variance.mean()), float(mean.abs().max())
    if size > LARGE_MEAN or not SMALL_VARIANCE < spread < LARGE_VARIANCE:
        return (
            f"Running statistics are far from 0 and 1 (mean up to {size:.3g}, variance "
            f"{spread:.3g}) though no batch was tracked"
        )
    return ""
