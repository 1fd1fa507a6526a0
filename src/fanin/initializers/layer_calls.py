"""A pass through a model that stops at every weighted layer, just before the layer is used.

What is done to a layer's weight there is seen by all layers behind it. So one pass is enough for
methods that go from the first layer to the last.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fanin.fans import PackedPart, WeightLayout
from fanin.initializers.model_level import FitSession, ModelParameter
from fanin.structure.forward_tracing import collect_tensors
from fanin.structure.function_kinds import MIXING, normalize_name
from fanin.structure.parameter_views import ParameterViews


@dataclass(frozen=True)
class LayerCall:
    """The first call of a layer, which has not been made yet."""

    site: ModelParameter
    weight: Tensor
    """The parameter, or the part of it that this call uses."""
    layout: WeightLayout
    compute: Callable[[], Tensor]
    """What the layer puts out with its weights as they are now."""
    channel_axis: int
    """The axis of the output that counts units."""
    part: str = ""
    """The part of a packed parameter, such as q."""

    @property
    def label(self) -> str:
        """The name of the weight, for people."""
        return f"{self.site.name}[{self.part}]" if self.part else self.site.name

    @torch.no_grad()
    def scale(self, factor: float | Tensor) -> None:
        """Multiply the weight by a number, or each unit's weights by one of several."""
        if not isinstance(factor, Tensor) or factor.numel() == 1:
            self.weight.mul_(float(factor))
            return
        wide = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        matrices = self.layout.to_matrices(wide)
        by_unit = factor.to(wide).reshape(*matrices.shape[:2], 1)
        self.weight.copy_(self.layout.from_matrices(matrices * by_unit).view_as(self.weight))

    def counts_units(self, units: int) -> bool:
        """Whether each of so many units has weights of its own in the layout."""
        dimensions = len(self.layout.shape)
        if dimensions < 2 or self.layout.inputs > 1 or (self.layout.parts and dimensions > 2):
            return False
        groups, outputs, _ = self.layout.matrices_shape
        return groups * outputs == units


Visit = Callable[[LayerCall], None]


def visit_layers(session: FitSession, sites: Sequence[ModelParameter], visit: Visit) -> set[str]:
    """Run the model once, and call `visit` before the first use of each of the weights `sites`.

    Gradients are not recorded. Returns the names of the weights that were met. A module that holds
    one weight and no further module is one call, whatever it computes; raw parameters are met in
    the functions that they are given to, and the maps of ``nn.MultiheadAttention`` one by one.
    Weights of recurrent layers are not met: what such a layer puts out is no linear map of them.
    """
    watch = _Watch(session, visit)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        raw: dict[str, ModelParameter] = {}
        for module, held in _group_by_module(sites):
            if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                continue
            if isinstance(module, nn.MultiheadAttention):
                stack.enter_context(watch.watch_attention(module, held))
            elif len(held) == 1 and _is_leaf(module):
                stack.enter_context(watch.watch_module(module, held[0]))
            else:
                raw |= {site.name: site for site in held}
        outputs = [site for site in sites if isinstance(_find_owner(site), nn.MultiheadAttention)]
        for site in outputs:
            raw.pop(site.name, None)
        if raw:
            stack.enter_context(_FunctionWatch(watch, raw))
        session.forward()
    return watch.met


def explain_unmet(site: ModelParameter) -> str:
    """Why a pass did not meet a weight."""
    if isinstance(site.module, (nn.RNNBase, nn.RNNCellBase)):
        return "recurrent, so that its output is no multiple of its weights"
    return "the batch does not reach it, or not in a way that can be seen"


def _group_by_module(
    sites: Sequence[ModelParameter],
) -> list[tuple[nn.Module, list[ModelParameter]]]:
    """The weights of each module; those of an attention's output projection are its own, since it
    never calls that module.
    """
    groups: dict[nn.Module, list[ModelParameter]] = {}
    for site in sites:
        groups.setdefault(_find_owner(site), []).append(site)
    return list(groups.items())


def _find_owner(site: ModelParameter) -> nn.Module:
    around = site.enclosing[-2] if len(site.enclosing) > 1 else None
    return around if isinstance(around, nn.MultiheadAttention) else site.module


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


class _Watch:
    """Turns what a pass meets into calls, each weight once."""

    def __init__(self, session: FitSession, visit: Visit) -> None:
        self.session, self._visit = session, visit
        self.met: set[str] = set()
        self._done: set[int] = set()
        self.busy = False
        """Whether a visit is computing an output: what that meets is no further call."""

    def meet(self, call: LayerCall) -> None:
        """Visit a call, unless its weight was met before, under any name."""
        self.met.add(call.site.name)
        key = hash((id(self.session.read(call.site)), call.part))
        if key in self._done:
            return
        self._done.add(key)
        self.busy = True
        try:
            self._visit(call)
        finally:
            self.busy = False

    @contextmanager
    def watch_module(self, module: nn.Module, site: ModelParameter) -> Iterator[None]:
        """Meet a module's weight before the module is called."""

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self.busy:
                self.meet(self._describe_module(module, site, args, kwargs))

        handle = module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _describe_module(
        self, module: nn.Module, site: ModelParameter, args: Any, kwargs: Any
    ) -> LayerCall:
        return LayerCall(
            site,
            self.session.read(site),
            site.layout,
            lambda: _pick_output(module(*args, **kwargs)),
            1 if isinstance(module, nn.modules.conv._ConvNd) else -1,
        )

    @contextmanager
    def watch_attention(
        self, module: nn.MultiheadAttention, held: Sequence[ModelParameter]
    ) -> Iterator[None]:
        """Meet the maps of q, k and v, then the output projection."""
        signature = inspect.signature(module.forward)

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self.busy:
                return
            given = signature.bind(*args, **kwargs).arguments
            for site in held:
                for call in self._describe_projections(site, given):
                    self.meet(call)
            for site in held:
                if site.module is not module:
                    self.meet(
                        LayerCall(
                            site,
                            self.session.read(site),
                            site.layout,
                            lambda: _pick_output(module(*args, **kwargs)),
                            -1,
                        )
                    )

        handle = module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _describe_projections(
        self, site: ModelParameter, given: Mapping[str, Any]
    ) -> Iterator[LayerCall]:
        inputs = {"q": "query", "k": "key", "v": "value"}
        if not isinstance(site.module, nn.MultiheadAttention):
            return
        weight = self.session.read(site)
        if site.layout.parts:
            for part in site.layout.parts:
                view = part.of(weight)
                yield _project(site, view, part.layout, given[inputs[part.name]], part)
        elif site.local.partition("_")[0] in inputs:
            letter = site.local.partition("_")[0]
            yield _project(site, weight, site.layout, given[inputs[letter]], None)


def _project(
    site: ModelParameter,
    weight: Tensor,
    layout: WeightLayout,
    given: Tensor,
    part: PackedPart | None,
) -> LayerCall:
    return LayerCall(
        site, weight, layout, lambda: F.linear(given, weight), -1, part.name if part else ""
    )


class _FunctionWatch(TorchFunctionMode):
    """Meets raw parameters in the functions that multiply by them."""

    def __init__(self, watch: _Watch, raw: Mapping[str, ModelParameter]) -> None:
        super().__init__()
        self._watch, self._raw = watch, raw
        self._views = ParameterViews({name: watch.session.read(raw[name]) for name in raw})

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = normalize_name(getattr(func, "__name__", str(func)))
        if name in MIXING and not self._watch.busy:
            for view in map(self._views.find, collect_tensors([*args, *kwargs.values()])):
                if view is not None and len(view.axes) > 1:
                    self._meet(self._raw[view.name], func, args, kwargs)
        result = func(*args, **kwargs)
        self._views.follow_copy(name, tuple(args), result)
        return result

    def _meet(self, site: ModelParameter, func: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """A copy that was made of the parameter does not follow it; its call is not met."""
        weight = self._watch.session.read(site)
        memory = weight.untyped_storage()._cdata
        tensors = collect_tensors([*args, *kwargs.values()])
        if any(one.untyped_storage()._cdata == memory for one in tensors):
            self._watch.meet(
                LayerCall(site, weight, site.layout, lambda: func(*args, **kwargs), -1)
            )


def _pick_output(output: Any) -> Tensor:
    """The first tensor of what a layer returned."""
    found = collect_tensors(output)
    return found[0]
