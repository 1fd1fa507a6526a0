"""Measure a model's start by one forward and one backward pass; the model comes back unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fanin.diagnosis.measurement import LossState, Measurement, ParameterState
from fanin.diagnosis.probe.constant_predictions import find_reference_losses
from fanin.diagnosis.probe.signal_recorder import SignalRecorder
from fanin.diagnosis.probe.signal_statistics import measure_moments
from fanin.diagnosis.probe.stray_parameters import StrayCollector
from fanin.errors import FitError, quote
from fanin.losses import OutputLoss, compute_loss
from fanin.structure import list_bare_names
from fanin.structure.forward_tracing import Batch, collect_tensors, split_batch
from fanin.structure.model_state import preserve_model
from fanin.structure.module_kinds import check_model


def measure_start(
    model: nn.Module,
    batch: Batch,
    target: Any = None,
    loss: Callable[..., Tensor] | None = None,
) -> Measurement:
    """What one forward and one backward pass in train mode show.

    A model that is in train mode is run as it is, so that parts that were set to eval stay so; one
    in eval mode is set to train mode for the pass. Parameters, buffers, gradients, flags, hooks and
    random states are afterwards as before.

    Args:
        model: any module.
        batch: as in `fanin.structure.trace_forward`.
        target: what the loss compares the output with, if any.
        loss: a function of (output, target), or of the output if there is no target.

    Raises:
        UsageError: not a module, or not a batch.
        FitError: the forward pass or the loss fails.
    """
    check_model(model)
    try:
        return _run(model, batch, target, loss, with_inputs=True)
    except FitError:
        if not any(one.is_floating_point() for one in collect_tensors(split_batch(batch))):
            raise
    # Some models do with their input what torch allows only without a gradient: set its
    # requires_grad, write into it, turn it into an array. What fails again fails for itself.
    return _run(model, batch, target, loss, with_inputs=False)


def _run(
    model: nn.Module,
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
    *,
    with_inputs: bool,
) -> Measurement:
    """One pass; `with_inputs` says whether gradients flow to the inputs too."""
    args, kwargs = split_batch(batch)
    samples = count_samples([args, kwargs], target)
    leaves: list[Tensor] = []
    with torch.inference_mode(False), preserve_model(model), torch.enable_grad():
        set_train_mode(model)
        given = _follow_inputs((args, kwargs), leaves) if with_inputs else (args, kwargs)
        strays = StrayCollector(model, leaves)
        recorder = SignalRecorder(model, samples, strays)
        try:
            found = _measure(recorder, model, given, leaves, batch, target, loss)
        finally:
            recorder.release()
    return replace(found, strays=strays.list_found())


def _measure(
    recorder: SignalRecorder,
    model: nn.Module,
    arguments: tuple[list[Any], dict[str, Any]],
    leaves: list[Tensor],
    batch: Batch,
    target: Any,
    loss: Callable[..., Tensor] | None,
) -> Measurement:
    graph = recorder.build(*arguments)
    found = compute_loss(recorder.result, target, loss)
    gradients = _differentiate(model, found, leaves)
    signals = recorder.list_signals(graph)
    prediction = found.prediction
    return Measurement(
        graph=graph,
        signals=signals,
        parameters=_describe_parameters(model, gradients),
        loss=_describe_loss(found, target, loss, batch),
        attentions=tuple(recorder.attentions),
        samples=recorder.samples,
        output=None if prediction is None else prediction.detach().clone(),
        target=target.detach() if isinstance(target, Tensor) else None,
        output_node=None if prediction is None else recorder.get_node(prediction),
        batch_stats={one.name: one for one in signals.values() if one.kind == "input"},
        shapes=dict(recorder.shapes),
    )


def set_train_mode(model: nn.Module) -> None:
    """Train mode, unless the model is in it: parts that are in eval mode by choice stay so."""
    if not model.training:
        model.train()


def count_samples(batch: Any, target: Any = None) -> int:
    """The size of the batch: the first axis of its first tensor, or the target's if more tensors
    have that size.
    """
    tensors = [one for one in collect_tensors(batch) if one.dim()]
    sizes = [len(one) for one in tensors]
    if isinstance(target, Tensor) and target.dim() and len(target) in sizes:
        return len(target)
    return sizes[0] if sizes else 1


def _follow_inputs(value: Any, leaves: list[Tensor]) -> Any:
    """The arguments with gradients that flow to floating-point inputs, which `leaves` collects;
    what the model gets is no leaf, since it may change it in place.
    """
    if isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta:
        leaves.append(value.requires_grad_())
        return value.clone()
    if type(value) is dict:
        return {key: _follow_inputs(item, leaves) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_follow_inputs(item, leaves) for item in value)
    return value


def _differentiate(
    model: nn.Module, loss: OutputLoss, inputs: list[Tensor]
) -> dict[int, Tensor | None]:
    """The gradient of each trainable parameter by its id; None if none came back.

    `torch.autograd.grad` leaves ``.grad`` and the hooks of parameters alone.
    """
    parameters = [one for one in model.parameters() if one.requires_grad]
    leaves = [*parameters, *inputs]
    if not loss.value.requires_grad or not leaves:
        return {id(one): None for one in parameters}
    try:
        found = torch.autograd.grad(loss.value, leaves, allow_unused=True)
    except RuntimeError as error:
        raise FitError(f"The backward pass failed: {quote(str(error), 300)}.") from error
    return {id(one): gradient for one, gradient in zip(parameters, found, strict=False)}


def _describe_parameters(
    model: nn.Module, gradients: Mapping[int, Tensor | None]
) -> dict[str, ParameterState]:
    names = list_bare_names(model)
    found = {}
    for name, parameter in model.named_parameters():
        bare = names[name]
        gradient = gradients.get(id(parameter))
        values = measure_moments(parameter)
        came = None if gradient is None else measure_moments(gradient)
        found[bare] = ParameterState(
            name=bare,
            layer=bare.rpartition(".")[0],
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            trainable=parameter.requires_grad,
            finite=values.finite,
            mean=values.mean,
            std=values.std,
            rms=values.rms,
            maximum=values.maximum,
            reached=gradient is not None,
            gradient_rms=None if came is None else came.rms,
            gradient_zero_share=None if gradient is None else _count_zeros(gradient),
            gradient_finite=came is None or came.finite,
        )
    return found


def _count_zeros(gradient: Tensor) -> float:
    if not gradient.numel() or gradient.is_sparse:
        return 0.0
    return 1 - int(torch.count_nonzero(gradient)) / gradient.numel()


def _describe_loss(
    loss: OutputLoss, target: Any, given: Callable[..., Tensor] | None, batch: Any
) -> LossState:
    value = float(loss.value.detach()) if loss.kind != "cotangent" else None
    uninformed, prior = find_reference_losses(loss, target, given)
    classes = loss.classes
    if loss.kind == "model" and loss.prediction is not None and _has_labels(batch):
        classes = loss.prediction.shape[-1]
        uninformed = math.log(classes)
    return LossState(
        kind=loss.kind,
        name=loss.name,
        value=value,
        finite=bool(torch.isfinite(loss.value.detach())),
        uninformed=uninformed,
        prior=prior,
        classes=classes,
    )


def _has_labels(batch: Any) -> bool:
    """Whether the model was given labels that are class numbers, one for each row of its output."""
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    return isinstance(labels, Tensor) and not labels.is_floating_point() and labels.dim() > 0
