"""deepen: further blocks or layers in a trained model, which computes the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fanin.additions.channel_spaces import count_outputs, find_axes
from fanin.additions.growth import (
    GrownModel,
    copy_model,
    describe_growth,
    require_equal,
    require_run,
)
from fanin.errors import FitError, UnknownName, UsageError
from fanin.structure import Graph, describe_structure, trace_forward
from fanin.structure.forward_tracing import Batch

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
"""Settings that hold the number of blocks."""
_POSITIONS = ("layer_idx", "layer_id", "layer_number")
"""Attributes that hold a block's number, from 0 on."""

_REASON = (
    "An activation must change nothing when it is applied twice, as ReLU does, and a block must "
    "not normalize after its sums."
)


def deepen(model: nn.Module, after: str | Sequence[str], *, batch: Batch) -> GrownModel:
    """A copy of a model with a further block or layer after each named one, that computes the same.

    | named | is followed by |
    |---|---|
    | a residual block in a ModuleList or Sequential | its copy, whose branches add 0 |
    | an activation in a Sequential | an identity layer (Dirac kernel) and the same activation |

    A branch adds 0 because its last layer is 0, or the normalization that ends it has scale and
    shift 0.

    The layers that read in the copy keep their weights, so that the last layers get gradients and
    all of the copy trains after the first step. The second way needs an activation that changes
    nothing when applied twice, such as ReLU. Both models are compared on the batch in fp64. What
    cannot be kept exactly is refused, such as blocks that normalize after the sum.

    Args:
        model: any module; it is left unchanged. Parameters behind a new block have new names.
        after: a path or several, such as "layers.3"; one that is named twice is followed by two.
        batch: the input of the model, as in `fanin.audit`.

    Raises:
        UsageError: no module, a path without a module, or one that lies in no ModuleList or
            Sequential.
        FitError: a block without residual branches, an activation without a layer before it,
            outputs that differ, or a model that does not run the new block.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> grown = deepen(net, "1", batch=torch.ones(3, 4))
    >>> len(grown.model), grown.deviation
    (5, 0.0)

    Sources: Chen, Goodfellow, Shlens, Net2Net (2016); Wang et al., LEMON (2023). A batch norm is no
    part of a new identity layer: it would be the identity in eval mode only.
    """
    new = copy_model(model)
    paths = [after] if isinstance(after, str) else list(after)
    modules = dict(new.named_modules())
    if not paths:
        raise UsageError("Name at least one block or activation: after='layers.3'.")
    for path in paths:
        if path not in modules or not path:
            raise UnknownName.suggest("module", path, modules)
    graph = trace_forward(new, batch)
    writers = _find_ends(new, graph, batch)
    insertions = {path: _make_next(modules, path, writers) for path in dict.fromkeys(paths)}
    changes, added = _insert_all(new, paths, insertions)
    require_run(new, added, batch)
    deviation = require_equal(model, new, batch, _REASON)
    return describe_growth(model, new, changes, deviation)


def _find_ends(model: nn.Module, graph: Graph, batch: Batch) -> dict[str, str]:
    """What ends each residual branch, by the path of its last layer: the path of the normalization
    between it and the sum, or of the layer itself.
    """
    writers = describe_structure(model, batch).writers
    ends: dict[str, str] = {}
    for node in graph.nodes:
        if node.kind != "layer" or node.target not in writers:
            continue
        end, following = node.target, graph.users[node.index]
        while len(following) == 1 and graph.nodes[following[0]].kind != "add":
            one = graph.nodes[following[0]]
            if one.kind == "normalization" and one.module is not None:
                end = one.target
            following = graph.users[one.index]
        ends[node.target] = end
    return ends


def _make_next(
    modules: Mapping[str, nn.Module], path: str, ends: Mapping[str, str]
) -> list[nn.Module]:
    """What follows a module: the copy of a block, or a layer and an activation."""
    parent, _, name = path.rpartition(".")
    container, module = modules[parent], modules[path]
    if not isinstance(container, nn.Sequential | nn.ModuleList):
        raise UsageError(
            f"{path} lies in a {type(container).__name__}; new blocks can be put into an "
            "nn.ModuleList or nn.Sequential."
        )
    inside = [end for writer, end in ends.items() if writer.startswith(f"{path}.")]
    if inside:
        block = copy.deepcopy(module)
        for end in inside:
            _silence(block.get_submodule(end.removeprefix(f"{path}.")), end)
        return [block]
    if any(True for _ in module.parameters()) or not isinstance(container, nn.Sequential):
        raise FitError(
            f"{path} ({type(module).__name__}) is no block with residual branches, and no "
            "activation of an nn.Sequential, so that nothing after it computes the identity."
        )
    before = _find_layer(container, name)
    if before is None:
        raise FitError(f"No linear layer or convolution precedes {path}, so its width is unknown.")
    return [_make_identity(before), copy.deepcopy(module)]


def _silence(module: nn.Module, path: str) -> None:
    """Let a layer or normalization put out 0."""
    weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
    if weight is None:
        raise FitError(f"{path} ends a branch and has no weight that could be 0.")
    with torch.no_grad():
        weight.zero_()
        if bias is not None:
            bias.zero_()


def _find_layer(container: nn.Sequential, name: str) -> nn.Module | None:
    """The last layer before a module of a Sequential."""
    names = list(container._modules)
    found = (container._modules[one] for one in reversed(names[: names.index(name)]))
    return next((one for one in found if one is not None and find_axes(one) is not None), None)


def _make_identity(like: nn.Module) -> nn.Module:
    """A layer of the same kind that puts out what it receives."""
    width, weight = count_outputs(like), like.get_parameter("weight")
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    biased = like._parameters.get("bias") is not None
    layer: nn.Module
    if isinstance(like, _ConvNd):
        kernel = tuple(size if size % 2 else 1 for size in like.kernel_size)
        kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        padding = tuple(size // 2 for size in kernel)
        layer = torch.nn.utils.skip_init(
            kind, width, width, kernel, padding=padding, bias=biased, **place
        )
        start: Tensor = nn.init.dirac_(torch.empty(layer.get_parameter("weight").shape))
    else:
        layer = torch.nn.utils.skip_init(nn.Linear, width, width, bias=biased, **place)
        start = torch.eye(width)
    with torch.no_grad():
        layer.get_parameter("weight").copy_(start)
        if biased:
            layer.get_parameter("bias").zero_()
    return layer


def _insert_all(
    model: nn.Module, paths: Sequence[str], insertions: Mapping[str, list[nn.Module]]
) -> tuple[dict[str, str], set[str]]:
    """Put everything into its containers; returns what was added, and the new paths."""
    changes: dict[str, str] = {}
    added: set[str] = set()
    for parent in dict.fromkeys(path.rpartition(".")[0] for path in paths):
        container = model.get_submodule(parent)
        before = len(container._modules)
        rebuilt: list[tuple[str, nn.Module | None, str | None]] = []
        for name, child in container._modules.items():
            path = f"{parent}.{name}" if parent else name
            rebuilt.append((name, child, None))
            for turn in range(paths.count(path)):
                following = insertions[path] if not turn else copy.deepcopy(insertions[path])
                rebuilt += [(f"{name}_{turn + 1}", one, path) for one in following]
        numbered = all(name.isdigit() for name in container._modules)
        container._modules.clear()
        for position, (name, child, source) in enumerate(rebuilt):
            key = str(position) if numbered else _find_free(container, name)
            container._modules[key] = child
            if source is not None:
                full = f"{parent}.{key}" if parent else key
                added.add(full)
                changes[full] = _describe(child, source)
        _renumber(model, container, before)
    return changes, added


def _find_free(container: nn.Module, name: str) -> str:
    while name in container._modules:
        name += "_"
    return name


def _describe(module: nn.Module | None, source: str) -> str:
    if module is not None and find_axes(module) is not None:
        return f"new: identity {type(module).__name__}"
    if module is not None and not any(True for _ in module.parameters()):
        return f"new: copy of {source}"
    return f"new: copy of {source} whose branches add 0"


def _renumber(model: nn.Module, container: nn.Module, before: int) -> None:
    """Correct the numbers of blocks where they are kept: in the blocks, and in a config."""
    for position, child in enumerate(container.children()):
        for module in child.modules():
            for name in _POSITIONS:
                if isinstance(vars(module).get(name), int):
                    setattr(module, name, position)
    config = getattr(model, "config", None)
    text: Any = getattr(config, "get_text_config", lambda: config)()
    for name in _COUNTS:
        if text is not None and getattr(text, name, None) == before:
            setattr(text, name, len(container._modules))
