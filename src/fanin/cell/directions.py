"""Directions: which way a metric is better, as its name tells."""

from __future__ import annotations

from typing import Literal

Direction = Literal["max", "min"]

_HIGHER = {
    *("accuracy", "acc", "auc", "auroc", "bleu", "correlation", "dice", "f1", "iou", "map"),
    *("ndcg", "precision", "psnr", "r2", "recall", "reward", "rouge", "score", "ssim"),
}
_LOWER = {
    *("bits", "bpc", "cer", "crps", "ece", "err", "error", "errors", "fid", "loss", "mae", "mse"),
    *("nll", "perplexity", "ppl", "rmse", "wer"),
}


def find_direction(metric: str) -> Direction | None:
    """``max`` or ``min`` by the words of a metric's name, such as ``val_top5_accuracy``; None if
    they tell nothing, or both.

    Args:
        metric: its name, with or without ``val_`` or ``test_``; words are separated by ``_``.
    """
    words = set(strip_subset(metric).split("_"))
    if bool(words & _HIGHER) == bool(words & _LOWER):
        return None
    return "max" if words & _HIGHER else "min"


def strip_subset(metric: str) -> str:
    """A metric's name without ``val_`` or ``test_``."""
    return metric.removeprefix("test_").removeprefix("val_")
