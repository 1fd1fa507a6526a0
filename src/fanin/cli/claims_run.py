"""``fanin run claims``: train what claims need, and print their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.errors import UsageError

if TYPE_CHECKING:
    from fanin.claim_runs import ClaimResults

NAME = "claims"
"""What ``fanin run`` takes for the claims instead of a study."""


_OPTIONS = {"study", "out", "only", "workers", "device", "dry_run", "fast", "as_json"}
"""The parameters of ``fanin run`` that claims take."""


def check_options(context: typer.Context) -> None:
    """Raise `UsageError` for an option that only a study takes: nothing is ignored in silence."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _OPTIONS
        and (source := context.get_parameter_source(str(parameter.name))) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"fanin run claims does not take {', '.join(given)}: what its studies train is fixed, "
            "so that verdicts stay comparable. It takes --only claim=NAME,…, --out, --workers, "
            "--device, --dry-run, --fast and --json. A study of the claims alone takes all: fanin "
            "run claim-spread."
        )


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


def list_work(only: Sequence[str] | None, *, fast: bool) -> CommandOutput:
    """What ``--dry-run`` says: the claims, and the trainings of their studies."""
    from fanin import claim_runs, claims

    chosen = [claims.get(name) for name in choose_claims(only)]
    studies = claim_runs.list_studies(chosen, is_rehearsal=fast)
    replicates = claim_runs.REHEARSAL_REPLICATES if fast else None
    counts = {study.name: len(study.plan(replicates=replicates).cells) for study in studies}
    total = f"{sum(counts.values()):,} trainings of {len(counts)} studies"
    lines = [f"{len(chosen)} claims, read from {total} (nothing is trained now)", ""]
    for study in studies:
        time = f"{claim_runs.REHEARSAL_EPOCHS} epoch each" if fast else study.time
        lines.append(f"  {study.name:<20} {counts[study.name]:>5,} trainings   {time}")
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
