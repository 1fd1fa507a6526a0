"""``fanin run claims``: train what claims need, and print their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin.claim_runs import ClaimResults

NAME = "claims"
"""What ``fanin run`` takes for the claims instead of a study."""


def choose_claims(only: Sequence[str] | None) -> list[str]:
    """The claims that ``--only claim=…`` names; all without it. Raises `UsageError` for another
    key, and `UnknownName`.
    """
    from fanin import claims
    from fanin.cli.only_option import parse_only

    selected = parse_only(only or ())
    if selected.keys() - {"claim"}:
        raise UsageError(
            "fanin run claims --only takes claim=NAME,…, such as claim=he-relu; received "
            f"{', '.join(sorted(selected.keys() - {'claim'}))}. fanin list claims lists them."
        )
    return [claims.get(name).name for name in selected.get("claim", claims.names())]


def run_claims(
    only: Sequence[str] | None, out: Path | None, *, fast: bool, workers: int | None, device: str
) -> CommandOutput:
    """Train what claims need, and print their verdicts."""
    from fanin import claim_runs
    from fanin.progress.progress_display import ProgressDisplay

    results = claim_runs.run_claims(
        choose_claims(only),
        out,
        is_rehearsal=fast,
        workers=workers,
        device=device,
        observer=ProgressDisplay(),
        say=print_to_stderr,
    )
    results.write()
    for problem in results.problems:
        print_to_stderr(f"Error: {problem}")
    return CommandOutput(
        results.to_json(),
        lambda: _show(results),
        exit_code=1 if results.problems else 0,
        has_effect=True,
    )


def list_work(only: Sequence[str] | None) -> CommandOutput:
    """What ``--dry-run`` says: the claims, and the trainings of their studies."""
    from fanin import claims
    from fanin.study.study import Study

    chosen = [claims.get(name) for name in choose_claims(only)]
    studies = dict.fromkeys(study for claim in chosen for study in claim.studies)
    counts = {name: len(Study.load(name).plan().cells) for name in studies}
    lines = [f"{len(chosen)} claims, read from {len(counts)} studies (nothing is trained now)", ""]
    lines += [
        f"  {name:<20} {count:>5,} trainings   {Study.load(name).time}"
        for name, count in counts.items()
    ]
    return CommandOutput(
        {"claims": [claim.name for claim in chosen], "studies": counts}, lambda: print_lines(lines)
    )


def _show(results: ClaimResults) -> None:
    from fanin.report.tables.terminal import print_table

    print_table(results.table)
    print_lines(
        [
            "",
            f"Page:      {results.out / 'report.html'}",
            f"Verdicts:  {results.out / 'verdicts.json'}",
            f"Figures:   {results.out / 'figures'}",
        ]
    )
