"""A storm: hundreds of random corruptions of each kind of file that fanin reads.

A damaged file is refused in words, or it says exactly what it said before. Nothing else happens: no
row vanishes, no number changes, no other exception is raised. docs/reliability.md states the
counts.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_session import fanin
from study_cases import plan_of, results_of

from fanin import data
from fanin.cell.result import Result
from fanin.errors import FaninError
from fanin.store import jsonl
from fanin.store.merge import merge
from fanin.store.outcomes import read_outcomes
from fanin.store.results_store import Store, read, read_lazily

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CORRUPTIONS = {"store": 400, "exported results": 200, "NPZ file": 400}
"""How many corruptions of each kind of file are tried."""

PAGE = 4096


def flip_bit(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    noise = chance.randbytes(chance.choice([1, 2, 4, 16, 64]))
    return content[:start] + noise + content[start + len(noise) :]


def clear_page(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(max(1, len(content) // PAGE)) * PAGE
    return content[:start] + bytes(min(PAGE, len(content) - start)) + content[start + PAGE :]


def exchange_pages(content: bytes, chance: random.Random) -> bytes:
    pages = [content[start : start + PAGE] for start in range(0, len(content), PAGE)]
    a, b = chance.randrange(len(pages)), chance.randrange(len(pages))
    pages[a], pages[b] = pages[b], pages[a]
    return b"".join(pages)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def append(content: bytes, chance: random.Random) -> bytes:
    return content + chance.randbytes(chance.choice([1, 100, PAGE]))


def repeat_part(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    end = chance.randrange(start, len(content)) + 1
    return content[:end] + content[start:]


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bit,
    change_bytes,
    clear_page,
    exchange_pages,
    cut,
    append,
    repeat_part,
)


def try_all(kind: str, path: Path, look: Callable[[], object]) -> None:
    """Corrupt the file again and again; `look` must raise a `FaninError` or see what it saw."""
    sound, chance = path.read_bytes(), random.Random(kind)
    expected, wrong = look(), list[str]()
    for number in range(CORRUPTIONS[kind]):
        change = CHANGES[number % len(CHANGES)]
        path.write_bytes(change(sound, chance))
        try:
            if look() != expected:
                wrong.append(f"{number}: after {change.__name__}, it says something else")
        except FaninError:
            continue
        except Exception as error:
            wrong.append(f"{number}: after {change.__name__}, {type(error).__name__}: {error}")
    path.write_bytes(sound)
    assert not wrong, f"{len(wrong)} of {CORRUPTIONS[kind]}:\n" + "\n".join(wrong[:20])


def to_texts(results: dict[str, Result] | list[Result]) -> list[str]:
    values = results.values() if isinstance(results, dict) else results
    return sorted(json.dumps(result.to_json(), sort_keys=True) for result in values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = plan_of(replicates=4)
    with Store.create_or_open(tmp_path / "out") as store:
        store.set_plan(plan)
        store.add_all(results_of(plan).values())
    return tmp_path / "out"


def test_a_corrupted_store_is_refused_or_says_what_it_said(folder: Path) -> None:
    def look() -> object:
        snapshot, lazy, outcomes = read(folder), read_lazily(folder), read_outcomes(folder)
        assert to_texts(lazy.results) == to_texts(snapshot.results)
        shown = [(cell, found.outcome) for cell, found in outcomes.results.items()]
        assert shown == [(cell, result.outcome) for cell, result in snapshot.results.items()]
        return to_texts(snapshot.results), snapshot.plan, sorted(snapshot.attempts.items())

    try_all("store", folder / "results.sqlite", look)


def test_every_command_refuses_a_store_that_reading_refuses(folder: Path, tmp_path: Path) -> None:
    path, chance = folder / "results.sqlite", random.Random("commands")
    sound, refused = path.read_bytes(), 0
    for number in range(20):
        path.write_bytes(CHANGES[number % len(CHANGES)](sound, chance))
        try:
            read(folder)
        except FaninError:
            refused += 1
        else:
            continue
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(folder, copy)
        for words in (["status", copy], ["export", copy, "--to", "csv"], ["report", copy]):
            done = fanin(*words)
            assert done.code == 3, (words, done.err)
            assert "bug in fanin" not in done.err
    assert refused > 5


def test_corrupted_exported_results_are_refused_or_can_be_used(
    tmp_path: Path, folder: Path
) -> None:
    """Lines hold no checksum, so a changed digit is not seen; but no command fails on one later."""
    path, merged = tmp_path / "results.jsonl", tmp_path / "merged"
    jsonl.write(results_of(plan_of(replicates=1)).values(), path)

    def look() -> object:
        shutil.rmtree(merged, ignore_errors=True)
        shutil.copytree(folder, merged)
        merge(merged, [path])
        to_csv(merged)
        return None

    try_all("exported results", path, look)


def to_csv(out: Path) -> None:
    done = fanin("export", out, "--to", "csv", "-o", out / "table.csv")
    assert done.code == 0, done.err


def test_a_corrupted_data_file_is_refused_or_holds_the_same_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    draws = np.random.Generator(np.random.PCG64(0))
    path = tmp_path / "own" / "own.npz"
    path.parent.mkdir()
    np.savez_compressed(
        path,
        x_train=draws.normal(size=(40, 3)).astype(np.float32),
        y_train=np.arange(40) % 2,
        x_test=draws.normal(size=(20, 3)).astype(np.float32),
        y_test=np.arange(20) % 2,
    )

    def look() -> object:
        loaded = data.load("own")
        return loaded.fingerprint

    try_all("NPZ file", path, look)
