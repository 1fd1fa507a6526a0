"""One real bug, beside its sound twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sound_models.entry import Case
from torch import Tensor

from fanin import seeds

Make = Callable[[], Case]


@dataclass(frozen=True)
class RealBug:
    """A bug that somebody had, as a small model, and the same model without it."""

    name: str
    make: Make
    twin: Make
    codes: tuple[str, ...]
    """A finding with one of them is right."""
    places: tuple[str, ...]
    """Regular expressions; the whole of one of a finding's places has to match one."""
    source: str = ""
    """Where it was seen."""
    expected: Callable[[Case], Mapping[str, Tensor]] | None = None
    """What the model should hold, from the sound twin of the same seed."""

    def build(self, seed: int = 0) -> Case:
        """With the bug."""
        with seeds.preserve_torch_state(seed):
            return self.make()

    def build_twin(self, seed: int = 0) -> Case:
        """Without it."""
        with seeds.preserve_torch_state(seed):
            return self.twin()

    def get_options(self, seed: int = 0) -> dict[str, Any]:
        """What the audit is given besides model, batch, target and loss."""
        return {} if self.expected is None else {"expected": self.expected(self.build_twin(seed))}


@dataclass
class BugList:
    """The bugs of one file, in order."""

    bugs: list[RealBug] = field(default_factory=list)

    def add(
        self,
        name: str,
        make: Make,
        twin: Make,
        codes: str,
        places: str,
        source: str = "",
        expected: Callable[[Case], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Codes and places are separated by blanks."""
        bug = RealBug(
            name, make, twin, tuple(codes.split()), tuple(places.split()), source, expected
        )
        self.bugs.append(bug)


def alter(make: Make, change: Callable[[Case], object]) -> Make:
    """The sound model, changed in place."""

    def altered() -> Case:
        case = make()
        change(case)
        return case

    return altered
