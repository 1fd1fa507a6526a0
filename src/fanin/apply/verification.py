"""Whether the weights that are there are those of a record: the answer, how it was found, and what
is not as recorded.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.apply.record_json import write_json
from fanin.apply.record_table import format_number, format_shape, shorten
from fanin.apply.verification_check import ParameterCheck
from fanin.errors import UnknownName
from fanin.screen import count_columns

SCHEMA = 1
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether the weights that are there are those of a record: one check per parameter, in the
    record's order, found by name or position. It is true if all that could be told is as recorded.
    """

    seed: int
    """The record's."""
    level: float
    """Of all tests of moments together."""
    checks: tuple[ParameterCheck, ...]
    unrecorded: tuple[str, ...] = ()
    """Parameters of the model that the record does not have."""

    @property
    def passed(self) -> bool:
        """Whether no parameter differs from its record, and at least one could be told."""
        return not self.failed and any(check.as_recorded for check in self.checks)

    @property
    def failed(self) -> tuple[ParameterCheck, ...]:
        """The parameters that are not as recorded."""
        return tuple(check for check in self.checks if check.as_recorded is False)

    @property
    def unknown(self) -> tuple[ParameterCheck, ...]:
        """The parameters of which it cannot be told."""
        return tuple(check for check in self.checks if check.as_recorded is None)

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[ParameterCheck]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, key: str | int) -> ParameterCheck:
        if isinstance(key, int):
            return self.checks[key]
        for check in self.checks:
            if check.name == key:
                return check
        raise UnknownName.suggest("parameter", key, (check.name for check in self.checks))

    def __str__(self) -> str:
        """The answer, how it was found, and the parameters that are not as recorded."""
        return format_verification(self)

    def to_json(self) -> dict[str, Any]:
        """The verification as a JSON object."""
        return {"schema": SCHEMA, "passed": self.passed, **write_json(self)}


def format_verification(found: Verification) -> str:
    """The printed verification, as wide as the output."""
    width = count_columns()
    lines = [*_wrap(describe_answer(found), width)]
    for check in found.failed[:_SHOWN]:
        lines += _describe_check(check, width)
    if len(found.failed) > _SHOWN:
        lines.append(f"  … (verification.failed has all {len(found.failed)})")
    lines += [line for text in _describe_method(found) for line in _wrap(text, width)]
    return "\n".join(lines)


def describe_answer(found: Verification) -> str:
    """The answer in one sentence."""
    told = len(found.checks) - len(found.unknown)
    failed = len(found.failed)
    named = "parameter" if told == 1 else "parameters"
    if told == 0:
        return "Nothing can be told: the record says nothing of the weights that are there."
    if failed:
        verb = "is" if failed == 1 else "are"
        return f"{failed} of {told} {named} {verb} not as recorded (seed {found.seed}):"
    every = "The parameter is" if told == 1 else f"All {told} parameters are"
    return f"{every} as recorded (seed {found.seed})."


def _describe_check(check: ParameterCheck, width: int) -> Iterator[str]:
    head = f"  {check.name}  {format_shape(check.shape)}"
    if check.p_value is not None:
        head += f"  p {_format_p(check.p_value)} (n {check.n:,})"
    if check.p_value is not None and check.std is not None and check.expected_std is not None:
        head += f"  std {format_number(check.std)}, recorded {format_number(check.expected_std)}"
    yield from _wrap(head, width, indent="  ")
    yield from _wrap(f"    {check.why}", width, indent="    ")


def _format_p(value: float) -> str:
    return "< 1e-16" if value < 1e-16 else f"{value:.2g}"


def _describe_method(found: Verification) -> Iterator[str]:
    """How it was told, and of what it was not."""
    numbers = [check for check in found.checks if check.by == "numbers" and check.as_recorded]
    if numbers:
        ways = Counter(check.why.partition(", ")[2] or check.why for check in numbers)
        listed = "; ".join(f"{count} {way}" for way, count in ways.most_common())
        yield f"Drawn again and compared number by number: {listed}."
    moments = [check for check in found.checks if check.by == "moments"]
    tested = [check for check in moments if check.p_value is not None]
    if tested:
        sizes = [check.n for check in tested]
        few = f"n {min(sizes):,}" + ("" if min(sizes) == max(sizes) else f" to {max(sizes):,}")
        yield (
            f"Tested by mean and variance: {len(tested)} ({few} numbers each), at level "
            f"{found.level:g} for all together (Holm)."
        )
    kept = len(moments) - len(tested)
    if kept:
        yield f"Kept, and compared with the mean and std that they had: {kept}."
    for why, names in _group_reasons(found.unknown).items():
        yield f"Cannot be told of {len(names)}, because {why}: {_list(names)}."
    if found.unrecorded:
        more = len(found.unrecorded)
        yield f"The record says nothing of {more} of the model's: {_list(found.unrecorded)}."


def _group_reasons(checks: Sequence[ParameterCheck]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for check in checks:
        grouped.setdefault(check.why, []).append(check.name)
    return grouped


def _list(names: Sequence[str]) -> str:
    return shorten(", ".join(names[:3]) + (", …" if len(names) > 3 else ""), 100)


def _wrap(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
