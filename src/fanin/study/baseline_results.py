"""Baselines of the built-in studies: their results, as fanin brings them along.

Histories are left out: a verdict needs none, and they are nine tenths of the size. The files are
made from ``results/<study>.jsonl`` by ``docs/baselines.py``.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path

from fanin.cell.result import SETTLED, Result
from fanin.errors import StoreCorrupt, UsageError
from fanin.store import jsonl, results_store
from fanin.store.results_folder import check_path

_FOLDER = resources.files("fanin.study") / "baselines"
_SUFFIX = ".jsonl.xz"


def list_baselines() -> tuple[str, ...]:
    """The built-in studies that come with baselines."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def read_baselines(study: str) -> dict[str, Result]:
    """The baselines of a built-in study by cell id, those of its tuning included.

    Raises `UsageError` if it has none.
    """
    if study not in list_baselines():
        raise UsageError(
            f"Study {study} comes without baselines. Those that have some: "
            f"{', '.join(list_baselines())}."
        )
    lines = lzma.decompress((_FOLDER / f"{study}{_SUFFIX}").read_bytes()).decode().splitlines()
    results = (Result.from_json(json.loads(line)) for line in lines)
    return {result.cell.id: result for result in results}


def compress_baselines(results: Iterable[Result]) -> bytes:
    """Results as a file of baselines: those that are settled, without histories, compressed."""
    kept = [
        replace(
            result,
            history={},
            timings={name: round(seconds, 3) for name, seconds in result.timings.items()},
        )
        for result in results
        if result.outcome in SETTLED
    ]
    return lzma.compress(jsonl.to_text(kept).encode(), preset=9 | lzma.PRESET_EXTREME)


def read_results(source: Path | str) -> dict[str, Result]:
    """The results in a ``.jsonl`` file or a results folder, by cell id.

    Raises `UsageError` for anything else, and `StoreCorrupt`.
    """
    path = Path(source)
    check_path(path)
    if path.is_dir():
        return dict(results_store.read_lazily(path).results)
    if path.suffix == ".jsonl":
        return {result.cell.id: result for result in jsonl.read(path)[0]}
    if path.name.endswith(_SUFFIX) and path.is_file():
        try:
            lines = lzma.decompress(path.read_bytes()).decode().splitlines()
            found = [Result.from_json(json.loads(line)) for line in lines]
        except (lzma.LZMAError, ValueError) as error:
            raise StoreCorrupt(f"{path} is no file of baselines: {error}") from None
        return {result.cell.id: result for result in found}
    raise UsageError(
        f"Cannot read baselines from {source}: expected a results folder, such as runs/quick, or a "
        ".jsonl file."
    )
