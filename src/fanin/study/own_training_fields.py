"""The fields of a cell that a user's function trains: which it may have, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fanin import specs
from fanin.cell.cell import FIELDS, OWN, Cell
from fanin.errors import FaninError, StudyError, quote
from fanin.study.field_forms import require_text
from fanin.training import user_trainer
from fanin.training.user_trainer import UserTrainer

_PASSED = ("learning_rate", "epochs", "batch_size")
"""Fields that are passed to the function, which must have a parameter for what a study sets."""

_SEEDS = ("order_seed", "dropout_seed", "split_seed")
"""Seeds that are passed too. The plain seed, which most functions take, follows from them."""

_FREE = (
    *("trainer", "model", "data", "protocol", "seed"),
    *("initializer", "biases", "shared_stream", "init_seed"),
)
"""Fields that need no parameter: names, and what initialize(model) reads."""


def complete_own_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a cell with a trainer gets besides those given.

    Model and data are names that the user gives, "own" unless given. Settings that the study leaves
    out are those of the function's own defaults.

    Raises a `FaninError` about a field that would change nothing.
    """
    try:
        trainer = user_trainer.REGISTRY.make(require_text(fields["trainer"], "trainer"))
    except FaninError as error:
        raise error.mark_fields("trainer") from None
    given = [name for name, value in fields.items() if value is not None]
    for name in given:
        _require_effect(trainer, name, fields[name])
    if fields.get("protocol", "sound") not in ("sound", OWN):
        raise StudyError(
            f"protocol = {quote(fields['protocol'])} is one of fanin's own loop, which "
            f"{trainer.component.name} takes the place of. Leave it out."
        ).mark_fields("protocol", "trainer")
    defaults = trainer.read_defaults()
    chosen = {name: defaults[name] for name in _PASSED if name in defaults and name not in given}
    names = {name: _canonicalize_name(name, fields.get(name) or OWN) for name in ("model", "data")}
    return {"protocol": OWN, **chosen, **names}


def require_tunable(cells: Iterable[Cell]) -> None:
    """Raise `StudyError` if a trainer takes no learning rate, which [tune] would vary."""
    for spec in dict.fromkeys(cell.trainer for cell in cells):
        if spec is not None:
            trainer = user_trainer.REGISTRY.make(spec)
            _require_effect(trainer, "learning_rate", "tuned")


def _require_effect(trainer: UserTrainer, name: str, value: object) -> None:
    """Raise `StudyError` for a field that the function does not receive."""
    reference = trainer.component.name
    if name in _FREE or name in trainer.accepts:
        return
    if name in _SEEDS and "seed" in trainer.accepts:
        return
    if name in (*_PASSED, *_SEEDS):
        raise StudyError(
            f"{reference} has no parameter {name}, so {name} = {value} would change nothing. Add "
            "the parameter, or leave it out of the study."
        ).mark_fields(name, "trainer")
    if value == FIELDS[name].default:  # it is as if the study had not said it
        return
    raise StudyError(
        f"{name} is for fanin's own loop, which {reference} takes the place of. Leave it out; or "
        f"give the function an option {name}=…, which a study sets as trainer.{name}."
    ).mark_fields(name, "trainer")


def _canonicalize_name(field: str, value: object) -> str:
    """A name that the user gives to a model or to data, written like a spec."""
    try:
        return specs.render(*specs.parse(require_text(value, field)))
    except FaninError as error:
        raise error.mark_fields(field) from None
