"""A head that starts with the labels' shares in its bias.

Question. How many epochs does a head save on uneven labels if its bias starts with their shares?

Claim. With equal logits the first epochs are spent on learning how frequent each class is, which a
bias of log p, or log p/(1 − p), knows at the start (Lin et al., Focal Loss, 2017, for a detector;
Keras' guide on imbalanced data; a user reports 50 epochs instead of 300).

Protocol. MNIST averaged down to 14×14. Rare: is it a seven, where 2 % of 3,000 images are sevens
(one logit, binary cross entropy). Long tail: ten classes, of which each has 0.6 times the images of
the one before, 2,996 in all (softmax). 1,000 test images of the same shares. An MLP with 64 ReLU
units that starts from he_normal, its head from lecun_normal and a bias of 0 or
`fanin.logit_bias` of the training labels; batches of 50; Adam at 0.001 (that of Keras' guide) or
0.0001 (a slow start), or SGD at 0.05. What is measured is when the test loss first lies below a
target, looked at every 6 batches, a tenth of an epoch, before which the order is drawn anew; at
most 40 epochs; and the test loss after the first epoch. The target is half the loss of the shares
alone. 10 replicates of weights, images and order.

Criterion. Shown if, with Adam at 0.001 on the rare class, the 95 % interval of the difference in
epochs to the target (shares − zero) lies below 0. Beside it, the same on the long tail, with the
slow start, and with SGD, whose step in the bias is as large as the error in the shares, so that it
may learn them in a few batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from experiment import Effect, Experiment, Line, Panel, Records, draw_panels, run_command
from experiment.effects import subtract
from experiment.records import Condition, round_values
from experiment.training import load_images, predict, train
from matplotlib.figure import Figure
from torch import Tensor, nn

import fanin
from fanin import seeds

EPOCHS, BATCH, LOOKS = 40, 50, 10
"""At most so many epochs; so many samples per batch; so many looks at the test loss per epoch."""
OPTIMIZERS = {
    "adam 0.001": lambda parameters: torch.optim.Adam(parameters, lr=0.001),
    "adam 0.0001": lambda parameters: torch.optim.Adam(parameters, lr=0.0001),
    "sgd 0.05": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
}
TASKS = ("rare", "long tail")
STARTS = ("zero", "shares")
TARGET = 0.5
"""Of the loss of the shares alone."""
TRAINED, TESTED = 3000, 1000

Split = tuple[Tensor, Tensor, Tensor, Tensor]


def list_counts(task: str, total: int) -> list[int]:
    """How many images of each digit there are."""
    if task == "rare":
        sevens = total // 50
        rest, more = divmod(total - sevens, 9)
        return [sevens if c == 7 else rest + (c < more) for c in range(10)]
    shares = [0.6**c for c in range(10)]
    return [max(1, int(total * share / sum(shares))) for share in shares]


@lru_cache(maxsize=2)
def load_split(task: str, seed: int) -> Split:
    """Images and labels of one replicate, for training and for the test."""
    images = load_images("mnist", 60_000, 10_000, side=14)
    train_part = _pick(images.x_train, images.y_train, list_counts(task, TRAINED), seed)
    test_part = _pick(images.x_test, images.y_test, list_counts(task, TESTED), seed)
    return *_label(task, *train_part), *_label(task, *test_part)


def _pick(x: Tensor, y: Tensor, counts: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
    order = seeds.draw_order(seed, 0, len(x))
    classes = y[order]
    rows = torch.cat(
        [order[(classes == c).nonzero().flatten()[:count]] for c, count in enumerate(counts)]
    )
    return x[rows], y[rows]


def _label(task: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, (y == 7).float()[:, None] if task == "rare" else y


def compute_loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Binary or multi-class cross entropy, as the labels are."""
    if y.is_floating_point():
        return F.binary_cross_entropy_with_logits(outputs, y)
    return F.cross_entropy(outputs, y)


def measure(condition: Condition, seed: int, fast: bool) -> Mapping[str, Any]:
    """Train one network, and look at its test loss ten times per epoch."""
    task = str(condition["task"])
    x, y, x_test, y_test = load_split(task, seed)
    head = nn.Linear(64, 1 if task == "rare" else 10)
    model = nn.Sequential(nn.Flatten(), nn.Linear(14 * 14, 64), nn.ReLU(), head)
    fanin.initialize(model, {"3.weight": "lecun_normal"}, default="he_normal", seed=seed)
    kind = "sigmoid" if task == "rare" else "softmax"
    shares = fanin.logit_bias(y, outputs=kind, classes=head.out_features)
    if condition["start"] == "shares":
        fanin.logit_bias(y, outputs=kind, layer=head)
    target = TARGET * float(compute_loss(shares.expand(len(y_test), -1), y_test))
    optimizer = OPTIMIZERS[str(condition["optimizer"])](model.parameters())
    losses = [_test(model, x_test, y_test)]
    steps = len(x) // BATCH // LOOKS
    for look in range(LOOKS * EPOCHS):
        train(
            model, optimizer, x, y, steps=steps, batch_size=BATCH,
            seed=seeds.derive_seed(seed, "look", look), loss=compute_loss,
        )  # fmt: skip
        losses.append(_test(model, x_test, y_test))
        if losses[-1] < target and look >= LOOKS * 2:
            break
    reached = [look for look, loss in enumerate(losses) if loss < target]
    return {
        "epochs": reached[0] / LOOKS if reached else math.inf,
        "first": losses[LOOKS],
        "curve": round_values(losses[: 2 * LOOKS + 1]),
    }


def _test(model: nn.Module, x: Tensor, y: Tensor) -> float:
    value = float(compute_loss(predict(model, x), y))
    return value if math.isfinite(value) else math.inf


def compare(value: str, task: str, optimizer: str) -> Callable[[Records], list[float]]:
    """shares − zero of each replicate."""
    arms = [{"task": task, "optimizer": optimizer, "start": start} for start in ("shares", "zero")]
    return lambda records: subtract(records, value, *arms)


def draw(records: Records) -> Figure:
    """Test losses of the first two epochs."""
    looks = [look / LOOKS for look in range(2 * LOOKS + 1)]
    return draw_panels(
        [
            Panel(
                f"{task}, {optimizer}",
                "epoch",
                "test loss",
                [
                    Line(start, looks, [one.values["curve"] for one in found])
                    for start in STARTS
                    if (found := records.pick(task=task, start=start, optimizer=optimizer))
                ],
                log_y=True,
            )
            for task in TASKS
            for optimizer in OPTIMIZERS
        ],
        columns=3,
    )


EXPERIMENT = Experiment(
    name="logit_bias",
    title="Logit bias: a head that knows the labels' shares",
    methods=("logit_bias",),
    source="Lin et al., Focal Loss for Dense Object Detection, 2017",
    conditions=tuple(
        {"task": task, "optimizer": optimizer, "start": start}
        for task in TASKS
        for optimizer in OPTIMIZERS
        for start in STARTS
    ),
    measure=measure,
    columns={"epochs": "epochs to the target", "first": "test loss after one epoch"},
    effects=tuple(
        Effect(
            says=f"the target is reached sooner ({task}, {optimizer})",
            number="epochs to the target, shares − zero",
            measure=compare("epochs", task, optimizer),
            below=0.0,
            counts=optimizer == "adam 0.001" and task == "rare",
        )
        for optimizer in OPTIMIZERS
        for task in TASKS
    ),
    draw=draw,
    data=("mnist",),
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
