"""What the labels and features of a data set look like: class counts, the baseline, and doubts.

Data may be well formed and still not be what their owner meant. So the number of classes and of
their samples is shown, with the accuracy that needs no learning, and what looks like a mistake is
said. Nothing here refuses data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fanin.data.dataset import Dataset

_DOMINANT = 0.9
"""From this share of the test samples on, a class makes an accuracy meaningless."""

_UNLIKE = 100.0
"""From this ratio of standard deviations on, a feature drowns the others."""

_LISTED = 5


@dataclass(frozen=True)
class LabelCounts:
    """The samples of each class (for a target for each step: the steps)."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def from_labels(cls, y_train: Tensor, y_test: Tensor, classes: int) -> LabelCounts:
        """The counts of labels from 0 to below `classes`."""
        train, test = (
            tuple(torch.bincount(y.reshape(-1), minlength=classes).tolist())
            for y in (y_train, y_test)
        )
        return cls(train, test)

    @property
    def baseline(self) -> float:
        """The test accuracy of always answering the most frequent class of the training set."""
        return self.test[self.train.index(max(self.train))] / max(sum(self.test), 1)

    def __str__(self) -> str:
        few, many = min(self.train), max(self.train)
        each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        return (
            f"{len(self.train):,} classes of {each} training samples, baseline accuracy "
            f"{self.baseline:.3g}"
        )

    def list_doubts(self) -> list[str]:
        """What looks like a mistake, a sentence each."""
        doubts = []
        absent = [label for label, count in enumerate(self.train) if count == 0]
        single = [label for label, count in enumerate(self.train) if count == 1]
        if absent:
            doubts.append(f"{_name_classes(absent)} no training sample")
        if single:
            doubts.append(f"{_name_classes(single)} one training sample only")
        if self.baseline >= _DOMINANT:
            largest = self.train.index(max(self.train))
            doubts.append(
                f"{self.baseline:.1%} of the test samples are of class {largest}: an accuracy of "
                f"{self.baseline:.3g} needs no learning"
            )
        return doubts


def count_labels(dataset: Dataset) -> LabelCounts | None:
    """The samples of each class; None if the data set has no classes."""
    if dataset.info.task not in ("classification", "token_classification"):
        return None
    return LabelCounts.from_labels(dataset.y_train, dataset.y_test, dataset.info.outputs)


def list_doubts(dataset: Dataset) -> list[str]:
    """What looks like a mistake in a user's data, a sentence each; nothing of published data."""
    if dataset.published:
        return []
    counts = count_labels(dataset)
    return [*(counts.list_doubts() if counts else ()), *_doubt_scales(dataset)]


def describe_labels(dataset: Dataset) -> dict[str, Any]:
    """What a result records of the labels and features of its data."""
    counts, doubts = count_labels(dataset), list_doubts(dataset)
    facts: dict[str, Any] = {}
    if counts:
        facts = {
            "classes": len(counts.train),
            "smallest_class": min(counts.train),
            "largest_class": max(counts.train),
            "baseline": counts.baseline,
        }
    return {**facts, **({"doubts": doubts} if doubts else {})}


def _doubt_scales(dataset: Dataset) -> list[str]:
    """A feature that drowns the others of a table whose numbers are taken as they are."""
    x = dataset.x_train
    if dataset.info.kind != "table" or dataset.info.parts or dataset.standardise:
        return []
    if x.shape[1] < 2 or len(x) < 2:
        return []
    deviations = x.double().std(dim=0)
    largest = int(deviations.argmax())
    others = torch.cat([deviations[:largest], deviations[largest + 1 :]])
    others = others[others > 0]
    if not len(others) or deviations[largest] < _UNLIKE * others.median():
        return []
    ratio = float(deviations[largest] / others.median())
    return [
        f"the features differ in scale: the standard deviation of column {largest} is {ratio:,.3g} "
        "times that of a typical other one. They are taken as they are: divide each by its own"
    ]


def _name_classes(labels: list[int]) -> str:
    more = f" and {len(labels) - _LISTED:,} more" if len(labels) > _LISTED else ""
    verb = "has" if len(labels) == 1 else "have"
    noun = "class" if len(labels) == 1 else "classes"
    return f"{noun} {', '.join(map(str, labels[:_LISTED]))}{more} {verb}"
