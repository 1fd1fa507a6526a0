"""What a limit explains is told, and nothing else is guessed."""

from __future__ import annotations

import errno
import signal

import pytest
from cli_session import fanin

from fanin import catalogue
from fanin.execution import process_limits
from fanin.execution.process_limits import explain_lack_of_memory, explain_signal


def limit(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    monkeypatch.setattr(process_limits, "_read_limit", limits.get)


def test_memory_is_a_guess_only_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch)
    killed = signal.SIGKILL
    assert explain_signal(killed, 0, 5.0) == ""
    assert explain_signal(killed, 1, 5.0) == " (out of memory?)"
    assert explain_signal(killed, None, 5.0) == " (out of memory?)"
    assert explain_signal(signal.SIGSEGV, 1, 5.0) == ""
    assert explain_signal(signal.SIGXCPU, 0, 5.0) == " (its limit of CPU time, ulimit -t)"
    limit(monkeypatch, RLIMIT_CPU=6.0)
    assert explain_signal(killed, None, 5.9) == " (its limit of 6 s of CPU time, ulimit -t)"
    assert explain_signal(killed, 1, 0.1) == " (out of memory?)"


def test_lack_of_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ):
        assert explain_lack_of_memory(error).startswith("Not enough memory")
    assert explain_lack_of_memory(RuntimeError("a mistake in the model")) == ""
    limit(monkeypatch, RLIMIT_AS=0.6e9)
    assert "0.6 GB of address space (ulimit -v)" in explain_lack_of_memory(MemoryError())

    def fail(name: str) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(catalogue, "find", fail)
    done = fanin("show", "he_normal")
    assert done.code == 1
    assert done.err.startswith("Error: Not enough memory (std::bad_alloc)")
    assert len(done.err.splitlines()) == 1


def test_an_error_of_the_system_about_a_file_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(errno.EIO, "Input/output error", "some/file")

    monkeypatch.setattr(catalogue, "find", fail)
    done = fanin("show", "he_normal")
    assert (done.code, done.err) == (2, "Error: Cannot use 'some/file': Input/output error.\n")


def test_a_name_that_is_too_long_is_a_sentence() -> None:
    name = "x" * 300
    for words in (
        ["status", name],
        ["report", name],
        ["export", name, "--to", "csv"],
        ["store", "verify", name],
        ["store", "merge", "out", f"{name}.jsonl"],
    ):
        done = fanin(*words)
        assert done.code == 2
        assert "cannot be used as a path: File name too long" in done.err
        assert "bug" not in done.err
