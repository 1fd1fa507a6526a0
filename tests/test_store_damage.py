"""A damaged database: no result vanishes in silence, and what is sound can be salvaged."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_session import fanin
from study_cases import plan_of, result_of

from fanin.errors import OutputError, StoreError, UsageError
from fanin.store.outcomes import read_outcomes
from fanin.store.results_store import Store, read, read_lazily
from fanin.store.salvage import salvage
from fanin.store.verify import verify

PAGE = 4096
PLAN = plan_of(pairs=[("mlp", "mnist"), ("cnn", "mnist")], replicates=2)
CELLS = [planned.cell for planned in PLAN.cells]
OUTCOMES = {cell.id: "ok" for cell in CELLS}
RESULTS = {cell.id: result_of(cell) for cell in CELLS}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 results, one of them at the second attempt."""
    out = tmp_path_factory.mktemp("sound")
    with Store.create_or_open(out) as store:
        store.set_plan(PLAN)
        store.add(result_of(CELLS[0], "failed"))
        store.add_all(RESULTS.values())
    return out


def damage_copy(sound: Path, out: Path, changes: dict[int, bytes]) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(sound, out)
    with (out / "results.sqlite").open("r+b") as file:
        for offset, content in changes.items():
            file.seek(offset)
            file.write(content)
    return out


def list_damages(database: Path) -> Iterator[tuple[str, dict[int, bytes]]]:
    """Changes of headers, of bits and of whole pages, in every page of the file."""
    content, draw = database.read_bytes(), random.Random(0)
    for page in range(len(content) // PAGE):
        start = page * PAGE + (100 if page == 0 else 0)
        cells = int.from_bytes(content[start + 3 : start + 5], "big")
        for count in {0, 1, max(cells - 1, 0)} - {cells}:
            yield f"{count} cells in page {page}", {start + 3: count.to_bytes(2, "big")}
        yield f"page {page} zeroed", {page * PAGE: bytes(PAGE)}
        other = (page + 1) % (len(content) // PAGE)
        yield (
            f"pages {page} and {other} exchanged",
            {
                page * PAGE: content[other * PAGE : other * PAGE + PAGE],
                other * PAGE: content[page * PAGE : page * PAGE + PAGE],
            },
        )
        for _ in range(3):
            at = page * PAGE + draw.randrange(PAGE)
            yield f"a bit of byte {at}", {at: bytes([content[at] ^ (1 << draw.randrange(8))])}


def in_json(results: Any) -> dict[str, Any]:
    return {cell: result.to_json() for cell, result in results.items()}


def test_no_result_vanishes_whatever_is_changed_in_the_file(sound: Path, tmp_path: Path) -> None:
    whole, silent, refused = in_json(RESULTS), list[str](), 0
    for name, changes in list_damages(sound / "results.sqlite"):
        out = damage_copy(sound, tmp_path / "out", changes)
        try:
            snapshot, outcomes, lazy = read(out), read_outcomes(out), read_lazily(out)
            looked_at = in_json(lazy.results)
            with Store.create_or_open(out) as store:
                written = store.read_results()
        except (StoreError, OutputError):
            refused += 1
            continue
        except Exception as error:
            silent.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if (
            in_json(snapshot.results) != whole
            or in_json(written) != whole
            or looked_at != whole
            or {cell: found.outcome for cell, found in outcomes.results.items()} != OUTCOMES
            or [result for _, _, result in outcomes.planned] != [*outcomes.results.values()]
            or snapshot.plan != PLAN
        ):
            silent.append(f"{name}: {len(snapshot.results)} of {len(whole)}")
    assert silent == []
    assert refused > 50


def test_what_is_salvaged_is_what_was_written(sound: Path, tmp_path: Path) -> None:
    whole, kept = in_json(RESULTS), list[int]()
    for name, changes in list_damages(sound / "results.sqlite"):
        out = damage_copy(sound, tmp_path / "out", changes)
        before = (out / "results.sqlite").read_bytes()
        shutil.rmtree(tmp_path / "good", ignore_errors=True)
        report = salvage(out, tmp_path / "good")
        assert (out / "results.sqlite").read_bytes() == before, name
        found = in_json(read(tmp_path / "good").results)
        assert all(whole[cell] == record for cell, record in found.items() if cell != CELLS[0].id)
        assert verify(tmp_path / "good") == []
        if len(found) < len(whole):
            assert report.lost or report.problems, name
        kept.append(len(found))
    assert sorted(kept)[len(kept) // 2] >= len(whole) - 6  # a page or two are lost, not the store


def test_one_bad_row_no_longer_blocks_the_others(sound: Path, tmp_path: Path) -> None:
    out = damage_copy(sound, tmp_path / "out", {})
    bad = CELLS[3].id
    with contextlib.closing(sqlite3.connect(out / "results.sqlite")) as connection:
        connection.execute(
            "UPDATE result SET record = replace(record, '0.1', '0.2') WHERE cell = ?", (bad,)
        )
        connection.commit()
    for command in (
        ["status", out],
        ["export", out, "--to", "jsonl"],
        ["export", out, "--to", "csv"],
        ["report", out],
        ["store", "merge", tmp_path / "other", out],
    ):
        done = fanin(*command)
        assert done.code == 3, command
        assert "fanin store salvage" in " ".join(done.err.split())
        assert bad in done.err
    done = fanin("store", "salvage", out, tmp_path / "good", "--json")
    assert (done.code, done.record["kept"], done.record["has_plan"]) == (3, 24, True)
    assert done.record["lost"] == 1
    assert f"cell {bad}" in done.err
    assert set(read(tmp_path / "good").results) == set(RESULTS) - {bad}
    assert fanin("export", tmp_path / "good", "--to", "jsonl").code == 0


def test_a_sound_store_is_salvaged_whole(sound: Path, tmp_path: Path) -> None:
    report = salvage(sound, tmp_path / "good")
    assert (report.kept, report.lost, report.problems, report.has_plan) == (25, 0, (), True)
    assert in_json(read(tmp_path / "good").results) == in_json(RESULTS)
    with pytest.raises(UsageError, match="holds a store already"):
        salvage(sound, tmp_path / "good")
    with pytest.raises(UsageError, match="No results in"):
        salvage(tmp_path / "nowhere", tmp_path / "other")


def test_the_index_is_compared_with_the_table(sound: Path, tmp_path: Path) -> None:
    """SQLite's quick_check passes a store whose index lacks a row; a run would train it again."""
    out = damage_copy(sound, tmp_path / "out", {})
    with contextlib.closing(sqlite3.connect(out / "results.sqlite")) as connection:
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_result_1'"
        ).fetchone()[0]
    start = (root - 1) * PAGE
    content = (out / "results.sqlite").read_bytes()
    cells = int.from_bytes(content[start + 3 : start + 5], "big")
    damage_copy(sound, out, {start + 3: (cells - 1).to_bytes(2, "big")})
    with contextlib.closing(sqlite3.connect(out / "results.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM result NOT INDEXED").fetchone() == (25,)
    for command in (["status", out], ["export", out, "--to", "csv"], ["store", "verify", out]):
        assert fanin(*command).code == 3
