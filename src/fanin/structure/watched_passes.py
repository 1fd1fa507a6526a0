"""Watch how a model uses its raw parameters: on a batch, in a symbolic trace, or owner by owner."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx, nn

from fanin.errors import FaninError
from fanin.structure import model_state
from fanin.structure.forward_tracing import Batch, split_batch
from fanin.structure.function_kinds import normalize_name
from fanin.structure.symbolic_tracing import run_tracer
from fanin.structure.weight_uses import UseObserver, WeightUse, choose_use

_TOKENS = 8


def find_weight_uses(
    model: nn.Module, names: Sequence[str], batch: Batch | None = None
) -> dict[str, WeightUse]:
    """How the model uses these parameters, by name; those whose use cannot be seen are left out.

    Args:
        model: any module; it is left unchanged.
        names: qualified names of parameters.
        batch: the input of one forward pass; without it the model is traced symbolically, and the
            owners of what is still unknown, such as stacks of experts, are tried by themselves.
    """
    parameters = {name: model.get_parameter(name) for name in names}
    if not parameters:
        return {}
    with model_state.preserve_model(model):
        watch = _watch_symbolically if batch is None else _watch_batch(batch)
        found = _choose(watch(model, parameters))
        left = [name for name in names if name not in found]
        for owner in dict.fromkeys(name.rpartition(".")[0] for name in left):
            own = [name for name in left if name.rpartition(".")[0] == owner]
            found |= _watch_owner(model.get_submodule(owner), owner, own)
    return found


def _choose(uses: Mapping[str, set[WeightUse]]) -> dict[str, WeightUse]:
    chosen = {name: choose_use(found) for name, found in uses.items()}
    return {name: use for name, use in chosen.items() if use is not None}


Watch = Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, set[WeightUse]]]


def _watch_batch(batch: Batch) -> Watch:
    args, kwargs = split_batch(batch)

    def watch(model: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, set[WeightUse]]:
        observer = UseObserver(parameters)
        with suppress(Exception), observer:  # who needs the pass itself reports why it fails
            model(*args, **kwargs)
        return observer.found

    return watch


def _watch_symbolically(
    model: nn.Module, parameters: Mapping[str, Tensor]
) -> dict[str, set[WeightUse]]:
    """Read the uses off the graph; what is computed from parameters alone is really computed."""
    observer = UseObserver(parameters)
    try:
        graph = run_tracer(model)
    except FaninError:
        return observer.found
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        values[node] = _evaluate(model, node, values, observer)
    return observer.found


class _Computed:
    """The place of a tensor that depends on the input."""


_COMPUTED = _Computed()


def _evaluate(
    model: nn.Module, node: fx.Node, values: Mapping[fx.Node, Any], observer: UseObserver
) -> Any:
    if node.op == "get_attr":
        with suppress(AttributeError):
            found: object = model
            for part in str(node.target).split("."):
                found = getattr(found, part)
            return found
    if node.op not in ("call_function", "call_method"):
        return _COMPUTED
    args = fx.node.map_arg(node.args, values.get)
    kwargs = fx.node.map_arg(node.kwargs, values.get)
    name = normalize_name(getattr(node.target, "__name__", str(node.target)))
    if any(value is _COMPUTED for value in _flatten([args, kwargs])):
        observer.observe(name, args, kwargs)
        return _COMPUTED
    with suppress(Exception), observer:
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)
    return _COMPUTED


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _watch_owner(module: nn.Module, path: str, names: Sequence[str]) -> dict[str, WeightUse]:
    """Try a module's own forward pass on made-up hidden states and choices of experts.

    Only its use of parameters is looked at, not its numbers. Tried are modules that are little more
    than these parameters, such as a stack of experts or a router.
    """
    own = {name: module.get_parameter(name.rpartition(".")[2]) for name in names}
    stacks = [one for one in own.values() if one.dim() >= 2]
    every = sum(one.numel() for one in module.parameters())
    if not stacks or 2 * sum(one.numel() for one in stacks) < every:
        return {}
    if any(one.device.type != "cpu" for one in own.values()):
        # Memory for zeros is given page by page, when it is written to: a stack costs nothing.
        own = {name: nn.Parameter(torch.zeros(one.shape)) for name, one in own.items()}
    local: dict[str, Tensor] = {name.rpartition(".")[2]: one for name, one in own.items()}
    answers = []
    for size in dict.fromkeys(n for one in stacks for n in one.shape):
        for arguments in _make_arguments(module, size, stacks[0].shape[0]):
            observer = UseObserver(own)
            with suppress(Exception), observer:
                torch.func.functional_call(module, local, arguments)
                answers.append(_choose(observer.found))
    known = [answer for answer in answers if answer]
    return known[0] if known and all(answer == known[0] for answer in known) else {}


def _make_arguments(module: nn.Module, size: int, experts: int) -> Iterator[tuple[Tensor, ...]]:
    """Hidden states, which experts each token takes, and with what weight, in the order that the
    forward pass names them.
    """
    count = len(inspect.signature(module.forward).parameters)
    chosen = torch.arange(_TOKENS * 2).reshape(_TOKENS, 2) % experts
    weights = torch.full((_TOKENS, 2), 0.5)
    spread = torch.zeros(_TOKENS, experts).scatter_(1, chosen, 0.5)
    for hidden in (torch.zeros(_TOKENS, size), torch.zeros(1, _TOKENS, size)):
        yield (hidden,)
        if count >= 3:
            for second, third in ((chosen, weights), (chosen, spread), (weights, chosen)):
                yield hidden, second, third
