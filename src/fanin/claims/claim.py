"""Claim: what somebody says of initializers, and the criterion that was written before the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fanin.claims.arms import Arm
from fanin.claims.contrast import Contrast

Mode = Literal["all", "any"]


@dataclass(frozen=True)
class Part:
    """A part of a claim: contrasts, or further parts, of which all or any must be supported."""

    title: str
    items: tuple[Contrast | Part, ...]
    mode: Mode = "all"
    if_refuted: str = ""
    """What is true if this part is refuted: what its refutation means, in words."""
    counts: bool = True
    """Whether the claim's verdict depends on it. Other parts stand beside it, for comparison."""

    def list_contrasts(self) -> Iterator[Contrast]:
        """All contrasts in it, those of its parts included."""
        for item in self.items:
            if isinstance(item, Part):
                yield from item.list_contrasts()
            else:
                yield item


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and its criterion."""

    name: str
    statement: str
    supported_if: str
    refuted_if: str
    smallest_effect: str
    """The smallest effect of interest, and why."""
    parts: tuple[Part, ...]
    studies: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    seen_before: tuple[str, ...] = ()
    """Studies of `studies` whose results existed before the criterion was written."""
    amendment: str = ""
    """What was changed after the criterion was first written, and why."""
    caveat: str = ""
    """What the test does not cover."""
    mode: Mode = "all"
    """Whether all parts that count must be supported, or any."""

    @property
    def comparisons(self) -> int:
        """The number of contrasts that count: the intervals are simultaneous over them."""
        return sum(1 for part in self.parts if part.counts for _ in part.list_contrasts())

    def list_arms(self) -> list[Arm]:
        """Every condition that a contrast reads, once."""
        contrasts = (contrast for part in self.parts for contrast in part.list_contrasts())
        found: list[Arm] = []
        for arm in (arm for contrast in contrasts for arm in contrast.list_arms()):
            if arm not in found:
                found.append(arm)
        return found
