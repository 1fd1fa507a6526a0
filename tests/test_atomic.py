"""Atomic writes: the old file or the new one, whole, and nothing beside it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fanin import atomic
from fanin.errors import OutputError, StoreFull


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = atomic.write(tmp_path / "new" / "page.html", b"first", create_parent=True)
    assert atomic.write(str(target), "second") == target
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == {
        "page.html": b"second"
    }


def test_text_that_utf_8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    assert atomic.write(tmp_path / "f", "π \udc80").read_text("utf-8") == "π \\udc80"


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("folder", "file/below", "x" * 300, "nul\0", "missing/file"):
        with pytest.raises(OutputError, match="Cannot write"):
            atomic.write(tmp_path / name, b"x")
    for name in ("file/below", "nul\0"):
        with pytest.raises(OutputError, match="Cannot write"):
            atomic.write(tmp_path / name, b"x", create_parent=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_target_that_is_no_regular_file_is_written_directly(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    link = tmp_path / "link"
    link.symlink_to(f"/dev/fd/{write_end}")
    atomic.write(link, "text")
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        assert stream.read() == "text"
    assert link.is_symlink()


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    kept = tmp_path / "behind" / "kept"
    kept.write_text("old")
    kept.chmod(0o600)
    first, second, dangling = (tmp_path / name for name in ("first", "second", "dangling"))
    first.symlink_to("second")
    second.symlink_to("behind/kept")
    dangling.symlink_to("behind/new")
    atomic.write(first, "text")
    atomic.write(dangling, "text")
    assert first.is_symlink()
    assert second.is_symlink()
    assert dangling.is_symlink()
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("text", 0o600)
    assert (tmp_path / "behind" / "new").read_text() == "text"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["kept", "new"]


def test_a_pipe_with_a_name_is_written_through(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    atomic.write(pipe, "text")
    reader.join(10)
    assert found == ["text"]
    assert pipe.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.write_bytes(b"")
    except OSError:
        pytest.skip("no device can be made here")
    atomic.write(null, "text")
    assert null.is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_a_file_behind_standard_output_is_written_where_it_stands(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "import os, sys; from fanin import atomic; os.write(1, b'before '); "
        "atomic.write(sys.argv[1], 'text'); os.write(1, b' after')"
    )
    with (tmp_path / "out").open("w") as out:
        words = [sys.executable, "-c", code, name]
        subprocess.run(words, stdout=out, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "before text after"
    assert (tmp_path / "link").is_symlink()


def test_on_a_full_disk_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = atomic.write(tmp_path / "file", "old")
    source = atomic.write(tmp_path / "source", "new")
    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(StoreFull, match=r"disk full .*Free space"):
        atomic.write(target, "new")
    with pytest.raises(OSError, match="No space"):
        atomic.replace(target, b"new")
    with pytest.raises(OSError, match="No space"):
        atomic.copy(source, target)
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_is_copied_and_may_get_other_permissions(tmp_path: Path) -> None:
    source = atomic.write(tmp_path / "source", b"x" * (2**20 + 1))
    source.chmod(0o600)
    atomic.copy(source, tmp_path / "copy", mode=0o644)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 2


def test_a_staged_file_is_published_under_its_name(tmp_path: Path) -> None:
    staged, target = tmp_path / "staged", tmp_path / "target"
    target.write_bytes(b"old")
    atomic.write_synced(staged, b"half")
    atomic.write_synced(staged, b"new")
    staged.chmod(0o600)
    atomic.publish(staged, target, mode=0o644)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o644
    assert not staged.exists()
