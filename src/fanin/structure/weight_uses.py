"""How a model uses parameters that no layer describes: as matrices, tables, or something added.

The fans of a raw parameter are a matter of its use: in ``x @ w`` the first axis counts inputs, in
``F.linear(x, w)`` the second. So the calls are watched: in a forward pass on a batch, in the graph
of a symbolic trace, or, for stacks of experts, in a forward pass of the module that owns them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.overrides import TorchFunctionMode

from fanin.structure.function_kinds import normalize_name
from fanin.structure.parameter_views import ParameterView, ParameterViews

UseKind = Literal["weight", "embedding", "added", "scale"]

_MATRIX_PRODUCTS = frozenset(["matmul", "mm", "bmm", "grouped_mm", "mv"])
_ADDED_PRODUCTS = frozenset(["addmm", "baddbmm", "addbmm", "addmv"])
_CONVOLUTIONS = frozenset(f"conv{n}d" for n in (1, 2, 3))
_TRANSPOSED = frozenset(f"conv_transpose{n}d" for n in (1, 2, 3))
_RANK: dict[UseKind, int] = {"weight": 0, "embedding": 1, "added": 2, "scale": 3}
"""Of several uses of one parameter, the first of these counts."""


@dataclass(frozen=True)
class WeightUse:
    """One way in which a parameter is used."""

    kind: UseKind
    """weight: as the matrix of a linear map. added: to what was computed. scale: a factor of it,
    number by number.
    """
    function: str
    """The function that it was given to."""
    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()


class UseObserver(TorchFunctionMode):
    """Notes the uses of some parameters in every call of a function of tensors inside the mode."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._parameters = dict(parameters)
        self._views = ParameterViews(self._parameters)
        self.found: dict[str, set[WeightUse]] = {name: set() for name in parameters}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = normalize_name(getattr(func, "__name__", str(func)))
        if name != "get":  # the getter of an attribute
            self.observe(name, args, kwargs)
        result = func(*args, **kwargs)
        self._views.follow_copy(name, tuple(args), result)
        return result

    def observe(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Note what one call does with the parameters among its arguments."""
        for use, view in self._read(name, args, kwargs):
            self.found[view.name].add(use)

    def _read(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Sequence[tuple[WeightUse, ParameterView]]:
        flat = [*args, *kwargs.values()]
        if name == "einsum":
            return self._read_einsum(flat)
        views = [self._views.find(value) for value in flat]
        if not any(views):
            return []
        if name in _ADDED_PRODUCTS:
            views, name = views[1:], "matmul"
        found = []
        for position, view in enumerate(views):
            if view is not None and not _all_views(self._views, flat):
                use = self._classify(name, position, view, kwargs, flat)
                if use is not None:
                    found.append((use, view))
        return found

    def _classify(
        self,
        name: str,
        position: int,
        view: ParameterView,
        kwargs: Mapping[str, Any],
        flat: Sequence[Any],
    ) -> WeightUse | None:
        if name == "linear" and position == 1:
            return self._make_use(name, view, ins=-1, outs=-2)
        if name == "linear" and position == 2:
            return WeightUse("added", name)
        if name in _MATRIX_PRODUCTS and position in (0, 1) and len(view.axes) >= 2:
            ins, outs = (-2, -1) if position == 1 else (-1, -2)
            return self._make_use(name, view, ins=ins, outs=outs)
        if name in _CONVOLUTIONS and position == 1 and _is_ungrouped(kwargs, flat, 6):
            return self._make_use(name, view, ins=1, outs=0, kernel=True)
        if name in _TRANSPOSED and position == 1 and _is_ungrouped(kwargs, flat, 6):
            return self._make_use(name, view, ins=0, outs=1, kernel=True)
        if name == "embedding" or (name in ("getitem", "index_select") and _has_indices(flat)):
            return WeightUse("embedding", name) if len(view.axes) == 2 else None
        if name in ("add", "sub", "radd"):
            return WeightUse("embedding" if view.looked_up else "added", name)
        return WeightUse("scale", name) if name == "mul" else None

    def _make_use(
        self, name: str, view: ParameterView, *, ins: int, outs: int, kernel: bool = False
    ) -> WeightUse | None:
        """A weight whose dimensions `ins` and `outs` are those; the other axes count maps, or
        taps of a kernel.
        """
        if len(view.axes) < 2:
            return None
        in_axes, out_axes = view.axes[ins], view.axes[outs]
        return self._make_weight(name, view.name, in_axes, out_axes, kernel=kernel)

    def _make_weight(
        self,
        function: str,
        name: str,
        in_axes: tuple[int, ...],
        out_axes: tuple[int, ...],
        *,
        kernel: bool = False,
    ) -> WeightUse | None:
        named = {*in_axes, *out_axes}
        if not in_axes or not out_axes or len(named) < len(in_axes) + len(out_axes):
            return None
        left = [axis for axis in range(self._parameters[name].dim()) if axis not in named]
        return WeightUse("weight", function, in_axes, out_axes, () if kernel else tuple(left))

    def _read_einsum(self, flat: Sequence[Any]) -> list[tuple[WeightUse, ParameterView]]:
        equation, *operands = flat
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        if not isinstance(equation, str) or "->" not in equation or "..." in equation:
            return []
        left, _, output = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        found = []
        for position, (term, value) in enumerate(zip(terms, operands, strict=False)):
            view = self._views.find(value)
            if view is None or len(view.axes) != len(term):
                continue
            others = "".join(terms[:position] + terms[position + 1 :])
            by_letter = dict(zip(term, view.axes, strict=True))
            ins = [by_letter[letter] for letter in term if letter not in output]
            outs = [
                by_letter[letter] for letter in term if letter in output and letter not in others
            ]
            use = self._make_weight("einsum", view.name, sum(ins, ()), sum(outs, ()))
            if use is not None:
                found.append((use, view))
        return found


def choose_use(uses: set[WeightUse]) -> WeightUse | None:
    """The use that decides: a weight before a table before the rest; None if weights disagree."""
    if not uses:
        return None
    best = min(_RANK[use.kind] for use in uses)
    chosen = [use for use in uses if _RANK[use.kind] == best]
    axes = {(use.in_axes, use.out_axes, use.batch_axes) for use in chosen}
    return min(chosen, key=lambda use: use.function) if len(axes) == 1 else None


def _all_views(views: ParameterViews, flat: Sequence[Any]) -> bool:
    """Whether parameters meet only one another: then nothing computed is multiplied."""
    tensors = [value for value in flat if isinstance(value, Tensor)]
    return len(tensors) > 1 and all(views.find(value) is not None for value in tensors)


def _is_ungrouped(kwargs: Mapping[str, Any], flat: Sequence[Any], position: int) -> bool:
    groups = kwargs.get("groups", flat[position] if len(flat) > position and not kwargs else 1)
    return bool(groups == 1)


def _has_indices(flat: Sequence[Any]) -> bool:
    return any(isinstance(value, Tensor) and not value.is_floating_point() for value in flat[1:])
