"""Results on their way between stores: JSON lines and merging."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_session import fanin
from combinations import for_each

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.crash_points import AT
from fanin.errors import DataUnavailable, OutputError, StoreCorrupt, StoreFull, UsageError
from fanin.store import jsonl
from fanin.store.merge import merge
from fanin.store.results_store import Store, read


def result(
    loss: float = 0.5,
    outcome: str = "ok",
    replicate: int = 0,
    seconds: float = 1.0,
    **fields: object,
) -> Result:
    cell = Cell(data="digits", model="mlp", initializer="he_normal", replicate=replicate)
    history = {"loss": [loss, math.nan], "seconds": [seconds, seconds]}
    return Result(
        cell=cell,
        outcome=outcome,
        history=history if outcome in ("ok", "diverged") else {},
        metrics={"test_loss": loss} if outcome == "ok" else {},
        **fields,
    )


def store_with(out: Path, *results: Result) -> Path:
    with Store.create_or_open(out) as store:
        store.add_all(results)
    return out


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# JSON lines


def test_results_come_back_from_json_lines_exactly(tmp_path: Path) -> None:
    results = [result(0.1, replicate=1), result(math.inf, "diverged", replicate=0)]
    assert jsonl.write(results, tmp_path / "r.jsonl") == 2
    back, warnings = jsonl.read(tmp_path / "r.jsonl")
    assert warnings == []
    assert [r.to_json() for r in back] == [results[1].to_json(), results[0].to_json()]


def test_the_file_does_not_depend_on_the_order_of_the_results(tmp_path: Path) -> None:
    results = [result(i / 7, replicate=i) for i in range(5)]
    jsonl.write(results, tmp_path / "a.jsonl")
    jsonl.write(reversed(results), tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_last_line_that_was_cut_off_anywhere_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    jsonl.write([result(replicate=0), result(replicate=1)], path)
    whole = path.read_bytes()
    start_of_last = whole.index(b"\n") + 1
    for cut in range(start_of_last + 1, len(whole) - 1, 37):
        path.write_bytes(whole[:cut])
        back, warnings = jsonl.read(path)
        assert [r.cell.replicate for r in back] == [0]
        assert "last line is incomplete" in warnings[0]
    path.write_bytes(whole[:-1])  # only the newline is missing: the line is whole
    assert len(jsonl.read(path)[0]) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": NaN}',
        b"[" * 100_000,
        b'{"schema": 1, "id": "0"}',
        b"\x80\x04K\x01.",
    ],
)
def test_any_other_bad_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "r.jsonl"
    jsonl.write([result(replicate=0), result(replicate=1)], path)
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second, b""]))
    with pytest.raises(StoreCorrupt, match=r"r\.jsonl, line 2: "):
        jsonl.read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 1e999),
        ("learning_rate", "fast"),
        ("nonsense", 1),
        ("activation", {"a": 1}),
        ("replicate", [[]]),
    ],
)
def test_a_cell_that_was_edited_is_noticed(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "r.jsonl"
    record = result().to_json()
    record["cell"][key] = value
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(StoreCorrupt, match="line 1"):
        jsonl.read(path)


def test_writing_to_a_full_device_says_disk_full() -> None:
    with pytest.raises(StoreFull, match=r"/dev/full: disk full"):
        jsonl.write([result()], "/dev/full")


def test_writing_where_nothing_can_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Cannot write"):
        jsonl.write([result()], tmp_path / "missing" / "r.jsonl")
    with pytest.raises(OutputError, match="Cannot write"):
        jsonl.write([result()], tmp_path)


def test_an_export_that_is_killed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    jsonl.write([result()], path)
    before = path.read_bytes()
    script = f"from fanin.store import jsonl; jsonl.write([], {str(path)!r})"
    killed = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, AT: "file.before_replace"}
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        jsonl.read(tmp_path / "r.jsonl")


# Merging


def test_committed_lines_seed_a_store(tmp_path: Path) -> None:
    jsonl.write([result(replicate=i) for i in range(3)], tmp_path / "r.jsonl")
    merged = merge(tmp_path / "out", [tmp_path / "r.jsonl"])
    assert (merged.added, merged.skipped, merged.conflicts, merged.warnings) == (3, 0, (), ())
    again = merge(tmp_path / "out", [tmp_path / "r.jsonl"])
    assert (again.added, again.skipped) == (0, 3)
    assert set(read(tmp_path / "out").attempts.values()) == {1}


def test_equal_numbers_that_took_another_time_are_no_conflict(tmp_path: Path) -> None:
    store_with(tmp_path / "a", result(seconds=1))
    store_with(tmp_path / "b", result(seconds=2, environment={"device": "another"}))
    merged = merge(tmp_path / "a", [tmp_path / "b"])
    assert (merged.added, merged.skipped, merged.conflicts) == (0, 1, ())


def test_other_numbers_are_reported_and_the_store_keeps_its_own(tmp_path: Path) -> None:
    store_with(tmp_path / "a", result(0.25))
    store_with(tmp_path / "b", result(0.75), result(replicate=1))
    merged = merge(tmp_path / "a", [tmp_path / "b"])
    assert merged.added == 1
    assert len(merged.conflicts) == 1
    assert f"{tmp_path / 'b'} has other numbers" in merged.conflicts[0]
    assert read(tmp_path / "a").results[result().cell.id].metrics == {"test_loss": 0.25}


def test_a_settled_result_replaces_a_failed_one_but_never_the_reverse(tmp_path: Path) -> None:
    store_with(tmp_path / "a", result(outcome="failed"), result(replicate=1))
    store_with(tmp_path / "b", result(), result(outcome="killed", replicate=1))
    merged = merge(tmp_path / "a", [tmp_path / "b"])
    assert (merged.added, merged.skipped, merged.conflicts) == (1, 1, ())
    assert {r.outcome for r in read(tmp_path / "a").results.values()} == {"ok"}


def test_the_first_plan_is_taken_over_by_a_store_without_one(tmp_path: Path) -> None:
    plan = Plan("s", "q?", "sound", (PlannedCell(result().cell, {}),))
    with Store.create_or_open(tmp_path / "a") as store:
        store.set_plan(plan)
    merge(tmp_path / "b", [tmp_path / "a"])
    assert read(tmp_path / "b").plan == plan


def test_a_source_that_is_bad_leaves_the_store_untouched(tmp_path: Path) -> None:
    store_with(tmp_path / "a", result())
    jsonl.write([result(replicate=1)], tmp_path / "good.jsonl")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(StoreCorrupt):
        merge(tmp_path / "a", [tmp_path / "good.jsonl", tmp_path / "bad.jsonl"])
    with pytest.raises(UsageError, match=r"expected a results folder or a \.jsonl file"):
        merge(tmp_path / "a", [tmp_path / "good.jsonl", tmp_path / "table.csv"])
    assert len(read(tmp_path / "a").results) == 1


def test_a_conflict_is_no_success_and_moves_no_cursor(tmp_path: Path) -> None:
    store_with(tmp_path / "a", result(0.25))
    store_with(tmp_path / "b", result(0.75, environment={"device": "\x1b[2J\x1b]0;title\x07chip"}))
    done = fanin("store", "merge", tmp_path / "a", tmp_path / "b")
    assert done.code == 1
    assert "\\x1b[2J\\x1b]0;title\\x07chip" in done.err
    assert "\x1b" not in done.err + done.out
    assert "1 conflicts" in done.out
    assert fanin("store", "merge", tmp_path / "a", tmp_path / "a").code == 0


def test_what_anybody_says_in_an_error_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise DataUnavailable("example.org says: 503 \x1b[2Jbusy\u202e\nThen \x9bnothing.")

    monkeypatch.setattr("fanin.catalogue.find", fail)
    done = fanin("show", "mnist")
    assert done.err == ("Error: example.org says: 503 \\x1b[2Jbusy\\u202e\nThen \\x9bnothing.\n")


HOLDER = json.dumps({"pid": 7, "host": "\x1b[31mhost", "started": "now"})

DAMAGED = {
    "a holder with escape characters": (HOLDER, "{}", "process 7 on \\x1b[31mhost"),
    "no JSON": ("\0" * 50, "\0", "another process"),
    "other types": ("[1, 2]", '{"running": [{"epoch": "x"}]}', "another process"),
    "numbers that are none": ('{"pid": 1e999}', '{"eta": NaN}', "another process"),
    "nested": ("[" * 4000, "[" * 4000, "another process"),
}


@for_each("case", DAMAGED)
def test_a_damaged_lock_or_progress_file_is_a_sentence(tmp_path: Path, case: str) -> None:
    lock, progress, holder = DAMAGED[case]
    folder = tmp_path / case.replace(" ", "-")
    with Store.create_or_open(folder) as store:
        store.add(result())
        store.set_plan(Plan("s", "q", "sound", (PlannedCell(result().cell, {}),)))
        store.folder.lock.write_text(lock)
        store.folder.progress.write_text(progress)
        done = fanin("status", folder)
        again = fanin("store", "merge", folder, folder)
    assert done.code == 0
    assert f"Running: {holder}" in done.out
    assert "progress.json is damaged" in done.out
    assert (again.code, holder in again.err) == (3, True)
    assert "\x1b" not in done.out + again.err


def test_without_locks_what_only_reads_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_with(tmp_path, result())
    with Store.create_or_open(tmp_path) as store:
        store.set_plan(Plan("s", "q", "sound", (PlannedCell(result().cell, {}),)))

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("fanin.store.lock.fcntl.flock", refuse)
        done = fanin("status", tmp_path)
        assert done.code == 0
        assert "Whether it is running cannot be told: This file system has no" in done.out
        assert fanin("store", "merge", tmp_path, tmp_path).code == 3
    monkeypatch.setattr("fanin.store.lock.fcntl", None)
    for words in (["status", tmp_path], ["export", tmp_path, "--to", "jsonl"]):
        assert fanin(*words).code == 0
    assert fanin("store", "merge", tmp_path, tmp_path).code == 3
