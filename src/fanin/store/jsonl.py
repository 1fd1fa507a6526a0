"""Results as JSON lines, one `Result.to_json` a line: for version control and for other stores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from fanin import atomic
from fanin.cell.record_check import require_plausible
from fanin.cell.result import Result
from fanin.errors import StoreCorrupt, UsageError, quote


def to_text(results: Iterable[Result]) -> str:
    """Results as lines, in an order that depends on their cells only."""
    lines = [
        json.dumps(result.to_json(), sort_keys=True, allow_nan=False)
        for result in sorted(results, key=_make_sort_key)
    ]
    return "".join(f"{line}\n" for line in lines)


def write(results: Iterable[Result], path: Path | str) -> int:
    """Write results to a file; returns their number.

    Raises `StoreFull` or `OutputError`; the old file is then unchanged.
    """
    text = to_text(results)
    atomic.write(path, text)
    return text.count("\n")


def read(path: Path | str) -> tuple[list[Result], list[str]]:
    """The results in a file, and warnings. An incomplete last line is skipped with a warning.

    Raises `StoreCorrupt`, which names line and key, for anything else that is not a result, or that
    cannot be true (`fanin.cell.record_check`).
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    lines = content.split(b"\n")
    incomplete = lines.pop()  # empty if the file ends with a line break
    results = [
        _parse_line(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not incomplete.strip():
        return results, []
    try:
        return [*results, _parse_line(incomplete, f"{path}, line {len(lines) + 1}")], []
    except StoreCorrupt:
        return results, [f"{path}: the last line is incomplete and was skipped."]


def _parse_line(line: bytes, place: str) -> Result:
    try:
        record = json.loads(line, parse_constant=_reject_constant, object_pairs_hook=_make_object)
        require_plausible(record)
        return Result.from_json(record)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{place}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise StoreCorrupt(
            f"{place}: expected a JSON object, received {quote(line)} ({error})."
        ) from None


def _reject_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in made if keys.count(key) > 1)} twice")
    return made


def _make_sort_key(result: Result) -> tuple[str, str, int, str, str]:
    cell = result.cell
    return cell.data, cell.model, cell.replicate, cell.initializer, cell.id
