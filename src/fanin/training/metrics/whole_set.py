"""Metrics of a whole set, which are no mean over samples: F1, ROC AUC, balanced accuracy.

They are computed once from all outputs of a set, so they do not depend on the batch size. Where one
is not defined, as the AUC of a set that lacks a class, it is nan, and the metric is missing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fanin.data import Task
from fanin.training.metrics.metric import REGISTRY, Metric

_CLASSES: tuple[Task] = ("classification",)


def compute_f1(outputs: Tensor, y: Tensor) -> float:
    """2·TP / (2·TP + FP + FN): of class 1 if there are two classes, else the mean over all classes
    that occur in the labels or the predictions (macro).

    Args:
        outputs: (N, classes).
        y: class numbers (N,).

    0 where a class is neither met nor found. Source: van Rijsbergen, Information Retrieval, 1979;
    scikit-learn's ``f1_score`` with ``average="binary"`` and ``"macro"``.
    """
    if not outputs.isfinite().all():
        return math.nan
    confusion = _count_confusion(outputs, y)
    right = confusion.diagonal()
    met = confusion.sum(0) + confusion.sum(1)  # TP + FP, and TP + FN
    scores = 2 * right / met.clamp(min=1)
    return float(scores[1] if len(scores) == 2 else scores[met > 0].mean())


def compute_balanced_accuracy(outputs: Tensor, y: Tensor) -> float:
    """The mean over the classes of the share of their samples that are predicted right.

    Args:
        outputs: (N, classes).
        y: class numbers (N,); classes without a sample are left out.

    Source: Brodersen et al., The Balanced Accuracy and Its Posterior Distribution, 2010.
    """
    if not outputs.isfinite().all():
        return math.nan
    confusion = _count_confusion(outputs, y)
    samples = confusion.sum(1)
    return float((confusion.diagonal()[samples > 0] / samples[samples > 0]).mean())


def compute_auc(outputs: Tensor, y: Tensor) -> float:
    """The area under the ROC curve: the probability that a sample of the class has a higher
    predicted probability than one of another class, ties counted half.

    Of class 1 if there are two classes, else the mean over each class against the rest.

    Args:
        outputs: logits (N, classes).
        y: class numbers (N,).

    nan if a class has no sample, or all of them. Source: Hanley and McNeil, The Meaning and Use of
    the Area under a ROC Curve, 1982; scikit-learn's ``roc_auc_score`` with ``multi_class="ovr"``.
    """
    probabilities = outputs.double().softmax(1)
    if not probabilities.isfinite().all():
        return math.nan
    classes = outputs.shape[1]
    measured = [1] if classes == 2 else range(classes)
    areas = [_compute_area(probabilities[:, label], y == label) for label in measured]
    return sum(areas) / len(areas)


def _compute_area(scores: Tensor, positive: Tensor) -> float:
    """From the ranks of the positive samples, by Mann and Whitney's statistic."""
    n, n_positive = len(scores), int(positive.sum())
    if n_positive in (0, n):
        return math.nan
    _, place, counts = scores.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks = (last - (counts.double() - 1) / 2)[place]  # of equal scores their mean rank, from 1
    excess = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(excess / (n_positive * (n - n_positive)))


def _count_confusion(outputs: Tensor, y: Tensor) -> Tensor:
    """Samples by (class, prediction), float64."""
    classes = outputs.shape[1]
    pairs = torch.bincount(y * classes + outputs.argmax(1), minlength=classes**2)
    return pairs.view(classes, classes).double()


for _metric in (
    Metric(
        "f1",
        "F1 of class 1 of two classes; of more, the mean over the classes (macro).",
        "max",
        _CLASSES,
        of_set=compute_f1,
    ),
    Metric(
        "auc",
        "Area under the ROC curve of class 1 of two; of more, the mean of each against the rest.",
        "max",
        _CLASSES,
        of_set=compute_auc,
    ),
    Metric(
        "balanced_accuracy",
        "Mean over the classes of the share of their samples predicted right.",
        "max",
        _CLASSES,
        of_set=compute_balanced_accuracy,
    ),
):
    REGISTRY.add(_metric)
