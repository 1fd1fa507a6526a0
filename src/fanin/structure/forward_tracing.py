"""The graph of a model by one forward pass that follows every tensor by its identity."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from fanin.errors import FitError, UsageError, quote
from fanin.structure import model_state
from fanin.structure.call_arguments import CallArguments, Source
from fanin.structure.function_kinds import normalize_name
from fanin.structure.graph import Graph, Node, NodeKind
from fanin.structure.graph_builder import GraphBuilder
from fanin.structure.module_kinds import check_model, classify_module, find_weight_owners, is_layer

Batch = Tensor | Sequence[Any] | Mapping[str, Any]


def trace_forward(model: nn.Module, batch: Batch) -> Graph:
    """The graph of a model by one forward pass without gradients, in the mode (train or eval) that
    the model is in.

    Args:
        model: any module, whatever its control flow. It is left unchanged, even if the pass
            fails: training flags, buffers such as running statistics, gradients, hooks. The global
            random states are not moved.
        batch: one tensor, a list or tuple of the model's arguments, or a dict of its keywords.
            Tensors are copied first.

    Raises:
        UsageError: not a module, or not a batch.
        FitError: a parameter has no shape yet, or the forward pass fails; the text says in which
            module.
    """
    check_model(model)
    args, kwargs = split_batch(batch)
    with model_state.preserve_model(model):
        return ForwardTracer(model).build(args, kwargs)


@dataclass(frozen=True)
class _ModuleCall:
    """One call of a module that has not returned."""

    path: str
    module: nn.Module
    kind: NodeKind | None
    """None if its own code is followed."""
    hidden: bool
    """Whether it runs inside a module that is one step."""
    inputs: tuple[int, ...]


class ForwardTracer(TorchFunctionMode):
    """Sees every call of a module, by hooks, and every call of a function of tensors outside
    modules that are one step.
    """

    def __init__(self, model: nn.Module, *, thorough: bool = False) -> None:
        super().__init__()
        self._model = model
        self._thorough = thorough
        """Whether what is written into views is followed, and what a subclass of a layer does
        beside that layer.
        """
        self._builder = GraphBuilder(model)
        self._paths = {module: path for path, module in model.named_modules()}
        self._sources: dict[int, Source] = dict(find_weight_owners(model))
        self._alive: list[Tensor] = []
        """Every tensor that has a source: an id means one tensor only while that lives."""
        self._calls: list[_ModuleCall] = []
        self.values: dict[int, Tensor] = {}
        """The tensor of each node; what is changed in place is the tensor of several."""
        self._failed: tuple[BaseException | None, _ModuleCall] | None = None
        """The latest error, and the innermost module that it left."""
        self.result: Any = None
        """What the model returned."""

    def build(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph:
        """The graph of one call."""
        names = [*map(str, range(len(args))), *kwargs]
        for name, value in zip(names, [*args, *kwargs.values()], strict=True):
            self._register(collect_tensors(value), self._builder.add("input", name))
        handles = list(self._register_hooks())
        try:
            with self:
                result = self._model(*args, **kwargs)
        except Exception as error:
            raise FitError(self._describe_failure(error)) from error
        finally:
            for handle in handles:
                handle.remove()
        self.result = result
        self._builder.add("output", "output", self._find_nodes(result))
        return self._builder.build()

    def get_node(self, tensor: Tensor) -> int | None:
        """The node that computed a tensor of the pass."""
        source = self._sources.get(id(tensor))
        return source if isinstance(source, int) else None

    def release(self) -> None:
        """Let go of all tensors. Hooks of theirs may lead back here, and such a circle would keep
        them alive until Python searches for it.
        """
        self._alive.clear()
        self._sources.clear()
        self.values.clear()
        self.result = None

    def get_caller(self) -> str:
        """The path of the module whose code is being run; empty for the model itself."""
        return self._calls[-1].path if self._calls else ""

    def observe(self, node: Node, tensor: Tensor) -> None:
        """Called with every tensor when it has been computed; for subclasses."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._calls and (self._calls[-1].hidden or self._calls[-1].kind is not None):
            return func(*args, **kwargs)
        # Read before the call: afterwards, what is changed in place is another tensor.
        arguments = CallArguments(args, kwargs, self._find_source)
        result = func(*args, **kwargs)
        name = normalize_name(getattr(func, "__name__", str(func)))
        outputs = (
            [args[0]]
            if name == "setitem"
            else [tensor for tensor in collect_tensors(result) if _carries_signal(tensor)]
        )
        if outputs and (arguments.inputs or arguments.owners or arguments.vectors):
            self._register(outputs, self._builder.add_call(name, func, arguments))
            if self._thorough and _is_in_place(func) and isinstance(args[0], Tensor):
                self._register_base(args[0])
        return result

    def _register_base(self, view: Tensor) -> None:
        """What is written into a view is written into the tensor that it is a view of: a key whose
        halves are copied into an empty tensor.
        """
        base = view._base
        if base is not None and base is not view:
            sources = self._find_nodes([base, view])
            self._register([base], self._builder.add("transparent", "setitem", sources))

    def _register_hooks(self) -> Iterator[RemovableHandle]:
        for module in self._paths:
            yield module.register_forward_pre_hook(self._enter, with_kwargs=True)
            yield module.register_forward_hook(self._leave, with_kwargs=True, always_call=True)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        outer = self._calls[-1] if self._calls else None
        hidden = outer is not None and (outer.hidden or outer.kind is not None)
        kind = None if hidden or self._is_more_than_layer(module) else classify_module(module)
        self._calls.append(
            _ModuleCall(self._paths[module], module, kind, hidden, self._find_nodes([args, kwargs]))
        )

    def _is_more_than_layer(self, module: nn.Module) -> bool:
        """Whether it is a linear layer with a forward pass of its own, such as a router that also
        selects.
        """
        return (
            self._thorough
            and isinstance(module, nn.Linear)
            and type(module).forward is not nn.Linear.forward
        )

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        visit = self._calls.pop()
        if (
            output is None
            and (error := sys.exception()) is not None
            and (self._failed is None or self._failed[0] is not error)
        ):
            self._failed = error, visit
        if visit.hidden or output is None:
            return
        outputs = [tensor for tensor in collect_tensors(output) if _carries_signal(tensor)]
        if visit.kind is not None:
            self._register(
                outputs, self._builder.add_module(visit.path, module, visit.kind, visit.inputs)
            )
        elif is_layer(module) and (
            unseen := [tensor for tensor in outputs if id(tensor) not in self._sources]
        ):
            # A layer of its own that computes by what torch does not show, such as an autograd
            # function.
            self._register(unseen, self._builder.add("layer", visit.path, visit.inputs, module))

    def _register(self, tensors: Sequence[Tensor], source: Source | None) -> None:
        if source is None:
            return
        several = len(tensors) > 1 and isinstance(source, int)
        if several and isinstance(source, int):
            node = self._builder.get_node(source)
            if node.kind == "layer":  # what a recurrent layer puts out, beside its last state
                self.values[source] = tensors[0]
                self.observe(node, tensors[0])
        for tensor in tensors:
            # The parts of a split are different signals.
            part = (
                self._builder.add("transparent", "getitem", (source,))
                if several and isinstance(source, int)
                else source
            )
            self._sources[id(tensor)] = part
            if isinstance(part, int):
                self.values[part] = tensor
                self.observe(self._builder.get_node(part), tensor)
            self._alive.append(tensor)

    def _find_source(self, value: Any) -> Source | None:
        return self._sources.get(id(value)) if isinstance(value, Tensor) else None

    def _find_nodes(self, values: Any) -> tuple[int, ...]:
        found = (self._sources.get(id(tensor)) for tensor in collect_tensors(values))
        return tuple(source for source in found if isinstance(source, int))

    def _describe_failure(self, error: Exception) -> str:
        visit = self._failed[1] if self._failed and self._failed[0] is error else None
        place = (
            f"{visit.path or 'the model itself'} ({type(visit.module).__name__})"
            if visit
            else type(self._model).__name__
        )
        return (
            f"The forward pass on the batch failed in {place}: {type(error).__name__}: "
            f"{quote(str(error), 300)}. "
            "Expected a batch that the model takes: a tensor, a list or tuple of its arguments, "
            "or a dict of its keywords."
        )


def split_batch(batch: object) -> tuple[list[Any], dict[str, Any]]:
    """The arguments and keywords of the model's call, with tensors of their own."""
    if isinstance(batch, Tensor):
        return [_copy(batch)], {}
    if isinstance(batch, Mapping) and all(isinstance(key, str) for key in batch):
        return [], {key: _copy(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_copy(value) for value in batch], {}
    raise UsageError(
        "A batch is a tensor, a list or tuple of the model's arguments, or a dict of its "
        f"keywords, not {quote(batch)}."
    )


def _copy(value: Any) -> Any:
    """A model may change its input in place, and one tensor that is given twice is two inputs."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    return type(value)(map(_copy, value)) if type(value) in (list, tuple) else value


def collect_tensors(value: Any) -> list[Tensor]:
    """The tensors of nested lists, tuples, mappings and records, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return collect_tensors(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in collect_tensors(item)]
    if hasattr(type(value), "__dataclass_fields__"):
        return collect_tensors([getattr(value, name) for name in type(value).__dataclass_fields__])
    return []


def _is_in_place(function: Callable[..., Any]) -> bool:
    name = getattr(function, "__name__", "")
    return name == "__setitem__" or name.startswith("__i") or name.strip("_") + "_" == name


def _carries_signal(tensor: Tensor) -> bool:
    """Results of comparisons, and indices, do not."""
    return tensor.is_floating_point() or tensor.is_complex()
