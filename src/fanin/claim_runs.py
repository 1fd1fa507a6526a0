"""Claims put to the test: what ``fanin run claims`` does.

    from fanin.claim_runs import run_claims
    results = run_claims(["he-faster"])
    print(results)

The studies of the claims are trained one after the other, each into a folder of its own, and what
no study holds is observed. Then every claim is decided. Call it again to continue after a stop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fanin import atomic, claims, experiment
from fanin.claims.claim import Claim
from fanin.claims.claim_inputs import ClaimInputs, StudyRuns, read_observations
from fanin.claims.claim_verdict import ClaimVerdict, judge_claim
from fanin.claims.observations import load_observations
from fanin.errors import UsageError
from fanin.execution.observer import Observer
from fanin.report.tables.claim_table import make_claim_table
from fanin.report.tables.table import Table
from fanin.study.study import Study

FOLDER, REHEARSAL_FOLDER = Path("runs/claims"), Path("runs/claims-fast")
OBSERVATIONS = "observations.json"
REHEARSAL_REPLICATES, REHEARSAL_EPOCHS = 2, 1


@dataclass(frozen=True)
class ClaimResults:
    """The verdicts on claims, and the folder that holds what they were decided from."""

    verdicts: tuple[ClaimVerdict, ...]
    out: Path
    problems: tuple[str, ...] = ()
    """What went wrong while studies were trained."""

    @cached_property
    def table(self) -> Table:
        """A row per claim: verdict, effect with interval, n."""
        return make_claim_table(self.verdicts)

    def write(self) -> list[Path]:
        """Write page, ``verdicts.json``, ``overview.png`` and a figure per claim that has
        results into the folder; returns their paths.
        """
        from fanin.report.claim_page import render_claims
        from fanin.report.figures.claim_figure import draw_claim, draw_overview
        from fanin.report.figures.rendering import render

        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        paths = [
            atomic.write(self.out / "verdicts.json", text, create_parent=True),
            atomic.write(self.out / "report.html", render_claims(self.verdicts)),
        ]
        figures = {"overview": draw_overview(self.verdicts)} | {
            verdict.claim.name: draw_claim(verdict) for verdict in self.verdicts if verdict.n
        }
        return paths + [
            atomic.write(
                self.out / "figures" / f"{name}.png", render(figure, "png"), create_parent=True
            )
            for name, figure in figures.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """All verdicts as JSON values."""
        return {"claims": [verdict.to_json() for verdict in self.verdicts], "folder": str(self.out)}

    def __str__(self) -> str:
        return str(self.table)


def run_claims(
    names: Sequence[str] | None = None,
    out: Path | str | None = None,
    *,
    is_rehearsal: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    observer: Observer | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> ClaimResults:
    """Train and observe what claims need and lack, and decide them.

    Args:
        names: the claims; all by default.
        out: the folder, which gets one folder per study and ``observations.json``.
        is_rehearsal: two replicates of one epoch, rates not tuned, embedded data only. Its verdicts
            do not count, and say so.
        workers, device, observer: as for `fanin.run`.
        say: told what comes next.

    Raises what `fanin.run` raises, and `UnknownName` for a claim that does not exist.
    """
    chosen = [claims.get(name) for name in (names if names is not None else claims.names())]
    if not chosen:
        raise UsageError("No claim was named. fanin list claims lists them.")
    folder = Path(out) if out is not None else REHEARSAL_FOLDER if is_rehearsal else FOLDER
    studies = list_studies(chosen, is_rehearsal=is_rehearsal)
    observed = _observe(
        list_in_order(name for claim in chosen for name in claim.observations),
        folder,
        is_rehearsal,
        say,
    )
    runs: dict[str, StudyRuns] = {}
    problems: list[str] = []
    for number, study in enumerate(studies, 1):
        say(f"Study {number} of {len(studies)}: {study.name}")
        results = experiment.run(
            study,
            folder / study.name,
            replicates=REHEARSAL_REPLICATES if is_rehearsal else None,
            max_epochs=REHEARSAL_EPOCHS if is_rehearsal else None,
            workers=workers,
            device=device,
            observer=observer,
            command="fanin run claims",
        )
        runs[study.name] = StudyRuns(results.plan, results.results)
        assert results.run_summary is not None
        problems += results.run_summary.problems
    inputs = ClaimInputs(runs, observed)
    verdicts = tuple(judge_claim(claim, inputs, is_rehearsal=is_rehearsal) for claim in chosen)
    return ClaimResults(verdicts, folder, tuple(problems))


def list_studies(chosen: Iterable[Claim], *, is_rehearsal: bool = False) -> list[Study]:
    """The studies that claims read; of a rehearsal without tuning, and without those whose data
    would be downloaded.
    """
    studies = map(Study.load, list_in_order(name for claim in chosen for name in claim.studies))
    if not is_rehearsal:
        return list(studies)
    return [replace(study, tuning=None) for study in studies if is_embedded(study)]


def list_in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in order of appearance."""
    return list(dict.fromkeys(names))


def _observe(
    names: Sequence[str], folder: Path, is_rehearsal: bool, say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """The observations in the folder, with those that it lacks."""
    path = folder / OBSERVATIONS
    found: dict[str, list[dict[str, Any]]] = read_observations(path)
    for name in names:
        if name in found:
            continue
        say(f"Observation: {name}")
        observation = load_observations()[name]
        count = REHEARSAL_REPLICATES if is_rehearsal else observation.replicates
        found[name] = observation.observe(count)
        atomic.write(path, json.dumps(found) + "\n", create_parent=True)
    return found


def is_embedded(study: Study) -> bool:
    """Whether a study needs no data beyond what packages embed."""
    from fanin import data

    names = {planned.cell.data for planned in study.plan(replicates=1).cells}
    return all(data.get_status(name).where.startswith("embedded") for name in names)
