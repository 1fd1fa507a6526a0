"""The results store: what goes in comes out, and what is damaged is said to be."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.cell.cell import Cell
from fanin.cell.plan import Plan, PlannedCell
from fanin.cell.result import Result
from fanin.crash_points import AT
from fanin.errors import OutputError, StoreCorrupt, StoreError, StoreFull, StoreLocked, UsageError
from fanin.store import database
from fanin.store.lock import Lock, find_holder
from fanin.store.outcomes import read_outcomes
from fanin.store.results_store import Store, compute_digest, read, read_lazily
from fanin.store.verify import verify

CELL = Cell(data="digits", model="mlp", initializer="he_normal")


def result(loss: float = 0.5, outcome: str = "ok", epochs: int = 3, **fields: object) -> Result:
    cell = Cell(**{"data": "digits", "model": "mlp", "initializer": "he_normal", **fields})
    return Result(
        cell=cell, outcome=outcome, history={"loss": [loss] * epochs}, metrics={"test_loss": loss}
    )


def filled(out: Path, n: int = 5, epochs: int = 3) -> Path:
    with Store.create_or_open(out) as store:
        store.add_all(result(replicate=i, loss=i / 7, epochs=epochs) for i in range(n))
    return out / "results.sqlite"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; the folders of `tmp_path` are closed to others."""
    with tempfile.TemporaryDirectory(prefix="fanin-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's privileges."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder, and what is in it, that nobody may write and all may read."""
    for path in folder.iterdir():
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    yield
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)


def same(a: Result, b: Result) -> bool:
    return json.dumps(a.to_json()) == json.dumps(b.to_json())


# What goes in comes out


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=64), min_size=1, max_size=20), st.text(max_size=50))
def test_every_float_and_text_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, xs: list[float], text: str
) -> None:
    out = tmp_path_factory.mktemp("store")
    given_result = Result(
        cell=CELL, outcome="diverged", message=text, history={"loss": xs}, metrics={"a": xs[0]}
    )
    with Store.create_or_open(out) as store:
        store.add(given_result)
    back = read(out).results[CELL.id]
    assert [x.hex() for x in back.history["loss"]] == [x.hex() for x in xs]
    assert back.message == text
    assert same(back, given_result)


def test_nan_and_both_infinities_and_negative_zero_come_back(tmp_path: Path) -> None:
    with Store.create_or_open(tmp_path) as store:
        store.add(
            Result(
                cell=CELL,
                outcome="diverged",
                history={"loss": [math.nan, math.inf, -math.inf, -0.0]},
            )
        )
    loss = read(tmp_path).results[CELL.id].history["loss"]
    assert math.isnan(loss[0])
    assert loss[1:3] == [math.inf, -math.inf]
    assert math.copysign(1, loss[3]) == -1


def test_a_later_attempt_supersedes_and_the_earlier_one_is_kept(tmp_path: Path) -> None:
    with Store.create_or_open(tmp_path) as store:
        assert store.add(result(outcome="failed")) == 1
        assert store.add(result(loss=0.25)) == 2
    snapshot = read(tmp_path)
    assert snapshot.results[CELL.id].metrics == {"test_loss": 0.25}
    assert snapshot.attempts == {CELL.id: 2}
    with contextlib.closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        assert connection.execute("SELECT attempt, outcome FROM result").fetchall() == [
            (1, "failed"),
            (2, "ok"),
        ]


def test_the_latest_plan_is_the_one_that_is_read_and_all_cells_stay(tmp_path: Path) -> None:
    first, second = (
        Plan(
            "s", question, "sound", (PlannedCell(result(replicate=i).cell, {"initializer": "He"}),)
        )
        for i, question in enumerate(("one?", "two?"))
    )
    with Store.create_or_open(tmp_path) as store:
        store.set_plan(first)
        store.add(result(replicate=0))
        store.set_plan(second)
        store.set_plan(second)
    snapshot = read(tmp_path)
    assert snapshot.plan == second
    assert [found for _, found in snapshot.planned_results] == [None]
    assert len(snapshot.results) == 1


def test_several_results_are_committed_all_or_none(tmp_path: Path) -> None:
    def broken() -> Iterator[Result]:
        yield result()
        raise RuntimeError("cut off")

    with Store.create_or_open(tmp_path) as store:
        with pytest.raises(RuntimeError, match="cut off"):
            store.add_all(broken())
        assert store.read_results() == {}
        store.add(result())
    assert len(read(tmp_path).results) == 1


def test_paths_with_spaces_unicode_and_url_characters_work(tmp_path: Path) -> None:
    out = tmp_path / "a b" / "ü 结果 #1?mode=memory&x%20'\""
    filled(out, n=1)
    assert (out / "results.sqlite").is_file()
    assert len(read(out).results) == 1
    assert verify(out) == []


# One writer, many readers


def test_a_second_writer_is_refused_and_told_who_holds_the_store(tmp_path: Path) -> None:
    with (
        Store.create_or_open(tmp_path),
        pytest.raises(StoreLocked, match=rf"in use by process {os.getpid()} on .* \(since 20\d\d-"),
    ):
        Store.create_or_open(tmp_path)
    with Store.create_or_open(tmp_path):
        pass


def test_the_lock_file_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(
        '{"pid": 1, "host": "elsewhere", "started": "2020-01-01T00:00:00"}'
    )
    assert find_holder(tmp_path / "lock") is None
    with Store.create_or_open(tmp_path):
        assert read(tmp_path).holder.pid == os.getpid()
    assert read(tmp_path).holder is None


def test_readers_that_look_at_the_lock_never_refuse_a_writer(tmp_path: Path) -> None:
    filled(tmp_path, n=1)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            find_holder(tmp_path / "lock")

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            Lock(tmp_path / "lock").release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_reading_and_writing_at_the_same_time_fails_neither(tmp_path: Path) -> None:
    filled(tmp_path, n=1)
    seen, errors = list[int](), list[BaseException]()
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.is_set():
                seen.append(len(read(tmp_path).results))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    with Store.create_or_open(tmp_path) as store:
        for thread in threads:
            thread.start()
        for i in range(1, 30):
            store.add(result(replicate=i))
            until = time.monotonic() + 2
            while len(seen) < i and not errors and time.monotonic() < until:
                time.sleep(0.001)  # so that reading and writing take turns, however fast the disk
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert len(set(seen)) > 1
    assert len(read(tmp_path).results) == 30


def test_a_writer_waits_for_a_reader_that_takes_its_time(tmp_path: Path) -> None:
    path = filled(tmp_path, n=1)
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM result").fetchall()
    with Store.create_or_open(tmp_path) as store:
        timer = threading.Timer(
            1.3, lambda: reader.execute("COMMIT")
        )  # longer than SQLite itself waits
        timer.start()
        store.add(result(replicate=1))
        timer.join()
    reader.close()
    assert len(read(tmp_path).results) == 2


def cut_off_a_write(path: Path) -> None:
    """Leave a half-written file and its journal, as a kill in the middle of a commit does."""
    script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE result SET record = 'garbage' || record")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert path.with_name("results.sqlite-journal").stat().st_size > 0
    assert b"garbage" in path.read_bytes()


def test_a_write_cut_off_in_the_middle_is_undone_by_the_next_reader(tmp_path: Path) -> None:
    path = filled(tmp_path, n=50, epochs=500)
    before = read(tmp_path)
    cut_off_a_write(path)
    assert {k: v.to_json() for k, v in read(tmp_path).results.items()} == {
        k: v.to_json() for k, v in before.results.items()
    }
    assert verify(tmp_path) == []


def test_a_write_cut_off_where_nothing_may_be_written_is_explained_and_undone_elsewhere(
    open_folder: Path,
) -> None:
    folder = open_folder / "out"
    cut_off_a_write(filled(folder, n=50, epochs=500))
    with (
        read_only(folder),
        as_nobody(),
        pytest.raises(OutputError, match=r"there is a results\.sqlite-journal"),
    ):
        read(folder)
    assert len(read(folder).results) == 50


# Damage


def damage_not_a_database(path: Path) -> None:
    path.write_bytes(b"hello, this is not a database at all " * 200)


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_zeroed_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


def damage_zeroed_record(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.rindex(b'"history"')
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)


def damage_one_digit(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b'"test_loss":0.') + len(b'"test_loss":0.')
    path.write_bytes(
        content[:at]
        + bytes([ord("1") if content[at] != ord("1") else ord("2")])
        + content[at + 1 :]
    )


def damage_other_program(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE result (x)")


DAMAGES = [function for name, function in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_by_readers_and_by_verify_and_the_file_is_left_alone(
    tmp_path: Path, damage
) -> None:
    path = filled(tmp_path)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        read(tmp_path)
    assert verify(tmp_path)
    with pytest.raises(StoreCorrupt), Store.create_or_open(tmp_path) as store:
        store.read_results()
    assert path.read_bytes() == before


def test_a_journal_without_its_database_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.rename(tmp_path / "results.sqlite-journal")
    with pytest.raises(StoreCorrupt, match="journal"):
        Store.create_or_open(tmp_path)


def test_a_store_of_a_newer_fanin_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for opening in (read, Store.create_or_open):
        with pytest.raises(
            StoreError, match="schema version 99; this version of fanin reads versions up to 2"
        ):
            opening(tmp_path)


def test_a_record_of_a_newer_fanin_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path, n=1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        record = json.loads(connection.execute("SELECT record FROM result").fetchone()[0]) | {
            "schema": 2
        }
        text = json.dumps(record)
        connection.execute("UPDATE result SET record = ?, digest = ?", (text, compute_digest(text)))
        connection.commit()
    with pytest.raises(StoreCorrupt, match="Expected a result of schema 1, received schema 2"):
        read(tmp_path)


def test_an_older_store_is_migrated_by_the_writer_with_a_copy_kept_and_in_memory_by_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(
        database, "MIGRATIONS", (*database.MIGRATIONS, ("ALTER TABLE result ADD COLUMN note TEXT",))
    )
    assert len(read(tmp_path).results) == 5
    assert path.read_bytes() == before
    with Store.create_or_open(tmp_path) as store:
        store.add(result(replicate=9))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT count(*), count(note) FROM result").fetchone() == (6, 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "results.sqlite.version-2")) as connection:
        assert connection.execute("SELECT count(*) FROM result").fetchone() == (5,)


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    steps = ("ALTER TABLE result ADD COLUMN note TEXT", "this is not SQL")
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, steps))
    with pytest.raises(StoreError):
        Store.create_or_open(tmp_path)
    monkeypatch.undo()
    assert len(read(tmp_path).results) == 5
    assert verify(tmp_path) == []


def test_verify_finds_a_wrong_outcome_and_a_missing_attempt(tmp_path: Path) -> None:
    path = filled(tmp_path)
    assert verify(tmp_path) == []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE result SET outcome = 'failed' WHERE number = 1")
        connection.execute("UPDATE result SET attempt = 3 WHERE number = 2")
        connection.commit()
    problems = verify(tmp_path)
    assert len(problems) == 3
    assert "another outcome than failed" in problems[0]
    assert "its bytes have changed" in problems[1]
    assert "expected attempt 1" in problems[2]


# Full disks and folders that cannot be written


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_and_committed_results_stay_and_more_follow_later(
    tmp_path: Path,
) -> None:
    acknowledged = 0
    with Store.create_or_open(tmp_path) as store:
        with files_no_larger_than(300_000):
            message = ""
            while not message:
                try:
                    store.add(result(replicate=acknowledged, epochs=2000))
                    acknowledged += 1
                except StoreFull as error:
                    message = str(error)
        assert "disk full" in message
        assert len(store.read_results()) == acknowledged > 3
        store.add(result(replicate=acknowledged, epochs=2000))
    assert len(read(tmp_path).results) == acknowledged + 1
    assert verify(tmp_path) == []


def test_sqlite_full_reads_disk_full(tmp_path: Path) -> None:
    with Store.create_or_open(tmp_path) as store:
        store.add(result())
        store._connection.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StoreFull, match="Disk full"):
            store.add(result(replicate=1, epochs=20_000))
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.add(result(replicate=1, epochs=20_000))
    assert len(read(tmp_path).results) == 2


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="Cannot write"):
            Store.create_or_open(out)


def test_a_read_only_folder_can_be_read_but_not_written(open_folder: Path) -> None:
    folder = open_folder / "out"
    filled(folder)
    with read_only(folder), as_nobody():
        assert len(read(folder).results) == 5
        assert verify(folder) == []
        with pytest.raises(OutputError, match="Permission denied"):
            Store.create_or_open(folder)
        with pytest.raises(OutputError, match="Permission denied"):
            Store.create_or_open(folder / "below")


def test_reading_where_there_is_no_store_says_what_was_expected(tmp_path: Path) -> None:
    for look in (read, verify):
        with pytest.raises(UsageError, match=r"expected a folder with results\.sqlite"):
            look(tmp_path / "nothing")


# Safety


def test_reading_a_store_imports_no_torch() -> None:
    stores = ["store.results_store", "store.verify", "store.merge", "store.jsonl"]
    modules = [*stores, "execution.runner", "execution.worker", "execution.engine"]
    imports = ", ".join(f"fanin.{module}" for module in modules)
    script = f"import {imports}, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_nothing_in_a_store_is_ever_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    payload = b"cbuiltins\nopen\n(S'" + str(marker).encode() + b"'\nS'w'\ntR."
    path = filled(tmp_path / "out", n=1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE result SET record = ?, digest = ?", (payload, compute_digest(payload.decode()))
        )
        connection.commit()
    with pytest.raises(StoreCorrupt):
        read(tmp_path / "out")
    assert verify(tmp_path / "out")
    path.write_bytes(payload)
    with pytest.raises(StoreCorrupt):
        read(tmp_path / "out")
    assert not marker.exists()


def test_a_process_killed_while_it_makes_the_store_leaves_nothing_in_the_way(
    tmp_path: Path,
) -> None:
    script = f"from fanin.store.results_store import Store; Store.create_or_open({str(tmp_path)!r})"
    environment = {**os.environ, AT: "store.before_created"}
    assert (
        subprocess.run([sys.executable, "-c", script], env=environment).returncode
        == -signal.SIGKILL
    )
    assert not (tmp_path / "results.sqlite").exists()
    filled(tmp_path)
    assert len(read(tmp_path).results) == 5


def test_rows_of_the_first_version_are_read_by_their_digests_and_can_be_added_to(
    tmp_path: Path,
) -> None:
    path = filled(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE result DROP COLUMN checksum")
        connection.execute("PRAGMA user_version = 1")
    before = read(tmp_path).results
    assert set(read_outcomes(tmp_path).results) == set(before)
    assert read_lazily(tmp_path).results == before
    assert verify(tmp_path) == []
    with Store.create_or_open(tmp_path) as store:
        store.add(result(replicate=9))
        assert {cell: store.read_results()[cell] for cell in before} == before
    assert len(read_outcomes(tmp_path).results) == len(before) + 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        counted = connection.execute("SELECT count(*), count(checksum) FROM result").fetchone()
        assert counted == (len(before) + 1, 1)
        connection.execute("UPDATE result SET record = replace(record, '0.5', '0.6')")
        connection.commit()
    for look in (read, read_outcomes):
        with pytest.raises(StoreCorrupt, match="its bytes have changed"):
            look(tmp_path)


def test_the_checksum_of_a_row_protects_every_column(tmp_path: Path) -> None:
    path = filled(tmp_path)
    content = path.read_bytes()
    for change in (
        "outcome = 'diverged'",
        "attempt = 2",
        "checksum = checksum + 1",
        "digest = replace(digest, '0', '1')",
        "record = replace(record, '0.14', '0.15')",
    ):
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"UPDATE result SET {change} WHERE number = 2")
            connection.commit()
        with pytest.raises(StoreCorrupt):
            read_outcomes(tmp_path)
        assert verify(tmp_path) != []
