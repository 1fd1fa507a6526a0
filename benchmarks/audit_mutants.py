"""Does the audit find the faults that harm, and does its fix repair them?

    python benchmarks/audit_mutants.py train --output results/audit_mutants.jsonl
    python benchmarks/audit_mutants.py audit --labels results/audit_mutants.jsonl --fix
    python benchmarks/audit_mutants.py tables --rows rows.jsonl

`train` trains every mutant and every sound twin on several seeds and appends one row to the file
for each; the same command again trains what is missing. A fault is harmful if the mean loss after
200 steps is worse than the sound twin's by more than three standard deviations over seeds
(tests/audit_faults/harm.py). `audit` audits every mutant once and counts those with an error or a
warning that the sound twin does not have; with --fix it applies the audit's fix to those that harm
and that weights can repair, trains again and judges by the same rule. With --rows it appends what
it finds to a file, leaves out what is there, and several processes can share the work (--bases);
`tables` prints such files.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch
from audit_faults.bases import BASES
from audit_faults.harm import SEEDS, Spread, Verdict, get_uninformed
from audit_faults.kinds import WEIGHT_KINDS
from audit_faults.training import can_train_together, count_samples, take, train, train_together
from audit_mutants import Mutant, build_twin, make_mutants
from mutant_report import TRIED, Row, append_row, print_report, read_rows
from sound_models.entry import Case

import fanin

TWIN_SEEDS = 2 * SEEDS
AUDITED = 64
"""The samples that the audit is given, at most."""
FIX_SEEDS = 3
TOGETHER = 50
"""So many models train at once, where they differ in their weights alone."""


@functools.cache
def can_stack(base: str) -> bool:
    """Whether models of the base can train together."""
    return can_train_together(build_twin(base).model)


@dataclass(frozen=True)
class Job:
    """One training: of a mutant, or of a sound twin."""

    name: str
    seed: int
    base: str
    mutant: Mutant | None = None

    def build(self) -> Case:
        """What is trained."""
        if self.mutant is None:
            return build_twin(self.base, self.seed)
        return self.mutant.build(self.seed)

    @property
    def group(self) -> str:
        """Jobs of one group can train together; empty if this one trains alone."""
        same = self.mutant is None or self.mutant.kind in WEIGHT_KINDS
        return self.base if same and can_stack(self.base) else ""


def list_jobs() -> list[Job]:
    """All trainings."""
    found = [Job(f"{base}/sound", seed, base) for base in BASES for seed in range(TWIN_SEEDS)]
    for mutant in make_mutants():
        found += [Job(mutant.name, seed, mutant.base, mutant) for seed in range(SEEDS)]
    return found


def train_missing(path: Path, bases: Sequence[str]) -> None:
    """Append a row for each training that the file lacks."""
    done = {(row["name"], row["seed"]) for row in read_labels(path)}
    jobs = [job for job in list_jobs() if (job.name, job.seed) not in done and job.base in bases]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for chunk in list_chunks(jobs):
            cases, chosen = [job.build() for job in chunk], [job.seed for job in chunk]
            if len(chunk) == 1:
                losses = [train(cases[0], chosen[0])]
            else:
                losses = train_together(cases, chosen)
            for job, loss in zip(chunk, losses, strict=True):
                row = {"name": job.name, "seed": job.seed, "loss": encode(loss)}
                file.write(json.dumps(row) + "\n")
            file.flush()


def list_chunks(jobs: list[Job]) -> Iterable[list[Job]]:
    """Jobs that train together, and single ones."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.group, []).append(job)
    alone = groups.pop("", [])
    for group in groups.values():
        for start in range(0, len(group), TOGETHER):
            yield group[start : start + TOGETHER]
    for job in alone:
        yield [job]


def encode(loss: float) -> float | None:
    """None is infinite: JSON has no number for it."""
    return float(f"{loss:.6g}") if math.isfinite(loss) else None


def read_labels(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def read_losses(path: Path) -> dict[str, list[float]]:
    """The losses by name."""
    losses: dict[str, list[float]] = {}
    for row in read_labels(path):
        loss = math.inf if row["loss"] is None else row["loss"]
        losses.setdefault(row["name"], []).append(loss)
    return losses


def read_spreads(losses: dict[str, list[float]]) -> dict[str, Spread]:
    """What harm is measured in, by base."""
    trained = [base for base in BASES if len(losses.get(f"{base}/sound", ())) == TWIN_SEEDS]
    return {
        base: Spread.of(losses[f"{base}/sound"], get_uninformed(build_twin(base)))
        for base in trained
    }


# --- audits


def audit(case: Case) -> Any:
    """The audit of a model with a part of its data."""
    chosen = torch.arange(min(AUDITED, count_samples(case.batch)))
    batch, target = take(case.batch, chosen), take(case.target, chosen)
    return fanin.audit(case.model, batch, target=target, loss=case.loss)


def list_findings(result: Any) -> dict[tuple[str, str], Any]:
    """Errors and warnings by code and place."""
    return {
        (one.code, place): one
        for one in result.findings
        if one.severity in ("error", "warning")
        for place in one.places
    }


@functools.cache
def audit_twin(base: str) -> dict[tuple[str, str], Any]:
    """What is found in the sound twin."""
    return list_findings(audit(build_twin(base)))


def judge(mutant: Mutant, row: Row, spread: Spread, fix_seeds: int) -> None:
    """Audit one mutant, and repair it if it is harmful and something was found."""
    try:
        known = audit_twin(mutant.base)
        result = audit(mutant.build())
        new = {key: one for key, one in list_findings(result).items() if key not in known}
        severities = {one.severity for one in new.values()}
        row.found = next((one for one in ("error", "warning") if one in severities), "")
        row.codes = " ".join(sorted({code for code, _ in new}))
        row.placed = is_placed(mutant, [place for _, place in new])
        if fix_seeds and row.found and row.harmful and mutant.kind in TRIED:
            row.fixed, row.change = repair(mutant, spread, fix_seeds)
    except Exception as error:
        row.failure = f"{type(error).__name__}: {error}"


def is_placed(mutant: Mutant, places: Iterable[str]) -> bool | None:
    """Whether a finding names the layer that was changed; None if the fault has no place."""
    layers = {
        part.removesuffix(".weight").removesuffix(".bias") for part in mutant.place.split(">")
    }
    if not mutant.place:
        return None
    return any(
        layer and (place + ".").find(layer + ".") >= 0 for layer in layers for place in places
    )


def repair(mutant: Mutant, spread: Spread, count: int) -> tuple[Verdict, str]:
    """Whether repaired models of some seeds train as the twin does, and what was repaired."""
    cases, kept = [], set[str]()
    for seed in range(count):
        case = mutant.build(seed)
        fixed, after = audit(case).fix(seed=seed)
        cases.append(Case(fixed, case.batch, case.target, case.loss))
        kept |= {one.finding.code for one in after.repair.findings if one.patches}
    if can_stack(mutant.base) and mutant.kind in WEIGHT_KINDS:
        losses = train_together(cases, range(count))
    else:
        losses = [train(case, seed) for seed, case in enumerate(cases)]
    return spread.judge(losses), " ".join(sorted(kept))


def audit_all(arguments: argparse.Namespace) -> list[Row]:
    """Audit every mutant that has a label and is asked for; the rows of those."""
    losses = read_losses(arguments.labels)
    spreads = read_spreads(losses)
    done = {row.name: row for row in read_rows(arguments.rows)} if arguments.rows else {}
    rows = []
    for mutant in make_mutants():
        if len(losses.get(mutant.name, ())) != SEEDS or mutant.base not in spreads:
            continue
        if arguments.only not in mutant.name or mutant.base not in arguments.bases:
            continue
        if mutant.name not in done:
            label = spreads[mutant.base].judge(losses[mutant.name])
            row = Row(mutant.base, mutant.kind, mutant.place, mutant.size, label)
            judge(mutant, row, spreads[mutant.base], arguments.fix and arguments.seeds)
            if arguments.rows:
                append_row(arguments.rows, row)
            done[mutant.name] = row
        rows.append(done[mutant.name])
    return rows


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train")
    trainer.add_argument("--output", type=Path, required=True)
    auditor = commands.add_parser("audit")
    auditor.add_argument("--labels", type=Path, required=True)
    auditor.add_argument("--fix", action="store_true")
    auditor.add_argument("--seeds", type=int, default=FIX_SEEDS, help="of each repair")
    auditor.add_argument("--only", default="", help="mutants whose name contains this")
    auditor.add_argument("--rows", type=Path, help="the file that rows are appended to")
    for one in (trainer, auditor):
        one.add_argument("--bases", nargs="+", default=list(BASES), choices=list(BASES))
    tables = commands.add_parser("tables")
    tables.add_argument("--rows", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.command == "train":
        train_missing(arguments.output, arguments.bases)
    elif arguments.command == "audit":
        print_report(audit_all(arguments))
    else:
        print_report([row for path in arguments.rows for row in read_rows(path)])


if __name__ == "__main__":
    main()
