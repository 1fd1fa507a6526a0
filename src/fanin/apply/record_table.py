"""The printed record: a table of 80 columns, and all about one parameter."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanin.apply.record import ParameterRecord, PartRecord, Record

WIDTH = 80

# Columns of the table; with the spaces between them they make 80.
_WIDTHS = (22, 12, 13, 10, 5, 6, 6)
_HEADINGS = ("parameter", "shape", "rule", "fan in/out", "gain", "std", "meas.")
_OVERLAPS_SHOWN = 3


def format_table(record: Record) -> str:
    """A row per parameter, further ones for parts that differ, and what must be said about the
    whole.
    """
    rows = [line for parameter in record.parameters for line in _format_parameter(parameter)]
    distinct = [parameter for parameter in record.parameters if parameter.tied_to is None]
    filled = sum(parameter.rule is not None for parameter in distinct)
    done = "to fill" if record.preview else "filled"
    return "\n".join(
        [
            _format_row(*_HEADINGS),
            *rows,
            f"{filled} of {len(distinct)} parameters {done}; seed {record.seed}; "
            f"{record.convention} fans",
            *(
                ["Long names are shortened; print(record[name]) tells all about one."]
                if _has_long_names(record)
                else []
            ),
            *_format_overlaps(record),
            *(["Preview: nothing was changed."] if record.preview else []),
        ]
    )


def _has_long_names(record: Record) -> bool:
    return any(len(parameter.name) > _WIDTHS[0] for parameter in record.parameters)


def explain_parameter(record: ParameterRecord) -> str:
    """Everything about one parameter."""
    facts = {
        "shape": f"{_format_shape(record.shape)}, {record.dtype}",
        "role": record.role,
        "rule": record.rule or "none: it stays as it is",
        "why": record.reason,
        "fans": _format_fans(record.fan_in, record.fan_out),
        "gain": _format_number(record.gain),
        "std": f"intended {_format_number(record.intended_std)}, measured {_format_number(record.measured_std)}",
        "stream": "–" if record.stream is None else str(record.stream),
    }
    lines = [record.name]
    for heading, text in facts.items():
        first, *rest = textwrap.wrap(
            text, WIDTH - 10, break_long_words=False, break_on_hyphens=False
        ) or ["–"]
        lines += [f"  {heading:<7} {first}", *(f"  {'':<7} {line}" for line in rest)]
    for part in record.parts:
        std = (
            f"std {_format_number(part.intended_std)}, measured {_format_number(part.measured_std)}"
        )
        lines.append(
            f"  part {part.name:<2} {_format_shape(part.shape)}, fans {_format_fans(part.fan_in, part.fan_out)}, "
            f"{std}"
        )
    return "\n".join(lines)


def _format_parameter(record: ParameterRecord) -> Iterator[str]:
    name = _shorten_name(record.name, _WIDTHS[0])
    if record.rule is None:
        remark = record.reason if record.tied_to else f"kept: {record.reason}"
        start = f"{name:<{_WIDTHS[0]}} {_shorten(_format_shape(record.shape), _WIDTHS[1]):<{_WIDTHS[1]}} "
        yield start + _shorten(remark, WIDTH - len(start))
        return
    times = f" ×{len(record.parts)}" if record.parts else ""
    rule = _shorten(record.rule, _WIDTHS[2] - len(times)) + times
    yield _format_row(name, _format_shape(record.shape), rule, *_format_numbers(record))
    if len({(part.fan_in, part.fan_out, part.intended_std) for part in record.parts}) > 1:
        for part in record.parts:
            yield _format_row(
                f"  part {part.name}", _format_shape(part.shape), "", *_format_numbers(part)
            )


def _format_numbers(record: ParameterRecord | PartRecord) -> tuple[str, ...]:
    std = (record.intended_std, record.measured_std)
    return (
        _format_fans(record.fan_in, record.fan_out),
        _format_number(record.gain),
        *map(_format_number, std),
    )


def _format_overlaps(record: Record) -> Iterator[str]:
    if not record.overlaps:
        return
    yield f"{len(record.overlaps)} parameters match several patterns; the last one counts:"
    for overlap in record.overlaps[:_OVERLAPS_SHOWN]:
        yield _shorten(
            f"  {overlap.name}: {overlap.pattern!r} over {', '.join(map(repr, overlap.over))}",
            WIDTH,
        )
    if len(record.overlaps) > _OVERLAPS_SHOWN:
        yield "  … (record.overlaps has all)"


def _format_row(*cells: str) -> str:
    name, shape, rule, *numbers = (
        _shorten(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True)
    )
    left = f"{name:<{_WIDTHS[0]}} {shape:<{_WIDTHS[1]}} {rule:<{_WIDTHS[2]}}"
    return " ".join(
        [left, *(f"{text:>{width}}" for text, width in zip(numbers, _WIDTHS[3:], strict=True))]
    )


def _format_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _format_fans(fan_in: float | None, fan_out: float | None) -> str:
    return "–" if fan_in is None or fan_out is None else f"{fan_in:.6g}/{fan_out:.6g}"


def _format_number(value: float | None) -> str:
    """Three significant digits, fewer where they do not fit, without the zero before the point:
    .0231.
    """
    if value is None:
        return "–"
    texts = (f"{value:.{digits}g}" for digits in (3, 2, 1))
    short = [text[1:] if text.startswith("0.") else text for text in texts]
    return next((text for text in short if len(text) <= _WIDTHS[-1]), short[-1])


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _shorten_name(name: str, width: int) -> str:
    """A name that fits: leading parts of the path become their first letters, numbers stay, as in
    ``t.h.0.a.c_attn.weight``.
    """
    parts = name.split(".")
    for position, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= width:
            break
        parts[position] = part if part.isdigit() else part[:1]
    text = ".".join(parts)
    return text if len(text) <= width else "…" + text[1 - width :]
