"""What the layers beside LoRA's pairs receive in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fanin.additions.lora_pairs import LoraPair
from fanin.errors import FitError, UsageError
from fanin.structure.forward_tracing import split_batch
from fanin.structure.model_state import preserve_model


def record_signals(model: object, pairs: Sequence[LoraPair], batch: Any) -> dict[str, Tensor]:
    """By the pairs' names the inputs of their layers, (samples, inputs), fp32 on the CPU.

    A model runs in eval mode, and is left as it was. For pairs of one's own, the batch is the input
    of each pair's layer.
    """
    if not isinstance(model, nn.Module):
        if not isinstance(batch, Tensor):
            raise UsageError("For pairs, batch is the tensor that their layers receive.")
        return {pair.name: _flatten(pair, batch.detach(), None) for pair in pairs}
    args, kwargs = split_batch(batch)
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    found: dict[str, Tensor] = {}
    handles = [_watch(pair, mask, found) for pair in pairs if isinstance(pair.base, nn.Module)]
    try:
        with preserve_model(model):
            model.eval()
            model(*args, **kwargs)
    except (FitError, UsageError):
        raise
    except Exception as error:
        raise FitError(f"The forward pass on the batch failed: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    missing = [pair.name for pair in pairs if pair.name not in found]
    if missing:
        raise FitError(f"The forward pass did not reach {missing[0]}, so it has no input.")
    return found


def _watch(pair: LoraPair, mask: Tensor | None, found: dict[str, Tensor]) -> Any:
    def record(module: nn.Module, args: tuple[Any, ...]) -> None:
        signal = _flatten(pair, args[0].detach(), mask)
        before = found.get(pair.name)
        found[pair.name] = signal if before is None else torch.cat([before, signal])

    assert isinstance(pair.base, nn.Module)
    return pair.base.register_forward_pre_hook(record)


def _flatten(pair: LoraPair, signal: Tensor, mask: Tensor | None) -> Tensor:
    if isinstance(pair.base, _ConvNd):
        raise FitError(f"eva is not defined for the convolution {pair.name}; use kaiming.")
    if pair.is_table or signal.shape[-1] != pair.inputs:
        raise FitError(
            f"{pair.name} has {pair.inputs} inputs, and received {tuple(signal.shape)}: eva needs "
            "signals (…, inputs)."
        )
    if mask is not None and mask.shape == signal.shape[:-1]:
        signal = signal[mask.bool().to(signal.device)]
    flat = signal.reshape(-1, pair.inputs).to("cpu", torch.float32)
    if not bool(flat.isfinite().all()):
        raise FitError(f"What {pair.name} receives holds NaN or infinity.")
    return flat
