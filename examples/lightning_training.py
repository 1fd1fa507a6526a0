"""A LightningModule, trained by Lightning's own Trainer.

In a study:

    trainer = "examples/lightning_training.py:train"
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import lightning.pytorch as lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class Regressor(lightning.LightningModule):
    """A deep narrow network that predicts one number."""

    def __init__(self, features: int, depth: int, learning_rate: float) -> None:
        super().__init__()
        hidden = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), nn.Tanh())]
        self.net = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), *hidden, nn.Linear(16, 1))
        self.learning_rate = learning_rate

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = F.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.log("val_loss", F.mse_loss(self.net(batch[0]), batch[1]))

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.log("test_mae", F.l1_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Reporter(lightning.Callback):
    """Tells the study what Lightning has logged, after each epoch."""

    def __init__(self, report: Callable[[dict[str, Tensor]], None]) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: nn.Module) -> None:
        metrics = trainer.callback_metrics
        self.report({name: metrics[name] for name in ("loss", "val_loss")})


def train(
    initialize: Callable[[nn.Module], object],
    *,
    seed: int,
    split_seed: int,
    learning_rate: float = 0.003,
    batch_size: int = 32,
    epochs: int = 20,
    report: Callable[[dict[str, Tensor]], None],
    depth: int = 8,
) -> dict[str, float]:
    """Report the losses of each epoch from a callback, and return what the test set says."""
    lightning.seed_everything(seed, verbose=False)
    train_set, validation_set, test_set = load_data(split_seed)
    module = Regressor(10, depth, learning_rate)
    initialize(module)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[Reporter(report)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that data are loaded without further processes
        trainer.fit(
            module,
            DataLoader(train_set, batch_size, shuffle=True),
            DataLoader(validation_set, len(validation_set)),
        )
        (tested,) = trainer.test(module, DataLoader(test_set, len(test_set)), verbose=False)
    return dict(tested)


def load_data(seed: int) -> list[torch.utils.data.Subset]:
    """Standardised samples for training, validation and testing."""
    x, y = (torch.as_tensor(part).float() for part in load_diabetes(return_X_y=True))
    x, y = (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std()).unsqueeze(1)
    generator = torch.Generator().manual_seed(seed)
    return random_split(TensorDataset(x, y), [0.7, 0.1, 0.2], generator)
