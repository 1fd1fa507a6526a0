"""Users' trainers for the tests of own training: a file of functions, and the studies that call
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fanin.study.study import Study

TRAINERS = '''
import os
import time

import torch
from torch import nn


def build():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def draw(seed, n=64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator)
    return x, x.sum(1, keepdim=True)


def log(*words):
    with open(os.environ["TRAINER_LOG"], "a") as file:
        print(*words, file=file)


def fit(initialize, *, seed, learning_rate=0.1, epochs=3, width=8):
    """Yield the losses of each epoch; log that it was called, and with which draws."""
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    initialize(model)
    log(initialize.spec, seed, float(torch.rand(())), model[0].weight[0, 0].item())
    x, y = draw(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        noisy = x + 0.01 * torch.randn_like(x)
        loss = nn.functional.mse_loss(model(noisy), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield {"loss": loss.item(), "val_loss": float(nn.functional.mse_loss(model(x), y).detach())}
    x, y = draw(2)
    return {"test_loss": nn.functional.mse_loss(model(x), y).item()}


def once(initialize, *, seed, learning_rate=0.1):
    """Return the final metrics alone."""
    model = build()
    initialize(model)
    x, y = draw(1)
    return {"test_reward": torch.tensor(-1.0) * nn.functional.mse_loss(model(x), y).detach()}

once.better = {"reward": "max"}


def told(initialize, *, seed, init_seed, order_seed, dropout_seed, split_seed, replicate, model,
         data, device, batch_size=7, learning_rate=0.5, note="none"):
    initialize(build())
    log(seed, init_seed, order_seed, dropout_seed, split_seed, replicate, model, data, device,
        batch_size, learning_rate, note)
    return {"val_loss": 1.0}


def hangs(initialize, *, seed):
    initialize(build())
    log("begun")
    time.sleep(600)


def raises_late(initialize, *, seed):
    initialize(build())
    for epoch in range(5):
        if epoch == 2:
            raise ZeroDivisionError("nothing to divide by")
        yield {"val_loss": 1.0}


def yields_nothing(initialize, *, seed):
    initialize(build())
    return
    yield {}


def returns_text(initialize, *, seed):
    initialize(build())
    return "done"


def returns_nan(initialize, *, seed):
    initialize(build())
    return {"test_loss": float("nan"), "test_accuracy": 0.5}


def yields_nan(initialize, *, seed):
    initialize(build())
    for value in (1.0, 0.5, float("nan"), 0.1):
        yield {"loss": value, "val_loss": 1.0}


def half_measured(initialize, *, seed):
    initialize(build())
    yield {"val_loss": 1.0}
    yield {"val_loss": 0.5, "val_accuracy": 0.9, "energy": float("nan")}


def forgets(initialize, *, seed):
    return {"val_loss": 1.0}


def exits(initialize, *, seed):
    initialize(build())
    raise SystemExit(3)


class Framework:
    """It has the loop to itself, and calls back after each epoch."""

    def fit(self, model, callback, losses):
        for loss in losses:
            callback({"val_loss": loss})


def called_back(initialize, *, seed, report, losses=(1.0, 0.5)):
    model = build()
    initialize(model)
    Framework().fit(model, report, losses)
    log("fitted")
    return {"test_loss": 0.7}


def scored(initialize, *, seed, learning_rate):
    """A score that is best at a rate of 0.3."""
    initialize(build())
    return {"val_energy": -abs(learning_rate - 0.3), "test_loss": 1.0}
'''


def write_trainers(folder: Path) -> str:
    """Write the file of trainers and return its name; the folder is the working directory."""
    (folder / "mine.py").write_text(TRAINERS, encoding="utf-8")
    return "mine.py"


def make_study(function: str, *, replicates: int = 1, **tables: Any) -> Study:
    """A study of two initializers, trained by a function of the file."""
    base = {"trainer": f"mine.py:{function}", **tables.pop("base", {})}
    axes = {"initializer": ["he_normal", "xavier_uniform"], **tables.pop("axes", {})}
    return Study("own", base=base, axes=axes, replicates=replicates, **tables)
