"""A terminal, a pipe or a disk that cannot be written: the work goes on, and its exit code
stays.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

import pytest
from cli_session import TINY, fanin
from combinations import for_each

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.cli import main
from fanin.cli.output_stream import OutputStream
from fanin.execution.events import CellFinished, CellStarted, RunStarted
from fanin.progress.progress_display import show_training
from fanin.store.results_store import read


def open_full_disk() -> TextIO:
    return Path("/dev/full").open("w")


def open_pipe_without_reader() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def open_lost_terminal() -> TextIO:
    ours, theirs = pty.openpty()
    os.close(ours)
    return os.fdopen(theirs, "w")


def open_closed_file() -> TextIO:
    with Path(os.devnull).open("w") as stream:
        return stream


UNWRITABLE: dict[str, Callable[[], TextIO | None]] = {
    "full disk": open_full_disk,
    "pipe without a reader": open_pipe_without_reader,
    "terminal that is gone": open_lost_terminal,
    "closed by user code": open_closed_file,
    "not there (>&-)": lambda: None,
}


def drop(stream: TextIO | None) -> None:
    """Close a stream that cannot be flushed."""
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


@for_each("case", UNWRITABLE)
def test_progress_survives_a_stream_that_cannot_be_written(case: str) -> None:
    stream = UNWRITABLE[case]()
    out = OutputStream(stream)
    cell = Cell(data="digits", model="mlp", initializer="zero")
    with show_training([cell], {}, out) as handle:
        for event in (
            RunStarted(1, 1, 1, {}),
            CellStarted(cell, 1),
            CellFinished(Result(cell=cell, outcome="ok"), 1),
        ):
            handle(event)
    assert out.failure is not None
    drop(stream)


@for_each("case", UNWRITABLE)
def test_a_command_that_only_prints_fails_if_it_cannot(case: str) -> None:
    stream, errors = UNWRITABLE[case](), io.StringIO()
    with redirect_stdout(stream), redirect_stderr(errors):
        code = main(["list"])
    drop(stream)
    if case == "pipe without a reader":
        assert (code, errors.getvalue()) == (1, "")  # as of `fanin list | head`
    else:
        assert code == 2
        assert errors.getvalue().startswith("Error: Cannot write standard output: ")


def test_a_run_without_output_trains_stores_and_writes_everything(
    tmp_path: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY.replace("epochs = 2", "epochs = 1"))
    with open_full_disk() as out, open_pipe_without_reader() as errors:
        with redirect_stdout(out), redirect_stderr(errors):
            code = main(["run", "tiny.toml", "--out", "out", "--workers", "1"])
        # What is buffered would make Python fail when it closes the streams.
        for stream in (out, errors):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    assert code == 0
    assert [result.outcome for result in read("out").results.values()] == ["ok", "ok"]
    for name in ("report.html", "curves.png", "table.csv", "table.md"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    check_that_one_file_does_not_cost_the_others(tmp_path / "out")


def check_that_one_file_does_not_cost_the_others(folder: Path) -> None:
    (folder / "report.html").unlink()
    (folder / "curves.png").unlink()
    (folder / "report.html").mkdir()
    done = fanin("report", "out")
    assert done.code == 2
    assert "Cannot write out/report.html" in done.err
    assert "he_normal" in done.out
    assert "Page:" not in done.out
    assert (folder / "curves.png").stat().st_size > 100


def test_descriptors_that_are_closed_are_not_given_to_files_and_exit_codes_stay(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\n"
        "from fanin.cli.output_stream import open_output\n"
        "with open_output() as (out, errors):\n"
        "    print('to nobody')\n"
        "    sys.stderr.write('to nobody')\n"
        f"    with open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "        json.dump([file.fileno(), out.failure.strerror], file)\n"
    )
    command = f'exec "{sys.executable}" "{script}"'
    for closed in (">&- 2>&-", "<&- >&- 2>&-"):
        status = subprocess.run(["sh", "-c", f"{command} {closed}"], check=False).returncode
        descriptor, reason = json.loads((tmp_path / "file").read_text())
        assert (status, reason) == (0, "it is closed")
        assert descriptor > 2


def test_python_does_not_fail_at_exit_because_of_what_is_buffered(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fanin", "list"]
    with open_full_disk() as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: Cannot write standard output: No space left on device.\n"


def test_characters_that_an_encoding_lacks_are_replaced() -> None:
    raw = io.BytesIO()
    out = OutputStream(io.TextIOWrapper(raw, encoding="ascii"))
    out.write("0.1 ± 0.2 — ≤ √ \udcff\n")
    out.flush()
    assert out.failure is None
    assert raw.getvalue() == b"0.1 +/- 0.2 - <= ? ?\n"
