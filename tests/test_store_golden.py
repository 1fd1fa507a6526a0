"""Stores that earlier versions of fanin have written: each opens, migrates and says what it said.

``golden_stores/`` holds one store of each form that was ever written, compressed. They come from
``fanin run golden.toml --workers 1`` of that day's program:

| store | commit | what is new in it |
|---|---|---|
| 2026-11-24 | f035f33 | the first program with a command line: schema version 1, engine 1 |
| 2026-11-25-morning | b6ea986 | engine 2 |
| 2026-11-25-evening | 35d46ac | the plan holds the study file |
| 2026-11-28 | 0c171fc | keys and columns in another order |
| 2026-11-29 | 9994226 | what the labels are like; the command that continues the study |
| 2026-11-29-checksums | the next | schema version 2: a checksum of each row; the plan names ids |

The last holds the results of the one before it, written by the program of version 2.

A change of the schema adds a store of the version that it replaces.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_session import fanin
from faults.harness import numbers

from fanin.store import database
from fanin.store.results_store import Store, read
from fanin.store.verify import verify

GOLDEN = Path(__file__).parent / "golden_stores"
STORES = sorted(path.name.partition(".")[0] for path in GOLDEN.glob("*.sqlite.gz"))

MLP, FAR = "fb574d6154fc8828", "6e01f0e568e7bb24"
REGRESSION, NOT_A_NUMBER = "fa0529a30b6a823d", "a295fd686ec3d630"
TEST_LOSS = {
    MLP: 1.5061044460551651,
    FAR: 1.7486793053297967e31,
    REGRESSION: 4618.6332147015255,
}


def unpack(name: str, out: Path) -> Path:
    """A results folder with the store and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    packed = (GOLDEN / f"{name}.sqlite.gz").read_bytes()
    (out / "results.sqlite").write_bytes(gzip.decompress(packed))
    return out


def read_version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def what_a_store_says(out: Path) -> dict[str, Any]:
    """Outcome, history and metrics of each cell."""
    return {cell: record[:3] for cell, record in numbers(read(out).results.values()).items()}


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return what_a_store_says(unpack(STORES[-1], tmp_path_factory.mktemp("today")))


def test_there_is_a_store_of_every_schema_version(tmp_path: Path) -> None:
    versions = {read_version(unpack(name, tmp_path / name) / "results.sqlite") for name in STORES}
    assert versions == set(range(1, len(database.MIGRATIONS) + 1))


@pytest.mark.parametrize("name", STORES)
def test_an_earlier_store_says_what_it_said(
    tmp_path: Path, today: dict[str, Any], name: str
) -> None:
    out = unpack(name, tmp_path)
    assert verify(out) == []
    snapshot = read(out)
    assert snapshot.plan is not None
    assert [planned.cell.id for planned in snapshot.plan.cells] == [
        *(MLP, FAR),
        *(REGRESSION, NOT_A_NUMBER),
    ]
    assert {cell: r.metrics.get("test_loss") for cell, r in snapshot.results.items()} == {
        **TEST_LOSS,
        NOT_A_NUMBER: None,
    }
    diverged = snapshot.results[NOT_A_NUMBER]
    assert diverged.outcome == "diverged"
    assert math.isnan(diverged.history["loss"][0])
    assert what_a_store_says(out) == today


@pytest.mark.parametrize("name", STORES)
def test_an_earlier_store_is_migrated_with_a_copy_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, today: dict[str, Any], name: str
) -> None:
    """Migrated to today's version, and to one that does not exist yet."""
    out = unpack(name, tmp_path)
    before = (out / "results.sqlite").read_bytes()
    version = read_version(out / "results.sqlite")
    further = ("ALTER TABLE result ADD COLUMN note TEXT",)
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, further))
    assert what_a_store_says(out) == today
    assert (out / "results.sqlite").read_bytes() == before
    Store.create_or_open(out).close()
    assert read_version(out / "results.sqlite") == len(database.MIGRATIONS)
    assert what_a_store_says(out) == today
    kept = tmp_path / "kept"
    kept.mkdir()
    (out / f"results.sqlite.version-{version}").rename(kept / "results.sqlite")
    monkeypatch.undo()
    assert what_a_store_says(kept) == today
    assert verify(kept) == []


@pytest.mark.parametrize("name", STORES)
def test_a_study_goes_on_in_an_earlier_store(tmp_path: Path, name: str) -> None:
    out = unpack(name, tmp_path / "out")
    done = fanin("run", GOLDEN / "golden.toml", "--out", out, "--json")
    assert (done.code, done.record["trained"]) == (0, 0)
    assert {path.name for path in out.iterdir()} >= {"report.html", "table.csv", "curves.png"}
    exported = fanin("export", out, "--to", "jsonl", "-o", tmp_path / "lines.jsonl")
    assert exported.code == 0, exported.err
    merged = fanin("store", "merge", tmp_path / "merged", tmp_path / "lines.jsonl")
    assert merged.code == 0, merged.err
    assert what_a_store_says(tmp_path / "merged") == what_a_store_says(out)
