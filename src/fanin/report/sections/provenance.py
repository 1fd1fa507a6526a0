"""Where results come from: protocols and their flaws, environments, data sets and their bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fanin.analysis.own_data import has_published_bytes
from fanin.cell import protocol as protocols
from fanin.cell.cell import OWN
from fanin.cell.plan import Plan
from fanin.cell.result import Result
from fanin.report.escaping import escape_invisible


def list_flaws(plan: Plan) -> list[str]:
    """What is known to be wrong with the protocols of a plan's cells."""
    names = dict.fromkeys(planned.cell.protocol for planned in plan.cells)
    found = (protocols.REGISTRY.get(name) for name in names if name in protocols.REGISTRY)
    return [f"{one.flaw[:1].upper()}{one.flaw[1:]}." for one in found if one.flaw]


def list_protocols(plan: Plan) -> list[tuple[str, str]]:
    """The protocols of a plan's cells, and what they do."""
    names = dict.fromkeys(planned.cell.protocol for planned in plan.cells)
    return [(escape_invisible(name), _describe_protocol(name, plan)) for name in names]


def _describe_protocol(name: str, plan: Plan) -> str:
    if name in protocols.REGISTRY:
        return protocols.REGISTRY.get(name).summary
    if name != OWN:
        return "unknown"
    sources = dict.fromkeys(s for p in plan.cells if p.cell.protocol == OWN for s in p.cell.sources)
    listed = ", ".join(f"{reference} (SHA-256 {sha256[:12]})" for reference, sha256 in sources)
    return escape_invisible(
        "what is held out, when training stops and what is tested is decided by the user's own "
        f"training: {listed}"
    )


def count_environments(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Each environment of the results with its number of cells, the most frequent first."""
    by_object = Counter(id(result.environment) for result in found)  # results share them
    environments = {id(result.environment): result.environment for result in found}
    counted: Counter[tuple[tuple[str, str], ...]] = Counter()
    for key, environment in environments.items():
        facts = tuple(sorted((str(k), str(v)) for k, v in environment.items()))
        counted[facts] += by_object[key]
    varying = _list_varying([dict(facts) for facts in counted])
    return [
        {
            "cells": count,
            "title": _name_environment(dict(facts), varying),
            "facts": [(escape_invisible(name), escape_invisible(value)) for name, value in facts],
        }
        for facts, count in counted.most_common()
    ]


def _list_varying(environments: Sequence[Mapping[str, str]]) -> list[str]:
    """The facts that tell the environments apart."""
    names = dict.fromkeys(name for facts in environments for name in facts)
    return [name for name in names if len({facts.get(name) for facts in environments}) > 1]


def _name_environment(facts: Mapping[str, str], varying: Sequence[str]) -> str:
    """The device, the version of torch, and what else tells it from the others."""
    words = [facts.get("device", ""), f"torch {facts['torch']}" if "torch" in facts else ""]
    words += [f"{n} {facts[n]}" for n in varying if n in facts and n not in ("device", "torch")]
    return escape_invisible(", ".join(filter(None, words)))


def list_data_sets(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Each data set that the results were trained on."""
    named = [result for result in found if result.cell.data != OWN]
    seen = {(r.cell.data, r.fingerprint or "?", r.data.get("canonical")): r.data for r in named}
    return [
        {
            "name": name,
            "fingerprint": fingerprint,
            "canonical": describe_bytes(name, canonical),
            "sizes": _format_sizes(seen[name, fingerprint, canonical]),
            "classes": _format_classes(seen[name, fingerprint, canonical]),
        }
        for name, fingerprint, canonical in sorted(seen, key=str)
    ]


def describe_bytes(data: str, canonical: object) -> str:
    """Whether the bytes of a data set were the published ones, if it has any."""
    if canonical is None:
        return "unknown"
    return "yes" if canonical else "no" if has_published_bytes(data) else "own data"


def sum_seconds(found: Sequence[Result]) -> float:
    """The seconds that all trainings took together."""
    return float(sum(result.timings.get("total", 0.0) for result in found))


def _format_sizes(facts: Mapping[str, Any]) -> str:
    def list_counts() -> Iterator[str]:
        for key in ("n_train", "n_validation", "n_test"):
            if isinstance(facts.get(key), int):
                yield f"{facts[key]:,} {key.removeprefix('n_').replace('train', 'training')}"

    return ", ".join(list_counts()) or "—"


def _format_classes(facts: Mapping[str, Any]) -> str:
    """The number of classes, their samples, and the accuracy that needs no learning."""
    keys = ("classes", "smallest_class", "largest_class", "baseline")
    numbers = [facts[key] for key in keys if isinstance(facts.get(key), int | float)]
    if len(numbers) < len(keys):
        return "—"
    classes, smallest, largest, baseline = numbers
    sizes = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    return f"{classes:,} of {sizes} training samples each; baseline accuracy {baseline:.3g}"
