"""The table of claims: verdict, effect with interval, n."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from fanin.claims.claim_verdict import ClaimVerdict
from fanin.claims.verdict_words import describe_amount, describe_interval
from fanin.report.numbers import NOTHING
from fanin.report.tables.table import Column, Table, TableEntry

_COLUMNS = (
    Column("claim", "claim", numeric=False),
    Column("verdict", "verdict", numeric=False),
    Column("effect", "effect"),
    Column("interval", "95 %", numeric=False),
    Column("n", "n"),
)

REHEARSAL = "A rehearsal with shortened trainings: its verdicts do not count."


def make_claim_table(verdicts: Sequence[ClaimVerdict]) -> Table:
    """A row per claim; the deciding contrast stands for the claim."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    found = ", ".join(f"{count} {word}" for word, count in counts.items())
    notes = [
        "The effect is that of the contrast that decides; the intervals of a claim are "
        "simultaneous (Bonferroni over its contrasts)",
        "fanin show NAME has a claim's criterion, --json every contrast",
    ]
    is_rehearsal = any(verdict.is_rehearsal for verdict in verdicts)
    return Table(
        title="Claims of the case study, put to the test",
        columns=_COLUMNS,
        rows=tuple(map(_make_row, verdicts)),
        notes=tuple(notes),
        answer=(REHEARSAL,) if is_rehearsal else (f"Of {len(verdicts)} claims: {found}.",),
    )


def _make_row(verdict: ClaimVerdict) -> tuple[TableEntry, ...]:
    word = f"({verdict.verdict})" if verdict.is_rehearsal else verdict.verdict
    name, decisive = TableEntry(verdict.claim.name), verdict.decisive
    effect = decisive.effect
    if not effect.n:
        return name, TableEntry(word), TableEntry(), TableEntry(), TableEntry()
    finite = effect.value if math.isfinite(effect.value) else None
    return (
        name,
        TableEntry(word),
        TableEntry(describe_amount(decisive), value=finite),
        TableEntry(describe_interval(decisive) or NOTHING),
        TableEntry(str(effect.n), value=effect.n),
    )
