"""Canonical cells: from the values that a user writes to the one `Cell` that they mean.

Specs are checked and lose options that equal their defaults. An option that is written as a field
of its own (``model.depth``) moves into its spec; an activation, a normalization or a learning rate
moves out of it. So each fact has one place. Every error names the fields that it is about
(`FaninError.about`), so that a study can add the line of its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fanin import models, specs, user_code
from fanin.cell.cell import FIELDS, Cell
from fanin.errors import FaninError, SpecError, StudyError, UnknownName, quote
from fanin.study.field_forms import canonicalize, require_text
from fanin.study.own_training_fields import complete_own_fields

KEYS = tuple(name for name, field in FIELDS.items() if field.form is not None)
"""The fields that the base and the axes of a study may set; it sets the others by itself."""

SPEC_KEYS = tuple(name for name, field in FIELDS.items() if field.form == "spec")
"""The fields whose options may be set one by one, as in ``model.depth``."""


_OTHER_NAMES = {
    **dict.fromkeys(("lr", "learning_rates", "rate", "optimizer.lr"), "learning_rate"),
    **dict.fromkeys(("dataset", "datasets", "data_set"), "data"),
    **dict.fromkeys(("init", "inits", "initializers", "weights"), "initializer"),
    **dict.fromkeys(("bs", "batch", "batchsize"), "batch_size"),
    **dict.fromkeys(("max_epochs", "n_epochs", "num_epochs", "epoch"), "epochs"),
    **dict.fromkeys(("optim", "opt", "optimiser"), "optimizer"),
    **dict.fromkeys(("norm", "norms", "model.norm"), "normalization"),
    **dict.fromkeys(("scheduler", "lr_schedule", "lr_scheduler"), "schedule"),
    **dict.fromkeys(("clip", "grad_clip", "max_norm"), "clip_norm"),
    **dict.fromkeys(("arch", "architecture", "network", "models"), "model"),
    **dict.fromkeys(("wd", "weight_decay"), "optimizer.weight_decay"),
    **dict.fromkeys(("metric",), "metrics"),
    **dict.fromkeys(("bias",), "biases"),
    **dict.fromkeys(("act", "nonlinearity"), "activation"),
    **dict.fromkeys(("train", "train_function", "training"), "trainer"),
    **dict.fromkeys(("criterion", "objective", "loss_function"), "loss"),
}
"""What other tools call a field, and no edit of the name leads to."""

_HEAD_KEYS = ("protocol", "replicates", "seed", "question", "notes")


def is_option(key: str) -> bool:
    """Whether a key such as ``model.depth`` names an option of one of the `SPEC_KEYS`."""
    head, dot, option = key.partition(".")
    return bool(dot) and head in SPEC_KEYS and option.isidentifier()


def check_key(key: str, kind: str) -> None:
    """Raise `UnknownName` unless `key` is one of `KEYS` or an option of one of `SPEC_KEYS`."""
    if key in KEYS or is_option(key):
        return
    if key in _OTHER_NAMES:
        raise UnknownName(f"No {kind} is called {quote(key)}. Did you mean {_OTHER_NAMES[key]}?")
    hint = f"{key} belongs to the head of the study, outside the tables." * (key in _HEAD_KEYS)
    options = (f"{spec}.<option>" for spec in SPEC_KEYS)
    raise UnknownName.suggest(kind, key, (*KEYS, *options), hint=hint)


def make_cell(values: Mapping[str, Any]) -> Cell:
    """The canonical cell for values as a user writes them.

    Keys are fields of a cell, or options of a spec such as ``model.depth``.
    """
    try:
        return _make_cell(_fold_options(values))
    except FaninError as error:
        options = _find_options(values, error)
        error.about = tuple(dict.fromkeys((*options, *error.about)))
        raise


def _make_cell(fields: dict[str, Any]) -> Cell:
    if fields.get("trainer") is not None:
        fields |= complete_own_fields(fields)
    missing = [name for name, field in FIELDS.items() if field.is_required and name not in fields]
    if missing:
        raise StudyError(
            f"A cell needs {' and '.join(missing)}; it has "
            f"{', '.join(sorted(fields)) or 'nothing'}."
        )
    kept = ["model"]
    if fields.get("trainer") is not None:
        kept.append("data")
    else:
        fields |= _split_model(fields) | _split_optimizer(fields)
    for name in FIELDS:
        if name in fields and name not in kept:
            with _mark_fields(name):
                fields[name] = canonicalize(name, fields[name])
    return Cell(**fields, sources=user_code.hash_sources(_iterate_specs(fields)))


def _find_options(values: Mapping[str, Any], error: FaninError) -> list[str]:
    """The keys such as ``model.depth`` that an error is about: it contains the option's name."""
    options = [key for key in values if key.partition(".")[0] in error.about and "." in key]
    return [
        key for key in options if re.search(rf"\b{re.escape(key.partition('.')[2])}\b", str(error))
    ]


@contextmanager
def _mark_fields(*names: str) -> Iterator[None]:
    try:
        yield
    except FaninError as error:
        raise error.mark_fields(*names) from None


def _fold_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with ``model.depth = 3`` written into the model's spec."""
    fields = {key: value for key, value in values.items() if "." not in key}
    for key, value in values.items():
        head, dot, option = key.partition(".")
        if not dot:
            continue
        with _mark_fields(key, head):
            spec = fields.get(head, FIELDS[head].default)
            if spec is None:
                raise StudyError(
                    f"{key} is an option of {head}, which is not given. Give {head} too, for "
                    "example in [base]."
                )
            name, options = specs.parse(require_text(spec, head))
            if option in options:
                raise SpecError(
                    f"{spec} sets {option}, and so does {key} ({quote(value)}). Give one of them."
                )
            fields[head] = specs.render(name, {**options, option: value})
    return fields


def _split_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    """model, activation and normalization, checked together; the spec of the model loses both."""
    with _mark_fields("model"):
        spec = require_text(fields["model"], "model")
        options = specs.parse(spec)[1]
    activation, normalization = fields.get("activation"), fields.get("normalization")
    for key, option in (("activation", "activation"), ("normalization", "norm")):
        if fields.get(key) is not None and option in options:
            raise SpecError(
                f"{spec} sets {option}, and so does {key} ({quote(fields[key])}). Give one of them."
            ).mark_fields(key, "model")
    if normalization is not None and not isinstance(normalization, str):
        raise SpecError(
            f"normalization must be a word such as batch, or none; not {quote(normalization)}."
        ).mark_fields("normalization")
    with _mark_fields(*(["activation"] if activation is not None else []), "model"):
        models.get(spec, activation)
    with _mark_fields("normalization"):
        parts = models.get(spec, activation, normalization).split()
    return dict(zip(("model", "activation", "normalization"), parts, strict=True))


def _split_optimizer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """optimizer and learning_rate; the spec of the optimizer loses its option `lr`."""
    with _mark_fields("optimizer", "learning_rate"):
        spec = require_text(fields.get("optimizer", FIELDS["optimizer"].default), "optimizer")
        name, options = specs.parse(spec)
        if "learning_rate" in options:
            raise UnknownName(
                f"No option of {name} is called 'learning_rate'. Write the learning rate as a key "
                f"of its own, learning_rate = {specs.render_value(options['learning_rate'])}, or "
                "as the option lr."
            )
        inside, rate = options.pop("lr", None), fields.get("learning_rate")
        if inside is not None and rate is not None and inside != rate:
            raise SpecError(
                f"{spec} sets a learning rate, and so does the study ({quote(rate)}). Give one of "
                "them."
            )
        rate = rate if inside is None else inside
        return {
            "optimizer": specs.render(name, options),
            "learning_rate": canonicalize(
                "learning_rate", FIELDS["learning_rate"].default if rate is None else rate
            ),
        }


def _iterate_specs(fields: Mapping[str, Any]) -> Iterator[str]:
    """All specs of a cell, which may name user components."""
    for name, value in fields.items():
        if FIELDS[name].form == "list of specs":
            yield from value
        elif FIELDS[name].form == "spec" and value is not None:
            yield value
