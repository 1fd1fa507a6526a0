"""F019 and F020: whether a model holds what a file has.

A custom ``_init_weights`` that runs after loading, or a name that does not fit, leaves a model that
trains from scratch and looks as if it had been loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding, Severity
from fanin.diagnosis.findings.drawn_numbers import correlate
from fanin.diagnosis.findings.expected_names import NameMatch, match_names
from fanin.diagnosis.held_parameters import take_sample
from fanin.structure.structure_text import count

REINITIALIZED, NOT_LOADED = "F019", "F020"

RELATED = 0.9
"""Weights that were trained further, merged or scaled still correlate with the file's by more than
this; weights that were drawn anew, by about 0."""
LEAST_MATCHED = 0.1
"""If fewer of the model's names fit, nothing was loaded in fact."""
_NAMED = 4

Kind = Literal["equal", "rounded", "related", "transposed", "replaced", "shape"]


@dataclass(frozen=True)
class _Comparison:
    name: str
    kind: Kind
    correlation: float
    text: str


def find_lost_weights(examination: Examination) -> Iterator[Finding]:
    """What differs from the state dict that the model should hold."""
    if examination.expected is None:
        return
    match = match_names(examination.model, examination.expected)
    compared = [_compare(name, *pair) for name, pair in match.pairs.items()]
    compared = [one for one in compared if one.kind != "equal"]
    yield from _report_replaced([one for one in compared if one.kind in ("replaced", "transposed")])
    yield from _report_related([one for one in compared if one.kind == "related"])
    yield from _report_rounded([one for one in compared if one.kind == "rounded"])
    yield from _report_unloaded(examination, match, compared)


def _compare(name: str, held: Tensor, given: Tensor) -> _Comparison:
    if held.shape != given.shape:
        shapes = f"{_format(held)} here and {_format(given)} in the file"
        return _Comparison(name, "shape", 0.0, shapes)
    if held.is_meta or given.is_meta or not held.is_floating_point():
        return _Comparison(name, "equal", 1.0, "")
    held, given = held.detach(), given.detach().to(held.device)
    if torch.equal(held, given.to(held.dtype)):
        return _Comparison(name, "equal", 1.0, "")
    if _is_rounded(held, given):
        return _Comparison(name, "rounded", 1.0, f"{held.dtype} here, {given.dtype} in the file")
    if held.dim() == 2 and torch.equal(held.T, given.to(held.dtype)):
        return _Comparison(name, "transposed", 0.0, "holds the transposed of the file's matrix")
    correlation = correlate(take_sample(held), take_sample(given))
    kind: Kind = "related" if correlation > RELATED else "replaced"
    return _Comparison(name, kind, correlation, f"correlates with the file's by {correlation:.2f}")


def _is_rounded(held: Tensor, given: Tensor) -> bool:
    """Whether two tensors are equal in some lower precision, within its spacing."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        spacing = 2 * torch.finfo(dtype).eps
        on_grid = any(torch.equal(one, one.to(dtype).to(one.dtype)) for one in (held, given))
        if on_grid and torch.allclose(held.double(), given.double(), rtol=spacing, atol=2.0**-24):
            return True
    return False


def _report_replaced(found: Sequence[_Comparison]) -> Iterator[Finding]:
    """Numbers that have nothing to do with the file's."""
    if found:
        yield _report_different(
            found,
            "error",
            f"{count(len(found), 'tensor')} of the file, but with other numbers here: "
            f"{found[0].name} {found[0].text}.",
            "Load after everything that initializes: model.load_state_dict(state) as the last "
            "step.",
        )


def _report_related(found: Sequence[_Comparison]) -> Iterator[Finding]:
    """Numbers that come from the file's: trained on, merged, scaled."""
    if found:
        yield _report_different(
            found,
            "warning",
            f"{count(len(found), 'tensor')} of the file, but not with its very numbers: "
            f"{found[0].name} {found[0].text}.",
            "Load the file again, unless these weights were changed on purpose.",
        )


def _report_rounded(found: Sequence[_Comparison]) -> Iterator[Finding]:
    """Numbers that are the file's but for rounding."""
    if found:
        yield _report_different(
            found,
            "note",
            f"{count(len(found), 'tensor')} of the file, rounded: {found[0].name} is "
            f"{found[0].text}.",
            "Nothing, if this precision is meant.",
        )


def _report_different(
    found: Sequence[_Comparison], severity: Severity, summary: str, remedy: str
) -> Finding:
    names = tuple(one.name for one in found)
    return Finding(
        code=REINITIALIZED,
        severity=severity,
        where=names[0],
        also=names[1:],
        summary=summary,
        remedy=remedy,
        evidence={"tensors": len(names), "correlation": found[0].correlation},
    )


def _report_unloaded(
    examination: Examination, match: NameMatch, compared: Sequence[_Comparison]
) -> Iterator[Finding]:
    """What the file lacks, what the model lacks, and what has another shape."""
    misfits = {one.name: one.text for one in compared if one.kind == "shape"}
    absent = (*misfits, *match.missing)
    total = len(match.pairs) + len(match.missing)
    loaded = len(match.pairs) - len(misfits)
    if absent:
        nothing = loaded < LEAST_MATCHED * total
        heads = all(_is_head(name, examination) for name in absent)
        severity: Severity = "error" if nothing else "note" if heads else "warning"
        yield _report_absent(absent, misfits, match, severity, loaded)
    if match.unused:
        yield Finding(
            code=NOT_LOADED,
            severity="warning" if absent else "note",
            where="",
            summary=(
                f"The model has no place for {count(len(match.unused), 'tensor')} of the file: "
                f"{_list_some(match.unused)}."
            ),
            remedy="Compare the names: what was renamed in the model is not loaded.",
            evidence={"unused": len(match.unused), "loaded": loaded},
        )


def _report_absent(
    absent: tuple[str, ...],
    misfits: Mapping[str, str],
    match: NameMatch,
    severity: Severity,
    loaded: int,
) -> Finding:
    reason = f" ({misfits[absent[0]]})" if absent[0] in misfits else ""
    return Finding(
        code=NOT_LOADED,
        severity=severity,
        where=absent[0],
        also=absent[1:],
        summary=(
            f"{len(absent)} of the model's {loaded + len(absent)} tensors are not in the file: "
            f"{_list_some(absent)}{reason}."
        ),
        remedy=(
            "Load with strict=True, which names what does not fit; rename the file's keys, or "
            "initialize these parameters on purpose."
        ),
        evidence={
            "not_loaded": len(absent),
            "other_shape": len(misfits),
            "loaded": loaded,
            "unused": len(match.unused),
            "prefix": match.prefix,
        },
    )


def _is_head(name: str, examination: Examination) -> bool:
    """Whether it belongs to the last layer, which a new task replaces."""
    structure = examination.structure
    role = structure and structure.get_role(name.rpartition(".")[0])
    return bool(role and "head" in role.roles)


def _format(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def _list_some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
