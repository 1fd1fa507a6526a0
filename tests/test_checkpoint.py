"""Checkpoints: exact, atomic, and ignored if damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fanin import atomic
from fanin.training import checkpoint
from fanin.training.checkpoint import Checkpoint

CELL = "0123456789abcdef"


def _example(epoch: int = 1) -> Checkpoint:
    weight = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last)
    return Checkpoint(
        {"model.weight": weight, "optimizer.0.step": torch.tensor(5.0)},
        {"epoch": epoch, "history": {"loss": [0.1]}},
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, CELL, _example())
    found = checkpoint.load(tmp_path, CELL)
    assert found is not None
    assert found.state == _example().state
    assert torch.equal(found.tensors["model.weight"], _example().tensors["model.weight"])


def test_a_later_checkpoint_replaces_the_earlier(tmp_path: Path) -> None:
    for epoch in (1, 2):
        checkpoint.save(tmp_path, CELL, _example(epoch))
    found = checkpoint.load(tmp_path, CELL)
    assert found is not None
    assert found.state["epoch"] == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "nowhere", CELL) is None
    assert checkpoint.load(tmp_path, CELL) is None


def test_a_truncated_checkpoint_is_ignored_at_any_length(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, CELL, _example())
    payload = path.read_bytes()
    for length in range(len(payload)):
        path.write_bytes(payload[:length])
        assert checkpoint.load(tmp_path, CELL) is None, length


def test_a_flipped_bit_is_noticed_in_every_byte(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, CELL, _example())
    payload = path.read_bytes()
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(damaged))
        assert checkpoint.load(tmp_path, CELL) is None, position


def test_the_good_one_is_used_when_a_newer_one_is_damaged(tmp_path: Path) -> None:
    good = checkpoint.save(tmp_path, CELL, _example())
    (tmp_path / f"{CELL}.{'0' * 16}.safetensors").write_bytes(good.read_bytes()[:-1])
    found = checkpoint.load(tmp_path, CELL)
    assert found is not None
    assert found.state["epoch"] == 1


def test_the_one_that_has_come_furthest_is_used_whatever_the_times_of_the_files_say(
    tmp_path: Path,
) -> None:
    """A kill before the earlier one was removed leaves both, and the clock was set back between."""
    early = checkpoint.save(tmp_path, CELL, _example(1))
    kept = early.read_bytes()
    late = checkpoint.save(tmp_path, CELL, _example(2))
    early.write_bytes(kept)
    for path, seconds in ((early, 1_800_000_000), (late, 1_700_000_000)):
        os.utime(path, (seconds, seconds))
    found = checkpoint.load(tmp_path, CELL)
    assert found is not None
    assert found.state["epoch"] == 2


def test_one_of_another_environment_hides_none_of_this_one(tmp_path: Path) -> None:
    kept = {}
    for epoch, environment in ((9, "another"), (1, "this")):
        tensors = _example().tensors
        state = {"epoch": epoch, "environment": environment}
        path = checkpoint.save(tmp_path, CELL, Checkpoint(tensors, state))
        kept[path] = path.read_bytes()
    for path, payload in kept.items():
        path.write_bytes(payload)
    found = checkpoint.load(tmp_path, CELL, {"environment": "this"})
    assert found is not None
    assert found.state["epoch"] == 1
    assert checkpoint.load(tmp_path, CELL, {"environment": "a third"}) is None


def test_another_cells_checkpoint_is_not_taken(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, CELL, _example())
    other = "f" * 16
    path.rename(tmp_path / path.name.replace(CELL, other))
    assert checkpoint.load(tmp_path, other) is None


def test_a_failed_write_leaves_the_old_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, CELL, _example(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, CELL, _example(2))
    found = checkpoint.load(tmp_path, CELL)
    assert found is not None
    assert found.state["epoch"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pickle_in_place_of_a_checkpoint_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    # The opcodes of a pickle that would call os.system("touch …").
    payload = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    (tmp_path / f"{CELL}.{checkpoint._compute_digest(payload)}.safetensors").write_bytes(payload)
    assert checkpoint.load(tmp_path, CELL) is None
    assert not marker.exists()


def test_a_copy_keeps_the_strides_of_what_it_replaces() -> None:
    tensor = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    copy = checkpoint.copy_like(tensor, torch.arange(96.0).view(2, 3, 4, 4))
    assert copy.stride() == tensor.stride()
    assert torch.equal(copy, torch.arange(96.0).view(2, 3, 4, 4))
