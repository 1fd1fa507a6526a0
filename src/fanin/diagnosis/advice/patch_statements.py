"""The statements that do what one patch does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fanin.apply import ParameterRecord, collect_unfilled, initialize
from fanin.apply.loaded_parameters import is_flagged
from fanin.diagnosis.advice.index_loops import write_targets
from fanin.diagnosis.advice.patching import ParameterPlace
from fanin.diagnosis.advice.torch_calls import TARGET, write_number, write_torch_call
from fanin.diagnosis.patch import Patch
from fanin.initializers import get

_WIDTH = 88


@dataclass(frozen=True)
class Block:
    """Statements under one header, such as ``for i in range(12):``; without one, if it is empty."""

    header: str
    lines: tuple[str, ...]
    bare: bool = False
    """Whether it stands outside of ``torch.no_grad()``."""


def write_patch(
    model: nn.Module, patch: Patch, places: Sequence[ParameterPlace], seed: int, batch: Any
) -> list[Block]:
    """Statements of torch, and one call of fanin for what torch cannot do."""
    records = _preview(model, patch, places, batch) if patch.operation == "initialize" else {}
    statements: dict[str, list[ParameterPlace]] = {}
    rest: list[ParameterPlace] = []
    for place in places:
        statement = _write_statement(patch, place, records.get(place.use.name))
        (rest if statement is None else statements.setdefault(statement, [])).append(place)
    blocks = [
        block
        for statement, among in statements.items()
        for block in _write_blocks(model, statement, among)
    ]
    return [*blocks, *([_write_fanin_call(patch, rest, seed, batch)] if rest else [])]


def _write_blocks(
    model: nn.Module, statement: str, places: Sequence[ParameterPlace]
) -> Iterator[Block]:
    for header, target in write_targets(model, [place.name for place in places]):
        yield Block(header, (statement.replace(TARGET, target),))


def _preview(
    model: nn.Module, patch: Patch, places: Sequence[ParameterPlace], batch: Any
) -> dict[str, ParameterRecord]:
    """What `fanin.initialize` would do, by qualified name."""
    names = [place.use.bare_name for place in places]
    if not names:
        return {}
    with collect_unfilled():
        record = initialize(
            model,
            dict.fromkeys(names, patch.initializer),
            default="keep",
            only=names,
            loaded={},
            seed=0,
            batch=batch,
            preview=True,
        )
    return {one.name: one for one in record}


def _write_statement(
    patch: Patch, place: ParameterPlace, record: ParameterRecord | None
) -> str | None:
    """One statement, in which `TARGET` stands for the parameter; None if torch has none."""
    if patch.operation == "train":
        return f"{TARGET}.requires_grad_()"
    target = TARGET if patch.rows is None else f"{TARGET}[{patch.rows[0]}:{patch.rows[1]}]"
    if patch.operation == "initialize":
        call = (
            None if record is None else write_torch_call(get(patch.initializer), record, place.use)
        )
        if call is None or patch.rows is None:
            return call
        # torch would take the rows for the whole weight.
        whole = any(word in call for word in ("kaiming", "xavier", "orthogonal"))
        return None if whole else call.replace(TARGET, target)
    if place.is_computed:
        return None
    if isinstance(patch.value, tuple):
        method = "copy_" if patch.operation == "set" else "mul_"
        return f"{target}.{method}({_write_tensor(patch.value)})"
    number = write_number(patch.value)
    if patch.operation == "scale":
        return f"{target}.mul_({number})"
    return f"{target}.zero_()" if patch.value == 0 else f"{target}.fill_({number})"


def _write_tensor(values: Sequence[float]) -> str:
    """A tensor of one axis, in as many lines as it takes."""
    text = ", ".join(map(write_number, values))
    if len(text) < _WIDTH // 2:
        return f"torch.tensor([{text}])"
    lines = textwrap.wrap(text, _WIDTH - 16, break_long_words=False)
    return "torch.tensor([\n" + textwrap.indent("\n".join(lines), "    ") + ",\n])"


def _write_fanin_call(
    patch: Patch, places: Sequence[ParameterPlace], seed: int, batch: Any
) -> Block:
    """A call of `fanin.initialize`, or of `apply_patch` for what that does not do."""
    shown = "" if batch is None else "batch=batch"
    names = [place.use.bare_name for place in places]
    frozen = any(not place.parameter.requires_grad for place in places)
    if patch.operation == "initialize" and patch.rows is None and not frozen:
        arguments = [
            "model",
            "{" + ", ".join(f'"{name}": "{patch.initializer}"' for name in names) + "}",
            'default="keep"',
            "only=[" + ", ".join(f'"{name}"' for name in names) + "]",
            f"seed={seed}",
            *(["loaded={}"] * any(is_flagged(place.parameter) for place in places)),
            *([shown] * bool(shown)),
        ]
        return Block("", (_write_call("fanin.initialize", arguments),), bare=True)
    fields = {
        "operation": patch.operation,
        "parameters": tuple(place.name for place in places),
        **({"initializer": patch.initializer} if patch.initializer else {"value": patch.value}),
        **({} if patch.rows is None else {"rows": patch.rows}),
    }
    inner = [f"{name}={value!r}".replace("'", '"') for name, value in fields.items()]
    arguments = ["model", _write_call("Patch", inner), f"seed={seed}", *([shown] * bool(shown))]
    return Block("", (_write_call("apply_patch", arguments),), bare=True)


def _write_call(function: str, arguments: Sequence[str]) -> str:
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    return (
        f"{function}(\n" + textwrap.indent("".join(f"{one},\n" for one in arguments), "    ") + ")"
    )
