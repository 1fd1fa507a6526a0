"""F014: layers that hold the same numbers, because one was copied.

They separate where their inputs differ, but start with correlated features; copies that see the
same input and the same target, such as twin critics, never separate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.drawn_numbers import describe_draw, is_random
from fanin.diagnosis.findings.equal_rows import find_equal_rows
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch
from fanin.structure.module_kinds import list_layers
from fanin.structure.shared_weights import find_clones

CODE = "F014"

_DIGITS = re.compile(r"\d+")

_REMEDY = (
    "Initialize every layer by itself after it was copied: copy.deepcopy copies the numbers too."
)


def find_identical_layers(examination: Examination) -> Iterator[Finding]:
    """One finding for each set of copies, one for sets that repeat from block to block, and one for
    stacked maps that are equal.
    """
    held = {one.name: one for one in examination.held}
    copies: dict[tuple[str, ...], list[str]] = {}
    for names in _list_clones(examination):
        if all(name in held for name in names) and is_random(held[names[0]].values):
            prefixes, suffix = split_names(names)
            copies.setdefault(prefixes, []).append(suffix)
    alike: dict[object, list[Finding]] = {}
    for prefixes, suffixes in copies.items():
        pattern = tuple(_DIGITS.sub("*", prefix) for prefix in prefixes), tuple(suffixes)
        finding = _report_copies(examination, held, prefixes, suffixes)
        alike.setdefault((pattern, finding.severity), []).append(finding)
    for findings in alike.values():
        yield _merge(findings)
    for one in examination.held:
        yield from _find_equal_maps(one)


def _merge(findings: Sequence[Finding]) -> Finding:
    """One finding for the same copies in several blocks."""
    first = findings[0]
    if len(findings) == 1:
        return first
    return replace(
        first,
        summary=f"{first.summary} So do {len(findings) - 1} more sets like this.",
        also=tuple(place for finding in findings for place in finding.places)[1:],
        evidence={**first.evidence, "sets": len(findings)},
        patches=tuple(patch for finding in findings for patch in finding.patches),
    )


def _list_clones(examination: Examination) -> tuple[tuple[str, ...], ...]:
    if examination.structure is not None:
        return examination.structure.clones
    return find_clones(examination.model, frozenset(list_layers(examination.model)))


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Names without their common end, and that end: ("0.fc.weight", "1.fc.weight") are ("0", "1")
    and "fc.weight".
    """
    parts = [name.split(".") for name in names]
    most = min(map(len, parts)) - 1
    same = 0
    while same < most and len({part[-same - 1] for part in parts}) == 1:
        same += 1
    cut = [".".join(part[: len(part) - same]) for part in parts]
    return tuple(cut), ".".join(parts[0][len(parts[0]) - same :])


def _report_copies(
    examination: Examination,
    held: Mapping[str, HeldParameter],
    prefixes: tuple[str, ...],
    suffixes: Sequence[str],
) -> Finding:
    weights = [[held[_join(prefix, suffix)] for suffix in suffixes] for prefix in prefixes]
    by_design = _explain(examination, weights)
    severity: Severity = "note" if by_design else "warning"
    trained = [any(one.trainable for one in own) for own in weights]
    original = trained.index(True) if True in trained else 0
    places = tuple(prefix for index, prefix in enumerate(prefixes) if index != original)
    kinds = f"{len(suffixes)} weights each" if len(suffixes) > 1 else f"its {suffixes[0]}"
    return Finding(
        code=CODE,
        severity=severity,
        where=places[0],
        also=places[1:],
        summary=(
            f"{len(prefixes)} layers hold the same numbers ({kinds}): "
            f"{_list_some((prefixes[original], *places))}. "
            + (by_design or "They were copied, and not initialized again.")
        ),
        remedy=_REMEDY,
        evidence={
            "copies": len(prefixes),
            "weights_each": len(suffixes),
            "numbers_each": sum(one.values.numel() for one in weights[0]),
            "original": prefixes[original],
        },
        patches=() if by_design else _make_patches(held, prefixes[original], places, suffixes),
    )


def _explain(examination: Examination, weights: Sequence[Sequence[HeldParameter]]) -> str:
    """Why copies may be meant; empty if nothing says so."""
    trained = [own for own in weights if any(one.trainable for one in own)]
    if len(trained) <= 1:
        return "All but one are frozen, as the copy of a network that is a target."
    structure = examination.structure
    roles = [
        set(found.roles) if structure and (found := structure.get_role(own[0].layer)) else set()
        for own in weights
    ]
    if any("embedding" in one for one in roles) and any("head" in one for one in roles):
        return "One is the embedding and one the head: some models start them alike."
    return ""


def _make_patches(
    held: Mapping[str, HeldParameter],
    original: str,
    copies: Sequence[str],
    suffixes: Sequence[str],
) -> tuple[Patch, ...]:
    """All copies but the first drawn anew, like their numbers; their random biases too."""
    own = [name.removeprefix(f"{original}.") for name in held if name.startswith(f"{original}.")]
    specs: dict[str, list[str]] = {}
    for suffix in dict.fromkeys([*suffixes, *own]):
        first = held[_join(original, suffix)]
        if not is_random(first.values):
            continue
        names = [
            name
            for copy in copies
            if (name := _join(copy, suffix)) in held
            and held[name].trainable
            and held[name].values.shape == first.values.shape
            and torch.equal(held[name].values, first.values)
        ]
        specs.setdefault(describe_draw(first.values), []).extend(names)
    return tuple(
        Patch(operation="initialize", parameters=tuple(names), initializer=spec)
        for spec, names in specs.items()
        if names
    )


def _find_equal_maps(held: HeldParameter) -> Iterator[Finding]:
    """Maps that are stacked in one parameter, such as experts, and equal."""
    values = held.values
    if held.role != "unknown" or values.dim() < 3 or min(values.shape[0], values[0].numel()) < 2:
        return
    maps = values.flatten(1)
    groups = [group for group in find_equal_rows(maps) if is_random(maps[group[0]])]
    if not groups or not held.trainable:
        return
    count = sum(map(len, groups))
    yield Finding(
        code=CODE,
        severity="warning",
        where=held.name,
        summary=(
            f"{count} of the {len(values)} maps that are stacked in {held.name} hold the same "
            "numbers."
        ),
        remedy="Draw the whole stack at once, or every map from a random stream of its own.",
        evidence={
            "maps": len(values),
            "equal_maps": count,
            "different_maps": len(values) - count + len(groups),
        },
        patches=(
            Patch(
                operation="initialize",
                parameters=(held.name,),
                initializer=describe_draw(values),
            ),
        ),
    )


def _join(prefix: str, suffix: str) -> str:
    return f"{prefix}.{suffix}" if suffix else prefix


def _list_some(names: Sequence[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
