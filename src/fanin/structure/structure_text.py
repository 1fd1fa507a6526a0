"""Parts of a model's structure as text of at most 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from fanin.structure.structure_records import (
    ExpertMixture,
    LayerRole,
    PackedRows,
    ResidualBranch,
    ResidualStream,
)

WIDTH = 80
_NUMBER = re.compile(r"(?<![^.])\d+(?=\.)")
"""A component of a name that is a number, but not the last: in a Sequential that is no block's."""


def wrap(text: str) -> Iterator[str]:
    """Lines of at most `WIDTH` columns; continuations are indented further. A name that is longer
    is broken.
    """
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    while len(text) > WIDTH:
        cut = text.rfind(" ", len(indent) + 1, WIDTH + 1)
        cut = cut if cut > 0 else WIDTH
        yield text[:cut].rstrip()
        text = indent + text[cut:].lstrip()
    yield text


def count(number: int, one: str, several: str = "") -> str:
    """A number and its noun."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def format_section(title: str, lines: Iterable[str]) -> list[str]:
    """Some lines below a title; nothing if there are none."""
    found = [f"  {line}" for line in lines]
    return ["", title, *found] if found else []


def format_same(groups: Iterable[Sequence[str]]) -> Iterator[str]:
    """Names that mean the same numbers."""
    return (" = ".join(names) for names in groups)


def format_calls(calls: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Layers and how often they were called."""
    alike: dict[tuple[str, int], list[str]] = {}
    for name, times in calls:
        alike.setdefault((_generalize(name), times), []).append(name)
    for (name, times), layers in alike.items():
        yield f"{name}{_format_times(layers)}, {times} times"


def format_stream(stream: ResidualStream) -> Iterator[str]:
    """A residual stream and its branches."""
    begin = ", ".join(map(_generalize, stream.sources)) or "the input"
    inner = "" if stream.parent is None else f", inside a branch of stream {stream.parent}"
    yield f"stream {stream.index} from {begin}: {count(stream.depth, 'branch', 'branches')}{inner}"
    alike: dict[str, list[ResidualBranch]] = {}
    for branch in stream.branches:
        alike.setdefault(_format_branch(branch), []).append(branch)
    for text, branches in alike.items():
        yield f"  {_format_indices([branch.index for branch in branches])}: {text}"


def _format_branch(branch: ResidualBranch) -> str:
    readers, writers = (_join(names) for names in (branch.readers, branch.writers))
    norms = f", {' and '.join(branch.norms)}-norm" if branch.norms else ""
    shortcut = f", shortcut {_join(branch.projection)}" if branch.projection else ""
    return f"{readers} → {writers}{norms}{shortcut}"


def format_roles(layers: Iterable[LayerRole]) -> Iterator[str]:
    """What each layer does."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in layers:
        words = " + ".join(word.replace("_", " ") for word in one.roles) or "-"
        notes = [
            word
            for word, holds in (
                ("reads", one.reads),
                ("writes", one.writes),
                ("expert", one.expert),
            )
            if holds
        ]
        note = f" ({', '.join(notes)})" if notes else ""
        alike.setdefault((words + note, _generalize(one.layer)), []).append(one.layer)
    for (words, name), same in alike.items():
        yield f"{words:<28} {name}{_format_times(same)}"


def format_packed(packed: Iterable[PackedRows]) -> Iterator[str]:
    """Which rows of packed layers are which."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in packed:
        alike.setdefault((_format_rows(one), _generalize(one.layer)), []).append(one.layer)
    for (rows, name), layers in alike.items():
        yield f"{name}{_format_times(layers)}: {rows}"


def _format_rows(packed: PackedRows) -> str:
    if packed.rows is None:
        return f"{', '.join(packed.names)}; give a batch to see which rows"
    parts = []
    for name, ranges in zip(packed.names, packed.rows, strict=True):
        start, stop = ranges[0]
        more = f" and {len(ranges) - 1} more" if len(ranges) > 1 else ""
        parts.append(f"{name} {start}:{stop}{more}")
    heads = packed.heads
    return ", ".join(parts) + (f" ({heads} groups)" if heads is not None and heads > 1 else "")


def format_mixtures(mixtures: Iterable[ExpertMixture]) -> Iterator[str]:
    """Routers and their experts."""
    alike: dict[str, list[str]] = {}
    for mixture in mixtures:
        names = list(dict.fromkeys(_generalize(n) for one in mixture.experts for n in one))
        number = f"{len(mixture.experts)} × " if len(mixture.experts) > 1 else ""
        text = f"{_generalize(mixture.router)} weighs {number}{', '.join(names)}"
        alike.setdefault(text, []).append(mixture.router)
    for text, routers in alike.items():
        yield f"{text}{_format_times(routers)}"


def _join(names: Sequence[str]) -> str:
    """Names with what they share at their beginning written once."""
    general = list(dict.fromkeys(map(_generalize, names)))
    if len(general) < 2:
        return "".join(general)
    parts = [name.split(".") for name in general]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    prefix = ".".join(parts[0][:shared])
    rest = ", ".join(".".join(part[shared:]) for part in parts)
    return f"{prefix}.{{{rest}}}" if prefix else rest


def _generalize(name: str) -> str:
    return _NUMBER.sub("*", name)


def _format_times(names: Sequence[str]) -> str:
    return f" ({len(names)}×)" if len(names) > 1 else ""


def _format_indices(indices: Sequence[int]) -> str:
    """0, 2, … 10 for an even progression, else every number."""
    if len(indices) > 3 and len({b - a for a, b in pairwise(indices)}) == 1:
        return f"{indices[0]}, {indices[1]}, … {indices[-1]}"
    return ", ".join(map(str, indices))
