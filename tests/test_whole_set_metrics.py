"""Metrics of a whole set: as scikit-learn computes them, whatever the batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from fanin import seeds
from fanin.study.canonical_cell import make_cell
from fanin.training import metrics, steps
from fanin.training.metrics.whole_set import compute_auc, compute_balanced_accuracy, compute_f1
from fanin.training.train import DataCache, train


def draw_predictions(
    classes: int, n: int, *, seed: int, ties: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits and labels of which every class has some."""
    generator = seeds.make_generator(seed, "whole set")
    y = torch.randint(classes, (n,), generator=generator)
    y[:classes] = torch.arange(classes)
    outputs = torch.randn(n, classes, generator=generator)
    outputs[torch.arange(n), y] += 0.8
    return (outputs.round() if ties else outputs), y


def compute_reference(name: str, outputs: Tensor, y: Tensor) -> float:
    labels, predicted = y.numpy(), outputs.argmax(1).numpy()
    shares = outputs.double().softmax(1).numpy()
    binary = outputs.shape[1] == 2
    if name == "f1":
        average = "binary" if binary else "macro"
        return float(reference.f1_score(labels, predicted, average=average, zero_division=0))
    if name == "balanced_accuracy":
        return float(reference.balanced_accuracy_score(labels, predicted))
    if binary:
        return float(reference.roc_auc_score(labels, shares[:, 1]))
    return float(reference.roc_auc_score(labels, shares, multi_class="ovr"))


MEASURES = {"f1": compute_f1, "auc": compute_auc, "balanced_accuracy": compute_balanced_accuracy}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_a_metric_is_that_of_scikit_learn(name: str, classes: int, ties: bool) -> None:
    for seed in range(10):
        outputs, y = draw_predictions(classes, 50, seed=seed, ties=ties)
        expected = compute_reference(name, outputs, y)
        assert MEASURES[name](outputs, y) == pytest.approx(expected, abs=1e-12), seed


def test_a_class_that_nobody_predicts_counts_zero_and_one_that_does_not_occur_not_at_all() -> None:
    y = torch.tensor([0, 0, 1, 1])
    outputs = torch.tensor([[3.0, 0, 0, 0], [3, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0]])
    assert compute_f1(outputs, y) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert compute_balanced_accuracy(outputs, y) == pytest.approx((1 + 0.5) / 2)
    never = torch.zeros(4, 2)
    never[:, 0] = 1
    assert compute_f1(never, torch.tensor([1, 1, 0, 0])) == 0


def test_what_is_not_defined_is_nan() -> None:
    outputs, y = draw_predictions(3, 20, seed=0)
    assert math.isnan(compute_auc(outputs, y.clamp(max=1)))
    assert math.isnan(compute_auc(outputs[:, :2], torch.ones(20, dtype=torch.int64)))
    outputs[0, 0] = math.inf
    assert all(math.isnan(measure(outputs, y)) for measure in MEASURES.values())


def train_digits(**changes: Any) -> Any:
    fields = {
        "data": "digits",
        "model": "mlp(widths=[16], activation=relu)",
        "initializer": "he_normal",
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "epochs": 2,
        "metrics": ["f1", "auc", "balanced_accuracy"],
    }
    return train(make_cell({**fields, **changes}), cache=DataCache(), environment={})


def test_a_training_measures_them_beside_the_tasks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    result = train_digits()
    assert result.outcome == "ok"
    assert {"f1", "val_auc", "balanced_accuracy"} <= result.history.keys()
    assert 0.5 < result.metrics["test_f1"] < 1
    assert abs(result.metrics["test_balanced_accuracy"] - result.metrics["test_accuracy"]) < 0.1
    # The set is measured whole: batches of another size give the same number.
    monkeypatch.setattr(steps, "EVALUATION_BATCH", 37)
    again = train_digits()
    for name in ("f1", "auc", "balanced_accuracy"):
        assert again.metrics[f"test_{name}"] == pytest.approx(
            result.metrics[f"test_{name}"], abs=1e-6
        )


def test_a_mean_over_batches_would_be_another_number() -> None:
    outputs, y = draw_predictions(3, 60, seed=1)
    parts = [compute_f1(o, t) for o, t in zip(outputs.split(12), y.split(12), strict=True)]
    assert abs(np.mean(parts) - compute_f1(outputs, y)) > 1e-3


def test_they_measure_classes_alone() -> None:
    for name in MEASURES:
        assert metrics.REGISTRY.get(name).tasks == ("classification",)
        assert metrics.REGISTRY.get(name).better == "max"
