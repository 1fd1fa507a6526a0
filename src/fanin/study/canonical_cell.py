"""Canonical cells: from the values that a user writes to the one `Cell` that they mean.

Specs are checked and their defaults left out; an option given as a field of its own
(``model.depth``) moves into its spec, an activation, a normalization or a learning rate out of it:
each fact stands in one place. Every error says which fields it is about (`FaninError.about`), so
that a study can name the line of its file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fanin import data, initializers, models, seeds, specs, user_code
from fanin.cell.cell import Cell
from fanin.errors import FaninError, SpecError, StudyError, UnknownName, quote
from fanin.registry import Registry
from fanin.training import augmentation, metrics, optimizers, schedules

SPECS = ("data", "model", "initializer", "biases", "optimizer", "schedule")
"""Fields that are specs: ``model.depth`` is the option `depth` of the model."""

_COUNTS = ("batch_size", "epochs")
_SEEDS = ("init_seed", "order_seed", "dropout_seed", "split_seed", "augment_seed")

FIELDS = (
    "data",
    "model",
    "initializer",
    "biases",
    "activation",
    "normalization",
    "optimizer",
    "learning_rate",
    "schedule",
    "clip_norm",
    "label_smoothing",
    "augmentation",
    *_COUNTS,
    *_SEEDS,
    "shared_stream",
    "metrics",
)
"""What a study's base or axes may set: every field of a cell but those that its head sets, and
options of `SPECS`.
"""

_REQUIRED = ("data", "model", "initializer")


def is_option(key: str) -> bool:
    """Whether a key such as ``model.depth`` names an option of one of the `SPECS`."""
    head, dot, option = key.partition(".")
    return bool(dot) and head in SPECS and option.isidentifier()


def check_key(key: str, kind: str) -> None:
    """Raise `UnknownName` unless `key` is one of `FIELDS` or an option of `SPECS`."""
    if key not in FIELDS and not is_option(key):
        raise UnknownName.suggest(kind, key, (*FIELDS, *(f"{spec}.<option>" for spec in SPECS)))


def make_cell(values: Mapping[str, Any]) -> Cell:
    """The canonical cell of field values as a user writes them; keys may be options, such as
    ``model.depth``.
    """
    try:
        return _make_canonical(_fold_options(values))
    except FaninError as error:
        error.about = tuple(dict.fromkeys((*_find_named_options(values, error), *error.about)))
        raise


def _find_named_options(values: Mapping[str, Any], error: FaninError) -> list[str]:
    """The keys such as ``model.depth`` that an error about a model speaks of, by the name of the
    option.
    """
    options = [key for key in values if key.partition(".")[0] in error.about and "." in key]
    return [
        key for key in options if re.search(rf"\b{re.escape(key.partition('.')[2])}\b", str(error))
    ]


def _make_canonical(fields: dict[str, Any]) -> Cell:
    missing = [key for key in _REQUIRED if key not in fields]
    if missing:
        raise StudyError(
            f"A cell needs {' and '.join(missing)}; it has "
            f"{', '.join(sorted(fields)) or 'nothing'}."
        )
    with _about("initializer"):
        fields["initializer"] = initializers.get(_text(fields, "initializer")).spec
    fields |= _canonical_model(fields)
    with _about("optimizer", "learning_rate"):
        fields["optimizer"], fields["learning_rate"] = _canonical_optimizer(
            _text(fields, "optimizer", "adam"), fields.get("learning_rate")
        )
    with _about("data"):
        fields["data"] = data.canonicalize_spec(_text(fields, "data"))
    for key, canonical in _PLAIN.items():
        if key in fields:
            with _about(key):
                fields[key] = canonical(fields[key], key)
    named = (
        fields["data"],
        fields["model"],
        fields["initializer"],
        fields["optimizer"],
        fields.get("biases"),
    )
    return Cell(**fields, sources=user_code.hash_sources((*named, *fields.get("metrics", ()))))


@contextmanager
def _about(*fields: str) -> Iterator[None]:
    try:
        yield
    except FaninError as error:
        raise error.mark_fields(*fields) from None


def _fold_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with ``model.depth = 3`` written into the model's spec."""
    fields = {key: value for key, value in values.items() if "." not in key}
    for key, value in values.items():
        if "." not in key:
            continue
        head, _, option = key.partition(".")
        with _about(key, head):
            if head not in fields and head not in _DEFAULTS:
                raise StudyError(
                    f"{key} is an option of {head}, which is not given. Give {head} too, in [base] "
                    "for one."
                )
            name, options = specs.parse(_text(fields, head, _DEFAULTS.get(head, "")))
            if option in options:
                raise SpecError(
                    f"{fields[head]} sets {option}, and so does {key} ({quote(value)}). Give one "
                    "of them."
                )
            fields[head] = specs.render(name, {**options, option: value})
    return fields


_DEFAULTS = {"optimizer": "adam", "schedule": "constant"}


def _canonical_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    spec, activation, normalization = (
        _text(fields, "model"),
        fields.get("activation"),
        fields.get("normalization"),
    )
    with _about("model"):
        options = specs.parse(spec)[1]
    for key, option, value in (
        ("activation", "activation", activation),
        ("normalization", "norm", normalization),
    ):
        if value is not None and option in options:
            mistake = SpecError(
                f"{spec} sets {option}, and so does {key} ({quote(value)}). Give one of them."
            )
            raise mistake.mark_fields(key, "model")
    if normalization is not None and not isinstance(normalization, str):
        mistake = SpecError(
            f"normalization is a word such as batch, or none; received {quote(normalization)}."
        )
        raise mistake.mark_fields("normalization")
    with _about(*(["activation"] if activation is not None else []), "model"):
        models.get(spec, activation)
    with _about("normalization"):
        parts = models.get(spec, activation, normalization).split()
    return dict(zip(("model", "activation", "normalization"), parts, strict=True))


def _canonical_optimizer(spec: str, rate: Any) -> tuple[str, float]:
    name, options = specs.parse(spec)
    inside = options.pop("lr", None)
    if inside is not None and rate is not None and inside != rate:
        raise SpecError(
            f"{spec} names a learning rate, and so does the study ({quote(rate)}). Give one of "
            "them."
        )
    given = rate if inside is None else inside
    chosen = Cell.__dataclass_fields__["learning_rate"].default if given is None else given
    if (
        isinstance(chosen, bool)
        or not isinstance(chosen, (int, float))
        or not 0 < chosen < math.inf
    ):
        raise SpecError(f"The learning rate must be a positive number, not {quote(chosen)}.")
    return optimizers.REGISTRY.make(name, **options).spec, float(chosen)


def _text(fields: Mapping[str, Any], key: str, default: str = "") -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise SpecError(
            f"{key} must be a name or a spec such as name(key=value), not {quote(value)}."
        ).mark_fields(key)
    return value


def check_count(value: Any, what: str) -> int:
    """`value` as a count, or a `StudyError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10**9:
        raise StudyError(
            f"{what} must be a whole number from 1 to 1,000,000,000, not {quote(value)}."
        )
    return value


def _seed(value: Any, what: str) -> int | None:
    return None if value is None else seeds.check_seed(value, what)


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise StudyError(f"{what} must be true or false, not {quote(value)}.")
    return value


def _clip_norm(value: Any, what: str) -> float | None:
    if value is None or value == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise StudyError(
            f"{what} must be a positive number (the largest norm of the gradient), or none; not "
            f"{quote(value)}."
        )
    return float(value)


def _smoothing(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise StudyError(f"{what} must be a number of at least 0 and below 1, not {quote(value)}.")
    return float(value)


def _biases(value: Any, what: str) -> str | None:
    return None if value is None else initializers.get(_text({what: value}, what)).spec


def _schedule(value: Any, what: str) -> str:
    return schedules.REGISTRY.make(_text({what: value}, what)).spec


def _spec_list(registry: Registry[Any, Any]) -> Callable[[Any, str], tuple[str, ...]]:
    """Canonical specs of a list, each once; one spec stands for a list of one, "none" for an empty
    one.
    """

    def canonical(value: Any, what: str) -> tuple[str, ...]:
        listed = [] if value == "none" else [value] if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            raise SpecError(
                f"{what} must be a list of specs such as [name, name(key=value)], or none; not "
                f"{quote(value)}."
            )
        found = tuple(registry.make(_text({what: item}, what)).spec for item in listed)
        if len({specs.parse(spec)[0] for spec in found}) < len(found):
            raise SpecError(f"{what} names one thing twice: {', '.join(found)}. Leave one out.")
        return found

    return canonical


_PLAIN: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(_COUNTS, check_count),
    **dict.fromkeys(_SEEDS, _seed),
    "shared_stream": _flag,
    "clip_norm": _clip_norm,
    "label_smoothing": _smoothing,
    "biases": _biases,
    "schedule": _schedule,
    "augmentation": _spec_list(augmentation.REGISTRY),
    "metrics": _spec_list(metrics.REGISTRY),
}
"""Field → what makes its value canonical."""
