"""Symmetry: do the units of a layer stay equal, what learns, and how accurate does it become?"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fanin.claims.observations.weights_after_training import TrainedWeights, train_weights
from fanin.training.train import DataCache

NETWORKS = {
    "case study": {"model": "mlp"},
    "relu": {"model": "mlp(widths=[64], depth=3)", "activation": "relu"},
    "tanh": {"model": "mlp(widths=[64], depth=3)", "activation": "tanh"},
    "sigmoid": {"model": "mlp(widths=[64], depth=3)", "activation": "sigmoid"},
}
STARTS = {"zero": "zero", "constant": "constant(value=0.05)"}
EPOCHS = 10

_ROUNDING = 1e-4
"""Units whose weights differ by less, relative to the largest weight, are equal: the order of
additions differs from unit to unit.
"""


def observe_symmetry(replicates: int) -> list[dict[str, Any]]:
    """A record per network, start and replicate.

    Keys: ``identical``, 1 if all units of every hidden layer have equal weights after training;
    ``only_output_bias``, 1 if no other parameter has changed at all; ``excess``, test accuracy
    minus the share of the test set's most frequent class.
    """
    cache = DataCache()
    return [
        {
            "network": network,
            "start": start,
            "replicate": replicate,
            **_describe(
                train_weights(
                    cache,
                    **fields,
                    initializer=spec,
                    epochs=EPOCHS,
                    replicate=replicate,
                ),
                cache,
            ),
        }
        for network, fields in NETWORKS.items()
        for start, spec in STARTS.items()
        for replicate in range(replicates)
    ]


def _describe(trained: TrainedWeights, cache: DataCache) -> dict[str, float]:
    assert cache.prepared is not None
    hidden = [t for name, t in trained.best.items() if name.startswith("hidden") and t.dim() == 2]
    changed = [name for name, t in trained.best.items() if not t.equal(trained.initial[name])]
    labels = cache.prepared.test.y[:]
    most_frequent = float(labels.bincount().max()) / len(labels)
    return {
        "identical": float(all(map(has_equal_rows, hidden))),
        "only_output_bias": float(changed == ["output.bias"]),
        "excess": round(trained.result.metrics["test_accuracy"] - most_frequent, 6),
    }


def has_equal_rows(weight: Tensor) -> bool:
    """Whether all units of a layer have the same weights, up to rounding."""
    largest = float(weight.abs().max())
    return float((weight - weight[0]).abs().max()) <= _ROUNDING * largest
