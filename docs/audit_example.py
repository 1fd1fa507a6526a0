"""Write docs/audit-example.png: the README's model, trained as it was and after the audit's fix.

python docs/audit_example.py    # needs the extra study; half a minute on one core

Digits of scikit-learn, 1,437 of 1,797 images for training, Adam at 0.001, batches of 64, 300 steps,
five seeds of weights and order; the same code that README.md shows builds, audits and repairs the
model.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import fanin
from fanin import seeds

mpl.use("Agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).resolve().parent / "audit-example.png"
SEEDS, STEPS, BATCH, HELD_OUT = 5, 300, 64, 360


def build() -> nn.Sequential:
    """Twenty layers as torch initializes them."""
    layers: list[nn.Module] = [nn.Linear(64, 64), nn.ReLU()]
    for _ in range(18):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def load() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(labels)


def train(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> tuple[list[float], float]:
    """The loss of every step, and the accuracy on what was held out."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    generator = seeds.make_generator(seed, "order")
    losses = []
    for _ in range(STEPS):
        rows = torch.randint(HELD_OUT, len(x), (BATCH,), generator=generator)
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        right = model(x[:HELD_OUT]).argmax(1) == y[:HELD_OUT]
    return losses, float(right.float().mean())


def main() -> None:
    torch.set_num_threads(1)
    x, y = load()
    curves: dict[str, list[list[float]]] = {"as it was": [], "after audit.fix": []}
    accuracies: dict[str, list[float]] = {name: [] for name in curves}
    for seed in range(SEEDS):
        with seeds.preserve_torch_state(seed):
            model = build()
        fixed, _ = fanin.audit(model, x[:256], target=y[:256], seed=seed).fix()
        for name, one in zip(curves, (model, fixed), strict=True):
            losses, accuracy = train(one, x, y, seed)
            curves[name].append(losses)
            accuracies[name].append(accuracy)
    for name, found in accuracies.items():
        print(f"{name}: accuracy {min(found):.3f} to {max(found):.3f} over {SEEDS} seeds")
    draw(curves)


def draw(curves: dict[str, list[list[float]]]) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
    for (name, runs), colour in zip(curves.items(), ("#c2410c", "#1d4ed8"), strict=True):
        values = torch.tensor(runs).unfold(1, 10, 10).mean(-1)
        steps = [10 * (index + 1) for index in range(values.shape[1])]
        for one in values:
            axes.plot(steps, one, color=colour, alpha=0.25, linewidth=1)
        axes.plot(steps, values.mean(0), color=colour, linewidth=2)
        axes.annotate(
            name,
            (steps[-1], float(values.mean(0)[-1])),
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    axes.set(xlabel="step", ylabel="training loss", xlim=(0, STEPS * 1.22), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    main()
