"""Sparsity: how many of the weights that start at zero are zero after training?"""

from __future__ import annotations

from typing import Any

from fanin.claims.observations.weights_after_training import train_weights
from fanin.training.train import DataCache

OPTIMIZERS = {"momentum": "sgd(momentum=0.9)", "Adam": "adam"}
RATES = {"momentum": 0.003, "Adam": 0.001}
EPOCHS = 20


def observe_sparsity(replicates: int) -> list[dict[str, Any]]:
    """A record per optimizer and replicate, of an MLP of three hidden ReLU layers.

    Keys: ``sparse_at_start``, the share of the weights between hidden layers that start at zero;
    ``kept``, the share of these that are exactly zero after training. The first layer is left out:
    pixels that are always black keep its weights as they are.
    """
    cache = DataCache()
    records = []
    for name, optimizer in OPTIMIZERS.items():
        for replicate in range(replicates):
            trained = train_weights(
                cache,
                model="mlp(widths=[64], depth=3)",
                activation="relu",
                initializer="sparse",
                optimizer=optimizer,
                learning_rate=RATES[name],
                epochs=EPOCHS,
                replicate=replicate,
            )
            names = [n for n in trained.initial if n in ("hidden.1.weight", "hidden.2.weight")]
            zero = [trained.initial[n] == 0 for n in names]
            still = [(trained.best[n] == 0) & z for n, z in zip(names, zero, strict=True)]
            count = sum(int(z.sum()) for z in zero)
            records.append(
                {
                    "optimizer": name,
                    "replicate": replicate,
                    "sparse_at_start": round(count / sum(z.numel() for z in zero), 4),
                    "kept": round(sum(int(s.sum()) for s in still) / count, 6),
                    "accuracy": round(trained.result.metrics["test_accuracy"], 4),
                }
            )
    return records
