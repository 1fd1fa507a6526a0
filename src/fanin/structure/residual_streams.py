"""The residual streams of a model, and their branches by layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from itertools import pairwise

from fanin.structure.residual_sums import ResidualSum, find_writers, list_stream
from fanin.structure.signal_graph import SignalGraph
from fanin.structure.structure_records import NormPlace, ResidualBranch, ResidualStream

_CURVED = ("activation", "softmax", "product")


def build_streams(
    view: SignalGraph, sums: Mapping[int, ResidualSum], weighted: Set[int]
) -> tuple[ResidualStream, ...]:
    """The streams that residual sums form, in the order of their first sums.

    Sums belong to one stream if it runs from one to the next through nothing but shortcuts,
    normalizations and activations. A stream that lies in a branch of another one is nested.
    `weighted` are the products of experts and their router: the sum of experts is one branch.
    """
    return _StreamBuilder(view, sums, weighted).build()


class _StreamBuilder:
    def __init__(
        self, view: SignalGraph, sums: Mapping[int, ResidualSum], weighted: Set[int]
    ) -> None:
        self._view = view
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
        writers = find_writers(view, end, inside)
        return ResidualBranch(
            index,
            step,
            view.list_names(view.find_readers(one.fork, inside)),
            view.list_names(writers),
            view.list_names(view.layers & inside),
            tuple(self._list_norms(one, end, inside)),
            view.list_names(one.projection),
        )

    def _list_norms(self, one: ResidualSum, end: int, inside: Set[int]) -> Iterator[NormPlace]:
        before = self._view.collect_after(one.fork, inside)
        if self._has_norm(before | ({one.fork} if one.projection else set())):
            yield "pre"
        if self._has_norm(self._view.collect_before(end, inside) - before):
            yield "end"
        if one.index in self._normalized:
            yield "post"

    def _has_norm(self, indices: Set[int]) -> bool:
        return any(self._view.nodes[index].kind == "normalization" for index in indices)

    @cached_property
    def _normalized(self) -> frozenset[int]:
        """The sums that the stream is normalized after. The last one's normalization may be that
        before the head instead; the sum before it decides.
        """
        found: set[int] = set()
        for members in self._members:
            for one, following in pairwise(members):
                if following.projection:
                    continue  # what it projects may be normalized for the branch alone
                stream = list_stream(self._view, self._sums, following.shortcut)
                between = stream[: stream.index(one.index)] if one.index in stream else []
                if self._has_norm(frozenset(between)):
                    found.add(one.index)
            last = members[-1]
            if members[-2].index in found if len(members) > 1 else not self._has_norm(last.inside):
                found |= {last.index} if self._is_only_normalized(last.index) else set()
        return frozenset(found)

    def _is_only_normalized(self, index: int) -> bool:
        """Whether nothing but one normalization uses a node."""
        users = self._view.users[index]
        while len(users) == 1 and self._view.nodes[users[0]].kind == "transparent":
            users = self._view.users[users[0]]
        return len(users) == 1 and self._view.nodes[users[0]].kind == "normalization"
