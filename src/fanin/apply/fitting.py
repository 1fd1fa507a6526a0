"""Initializers that fit what they have drawn to a batch: the session that they work in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fanin import losses, seeds
from fanin.apply.fill import measure_std
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.planned_fill import PlannedFill
from fanin.apply.resolution import Resolution
from fanin.errors import FaninError, FitError, UsageError, quote
from fanin.initializers.model_level import ModelInitializer, ModelParameter
from fanin.structure import model_state
from fanin.structure.forward_tracing import collect_tensors, split_batch


@dataclass(frozen=True)
class FitBatch:
    """What initializers may fit to: a batch, and what its loss is computed from."""

    batch: Any = None
    target: Any = None
    loss: losses.LossFunction | None = None


def check_fit_batch(initializers: Sequence[ModelInitializer], fit_batch: FitBatch) -> bool:
    """Whether any initializer fits. Raises `UsageError` if one needs a batch and there is none, or
    the batch has numbers that are not finite.
    """
    for one in initializers:
        if one.fits and one.needs_batch and fit_batch.batch is None:
            raise UsageError(
                f"{one} looks at data: fanin.initialize(model, '{one}', seed=0, batch=x"
                f"{', target=y' if one.needs_loss else ''}), where x is one batch of inputs as in "
                "training."
            )
    fits = any(one.fits for one in initializers)
    if fits and fit_batch.batch is not None:
        args, kwargs = split_batch(fit_batch.batch)
        for tensor in collect_tensors((args, kwargs)):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise UsageError(
                    f"The batch has numbers that are not finite, in a tensor of shape "
                    f"{tuple(tensor.shape)}. Expected inputs as in training."
                )
    return fits


@contextmanager
def restore_weights_on_error(model: nn.Module, *, needed: bool) -> Iterator[None]:
    """Put every parameter and buffer back if an error leaves the block. Costs a copy of them."""
    if not needed:
        yield
        return
    held = [one for one in (*model.parameters(), *model.buffers()) if not one.is_meta]
    copies = [one.detach().clone() for one in held]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for one, copy in zip(held, copies, strict=True):
                one.copy_(copy)
        raise


def fit_model(
    found: Resolution,
    planned_fills: Sequence[PlannedFill],
    records: Sequence[tuple[ParameterRecord, ...]],
    fit_batch: FitBatch,
) -> list[tuple[ParameterRecord, ...]]:
    """Let each initializer that fits do so, one after the other; the records, completed."""
    drawn = {planned.uses[0].name: planned for planned in planned_fills if planned.writes}
    choosers = found.resolver.choosers
    done: dict[str, str] = {}
    for initializer in dict.fromkeys(one for one in choosers.values() if one.fits):
        own = tuple(
            site
            for site in found.resolver.sites
            if site.name in drawn and choosers.get(site.name) == initializer
        )
        session = _Session(found.facts.model, own, drawn, fit_batch, initializer)
        with session.run():
            done |= initializer.fit(session)
    return [
        tuple(_complete(record, planned, done) for record in each)
        for planned, each in zip(planned_fills, records, strict=True)
    ]


def _complete(
    record: ParameterRecord, planned: PlannedFill, done: Mapping[str, str]
) -> ParameterRecord:
    if record.name not in done:
        return record
    return replace(
        record,
        fitted=done[record.name],
        measured_std=measure_std(planned.uses[0].parameter.detach()),
        changed=True,
    )


class _Session:
    """See `fanin.initializers.model_level.FitSession`."""

    def __init__(
        self,
        model: nn.Module,
        sites: tuple[ModelParameter, ...],
        drawn: Mapping[str, PlannedFill],
        fit_batch: FitBatch,
        initializer: ModelInitializer,
    ) -> None:
        self.model, self.sites = model, sites
        self._drawn, self._fit_batch, self._initializer = drawn, fit_batch, initializer

    @contextmanager
    def run(self) -> Iterator[None]:
        """Dropout off, batch normalization on the batch; afterwards all is as it was, but for the
        weights.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(model_state.preserve_model(self.model))
            self.model.eval()
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
            yield

    @property
    def has_batch(self) -> bool:
        return self._fit_batch.batch is not None

    @property
    def inputs(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        args, kwargs = split_batch(self._fit_batch.batch)
        return tuple(args), kwargs

    def read(self, site: ModelParameter) -> Tensor:
        use = self._drawn[site.name].uses[0]
        if use.through:
            raise FitError(
                f"{site.name} is set through {use.through}, and {self._initializer} changes "
                f"weights in place. Leave it out with exclude={site.name!r}, or apply "
                f"{use.through} afterwards."
            )
        return use.parameter

    def forward(self) -> Any:
        args, kwargs = self.inputs
        try:
            with seeds.preserve_global_state(0):
                output = self.model(*args, **kwargs)
        except FaninError:
            raise
        except Exception as error:
            self._raise_failed(error)
        for tensor in collect_tensors(output):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise FitError(
                    f"{self._initializer}: the model returned numbers that are not finite for the "
                    "batch, so there is nothing to fit to. fanin.audit(model, batch) says where "
                    "they begin."
                )
        return output

    def _raise_failed(self, error: Exception) -> NoReturn:
        raise FitError(
            f"{self._initializer}: the forward pass failed on the batch: {type(error).__name__}: "
            f"{quote(str(error), 300)}. Expected batch= to be what the model takes: a tensor, a "
            "tuple of arguments, or a dict of keywords."
        ) from error

    def compute_loss(self, output: Any = None) -> Tensor:
        sizes: list[tuple[int, ...]] = []
        given, target = self._fit_batch.loss, self._fit_batch.target

        def note(*args: Any) -> Tensor:
            assert given is not None
            value = given(*args)
            if isinstance(value, Tensor):
                sizes.append(tuple(value.shape))
            return value

        note.__name__ = getattr(given, "__name__", None) or type(given).__name__  # for its errors
        with torch.enable_grad():
            found = losses.compute_loss(
                self.forward() if output is None else output, target, note if given else None
            )
        if found.kind == "cotangent":
            raise UsageError(
                f"{self._initializer} looks at the loss: give target=, the labels of the batch, or "
                "loss=, a function of (output, target)."
            )
        if any(torch.Size(size).numel() != 1 for size in sizes):
            raise UsageError(
                f"{self._initializer}: the loss is a tensor of shape {sizes[-1]}. Expected one "
                "number: return its mean."
            )
        if not bool(found.value.detach().isfinite()):
            raise FitError(
                f"{self._initializer}: the loss of the batch is {found.value.item()}. "
                "fanin.audit(model, batch, target=…) says where numbers stop being finite."
            )
        return found.value
