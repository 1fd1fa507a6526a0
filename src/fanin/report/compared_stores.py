"""ComparedStores: two or more stores side by side, as a table, a page and JSON values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fanin import atomic
from fanin.analysis.store_comparison import StoreComparison
from fanin.errors import UsageError
from fanin.report.results import Results
from fanin.report.stored_results import load_results
from fanin.report.tables.store_table import make_store_table
from fanin.report.tables.table import Table


@dataclass(frozen=True, repr=False)
class ComparedStores:
    """Some results, the others compared with the first. ``print`` shows the table."""

    names: tuple[str, ...]
    members: tuple[Results, ...]

    @cached_property
    def comparison(self) -> StoreComparison:
        """The conditions that two stores or more hold, and how they changed."""
        return StoreComparison(self.names, tuple(member.analysis for member in self.members))

    def table(self) -> Table:
        """The conditions side by side."""
        return make_store_table(self.comparison)

    def report(self, path: str | Path) -> Path:
        """Write the HTML page: the stores side by side, then each of them; return its path."""
        from fanin.report.store_page import render_stores

        text = render_stores(self.comparison, self.table(), self.members)
        return atomic.write(path, text, create_parent=True)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the stores' names and outcomes, and the table."""
        return {
            "stores": [
                {"name": name, "study": member.plan.study, "outcomes": member.outcomes}
                for name, member in zip(self.names, self.members, strict=True)
            ],
            "differing": {
                name: [str(value) for value in values]
                for name, values in self.comparison.differing.items()
            },
            "table": self.table().to_json(),
        }

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<{len(self.names)} compared stores: {', '.join(self.names)}>"


def compare_results(*members: Results, names: Sequence[str] = ()) -> ComparedStores:
    """The results side by side, the others compared with the first.

    Args:
        members: two or more, of stores or of `fanin.run`.
        names: what to call them; by default after their folders, else A, B, …
    """
    if len(members) < 2:
        raise UsageError(f"A comparison needs two or more results; received {len(members)}.")
    if names and len(names) != len(members):
        raise UsageError(f"Expected {len(members)} names, one for each; received {len(names)}.")
    chosen = tuple(names) or _choose_names([member.out for member in members])
    if len(set(chosen)) < len(chosen):
        raise UsageError(
            f"The names of compared results must differ; received {', '.join(chosen)}."
        )
    return ComparedStores(chosen, members)


def compare_stores(*folders: Path | str, names: Sequence[str] = ()) -> ComparedStores:
    """The results folders side by side; see `compare_results` and `load_results`."""
    return compare_results(*(load_results(folder) for folder in folders), names=names)


def _choose_names(folders: Sequence[Path | None]) -> tuple[str, ...]:
    """The last parts of the folders' paths, as many as make them differ; else letters."""
    if all(folder is not None for folder in folders):
        paths = [Path(os.path.normpath(folder)) for folder in folders if folder is not None]
        for length in range(1, 4):
            names = ["/".join(path.parts[-length:]) for path in paths]
            if len(set(names)) == len(names):
                return tuple(names)
    return tuple(chr(ord("A") + number) for number in range(len(folders)))
