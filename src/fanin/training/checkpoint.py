"""Checkpoints: a cell's whole training state at an epoch's end. A crash never leaves half of one.

A checkpoint is one safetensors file, ``<cell id>.<digest>.safetensors``, whose name contains the
first 16 hexadecimal digits of its SHA-256. It is written aside, synced and moved into place; the
previous one is removed afterwards. A file whose bytes do not match the digest in its name is
ignored, and the cell starts again: never a wrong number, never a crash.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from fanin import atomic
from fanin.crash_points import pass_crash_point

FORMAT = "1"


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors, and everything else as a JSON object."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, cell_id: str, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of the cell, remove the previous one and return the new file's path.

    Tensors are stored contiguous, whatever their strides.
    """
    from safetensors.torch import save as to_bytes

    payload = to_bytes(
        _prepare_for_storage(checkpoint.tensors),
        {"format": FORMAT, "cell": cell_id, "state": json.dumps(checkpoint.state)},
    )
    folder.mkdir(parents=True, exist_ok=True)
    previous = list(folder.glob(f"{cell_id}.*"))
    path = folder / f"{cell_id}.{_compute_digest(payload)}.safetensors"
    atomic.replace(path, payload, crash_at="checkpoint.before_replace")
    pass_crash_point("checkpoint.after_replace")
    for old in previous:
        if old != path:
            old.unlink(missing_ok=True)
    return path


def load(
    folder: Path, cell_id: str, context: Mapping[str, Any] = MappingProxyType({})
) -> Checkpoint | None:
    """The intact checkpoint of the cell that has come furthest, or None.

    There are two if the process was killed before it removed the previous one. The times of the
    files do not tell which is newer, since a clock may jump.

    Args:
        folder: where checkpoints are.
        cell_id: the cell.
        context: what the state of a checkpoint must say, by name; others are passed over.
    """
    found = [
        checkpoint
        for path in sorted(folder.glob(f"{cell_id}.*.safetensors"))
        if (checkpoint := _read(path, cell_id)) is not None
        and all(checkpoint.state.get(name) == value for name, value in context.items())
    ]
    return max(found, key=lambda checkpoint: checkpoint.state.get("epoch", 0), default=None)


def save_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named weights as a plain safetensors file."""
    from safetensors.torch import save as to_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.replace(path, to_bytes(_prepare_for_storage(tensors)))


def copy_like(tensor: Tensor, stored: Tensor) -> Tensor:
    """A copy of `stored` with the strides, dtype and device of `tensor`."""
    return torch.empty_like(tensor, memory_format=torch.preserve_format).copy_(stored)


def _prepare_for_storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, none sharing memory with another (as tied weights do).

    safetensors requires all three.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    counts = Counter(tensor.untyped_storage().data_ptr() for tensor in stored.values())
    return {
        name: t.clone() if counts[t.untyped_storage().data_ptr()] > 1 else t
        for name, t in stored.items()
    }


def _read(path: Path, cell_id: str) -> Checkpoint | None:
    """The checkpoint in a file, or None if the file is damaged or of another cell or format."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        payload = path.read_bytes()
        if _compute_digest(payload) != path.name.split(".")[1]:
            return None
        header_size = int.from_bytes(payload[:8], "little")
        metadata = json.loads(payload[8 : 8 + header_size])["__metadata__"]
        if metadata["format"] != FORMAT or metadata["cell"] != cell_id:
            return None
        return Checkpoint(from_bytes(payload), json.loads(metadata["state"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _compute_digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:16]
