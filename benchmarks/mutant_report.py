"""What the audit said of mutants: one row each, tables of shares, and a summary with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from audit_faults.harm import Verdict
from audit_faults.kinds import WEIGHT_KINDS

TRIED = WEIGHT_KINDS | {"end_multiplied"}
"""The kinds whose repair is measured. The others need a change of code (a softmax too many, a
detached layer, another activation, dropout) or of the data (inputs and targets of another scale):
no number of a parameter undoes them. A factor behind the output lies between.
"""
GROUPS = {
    "all weights": "scale_all fill_all draw_all shift_biases",
    "one weight": """scale fill shift equal_rows zero_rows low_rank standard_normal uniform_positive
        wrong_fan not_finite half_scaled shut_gate copy_layer""",
    "not trained": "freeze detach leave_out",
    "activations": "squash linearize end_softmax end_relu end_sigmoid",
    "output times a number": "end_multiplied",
    "dropout": "drop",
    "data": "input_scale input_shift target_scale",
}
"""Kinds by what they change."""


@dataclass
class Row:
    """One mutant: its label, what was found, and whether the fix repaired it."""

    base: str
    kind: str
    place: str
    size: float
    label: Verdict
    found: str = ""
    """error, warning or empty: the worst finding that the sound twin does not have."""
    placed: bool | None = None
    """Whether a finding names the layer that was changed; None if the fault has no place."""
    codes: str = ""
    fixed: Verdict | None = None
    """Of the repaired model; None if the repair was not measured."""
    change: str = ""
    """What the fix kept, as codes of findings."""
    failure: str = ""

    @property
    def name(self) -> str:
        """As the mutant is called."""
        return f"{self.base}/{self.kind}/{self.place}/{self.size:g}"

    @property
    def harmful(self) -> bool:
        """Whether training ended worse than the sound twin's."""
        return self.label == "worse"


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, if there is one."""
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def append_row(path: Path, row: Row) -> None:
    """Add one row to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def print_report(rows: Sequence[Row]) -> None:
    """All tables, what is not as it should be, and the summary."""
    print_table("kind", group(rows, lambda row: row.kind))
    print_table("kind × size", group(rows, lambda row: f"{row.kind} {row.size:g}"))
    print_table("model", group(rows, lambda row: row.base))
    print_table("changed", {title: pick(rows, kinds) for title, kinds in GROUPS.items()})
    print_table("all", {"": list(rows)})
    for title, chosen in (
        ("harmful and not found", [r for r in rows if r.harmful and not r.found]),
        ("harmless, but an error", [r for r in rows if not r.harmful and r.found == "error"]),
        ("found, not repaired", [r for r in rows if r.found and r.fixed == "worse"]),
        ("failed", [r for r in rows if r.failure]),
    ):
        print(f"\n{title} ({len(chosen)})")
        for row in chosen:
            print(f"  {row.name}  {row.codes} → {row.change or '–'} {row.failure[:160]}")
    print_summary(rows)


def pick(rows: Sequence[Row], kinds: str) -> list[Row]:
    """The rows of some kinds."""
    return [row for row in rows if row.kind in kinds.split()]


def print_summary(rows: Sequence[Row]) -> None:
    """The shares that count, each with its count and a 95 % interval."""
    harmful = [row for row in rows if row.harmful]
    others = [row for row in rows if not row.harmful]
    tried = [row for row in harmful if row.fixed is not None]
    weights = [row for row in tried if row.kind in WEIGHT_KINDS]
    factors = [row for row in tried if row.kind not in WEIGHT_KINDS]
    rest = [row for row in harmful if row.found and row.kind not in TRIED]
    print("\nsummary")
    for title, flags in (
        ("harmful: found", [row.found != "" for row in harmful]),
        ("  … but for dropout of 0.5", [row.found != "" for row in harmful if not is_usual(row)]),
        ("  by an error", [row.found == "error" for row in harmful]),
        ("  found in the right place", [row.placed for row in harmful if is_placeable(row)]),
        ("  repaired: found, in weights", [row.fixed != "worse" for row in weights]),
        ("  repaired: found, in a factor", [row.fixed != "worse" for row in factors]),
        ("harmless: any finding", [row.found != "" for row in others]),
        ("  an error", [row.found == "error" for row in others]),
    ):
        print(f"{title:<32} {describe_share([bool(one) for one in flags])}")
    print(f"{'found, need other code or data':<32} {len(rest)}")


def is_usual(row: Row) -> bool:
    """Dropout of 0.5 is a choice for more data and longer training than here, and no fault."""
    return row.kind == "drop" and row.size == 0.5


def is_placeable(row: Row) -> bool:
    """Whether it was found and has a place to find."""
    return row.found != "" and row.placed is not None


def describe_share(flags: Sequence[bool]) -> str:
    """Percent, count, and Wilson's 95 % interval.

    >>> describe_share([True] * 98 + [False] * 2)
    '98.0 % (98 of 100; 93.0 to 99.4 %)'
    """
    n, hits = len(flags), sum(flags)
    if not n:
        return "–"
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = 100 * (middle - half), 100 * (middle + half)
    return f"{100 * p:.1f} % ({hits} of {n}; {low:.1f} to {high:.1f} %)"


def print_table(title: str, groups: dict[str, list[Row]]) -> None:
    """One line per group: harmful ones and others apart."""
    header = ("harmful", "found", "by error", "placed", "repaired", "alike", "found", "by error")
    print(f"\n{title:<28}" + "".join(f"{one:>10}" for one in header))
    for name, rows in groups.items():
        worse = [row for row in rows if row.harmful]
        alike = [row for row in rows if not row.harmful]
        tried = [row for row in worse if row.fixed is not None]
        cells = [
            str(len(worse)),
            share(row.found != "" for row in worse),
            share(row.found == "error" for row in worse),
            share(bool(row.placed) for row in worse if is_placeable(row)),
            share(row.fixed != "worse" for row in tried),
            str(len(alike)),
            share(row.found != "" for row in alike),
            share(row.found == "error" for row in alike),
        ]
        print(f"{name:<28}" + "".join(f"{cell:>10}" for cell in cells))


def share(flags: Iterable[bool]) -> str:
    """In percent."""
    values = list(flags)
    return f"{100 * sum(values) / len(values):.0f} %" if values else "–"


def group(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by a key, sorted."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return dict(sorted(groups.items()))
