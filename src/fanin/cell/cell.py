"""Cell: one training run, completely specified and frozen."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fanin.cell.fields import Bookkeeping, CellField, Factor, Seed, describe_fields

OWN = "own"
"""The model, the data or the protocol of a cell whose trainer keeps them to itself."""


class _Identified:
    """A place for the id, which is no field: a cell does not differ from another by it."""

    __slots__ = ("_id",)
    _id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell(_Identified):
    """One training run.

    A new factor is one field here, with a default, and the code that uses it. Tables show the
    factors in the order of their declaration.

    Values are canonical, as `fanin.study.canonical_cell.make_cell` makes them: specs leave out
    options that equal their defaults, and each fact has one place. The id is a hash of the fields
    that differ from their defaults, so a field that is added later orphans no stored result. For
    the same reason a default never changes.
    """

    model: Annotated[str, Factor(form="spec", of="model", needs_title=False)]
    """Spec of the model without its activation and normalization."""
    data: Annotated[str, Factor(form="spec", of="dataset", needs_title=False)]
    activation: Annotated[
        str | tuple[str, ...] | None, Factor(form="model option", needs_title=False)
    ] = None
    """One activation for all layers or one per layer; None for the model's own."""
    normalization: Annotated[str | None, Factor(form="model option")] = None
    """The model's option `norm`, "none" for no normalization; None for the model's own."""
    optimizer: Annotated[
        str, Factor(form="spec", of="optimizer", needs_title=False, fits_all_data=True)
    ] = "adam"
    """Spec of the optimizer without its learning rate."""
    learning_rate: Annotated[float, Factor(form="positive number", fits_all_data=True)] = 0.001
    schedule: Annotated[
        str, Factor(form="spec", of="schedule", needs_title=False, fits_all_data=True)
    ] = "constant"
    """Spec of what multiplies the learning rate from step to step (`fanin.training.schedules`)."""
    clip_norm: Annotated[
        float | None, Factor(form="positive number or none", fits_all_data=True)
    ] = None
    """The largest Euclidean norm of the gradient over all parameters; None does not clip."""
    label_smoothing: Annotated[float, Factor(form="share")] = 0.0
    """Share of a label's probability that the training loss spreads evenly over all classes."""
    augmentation: Annotated[tuple[str, ...], Factor(form="list of specs", of="augmentation")] = ()
    """Specs of random changes of the training images (`fanin.training.augmentation`), in order."""
    batch_size: Annotated[int, Factor(form="count")] = 64
    epochs: Annotated[int, Factor(form="count", column="max_epochs", fits_all_data=True)] = 50
    """The largest number of epochs; a protocol may stop a training earlier."""
    protocol: Annotated[str, Factor()] = "sound"
    precision: Annotated[str, Factor(fits_all_data=True)] = "float32"
    shared_stream: Annotated[bool, Factor(form="flag", fits_all_data=True)] = False
    """Whether all weights start the same random stream, as in the published case study's program.
    """
    metrics: Annotated[
        tuple[str, ...], Factor(form="list of specs", of="metric", changes_training=False)
    ] = ()
    """Specs of what is measured besides the task's own metrics (`fanin.training.metrics`)."""
    biases: Annotated[str | None, Factor(form="spec", of="initializer", fits_all_data=True)] = None
    """Spec of the initializer of biases; None for the rule's own (zero, for most)."""
    signals: Annotated[bool, Factor(form="flag", fits_all_data=True, changes_training=False)] = (
        False
    )
    """Whether signals, gradients and updates of each layer are measured in the first step of each
    epoch; where epochs are short, of every second, third, … (`fanin.watching`).
    """
    loss: Annotated[
        str | None, Factor(form="spec", of="loss", column="loss_function", needs_title=False)
    ] = None
    """Reference of a user's loss (`fanin.training.user_loss`); None for that of the task."""
    trainer: Annotated[str | None, Factor(form="spec", of="trainer", needs_title=False)] = None
    """Reference of a user's function that trains in place of fanin's own loop
    (`fanin.training.own_training`). Model and data are then names that the user gives.
    """
    tuned: Annotated[
        bool, Factor(changes_training=False, needs_title=False, fits_all_data=True)
    ] = False
    """Whether the learning rate was chosen for this cell on other seeds
    (`fanin.study.learning_rate_tuning`). Cells of different rates are then compared.
    """
    initializer: Annotated[
        str, Factor(form="spec", of="initializer", needs_title=False, fits_all_data=True)
    ]

    seed: Annotated[int, Seed()] = 0
    """Root seed of the study. A seed below that is None is derived from it and the replicate."""
    init_seed: Annotated[int | None, Seed(form="seed")] = None
    order_seed: Annotated[int | None, Seed(form="seed")] = None
    dropout_seed: Annotated[int | None, Seed(form="seed")] = None
    split_seed: Annotated[int | None, Seed(form="seed")] = None
    augment_seed: Annotated[int | None, Seed(form="seed")] = None

    replicate: Annotated[int, Bookkeeping()] = 0
    sources: Annotated[tuple[tuple[str, str], ...], Bookkeeping()] = ()
    """(reference, SHA-256) of each user component that the fields above name
    (`fanin.user_code`).
    """

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON values."""
        return {
            name: _to_json_value(value) if type(value) is tuple else value
            for name, value, default in zip(FIELDS, _read_fields(self), _DEFAULTS, strict=True)
            if value is not default and value != default
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], known_id: str = "") -> Cell:
        """The cell whose `to_json` gave `fields`; raises TypeError for an unknown field.

        Args:
            fields: as `to_json` gave them.
            known_id: the cell's id, if it was computed from these fields before.
        """
        if list in map(type, fields.values()):
            fields = {name: _from_json_value(value) for name, value in fields.items()}
        cell = cls(**fields)
        if known_id:
            object.__setattr__(cell, "_id", known_id)
        return cell

    @property
    def id(self) -> str:
        """16 hexadecimal digits that name the cell; computed once."""
        try:
            return self._id
        except AttributeError:
            object.__setattr__(self, "_id", compute_id(self.to_json()))
            return self._id

    @property
    def block(self) -> str:
        """16 hexadecimal digits that name the block: cells that differ in the initializer only.

        Cells of a block may differ in their learning rates too if these are tuned.
        """
        values = _READ_SHARED[self.tuned](self)
        return _compute_block(self.tuned, values, tuple(map(type, values)))

    @property
    def workload(self) -> str:
        """What is trained, in words: ``mlp on digits``, or the trainer and what it is told."""
        names = [name for name in (self.model, self.data) if name != OWN or self.trainer is None]
        return " on ".join(names) if self.trainer is None else ", ".join([self.trainer, *names])

    def derive_seed(self, purpose: str) -> int:
        """The seed of one purpose, such as "init" for `init_seed`.

        It is the field's value if there is one, else derived from root seed and replicate.
        """
        from fanin import seeds

        value: int | None = getattr(self, f"{purpose}_seed")
        return seeds.derive_seed(self.seed, purpose, self.replicate) if value is None else value


FIELDS: Mapping[str, CellField] = describe_fields(Cell)
"""The fields of a cell by name."""

_read_fields = operator.attrgetter(*FIELDS)
_DEFAULTS = tuple(described.default for described in FIELDS.values())
_SHARED = {
    False: [name for name in FIELDS if name != "initializer"],
    True: [name for name in FIELDS if name not in ("initializer", "learning_rate")],
}
"""Whether the learning rate is tuned → the fields that the cells of a block share."""
_READ_SHARED = {tuned: operator.attrgetter(*names) for tuned, names in _SHARED.items()}
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def _to_json_value(value: Any) -> Any:
    return [_to_json_value(item) for item in value] if isinstance(value, tuple) else value


def _from_json_value(value: Any) -> Any:
    return tuple(_from_json_value(item) for item in value) if isinstance(value, list) else value


@lru_cache(maxsize=10_000)
def _compute_block(tuned: bool, values: tuple[Any, ...], types: tuple[type, ...]) -> str:
    """The block of the cells that share these values of `_SHARED`. By their types ``1`` and ``1.0``
    differ, which are equal.
    """
    return compute_id(
        {
            name: _to_json_value(value)
            for name, value in zip(_SHARED[tuned], values, strict=True)
            if value != FIELDS[name].default
        }
    )


def compute_id(fields: Mapping[str, Any]) -> str:
    """The id of the cell whose `Cell.to_json` gave `fields`."""
    return hashlib.sha256(_ENCODER.encode(fields).encode()).hexdigest()[:16]
