"""Cell: one training run, completely specified and frozen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Factor = Literal["init", "order", "dropout", "split", "augment"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One training run.

    Fields hold canonical values only (`fanin.study.study.make_cell` makes them so): specs without
    options that equal their defaults, and each fact in one place. The id is a hash of the fields
    that differ from their defaults, so a field added later orphans no stored result; therefore a
    default never changes.
    """

    data: str
    model: str
    """Spec of the model, its activation and its normalization left out."""
    initializer: str
    activation: str | tuple[str, ...] | None = None
    """One activation for all layers or one per layer; None for the model's own."""
    optimizer: str = "adam"
    """Spec of the optimizer, its learning rate left out."""
    learning_rate: float = 0.001
    batch_size: int = 64
    epochs: int = 50
    """The most epochs that may run."""
    protocol: str = "sound"
    precision: str = "float32"
    replicate: int = 0
    seed: int = 0
    """Root seed of the study."""
    init_seed: int | None = None
    """Factors of randomness, as is `augment_seed`; None derives each from the root seed and the
    replicate.
    """
    order_seed: int | None = None
    dropout_seed: int | None = None
    split_seed: int | None = None
    shared_stream: bool = False
    """Whether all weights start the same random stream, as in the published case study's program.
    """
    normalization: str | None = None
    """The model's option `norm`, "none" for no normalization; None for the model's own."""
    schedule: str = "constant"
    """Spec of what multiplies the learning rate from step to step (`fanin.training.schedules`)."""
    biases: str | None = None
    """Spec of the initializer of biases; None for the rule's own (zero, for most)."""
    clip_norm: float | None = None
    """Gradients are scaled down to this Euclidean norm over all parameters; None leaves them alone.
    """
    label_smoothing: float = 0.0
    """Share of a label's probability that is spread evenly over all classes, in the training loss
    only.
    """
    augmentation: tuple[str, ...] = ()
    """Specs of random changes of the training images (`fanin.training.augmentation`), in their
    order.
    """
    augment_seed: int | None = None
    metrics: tuple[str, ...] = ()
    """Specs of what is measured besides the task's own metrics (`fanin.training.metrics`)."""
    tuned: bool = False
    """Whether the rate was chosen for this cell on other seeds
    (`fanin.study.learning_rate_tuning`): then it parts no comparison.
    """
    sources: tuple[tuple[str, str], ...] = ()
    """(target, SHA-256) of each of the user's own parts named above (`fanin.user_code`)."""

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON can hold them."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @property
    def id(self) -> str:
        """16 hexadecimal digits that name the cell."""
        return _hash(self.to_json())

    @property
    def block(self) -> str:
        """16 hexadecimal digits that name the block: the cells that differ in the initializer only,
        and are compared.

        The learning rate is left out as well where it was tuned for each.
        """
        apart = ("initializer", "learning_rate") if self.tuned else ("initializer",)
        return _hash({key: value for key, value in self.to_json().items() if key not in apart})

    def derive_seed(self, factor: Factor) -> int:
        """The seed of one factor of randomness, as given or derived from the root seed and the
        replicate.
        """
        from fanin import seeds  # imports torch, which reading a store must not

        given: int | None = getattr(self, f"{factor}_seed")
        return given if given is not None else seeds.derive_seed(self.seed, factor, self.replicate)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Cell:
        """The cell whose `to_json` was `fields`; raises TypeError for fields that this version
        does not know.
        """
        return cls(**{key: _frozen(value) for key, value in fields.items()})


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _hash(fields: dict[str, Any]) -> str:
    text = json.dumps(
        fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
