"""The residual streams of a model, and their branches by layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from itertools import pairwise

from torch import Tensor

from fanin.structure.residual_sums import ResidualSum, find_writers, list_stream
from fanin.structure.signal_graph import SignalGraph
from fanin.structure.structure_records import (
    BranchNorms,
    NormPlace,
    ResidualBranch,
    ResidualStream,
)
from fanin.structure.summand_scaling import list_inner_shifts, read_scaling, read_sum_scaling

_CURVED = ("activation", "softmax", "product")
_PLACES: tuple[NormPlace, ...] = ("pre", "end", "post")
_ALL_PLACES = ("pre", "inner", "last", "end", "post")


def build_streams(
    view: SignalGraph,
    sums: Mapping[int, ResidualSum],
    weighted: Set[int],
    values: Mapping[int, Tensor],
    variances: Mapping[int, float],
) -> tuple[ResidualStream, ...]:
    """The streams that residual sums form, in the order of their first sums.

    Sums belong to one stream if it runs from one to the next through nothing but shortcuts,
    normalizations and activations. A stream that lies in a branch of another one is nested.
    `weighted` are the products of experts and their router: the sum of experts is one branch.
    `values` are the tensors of an observed pass, which show factors that the graph does not, and
    `variances` those of its nodes, if they were measured.
    """
    return _StreamBuilder(view, sums, weighted, values, variances).build()


class _StreamBuilder:
    def __init__(
        self,
        view: SignalGraph,
        sums: Mapping[int, ResidualSum],
        weighted: Set[int],
        values: Mapping[int, Tensor],
        variances: Mapping[int, float],
    ) -> None:
        self._view, self._values, self._variances = view, values, variances
        self._sums = dict(sums)
        self._weighted = weighted
        self._outer = {index: self._find_outer(index) for index in sums}
        self._stream_of: dict[int, int] = {}
        self._members: list[list[ResidualSum]] = []

    def build(self) -> tuple[ResidualStream, ...]:
        for one in self._sums.values():
            previous = self._find_previous(one)
            if previous is None:
                self._members.append([])
                self._stream_of[one.index] = len(self._members) - 1
            else:
                self._stream_of[one.index] = self._stream_of[previous]
            self._members[self._stream_of[one.index]].append(one)
        return tuple(
            ResidualStream(
                index,
                self._view.list_names(self._find_start(members[0])),
                tuple(self._build_branches(members)),
                self._get_parent(members[0]),
            )
            for index, members in enumerate(self._members)
        )

    def _find_outer(self, index: int) -> int | None:
        """The smallest branch that a sum lies in, by its own sum."""
        around = [one for one in self._sums.values() if index in one.inside]
        return min(around, key=lambda one: len(one.inside)).index if around else None

    def _find_previous(self, one: ResidualSum) -> int | None:
        start = one.fork if one.projection else one.shortcut
        for index in list_stream(self._view, self._sums, start):
            if index in self._sums and self._outer[index] == self._outer[one.index]:
                return index
        return None

    def _find_start(self, one: ResidualSum) -> frozenset[int]:
        start = list_stream(self._view, self._sums, one.fork if one.projection else one.shortcut)
        return self._view.find_sources(start[-1], frozenset(self._sums))

    def _get_parent(self, one: ResidualSum) -> int | None:
        outer = self._outer[one.index]
        return None if outer is None else self._stream_of[outer]

    def _build_branches(self, members: list[ResidualSum]) -> Iterator[ResidualBranch]:
        index, steps = 0, list(dict.fromkeys(one.fork for one in members))
        for one in members:
            for end, inside in self._split(one.end, one.fork, one.inside):
                yield self._build_branch(index, steps.index(one.fork), one, end, inside)
                index += 1

    def _split(self, end: int, fork: int, inside: Set[int]) -> Iterator[tuple[int, Set[int]]]:
        """The parallel branches that were added up before they meet the stream: attention and
        multilayer perceptron in GPT-J.
        """
        joined = self._view.skip_moves(end)
        node = self._view.nodes[joined]
        if node.kind == "add" and joined not in self._sums and joined in inside:
            parts = [(source, self._view.collect_between(fork, source)) for source in node.inputs]
            if all(map(self._is_whole, (part for _, part in parts), (s for s, _ in parts))) and (
                not self._is_sum_of_experts(joined, fork)
            ):
                for source, part in parts:
                    yield from self._split(source, fork, part)
                return
        yield end, inside

    def _is_whole(self, inside: Set[int], end: int) -> bool:
        return (
            bool(inside)
            and any(self._view.nodes[one].kind in _CURVED for one in inside)
            and bool(find_writers(self._view, end, inside))
        )

    def _is_sum_of_experts(self, joined: int, fork: int) -> bool:
        inside = self._view.collect_between(fork, joined)
        attends = any(
            self._view.nodes[one].kind == "transparent" and self._view.is_mixture(one)
            for one in inside
        )
        return not attends and not inside.isdisjoint(self._weighted)

    def _build_branch(
        self, index: int, step: int, one: ResidualSum, end: int, inside: Set[int]
    ) -> ResidualBranch:
        view = self._view
        nodes = frozenset(inside)
        norms = self._find_norms(one, end, nodes)
        shortcut, branch = read_sum_scaling(view, one, self._values)
        if end != one.end:  # one of several that were added up before
            branch = branch.combine(read_scaling(view, end, one.fork, self._values))
        shifts = (*list_inner_shifts(view, nodes), *branch.shifts)
        return ResidualBranch(
            index,
            step,
            view.list_names(view.find_readers(one.fork, nodes)),
            view.list_names(find_writers(view, end, nodes)),
            view.list_names(view.layers & nodes),
            tuple(place for place in _PLACES if norms[place]),
            view.list_names(one.projection),
            BranchNorms(*(view.list_norms(norms[place]) for place in _ALL_PLACES)),
            scales=view.get_bare_names(branch.scales),
            factor=branch.factor,
            shifts=view.get_bare_names(shifts),
            shortcut_scales=view.get_bare_names(shortcut.scales),
            shortcut_factor=shortcut.factor,
            variances=self._get_variances(one.shortcut, end),
            crosses=self._crosses(one, nodes),
        )

    def _find_norms(
        self, one: ResidualSum, end: int, inside: frozenset[int]
    ) -> dict[str, frozenset[int]]:
        """The nodes of the normalizations by place."""
        after = self._view.collect_after(one.fork, inside)
        before = after | ({one.fork} if one.projection else frozenset())
        pre = self._select_norms(before)
        at_end = self._select_norms(self._view.collect_before(end, inside) - after)
        inner = self._select_norms(inside) - pre - at_end
        return {
            "pre": pre,
            "inner": inner,
            "last": inner & self._collect_read(find_writers(self._view, end, inside), inside),
            "end": at_end,
            "post": self._normalized.get(one.index, frozenset()),
        }

    def _collect_read(self, writers: Set[int], inside: frozenset[int]) -> frozenset[int]:
        """What the last layers read, back to the layers before them."""
        sources = {one for writer in writers for one in self._view.inputs[writer]}
        return frozenset[int]().union(
            *(self._view.collect_before(one, inside) for one in sources), frozenset()
        )

    def _get_variances(self, shortcut: int, end: int) -> tuple[float, float] | None:
        found = self._variances.get(shortcut), self._variances.get(end)
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def _select_norms(self, indices: Set[int]) -> frozenset[int]:
        return frozenset(one for one in indices if self._view.nodes[one].kind == "normalization")

    def _crosses(self, one: ResidualSum, inside: frozenset[int]) -> bool:
        """Whether a node inside takes what descends from a sum of another stream, but not from the
        fork: a table of positions does not.
        """
        others = sum(
            1 << index
            for index in self._sums
            if self._stream_of[index] != self._stream_of[one.index]
        )
        known = inside | {one.fork}
        return any(
            self._view.ancestors[source] & others
            for node in inside
            for source in self._view.inputs[node]
            if source not in known and not self._view.ancestors[source] >> one.fork & 1
        )

    @cached_property
    def _normalized(self) -> dict[int, frozenset[int]]:
        """The sums that the stream is normalized after, and the normalizations. The last one's may
        be that before the head instead; the sum before it decides.
        """
        found: dict[int, frozenset[int]] = {}
        for members in self._members:
            for one, following in pairwise(members):
                if following.projection:
                    continue  # what it projects may be normalized for the branch alone
                stream = list_stream(self._view, self._sums, following.shortcut)
                between = stream[: stream.index(one.index)] if one.index in stream else []
                found[one.index] = self._select_norms(frozenset(between))
            last = members[-1]
            if (
                found.get(members[-2].index)
                if len(members) > 1
                else not self._select_norms(last.inside)
            ):
                found[last.index] = self._find_only_norm(last.index)
        return found

    def _find_only_norm(self, index: int) -> frozenset[int]:
        """The normalization that alone uses a node, if there is one."""
        users = self._view.users[index]
        while len(users) == 1 and self._view.nodes[users[0]].kind == "transparent":
            users = self._view.users[users[0]]
        return self._select_norms(frozenset(users)) if len(users) == 1 else frozenset()
