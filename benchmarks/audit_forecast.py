"""Does the audit's forecast tell starts that train from those that do not?

    python benchmarks/audit_forecast.py train --grid development --output results/
    python benchmarks/audit_forecast.py measure --grid development --output results/
    python benchmarks/audit_forecast.py fit
    python benchmarks/audit_forecast.py train --grid held-out --output results/
    python benchmarks/audit_forecast.py measure --grid held-out --output results/
    python benchmarks/audit_forecast.py report

`train` trains every case of a grid, at five learning rates from five seeds, and appends one row to
audit_forecast_GRID.jsonl for each; the same command again trains what is missing. `measure` audits
each start once and writes what the forecast is made from, and the loss after 20 steps, to
audit_forecast_GRID_starts.jsonl. `fit` prints the coefficients of the development grid, which are
constants in src/fanin/diagnosis/forecast/trainability.py, and how well they tell networks that were
left out of the fit. `report` judges the constants on the held-out grid. Labels:
tests/forecast_grid/labels.py. Held-out data are real: FANIN_DATA_DIR.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np
import torch
from forecast_grid.fitting import fit_logistic
from forecast_grid.grids import list_groups
from forecast_grid.judging import (
    Numbers,
    bin_forecasts,
    bootstrap_aurocs,
    measure_auroc,
    measure_brier,
    measure_calibration_error,
)
from forecast_grid.labels import LABELS
from forecast_grid.probes import probe_start, take_batch
from forecast_grid.stored_cases import RESULTS, StoredCase, read_cases, read_rows
from forecast_grid.trainings import RATES, STEPS, train_start

import fanin
from fanin.diagnosis.forecast.forecasting import judge_probability

GRIDS = ("development", "held-out")
USUAL = {"adam": 1, "sgd": 2}
"""The rate of a probe that is run once: Adam's default, and 0.03 for SGD."""


# --- trainings and audits


def train_missing(grid: str, optimizer: str, folder: Path) -> None:
    """Append a row for each case that the file lacks."""
    path = folder / f"audit_forecast_{grid}.jsonl"
    done = {(row["group"], row["start"]) for row in read_rows(path)}
    folder.mkdir(parents=True, exist_ok=True)
    for group in list_groups(grid):
        for start in group.starts:
            if (group.name, start) in done or optimizer not in ("", group.optimizer):
                continue
            errors = [[[encode(e) for e in row] for row in s] for s in train_start(group, start)]
            row = {
                "group": group.name,
                "start": start,
                "uninformed": encode(group.task.uninformed),
                "steps": STEPS,
                "errors": errors,
            }
            append(path, row)


def measure_missing(grid: str, folder: Path) -> None:
    """Append a row for each start that the file lacks."""
    path = folder / f"audit_forecast_{grid}_starts.jsonl"
    done = {(row["network"], row["start"]) for row in read_rows(path)}
    optimizers: dict[str, list[str]] = {}
    for group in list_groups(grid):
        optimizers.setdefault(group.network, []).append(group.optimizer)
    for group in {one.network: one for one in list_groups(grid)}.values():
        for start in group.starts:
            if (group.network, start) in done:
                continue
            model = group.build(start, 0)
            x, y = take_batch(group.task)
            found = fanin.audit(model, x, target=y).forecast()
            probe = {
                name: [encode(probe_start(model, group.task, name, rate)) for rate in RATES[name]]
                for name in optimizers[group.network]
            }
            row = {
                "network": group.network,
                "start": start,
                "quantities": asdict(found.quantities),
                "probe": probe,
            }
            append(path, row)


def append(path: Path, row: dict[str, object]) -> None:
    """Add a line to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def encode(value: float) -> float | None:
    """None is infinite: JSON has no number for it."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


# --- the fit, and the judgement


def drop_grey(cases: list[StoredCase]) -> list[StoredCase]:
    """The cases with an answer."""
    return [one for one in cases if one.label != "grey"]


def print_fit(folder: Path) -> None:
    """The coefficients, and the cross-validated AUROC over networks."""
    cases = drop_grey(read_cases("development", folder))
    print_counts("development", read_cases("development", folder))
    for family in ("adam", "sgd"):
        own = [one for one in cases if one.optimizer == family]
        fit = fit_logistic([one.penalties for one in own], [one.label == "trains" for one in own])
        print(f'    "{family}": Fit(\n        {fit.intercept:.2f},')
        print(
            "        {" + ", ".join(f'"{k}": {v:.2f}' for k, v in fit.coefficients.items()) + "},"
        )
        print("    ),")
    print_scores(cases, leave_out(cases), "left-out networks")


def leave_out(cases: list[StoredCase]) -> Numbers:
    """The log-odds of each case, by fits without its network."""
    scores = np.zeros(len(cases))
    for network in {one.network for one in cases}:
        for family in ("adam", "sgd"):
            own = [one for one in cases if one.optimizer == family and one.network != network]
            fit = fit_logistic([o.penalties for o in own], [o.label == "trains" for o in own])
            for index, one in enumerate(cases):
                if one.network == network and one.optimizer == family:
                    weighed = (fit.coefficients[k] * v for k, v in one.penalties.items())
                    scores[index] = fit.intercept - sum(weighed)
    return scores


def print_report(folder: Path) -> None:
    """The held-out grid."""
    everything = read_cases("held-out", folder)
    print_counts("held-out", everything)
    cases = drop_grey(everything)
    chances = np.array([one.probability for one in cases])
    print_scores(cases, np.log(chances) - np.log1p(-chances), "forecast")
    print_calibration(cases, chances)
    print_verdicts(cases)
    for steps in STEPS:
        chosen = np.array([one.steps == steps for one in cases])
        trains = np.array([one.label == "trains" for one in cases])
        print(f"{steps} steps: AUROC {measure_auroc(chances[chosen], trains[chosen]):.3f}")


def print_counts(grid: str, cases: list[StoredCase]) -> None:
    """How many cases have which label."""
    counts = Counter(one.label for one in cases)
    starts = len({(one.network, one.start, one.optimizer) for one in cases})
    networks = len({one.network for one in cases})
    labels = ", ".join(f"{counts[label]} {label}" for label in LABELS)
    print(f"{grid}: {len(cases)} cases of {starts} starts and {networks} networks: {labels}")


def print_scores(cases: list[StoredCase], scores: Numbers, name: str) -> None:
    """AUROC of a score and of the baselines, with intervals; of each optimizer apart."""
    trains = np.array([one.label == "trains" for one in cases])
    groups = [one.network for one in cases]
    families = np.array([one.optimizer for one in cases])
    rows = {name: scores}
    baselines = [one.score_baselines(USUAL[one.optimizer]) for one in cases]
    for key in baselines[0]:
        rows[key] = np.array([max(one[key], -1e30) for one in baselines])
    title = f"AUROC, n = {len(cases)}"
    print(f"\n{title:36}{'all':22}{'adam':8}{'sgd':8}{'the first is better by'}")
    for key, (whole, gap) in bootstrap_aurocs(rows, trains, groups).items():
        apart = [measure_auroc(rows[key][families == f], trains[families == f]) for f in USUAL]
        print(f"{key:36}{whole!s:22}{apart[0]:<8.3f}{apart[1]:<8.3f}{gap}")


def print_calibration(cases: list[StoredCase], chances: Numbers) -> None:
    """Forecast beside what happened."""
    trains = np.array([one.label == "trains" for one in cases])
    bins = bin_forecasts(chances, trains)
    print("\nforecast     n   mean forecast   trained")
    for one in bins:
        print(
            f"{one.low:.1f}–{one.high:.1f} {one.count:6} {one.forecast:13.2f} {one.trained:11.2f}"
        )
    share = trains.mean()
    print(f"Brier score {measure_brier(chances, trains):.3f} (constant: {share * (1 - share):.3f})")
    print(f"expected calibration error {measure_calibration_error(bins):.3f}")


def print_verdicts(cases: list[StoredCase]) -> None:
    """How often each verdict was right."""
    right = {"trains": "trains", "does not train": "fails"}
    print()
    for verdict in (*right, "cannot tell"):
        own = [one for one in cases if judge_probability(one.probability) == verdict]
        hits = sum(one.label == right.get(verdict) for one in own)
        print(f"{verdict:16}{len(own):5}" + (f", right {hits}" if verdict in right else ""))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "measure"):
        command = commands.add_parser(name)
        command.add_argument("--grid", choices=GRIDS, required=True)
        command.add_argument("--output", type=Path, default=RESULTS, help="the folder")
        if name == "train":
            command.add_argument("--optimizer", choices=tuple(USUAL), default="", help="this alone")
    for name in ("fit", "report"):
        commands.add_parser(name).add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    match arguments.command:
        case "train":
            torch.set_flush_denormal(True)
            train_missing(arguments.grid, arguments.optimizer, arguments.output)
        case "measure":
            measure_missing(arguments.grid, arguments.output)
        case "fit":
            print_fit(arguments.results)
        case "report":
            print_report(arguments.results)


if __name__ == "__main__":
    main()
