"""The graph of a model by symbolic tracing, without data."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from fanin.errors import FitError, quote
from fanin.structure import model_state
from fanin.structure.call_arguments import CallArguments, Source
from fanin.structure.function_kinds import normalize_name
from fanin.structure.graph import Graph, NodeKind
from fanin.structure.graph_builder import GraphBuilder
from fanin.structure.module_kinds import check_model, classify_module, find_weight_owners


def trace_symbolically(model: nn.Module) -> Graph:
    """The graph of a model by symbolic tracing (``torch.fx``): layers, activations and
    normalizations stay whole.

    Optional arguments of the forward pass are taken at their defaults. A model that is itself one
    step, such as a bare LSTM, is not traced: it is the whole graph. The model is not changed.

    Raises:
        UsageError: not a module.
        FitError: a parameter has no shape yet, or the model cannot be traced: control flow depends
            on data or shapes, or it uses what has no symbolic form. `trace_forward` takes such a
            model.
    """
    check_model(model)
    if (kind := classify_module(model)) is not None:
        return _describe_single_step(model, kind)
    with model_state.preserve_model(model):
        return _GraphReader(model).build(run_tracer(model))


def _describe_single_step(model: nn.Module, kind: NodeKind) -> Graph:
    """Input, the module, output."""
    builder = GraphBuilder(model)
    step = builder.add_module("", model, kind, (builder.add("input", "input"),))
    builder.add("output", "output", (step,))
    return builder.build()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return classify_module(m) is not None


def run_tracer(model: nn.Module) -> fx.Graph:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about defaults that it cannot check when the traced model is called
            return _Tracer().trace(model, concrete_args=_get_defaults(model))
    except (
        Exception
    ) as error:  # tracing runs the user's code on proxies, which may break in any way
        raise FitError(
            f"{type(model).__name__} cannot be traced without data: {type(error).__name__}: "
            f"{quote(str(error), 200)}. "
            "Give batch=…, a batch as the model takes it, so that one forward pass is observed "
            "instead."
        ) from error


def _get_defaults(model: nn.Module) -> dict[str, Any]:
    """The defaults of a forward pass, but for its first argument: most models ask whether optional
    ones were given.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())
    return {
        parameter.name: parameter.default
        for parameter in parameters[1:]
        if parameter.default is not parameter.empty
    }


class _GraphReader:
    """Takes what ``torch.fx`` found into a `GraphBuilder`."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._builder = GraphBuilder(model)
        self._weights = find_weight_owners(model)
        self._sources: dict[fx.Node, Source | None] = {}

    def build(self, traced: fx.Graph) -> Graph:
        for node in traced.nodes:
            self._sources[node] = self._read_node(node)
        return self._builder.build()

    def _read_node(self, node: fx.Node) -> Source | None:
        target = node.target
        if node.op == "placeholder":
            return self._builder.add("input", str(target))
        if node.op == "output":
            return self._builder.add("output", "output", self._read_arguments(node).inputs)
        if node.op == "get_attr":
            return self._weights.get(id(_get_attribute(self._model, str(target))))
        if node.op == "call_module":
            return self._read_module(str(target), node)
        if node.op == "call_method":
            return self._builder.add_call(
                normalize_name(str(target)),
                getattr(Tensor, str(target), None),
                self._read_arguments(node),
            )
        return self._read_function(target, node)

    def _read_module(self, path: str, node: fx.Node) -> Source | None:
        module = self._model.get_submodule(path)
        kind = classify_module(module)
        return (
            None
            if kind is None
            else self._builder.add_module(path, module, kind, self._read_arguments(node).inputs)
        )

    def _read_function(self, target: object, node: fx.Node) -> Source | None:
        function: Callable[..., Any] | None = target if callable(target) else None
        return self._builder.add_call(
            normalize_name(getattr(target, "__name__", str(target))),
            function,
            self._read_arguments(node),
        )

    def _read_arguments(self, node: fx.Node) -> CallArguments:
        """Buffers of one number, such as the weight of a shortcut, are read as numbers."""
        args = fx.node.map_arg(node.args, self._read_buffer)
        kwargs = fx.node.map_arg(node.kwargs, self._read_buffer)
        return CallArguments(args, kwargs, self._find_source)

    def _read_buffer(self, node: fx.Node) -> Any:
        if node.op != "get_attr" or self._find_source(node) is not None:
            return node
        value = _get_attribute(self._model, str(node.target))
        return value if isinstance(value, Tensor) and value.numel() == 1 else node

    def _find_source(self, value: Any) -> Source | None:
        return self._sources.get(value) if isinstance(value, fx.Node) else None


def _get_attribute(model: nn.Module, path: str) -> object:
    found: object = model
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
