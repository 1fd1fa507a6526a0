"""The scale of embeddings (F032).

torch draws every table from N(0, 1), which is large beside the 0.02 of GPT-2 and BERT, and of no
consequence if the signal is normalized before anything else is added to it. It matters where
something much smaller is added: positions, or the branches of a residual stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.anatomy import Anatomy, WeightState, get_anatomy
from fanin.diagnosis.findings.signal_paths import find_branch_end
from fanin.diagnosis.measurement import Measurement, Signal
from fanin.diagnosis.patch import Patch
from fanin.structure import ResidualStream

DEFAULT_STD = 1.0
DROWNED = 20.0
"""What is this many times smaller changes the sum by less than 5 %, and its angle by 3 degrees."""
GOOD_STD = 0.02
"""GPT-2's and BERT's, which small positions and branches are made for."""


def find_embedding_scale(examination: Examination) -> Iterator[Finding]:
    """F032: drowned summands and branches, and tables that still are N(0, 1)."""
    anatomy = get_anatomy(examination)
    tables = {
        anatomy.get_layer(state.use): state
        for state in anatomy.weights
        if state.use.role == "embedding"
    }
    told: set[str] = set()
    for judge in (_find_drowned_tables, _find_drowned_branches):
        for finding in judge(anatomy, examination, tables):
            if told.isdisjoint(finding.places):
                told.update(finding.places)
                yield finding
    yield from _list_defaults([one for one in tables.values() if one.name not in told])


def _list_defaults(tables: list[WeightState]) -> Iterator[Finding]:
    found = [one for one in tables if one.draw.kind == "normal" and one.draw.equals(DEFAULT_STD)]
    if found:
        names = tuple(one.name for one in found)
        yield Finding(
            code="F032",
            severity="note",
            where=names[0],
            also=names[1:],
            summary=(
                f"{_count(len(names), 'embedding')} from N(0, 1), torch's default: 50 times the "
                "0.02 of most published language models."
            ),
            remedy=(
                "Nothing, if a normalization or a scale follows; otherwise initialize by "
                "'normal(std=0.02)' as fanin.initialize does."
            ),
            evidence={"std": found[0].draw.std, "usual_std": GOOD_STD},
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}s start" if number > 1 else f"1 {noun} starts"


def _find_drowned_tables(
    anatomy: Anatomy, examination: Examination, tables: dict[str, WeightState]
) -> Iterator[Finding]:
    """Tables whose rows are added to those of a much larger one."""
    for names in _list_sums(anatomy, tables):
        sizes = {
            name: _measure_rows(anatomy, examination.measurement, name, tables) for name in names
        }
        known = {name: size for name, size in sizes.items() if size}
        if len(known) < 2:
            continue
        large = max(known, key=known.__getitem__)
        small = [name for name, size in known.items() if size * DROWNED <= known[large]]
        if small:
            yield _describe_drowned(tables, large, small, known)


def _list_sums(anatomy: Anatomy, tables: dict[str, WeightState]) -> Iterator[tuple[str, ...]]:
    """The tables that are added up, of each sum of nothing but tables."""
    graph = anatomy.graph
    if graph is None:
        return
    sums: dict[int, list[str]] = {}
    for name in tables:
        for node in anatomy.nodes.get(name, ()):
            end = find_branch_end(graph, node)
            while end is not None:
                sums.setdefault(end.sum, []).append(name)
                users = graph.users[end.sum]
                following = len(users) == 1 and graph.nodes[users[0]].kind == "add"
                end = find_branch_end(graph, end.sum) if following else None
    yield from dict.fromkeys(
        tuple(dict.fromkeys(names)) for names in sums.values() if len(set(names)) > 1
    )


def _measure_rows(
    anatomy: Anatomy,
    measurement: Measurement | None,
    name: str,
    tables: dict[str, WeightState],
) -> float:
    """The size of what is added: as measured, or that of the table's numbers times the constant
    that they are multiplied by.
    """
    if anatomy.graph is None or name not in anatomy.nodes:
        return 0.0
    end = find_branch_end(anatomy.graph, anatomy.nodes[name][0])
    if end is None or end.normalized:
        return 0.0
    signal = measurement.signals.get(end.end) if measurement is not None else None
    if signal is not None:
        return signal.rms
    return tables[name].draw.std * abs(end.factor) if end.factor is not None else 0.0


def _describe_drowned(
    tables: dict[str, WeightState], large: str, small: list[str], sizes: dict[str, float]
) -> Finding:
    least = min(small, key=sizes.__getitem__)
    ratio = sizes[large] / sizes[least]
    return Finding(
        code="F032",
        severity="warning",
        where=tables[large].name,
        summary=(
            f"What {tables[least].name} adds is {ratio:.3g} times smaller than what "
            f"{tables[large].name} does ({sizes[least]:.3g} beside {sizes[large]:.3g}): at the "
            "start the model hardly sees it."
        ),
        remedy="Give embeddings that are added up one scale, such as 'normal(std=0.02)' for both.",
        evidence={
            "size": sizes[large],
            "size_of_smallest": sizes[least],
            "ratio": ratio,
            "expected_ratio": f"< {DROWNED:g}",
        },
        patches=(_scale_down(tables[large], 1 / ratio),),
    )


def _scale_down(state: WeightState, factor: float) -> Patch:
    return Patch(operation="scale", parameters=(state.name,), value=factor)


def _find_drowned_branches(
    anatomy: Anatomy, examination: Examination, tables: dict[str, WeightState]
) -> Iterator[Finding]:
    """Embeddings beside which everything that a normalized stream gains is nothing."""
    measurement, structure = examination.measurement, examination.structure
    if measurement is None or structure is None:
        return
    for stream in structure.streams:
        sources = [tables[name] for name in stream.sources if name in tables]
        if not sources or not stream.branches or "pre" not in stream.branches[0].norms:
            continue
        start, added = _measure_stream(anatomy, measurement, stream)
        if start and added and start > DROWNED * added:
            yield _describe_large(sources, stream, start, added)


def _measure_stream(
    anatomy: Anatomy, measurement: Measurement, stream: ResidualStream
) -> tuple[float, float]:
    """The size of a stream before its first branch, and of all branches together; 0 if it cannot
    be measured, or a branch starts at zero, which is a choice.
    """
    assert anatomy.graph is not None
    start, added = 0.0, 0.0
    for branch in stream.branches:
        nodes = [node for name in branch.writers for node in anatomy.nodes.get(name, ())]
        end = find_branch_end(anatomy.graph, nodes[0]) if nodes else None
        signal = measurement.signals.get(end.end) if end is not None else None
        if end is None or signal is None or not signal.rms:
            return 0.0, 0.0
        added += signal.rms**2
        if branch.index == 0:
            shortcut = [one for one in anatomy.graph.nodes[end.sum].inputs if one != end.end]
            first = _find_signal(anatomy, measurement, shortcut[0]) if len(shortcut) == 1 else None
            start = first.rms if first is not None else 0.0
    return start, math.sqrt(added)


def _find_signal(anatomy: Anatomy, measurement: Measurement, index: int) -> Signal | None:
    """What was measured at a node, or before the steps to it that only move numbers."""
    assert anatomy.graph is not None
    node = anatomy.graph.nodes[index]
    while node.index not in measurement.signals and node.kind == "transparent" and node.inputs:
        node = anatomy.graph.nodes[node.inputs[0]]
    return measurement.signals.get(node.index)


def _describe_large(
    sources: list[WeightState], stream: ResidualStream, start: float, added: float
) -> Finding:
    largest = max(sources, key=lambda one: one.draw.std)
    rest = tuple(one.name for one in sources if one is not largest)
    return Finding(
        code="F032",
        severity="warning",
        where=largest.name,
        summary=(
            f"The {stream.depth} branches of a residual stream together add {added:.3g} to "
            f"embeddings of size {start:.3g}: {start / added:.3g} times less."
        ),
        remedy="Draw the embeddings smaller, such as 'normal(std=0.02)'.",
        evidence={
            "size": start,
            "size_of_branches": added,
            "ratio": start / added,
            "expected_ratio": f"< {DROWNED:g}",
            "sources": ", ".join((largest.name, *rest)),
        },
        patches=tuple(
            Patch(
                operation="initialize",
                parameters=(one.name,),
                initializer=f"normal(std={GOOD_STD})",
            )
            for one in sources
            if one.draw.std > GOOD_STD
        ),
    )
