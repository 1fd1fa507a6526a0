"""The training of one cell: against a slow twin, its stopping rule, divergence, exact resume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fanin.training.train as engine
from fanin import apply, initializers, models, seeds
from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.data import DataInfo, Dataset, Subset
from fanin.errors import UnknownName
from fanin.models import ModelEntry
from fanin.training import steps
from fanin.training.steps import Trainer
from fanin.training.train import DataCache, TrainingInterrupted, train

ENVIRONMENT = {"device": "test", "torch": torch.__version__}


def _info(
    name: str, task: Any, shape: tuple[int, ...], outputs: int, n_train: int, n_test: int
) -> DataInfo:
    return DataInfo(
        name=name, task=task, input_shape=shape, outputs=outputs, n_train=n_train, n_test=n_test
    )


def _images(n_train: int = 150, n_test: int = 70, size: int = 12) -> Dataset:
    """Noise with a bright corner that tells the class: a small CNN learns it in a few epochs."""
    generator = torch.Generator().manual_seed(3)
    n = n_train + n_test
    x = torch.randint(0, 120, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 3, (n,), generator=generator)
    for label in range(3):
        x[y == label, 0, 3 * label : 3 * label + 3, :4] += 130
    info = _info("corners", "classification", (1, size, size), 3, n_train, n_test)
    return Dataset(
        info,
        x[:n_train],
        y[:n_train],
        x[n_train:],
        y[n_train:],
        255.0,
        False,
        "f",
        False,
        "test",
        "",
    )


def _table(n_train: int = 100, n_test: int = 40) -> Dataset:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(n_train + n_test, 5, generator=generator) * 3 + 1
    y = 1000 + 200 * x[:, 0] - 50 * x[:, 1]
    info = _info("plane", "regression", (5,), 1, n_train, n_test)
    return Dataset(
        info,
        x[:n_train],
        y[:n_train],
        x[n_train:],
        y[n_train:],
        1.0,
        True,
        "f",
        False,
        "test",
        "metres",
    )


CNN = Cell(
    data="corners",
    model="cnn",
    initializer="he_normal",
    optimizer="adam(epsilon=keras)",
    batch_size=32,
    epochs=4,
)
MLP = dataclasses.replace(CNN, model="mlp(widths=[16, 8])")
TABLE = Cell(data="plane", model="regression", initializer="he_normal", batch_size=32, epochs=3)


def run(cell: Cell, dataset: Dataset | None = None, **options: Any) -> Result:
    chosen = dataset or (_table() if cell.data == "plane" else _images())
    return train(cell, cache=DataCache(chosen), environment=ENVIRONMENT, **options)


def without_time(result: Result) -> tuple[Any, ...]:
    history = {name: column for name, column in result.history.items() if name != "seconds"}
    return result.outcome, result.message, history, result.metrics, result.data


def test_the_engine_equals_a_slow_obvious_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow loop computes each sample by itself, with torch's plain Adam, without channels_last
    and without in-place operations.
    """
    monkeypatch.setattr(steps, "BATCHES_PER_GATHER", 2)  # five batches: gathered as 2, 2 and 1
    dataset, cell = (
        _images(),
        dataclasses.replace(CNN, optimizer="adam", epochs=2, protocol="case-study"),
    )
    model = models.get("cnn").build((1, 12, 12), 3)
    apply.initialize(model, initializers.get("he_normal"), seed=cell.derive_seed("init"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, foreach=False, fused=False)
    keys = models.DropoutKeys(model, cell.derive_seed("dropout"))
    expected: dict[str, list[float]] = {
        "loss": [],
        "accuracy": [],
        "val_loss": [],
        "val_accuracy": [],
    }
    for epoch in range(2):
        order = seeds.draw_order(cell.derive_seed("order"), epoch, 150).tolist()
        total, correct = 0.0, 0
        model.train()
        for step, start in enumerate(range(0, 150, 32)):
            rows = order[start : start + 32]
            keys.set(epoch, step)
            x = torch.stack([dataset.x_train[row].float() / 255 for row in rows])
            y = torch.stack([dataset.y_train[row] for row in rows])
            optimizer.zero_grad()
            outputs = model(x)
            loss = torch.stack(
                [-torch.log_softmax(o, 0)[t] for o, t in zip(outputs, y, strict=True)]
            ).mean()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            correct += int((outputs.argmax(1) == y).sum())
        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(x[None].float() / 255) for x in dataset.x_test])
        expected["loss"].append(total / 150)
        expected["accuracy"].append(correct / 150)
        expected["val_loss"].append(nn.functional.cross_entropy(logits, dataset.y_test).item())
        expected["val_accuracy"].append((logits.argmax(1) == dataset.y_test).float().mean().item())
    history = run(cell, dataset).history
    for name, column in expected.items():
        assert history[name] == pytest.approx(column, rel=2e-4), name


def test_the_same_cell_gives_the_same_bits() -> None:
    assert without_time(run(CNN)) == without_time(run(CNN))


def test_another_replicate_gives_other_losses() -> None:
    assert run(CNN).history["loss"] != run(dataclasses.replace(CNN, replicate=1)).history["loss"]


@pytest.mark.parametrize("purpose", ["init", "order", "dropout", "split"])
def test_each_seed_can_be_changed_alone(purpose: str) -> None:
    changed = dataclasses.replace(CNN, **{f"{purpose}_seed": 99})
    assert run(CNN).history["val_loss"] != run(changed).history["val_loss"]


def test_the_network_learns() -> None:
    result = run(dataclasses.replace(CNN, epochs=30))
    assert result.outcome == "ok"
    assert result.metrics["test_accuracy"] > 0.9


def test_the_callers_random_state_does_not_change() -> None:
    before = torch.random.get_rng_state()
    run(MLP)
    assert torch.equal(before, torch.random.get_rng_state())


class _Scripted(nn.Module):
    """A model that ignores its input; its validation loss by epoch follows a script."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 1))
        self.losses, self.calls = losses, -1

    def train(self, mode: bool = True) -> _Scripted:
        self.calls += 1 if mode else 0
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        outputs = torch.zeros(len(x), 1) + self.weight.sum() * 0
        return (
            outputs
            if self.training
            else outputs + math.sqrt(self.losses[min(self.calls, len(self.losses) - 1)])
        )


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float], int], Result]:
    """A function that runs a regression with the given validation losses."""

    def go(losses: list[float], epochs: int) -> Result:
        entry = ModelEntry(
            "scripted",
            "",
            models.get("regression").entry.options,
            lambda *a: _Scripted(losses),
            "any",
            "any",
            False,
            "",
        )
        monkeypatch.setattr(engine, "make_model", lambda cell: models.Model(entry, entry.options()))
        dataset = dataclasses.replace(_table(), y_train=torch.zeros(100), y_test=torch.zeros(40))
        return run(dataclasses.replace(TABLE, epochs=epochs, protocol="case-study"), dataset)

    return go


def test_training_stops_after_five_epochs_without_a_strictly_lower_loss(
    scripted: Callable[..., Result],
) -> None:
    result = scripted([5, 4, 4, 4, 4, 4, 4, 1, 1], 50)  # equal is not lower
    assert result.metrics["epochs"] == 7
    assert result.metrics["best_epoch"] == 2
    assert result.metrics["val_loss"] == pytest.approx(4)


def test_a_loss_that_never_improves_stops_after_six_epochs(scripted: Callable[..., Result]) -> None:
    assert scripted([4], 50).metrics["epochs"] == 6


def test_an_improvement_restarts_the_wait(scripted: Callable[..., Result]) -> None:
    assert scripted([9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 8, 1], 50).metrics["epochs"] == 11


def test_all_epochs_run_while_the_loss_falls(scripted: Callable[..., Result]) -> None:
    result = scripted([9, 8, 7, 6], 4)
    assert (result.metrics["epochs"], result.metrics["best_epoch"]) == (4, 4)


def test_best_weights_are_restored_also_when_all_epochs_ran(tmp_path: Path) -> None:
    cell = dataclasses.replace(
        TABLE, learning_rate=0.5, epochs=4, protocol="case-study", data="plane"
    )
    result = run(cell)
    worst = max(result.history["val_loss"])
    assert result.metrics["test_loss"] == pytest.approx(min(result.history["val_loss"]), rel=1e-6)
    assert result.metrics["test_loss"] < worst


def test_the_validation_accuracy_reported_is_the_best_of_all_epochs() -> None:
    result = run(dataclasses.replace(MLP, epochs=20))
    assert result.metrics["val_accuracy"] == max(result.history["val_accuracy"])


def test_a_standardised_target_is_reported_in_its_own_units() -> None:
    sound, raw = run(TABLE), run(dataclasses.replace(TABLE, protocol="case-study"))
    # An untrained network's error is the target's spread if it is standardised, else its mean.
    spread = float(_table().y_train.std())
    assert 0.2 * spread < sound.metrics["test_mae"] < 2 * spread
    assert raw.metrics["test_mae"] > 500


def test_the_case_study_protocol_validates_on_the_test_set_and_says_so() -> None:
    result = run(dataclasses.replace(MLP, protocol="case-study"))
    assert result.data["validation_is_test"] is True
    assert result.data["n_train"] == 150
    sound = run(MLP)
    assert sound.data["validation_is_test"] is False
    assert sound.data["n_validation"] == 15


def test_zero_initialization_leaves_all_but_the_output_bias_at_zero(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    cell = dataclasses.replace(MLP, initializer="zero", activation="tanh")
    run(cell, weights=tmp_path)
    best = load_file(tmp_path / f"{cell.id}.best.safetensors")
    moved = {name for name, tensor in best.items() if tensor.abs().sum() > 0}
    assert len(moved) == 1
    assert next(iter(moved)).endswith("bias")


def test_initial_and_best_weights_are_kept_on_request(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run(CNN, weights=tmp_path)
    initial = load_file(tmp_path / f"{CNN.id}.initial.safetensors")
    model = models.get("cnn").build((1, 12, 12), 3)
    apply.initialize(model, initializers.get("he_normal"), seed=CNN.derive_seed("init"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(initial[name], tensor), name
    best = load_file(tmp_path / f"{CNN.id}.best.safetensors")
    assert any(not torch.equal(best[name], initial[name]) for name in best)


# Divergence


class _Poison(nn.Module):
    """A linear model that breaks the training at its k-th step."""

    def __init__(self, harm: str, at: int) -> None:
        super().__init__()
        self.output = nn.Linear(5, 1)
        self.harm, self.at, self.steps = harm, at, 0

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.output(x)
        if not self.training:
            return outputs * math.nan if self.harm == "evaluation" else outputs
        self.steps += 1
        if self.steps == self.at:
            if self.harm == "gradient":
                outputs.register_hook(lambda gradient: gradient * math.nan)
            if self.harm in ("nan", "inf"):
                return outputs * float(self.harm)
        return outputs


@pytest.mark.parametrize(
    ("harm", "at", "epochs", "says"),
    [
        ("nan", 5, 2, "training loss nan in step 2 of epoch 2; the last finite loss was"),
        ("inf", 1, 1, "training loss inf in step 1 of epoch 1; it was the epoch's first"),
        ("gradient", 3, 1, "val_loss nan after epoch 1"),
        ("evaluation", 0, 1, "val_loss nan after epoch 1"),
    ],
)
def test_divergence_is_an_outcome(
    monkeypatch: pytest.MonkeyPatch, harm: str, at: int, epochs: int, says: str
) -> None:
    entry = ModelEntry(
        "poison",
        "",
        models.get("regression").entry.options,
        lambda *a: _Poison(harm, at),
        "any",
        "any",
        False,
        "",
    )
    monkeypatch.setattr(engine, "make_model", lambda cell: models.Model(entry, entry.options()))
    result = run(TABLE)
    assert result.outcome == "diverged"
    assert says in result.message
    assert result.metrics == {"epochs": float(epochs)}
    assert all(len(column) == epochs for column in result.history.values())
    assert not math.isfinite(result.history["val_loss"][-1])
    assert Result.from_json(result.to_json()).to_json() == result.to_json()


# Resume


def _interrupted_everywhere(cell: Cell, folder: Path) -> Result:
    """Train with an interruption after every epoch; each run starts as a new process would."""
    for _ in range(100):
        try:
            return run(cell, checkpoints=folder, checkpoint_interval=0, stop=lambda: True)
        except TrainingInterrupted:
            continue
    raise AssertionError("never finished")


@pytest.mark.parametrize(
    "cell",
    [CNN, MLP, TABLE, dataclasses.replace(CNN, epochs=12)],
    ids=["cnn", "mlp", "table", "cnn-long"],
)
def test_a_cell_stopped_at_every_epoch_equals_an_undisturbed_one_bit_for_bit(
    cell: Cell, tmp_path: Path
) -> None:
    undisturbed = run(cell)
    resumed = _interrupted_everywhere(cell, tmp_path)
    assert without_time(resumed) == without_time(undisturbed)


def test_the_resume_test_runs_on_channels_last_weights_and_fused_adam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bool, bool]] = []
    original = Trainer.train_epoch

    def spy(self: Trainer, epoch: int, subset: Subset) -> Any:
        convolutions = [p for p in self.model.parameters() if p.ndim == 4 and p.shape[1] > 1]
        last = all(
            p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()
            for p in convolutions
        )
        seen.append((bool(convolutions) and last, bool(self.optimizer.param_groups[0]["fused"])))
        return original(self, epoch, subset)

    monkeypatch.setattr(Trainer, "train_epoch", spy)
    run(CNN)
    assert seen == [(True, True)] * 4


def test_a_checkpoint_of_another_environment_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        run(CNN, checkpoints=tmp_path, checkpoint_interval=0, stop=lambda: True)
    epochs: list[float] = []
    other = {**ENVIRONMENT, "torch": "0.0"}
    train(
        CNN,
        cache=DataCache(_images()),
        environment=other,
        checkpoints=tmp_path,
        on_epoch=lambda row: epochs.append(row["epoch"]),
    )
    assert epochs[0] == 1


def test_a_full_disk_costs_the_checkpoint_and_not_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine.checkpoint, "save", full)
    assert run(MLP, checkpoints=tmp_path, checkpoint_interval=0).outcome == "ok"
    assert "no checkpoint after epoch 1" in capsys.readouterr().err


def test_the_cache_keeps_one_data_set_only() -> None:
    cache = DataCache(_images())
    train(MLP, cache=cache, environment=ENVIRONMENT)
    kept = cache.prepared
    train(dataclasses.replace(MLP, initializer="zero"), cache=cache, environment=ENVIRONMENT)
    assert cache.prepared is kept
    with pytest.raises(UnknownName):
        cache.prepare(dataclasses.replace(MLP, data="no-such-data"), engine.PROTOCOLS.get("sound"))
    assert cache.dataset is None
