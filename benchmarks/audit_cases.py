"""The audit on a folder of models from published bug collections, beside other tools' verdicts.

    python benchmarks/audit_cases.py FOLDER

The folder holds faulty_posts.json, faulty_generated.json and sound.json (``{"entries": [...]}``),
and build.py, whose ``build(entry)`` gives ``net, x, y, loss``. A fault is found if there is an
error or a warning; it is placed if one of them stands at a module that the entry's ``where`` names.
On sound models an error is a false alarm; warnings are counted beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import fanin

FAULTY = ("faulty_posts.json", "faulty_generated.json")


@dataclass
class Verdict:
    """What the audit said of one entry."""

    entry: dict[str, Any]
    findings: tuple[Any, ...] = ()
    failure: str = ""
    seconds: float = 0.0

    def list_findings(self, *severities: str) -> list[Any]:
        """Those of these severities."""
        return [one for one in self.findings if one.severity in severities]

    @property
    def found(self) -> bool:
        """An error or a warning."""
        return bool(self.list_findings("error", "warning"))

    @property
    def found_error(self) -> bool:
        """An error."""
        return bool(self.list_findings("error"))

    @property
    def placed(self) -> bool:
        """An error or a warning at a place that the entry names; anywhere if it names none."""
        wanted = [part for part in self.entry.get("where", "").split("|") if part]
        places = [p for one in self.list_findings("error", "warning") for p in one.places]
        if not wanted:
            return bool(places)
        return any(place == w or place.startswith(w + ".") for place in places for w in wanted)

    @property
    def codes(self) -> str:
        """Codes and places, the worst first."""
        shown = [
            f"{one.code}{'!' if one.severity == 'error' else ''}@{one.where or 'model'}"
            for one in self.list_findings("error", "warning")
        ]
        return " ".join(shown)


def load_builder(folder: Path) -> Callable[..., Any]:
    """The folder's own build function."""
    spec = importlib.util.spec_from_file_location("audit_case_builder", folder / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    builder: Callable[..., Any] = module.build
    return builder


def judge(build: Callable[..., Any], entry: dict[str, Any], seed: int) -> Verdict:
    """Audit one entry."""
    case = build(entry, seed=seed)
    start = time.process_time()
    try:
        result = fanin.audit(case.net, case.x, target=case.y, loss=case.loss)
    except Exception as error:
        return Verdict(entry, failure=f"{type(error).__name__}: {error}")
    return Verdict(entry, tuple(result.findings), seconds=time.process_time() - start)


def list_published(entry: dict[str, Any]) -> Iterable[tuple[str, bool]]:
    """Other tools' verdicts on the entry: whether they found something."""
    for tool, verdict in entry.get("published", {}).items():
        if isinstance(verdict, bool):
            yield tool, verdict
        elif isinstance(verdict, dict):
            inner = verdict.get("found", verdict)
            for part, value in inner.items():
                if isinstance(value, bool):
                    yield f"{tool}: {part}", value


def count(flags: Iterable[bool]) -> str:
    """Of how many, and in percent."""
    values = list(flags)
    share = f" ({100 * sum(values) / len(values):.0f} %)" if values else ""
    return f"{sum(values)} of {len(values)}{share}"


def print_faulty(name: str, verdicts: list[Verdict]) -> None:
    """Found and placed: in all, by visibility and by class."""
    groups: dict[str, list[Verdict]] = {"all": verdicts}
    for verdict in verdicts:
        visible = f"visible: {verdict.entry.get('visible_before_training')}"
        groups.setdefault(visible, []).append(verdict)
    for verdict in sorted(verdicts, key=lambda one: str(one.entry.get("class"))):
        groups.setdefault(f"class: {verdict.entry.get('class')}", []).append(verdict)
    print(f"\n{name:<34}{'found':>18}{'by an error':>18}{'placed':>18}")
    for title, group in groups.items():
        cells = (
            count(one.found for one in group),
            count(one.found_error for one in group),
            count(one.placed for one in group),
        )
        print(f"{title[:33]:<34}" + "".join(f"{cell:>18}" for cell in cells))
    for verdict in verdicts:
        state = "placed" if verdict.placed else "found " if verdict.found else "MISSED"
        entry = verdict.entry
        print(f"  {state} {entry['id'][:26]:<27}{str(entry.get('label'))[:60]:<62}{verdict.codes}")


def print_published(verdicts: list[Verdict]) -> None:
    """Other tools, and the audit on the entries on which each was tried."""
    tools: dict[str, list[tuple[bool, Verdict]]] = {}
    for verdict in verdicts:
        for tool, found in list_published(verdict.entry):
            tools.setdefault(tool, []).append((found, verdict))
    print(f"\n{'published verdicts':<40}{'the tool found':>20}{'the audit found':>20}")
    for tool, rows in sorted(tools.items()):
        ours = count(verdict.found for _, verdict in rows)
        print(f"{tool:<40}{count(found for found, _ in rows):>20}{ours:>20}")


def print_sound(verdicts: list[Verdict]) -> None:
    """False alarms."""
    print(f"\nsound: with an error {count(one.found_error for one in verdicts)}", end="")
    print(f", with an error or a warning {count(one.found for one in verdicts)}")
    for tool in sorted({tool for one in verdicts for tool, _ in list_published(one.entry)}):
        alarms = [v for one in verdicts for name, v in list_published(one.entry) if name == tool]
        print(f"  {tool}: {count(alarms)}")
    codes = Counter(
        f"{one.code} {one.severity}"
        for verdict in verdicts
        for one in verdict.list_findings("error", "warning")
    )
    print("  by code:", ", ".join(f"{code} × {n}" for code, n in codes.most_common()) or "none")
    for verdict in verdicts:
        if verdict.found:
            worst = "ERROR  " if verdict.found_error else "warning"
            print(f"  {worst} {verdict.entry['id'][:30]:<32}{verdict.codes}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build = load_builder(arguments.folder)
    everything: dict[str, list[Verdict]] = {}
    for name in (*FAULTY, "sound.json"):
        entries = json.loads((arguments.folder / name).read_text(encoding="utf-8"))["entries"]
        everything[name] = [judge(build, entry, arguments.seed) for entry in entries]
    for name in FAULTY:
        print_faulty(name, everything[name])
    print_published([one for name in FAULTY for one in everything[name]])
    print_sound(everything["sound.json"])
    failed = [one for group in everything.values() for one in group if one.failure]
    print(f"\nfailed: {len(failed)}")
    for verdict in failed:
        print(f"  {verdict.entry['id']}: {verdict.failure[:200]}")
    seconds = [one.seconds for group in everything.values() for one in group]
    print(f"{sum(seconds):.1f} CPU seconds for {len(seconds)} audits")


if __name__ == "__main__":
    main()
