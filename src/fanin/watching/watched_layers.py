"""Which layers of a model are watched, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from fanin.errors import FitError
from fanin.structure import list_bare_paths, unwrap_name
from fanin.structure.layer_names import find_owner
from fanin.structure.module_kinds import check_model
from fanin.watching.layer_reading import ROOT


@dataclass(frozen=True)
class WatchedLayer:
    """A layer that has a matrix, and its trainable parameters."""

    name: str
    """The bare path of the module that owns the parameters."""
    parameters: tuple[nn.Parameter, ...]
    is_lookup: bool
    """Whether it is an embedding, of which a batch uses some rows only."""


@dataclass(frozen=True)
class WatchedModel:
    """The layers of a model, and how calls of its modules are recognized."""

    model: nn.Module
    layers: tuple[WatchedLayer, ...]
    others: tuple[nn.Parameter, ...]
    """Trainable parameters of no layer, such as those of a normalization."""
    names: Mapping[int, str]
    """By the id of each module that is a watched layer."""
    stateful: frozenset[int]
    """The ids of the modules that hold parameters, their own or in children."""
    inside: frozenset[int]
    """The ids of all modules."""
    is_compiled: bool
    """Whether a part is compiled, whose steps cannot be seen without changing what is computed."""


def describe_watched(model: nn.Module) -> WatchedModel:
    """The layers of a model by the names that they have without wrappers.

    Raises `UsageError` for what is no module, and `FitError` for a model whose parameters have no
    shape yet, or of which FSDP1 has made flat pieces.
    """
    check_model(model)
    _refuse_flat_pieces(model)
    owned: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():  # of a tied one, the first name
        owned.setdefault(find_owner(unwrap_name(model, name)), []).append(parameter)
    matrices = {path for path, group in owned.items() if any(one.dim() >= 2 for one in group)}
    modules = dict(model.named_modules())
    bare = list_bare_paths(model)
    names = {id(one): bare[path] or ROOT for path, one in modules.items() if bare[path] in matrices}
    lookups = {
        names[id(one)]
        for one in modules.values()
        if isinstance(one, (nn.Embedding, nn.EmbeddingBag)) and id(one) in names
    }
    return WatchedModel(
        model=model,
        layers=tuple(
            WatchedLayer(path or ROOT, _keep_trainable(group), (path or ROOT) in lookups)
            for path, group in owned.items()
            if path in matrices
        ),
        others=tuple(
            one for path in owned.keys() - matrices for one in _keep_trainable(owned[path])
        ),
        names=names,
        stateful=frozenset(
            id(one) for one in modules.values() if next(one.parameters(), None) is not None
        ),
        inside=frozenset(map(id, modules.values())),
        is_compiled=any(map(_is_compiled, modules.values())),
    )


def _keep_trainable(parameters: list[nn.Parameter]) -> tuple[nn.Parameter, ...]:
    return tuple(one for one in parameters if one.requires_grad)


def _is_compiled(module: nn.Module) -> bool:
    return (
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def _refuse_flat_pieces(model: nn.Module) -> None:
    if any(type(one).__name__ == "FullyShardedDataParallel" for one in model.modules()):
        raise FitError(
            "FullyShardedDataParallel (FSDP1) keeps flat pieces of several parameters, in which no "
            "layer can be told apart. Expected whole parameters, or those of FSDP2: "
            "torch.distributed.fsdp.fully_shard(model)."
        )
