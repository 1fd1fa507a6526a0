"""A verification in words: the answer, how it was found, and what is not as recorded."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fanin.apply.record_table import format_number, format_shape, shorten
from fanin.screen import count_columns

if TYPE_CHECKING:
    from fanin.apply.verification import Verification
    from fanin.apply.verification_check import ParameterCheck

_SHOWN = 20


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
