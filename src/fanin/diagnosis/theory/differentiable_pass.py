"""One pass of a model through which gradients can be sent back as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fanin.diagnosis.probe.second_passes import change_tensors
from fanin.diagnosis.probe.start_measurement import count_samples, set_train_mode
from fanin.errors import FitError, quote
from fanin.losses import find_prediction
from fanin.structure import Graph, Node
from fanin.structure.forward_tracing import Batch, ForwardTracer, split_batch
from fanin.structure.model_state import preserve_model, require_gradients
from fanin.structure.module_kinds import check_model


class LengthRecorder(ForwardTracer):
    """A tracer that notes the squared length of the gradient that comes back to each layer.

    By hooks: an activation that works in place takes the tensor of the layer before it over, but
    a hook that was there before still gets the gradient of the old values.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, thorough=True)
        self.lengths: dict[int, float] = {}
        self.lookups: dict[int, Tensor] = {}
        """What was looked up in tables: the first numbers of a model that takes indices."""
        self._seen: set[int] = set()

    def observe(self, node: Node, tensor: Tensor) -> None:
        if node.index in self._seen or not tensor.requires_grad or not tensor.is_floating_point():
            return
        self._seen.add(node.index)
        if node.kind == "layer":
            tensor.register_hook(self._make_hook(node.index))
            if isinstance(node.module, nn.Embedding):
                self.lookups[node.index] = tensor

    def _make_hook(self, index: int) -> Any:
        def hook(gradient: Tensor) -> None:
            with torch.no_grad():
                self.lengths[index] = float(gradient.double().square().sum())

        return hook


@dataclass(frozen=True)
class DifferentiablePass:
    """What a pass took and gave, with the graph of its gradients."""

    graph: Graph
    inputs: tuple[Tensor, ...]
    """The floating-point inputs; of a model that takes indices, what they look up."""
    leaves: tuple[Tensor, ...]
    """Everything that gradients end at: inputs and parameters."""
    output: Tensor
    samples: int
    recorder: LengthRecorder

    def send_back(self, cotangent: Tensor) -> dict[int, float]:
        """The squared lengths of the gradients at the layers, by node."""
        self.recorder.lengths.clear()
        differentiate(self.output, self.leaves, cotangent)
        return dict(self.recorder.lengths)


@contextmanager
def open_pass(
    model: nn.Module, batch: Batch, samples: int | None = None
) -> Iterator[DifferentiablePass]:
    """Run the model in train mode as the probe does, on the first `samples` of the batch.

    The model, its mode, its gradients and the random state are as before when the context ends.

    Raises `FitError` if the pass fails, or if its output is no real numbers that gradients can
    start from.
    """
    check_model(model)
    args, kwargs = split_batch(batch)
    size = count_samples([args, kwargs])
    if samples is not None:
        args, kwargs = change_tensors((args, kwargs), lambda one: _take(one, size, samples))
    inputs: list[Tensor] = []

    def follow(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or tensor.is_meta:
            return tensor
        inputs.append(tensor.requires_grad_())
        return tensor.clone()  # the model may change it in place, and a leaf allows none

    with (
        torch.inference_mode(False),
        preserve_model(model),
        require_gradients(model),
        sdpa_kernel(SDPBackend.MATH),  # the only one that can be differentiated twice
    ):
        set_train_mode(model)
        recorder = LengthRecorder(model)
        graph = recorder.build(*change_tensors((args, kwargs), follow))
        output = find_prediction(recorder.result)
        if output.is_complex() or not output.requires_grad or not output.numel():
            raise FitError(
                "The output has no gradient, so there is no Jacobian. Expected real numbers that "
                f"depend on the parameters, received {output.dtype} of shape {tuple(output.shape)}."
            )
        starts = inputs or [
            one for one in recorder.lookups.values() if len(one) == min(size, samples or size)
        ]
        parameters = [one for one in model.parameters() if one.requires_grad]
        yield DifferentiablePass(
            graph,
            tuple(starts),
            (*inputs, *parameters),
            output,
            min(size, samples or size),
            recorder,
        )


def differentiate(
    output: Tensor, inputs: tuple[Tensor, ...], cotangent: Tensor, *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """cotangentᵀ ∂output/∂inputs; zeros where nothing comes back."""
    try:
        found = torch.autograd.grad(
            output,
            inputs,
            cotangent.to(output),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    except RuntimeError as error:
        raise FitError(f"The backward pass failed: {quote(str(error), 300)}.") from error
    return tuple(
        torch.zeros_like(one) if gradient is None else gradient
        for one, gradient in zip(inputs, found, strict=True)
    )


def _take(tensor: Tensor, size: int, samples: int) -> Tensor:
    return tensor[:samples] if tensor.dim() and len(tensor) == size else tensor
