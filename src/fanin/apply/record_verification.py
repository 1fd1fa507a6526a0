"""verify(model, record): do the weights that are there hold what the record says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn

from fanin.apply.fully_sharded import gather_flat_parameters
from fanin.apply.model_parameters import ParameterUse, find_uses, group_tied
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.record import Record
from fanin.apply.verification import Verification
from fanin.apply.verification_check import (
    ParameterCheck,
    check_parameter,
    check_tie,
    make_absent,
)
from fanin.apply.verification_reasons import can_be_searched, list_seeds
from fanin.apply.verification_statistics import adjust_holm
from fanin.apply.verification_values import compare_numbers, complete_redraw
from fanin.errors import UsageError, quote

LEVEL = 0.01


def verify(model: nn.Module, record: Record, *, level: float = LEVEL) -> Verification:
    """Check that a model's weights are those of a record, and say which are not and why.

    Each parameter is drawn again from the record's rule, stream and layout, and compared number by
    number: to the bit, or after rounding to the dtype that it has now, or had on the way (bfloat16,
    float16). What cannot be drawn again, such as a user's function, is tested by mean and variance
    (`fanin.apply.verification_statistics`). What was kept should have the moments that it had. So a
    model can be verified that got its memory late (device meta), is sharded, cast, wrapped, or was
    loaded from a checkpoint. Names are compared without wrappers. The model is not changed.

    Of a sharded model (DTensor, FSDP) every process must call this, as a forward pass; parameters
    are gathered one by one. Of a model that each process holds whole, each checks its own.

    Args:
        model: the module; it may hold more parameters than the record, which are listed.
        record: what `fanin.initialize` returned, or `Record.from_json` of what was saved. A preview
            will do: it says what there would be.
        level: the probability of a false alarm of all tests of moments together, by Holm's
            adjustment. Comparisons of numbers give none.

    Raises `UsageError` for what is no module, no record, or no level between 0 and 1.

    >>> model = nn.Linear(784, 10)
    >>> record = fanin.initialize(model, "he_normal", seed=0)
    >>> bool(fanin.verify(model, record))
    True
    """
    _check_arguments(model, record, level)
    with gather_flat_parameters(model):
        uses = find_uses(model, record.convention)
        groups = {use.name: tuple(group) for group in group_tied(uses) for use in group}
        by_name = {use.bare_name: use for use in uses} | {use.name: use for use in uses}
        checks = list(_check_all(record, by_name, groups))
        checks = _name_seed(checks, record.seed)
        unrecorded = _list_unrecorded(record, uses)
    return Verification(
        seed=record.seed,
        level=float(level),
        checks=tuple(_judge_moments(checks, level)),
        unrecorded=unrecorded,
    )


def _check_arguments(model: object, record: object, level: object) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"verify takes a torch.nn.Module first, not {quote(model)}.")
    if not isinstance(record, Record):
        raise UsageError(
            f"verify takes the record that fanin.initialize returned, not {quote(record)}. One "
            "that was saved as JSON is read by fanin.Record.from_json(json.loads(text))."
        )
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, such as 0.01, not {quote(level)}.")


def _find_use(record: ParameterRecord, by_name: dict[str, ParameterUse]) -> ParameterUse | None:
    return by_name.get(record.bare_name or record.name) or by_name.get(record.name)


def _check_all(
    record: Record,
    by_name: dict[str, ParameterUse],
    groups: dict[str, tuple[ParameterUse, ...]],
) -> Iterator[ParameterCheck]:
    """A check of each parameter, and of each tie that is broken."""
    recorded = {one.name: one for one in record}
    for one in record:
        use = _find_use(one, by_name)
        if one.tied_to is None:
            if use is None:
                yield make_absent(one)
            else:
                group = groups[use.name]
                first = (use, *(other for other in group if other is not use))
                yield check_parameter(one, first, record.seed)
            continue
        head = recorded.get(one.tied_to)
        other = None if head is None else _find_use(head, by_name)
        broken = check_tie(one, use, other) if use is not None and other is not None else ""
        if broken:
            yield ParameterCheck(
                name=one.name, shape=one.shape, as_recorded=False, by="numbers", why=broken
            )


def _list_unrecorded(record: Record, uses: Sequence[ParameterUse]) -> tuple[str, ...]:
    known = {name for one in record for name in (one.name, one.bare_name)}
    return tuple(use.name for use in uses if use.name not in known and use.bare_name not in known)


def _judge_moments(checks: Sequence[ParameterCheck], level: float) -> Iterator[ParameterCheck]:
    """The checks with p-values adjusted for all of them, and what follows for those by moments."""
    tested = [check for check in checks if check.p_value is not None]
    adjusted = adjust_holm([check.p_value for check in tested if check.p_value is not None])
    by_name = {check.name: value for check, value in zip(tested, adjusted, strict=True)}
    for check in checks:
        value = by_name.get(check.name)
        judged = replace(check, p_value=value, group=(), redraw=None, values=None)
        if check.by == "moments" and value is not None:
            yield replace(judged, as_recorded=value >= level)
        else:
            yield judged


def _name_seed(checks: Sequence[ParameterCheck], recorded: int) -> list[ParameterCheck]:
    """Say so if parameters that differ are the draw of another seed."""
    differing = [check for check in checks if check.redraw is not None and can_be_searched(check.n)]
    smallest = min(differing, key=lambda check: check.n, default=None)
    if smallest is None:
        return list(checks)
    found = next((seed for seed in list_seeds(recorded) if _is_of_seed(smallest, seed)), None)
    if found is None:
        return list(checks)
    return [
        replace(check, why=f"the draw of seed {found}, not of seed {recorded}")
        if check.redraw is not None and _is_of_seed(check, found)
        else check
        for check in checks
    ]


def _is_of_seed(check: ParameterCheck, seed: int) -> bool:
    assert check.redraw is not None
    assert check.values is not None
    drawn = check.redraw.draw_of_seed(seed, check.group[0].bare_name)
    completed = complete_redraw(check.group, drawn, seed)
    return (
        completed is not None and compare_numbers(check.values, completed, loose=False) is not None
    )
