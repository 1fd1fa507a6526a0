"""Training with every factor (schedules, clipping, smoothing, …) and every task."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import apply, initializers, models, seeds
from fanin.cell.cell import FIELDS, Cell
from fanin.cell.result import Result
from fanin.data import DataInfo, Dataset
from fanin.errors import FitError, StudyError
from fanin.study.canonical_cell import make_cell
from fanin.training import metrics
from fanin.training.augmentation import Augmenter
from fanin.training.objective import Objective
from fanin.training.train import DataCache, TrainingInterrupted, train

ENVIRONMENT = {"device": "test", "torch": torch.__version__}
N_TRAIN, N_TEST = 100, 40


def dataset(
    task: Any,
    x: Tensor,
    y: Tensor,
    outputs: int,
    *,
    divisor: float = 1.0,
    vocabulary: int | None = None,
) -> Dataset:
    info = DataInfo(
        name="made",
        task=task,
        input_shape=tuple(x.shape[1:]),
        outputs=outputs,
        n_train=N_TRAIN,
        n_test=N_TEST,
        vocabulary=vocabulary,
    )
    y_train, y_test = (x[:N_TRAIN], x[N_TRAIN:]) if y is x else (y[:N_TRAIN], y[N_TRAIN:])
    return Dataset(
        info, x[:N_TRAIN], y_train, x[N_TRAIN:], y_test, divisor, False, "f", False, "test", ""
    )


def images() -> Dataset:
    generator = seeds.make_generator(0, "images")
    x = torch.randint(0, 256, (N_TRAIN + N_TEST, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return dataset("classification", x, (x[:, 0, 0, 0] // 86).long(), 3, divisor=255.0)


def tokens() -> Dataset:
    x = torch.randint(
        0, 5, (N_TRAIN + N_TEST, 6), generator=seeds.make_generator(0, "tokens"), dtype=torch.uint8
    )
    return dataset("token_classification", x, (x.long() + 1) % 5, 5, vocabulary=5)


def several() -> Dataset:
    x = seeds.standard_normal((N_TRAIN + N_TEST, 4), seeds.make_generator(0, "table"))
    return dataset("regression", x, torch.stack([x[:, 0] + x[:, 1], x[:, 2]], 1), 2)


def autoencoded() -> Dataset:
    x = torch.randint(
        0,
        256,
        (N_TRAIN + N_TEST, 1, 4, 4),
        generator=seeds.make_generator(0, "images"),
        dtype=torch.uint8,
    )
    return dataset("autoencoding", x, x, 16, divisor=255.0)


CELL = Cell(
    data="made",
    model="mlp(widths=[16])",
    activation="relu",
    initializer="he_normal",
    optimizer="sgd",
    learning_rate=0.1,
    batch_size=32,
    epochs=3,
    protocol="case-study",
)


def run(cell: Cell, data: Dataset, **options: Any) -> Result:
    return train(cell, cache=DataCache(data), environment=ENVIRONMENT, **options)


def changed(**fields: Any) -> Cell:
    return dataclasses.replace(CELL, **fields)


ALL = changed(
    optimizer="sgd(momentum=0.9, nesterov=true, weight_decay=0.01)",
    schedule="cosine(warmup=1.0, warmup_start=0.25)",
    clip_norm=0.5,
    label_smoothing=0.1,
    augmentation=("shift(pixels=1)", "flip"),
    normalization="layer",
)


def test_the_engine_with_all_factors_equals_a_plain_loop_of_torch() -> None:
    data = images()
    model = models.get(ALL.model, "relu", "layer").build((1, 8, 8), 3)
    apply.initialize(model, initializers.get("he_normal"), seed=ALL.derive_seed("init"))
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    spared = [p for p in model.parameters() if not any(p is weight for weight in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    augmenter = Augmenter(ALL.augmentation, ALL.derive_seed("augment"))
    losses = []
    for epoch in range(3):
        order, total = seeds.draw_order(ALL.derive_seed("order"), epoch, N_TRAIN), 0.0
        draws = augmenter.draw_epoch(epoch, N_TRAIN)
        for step, rows in enumerate(torch.split(order, 32)):
            after = epoch * 4 + step
            factor = (
                0.25 + 0.75 * after / 4
                if after < 4
                else (1 + math.cos(math.pi * (after - 4) / 8)) / 2
            )
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * factor
            x = augmenter.apply(data.x_train[rows], rows, draws).float() / 255
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), data.y_train[rows], label_smoothing=0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / N_TRAIN)
    assert run(ALL, data).history["loss"] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(
    "field",
    ["schedule", "clip_norm", "label_smoothing", "augmentation", "normalization", "optimizer"],
)
def test_each_factor_changes_the_training(field: str) -> None:
    without = dataclasses.replace(ALL, **{field: getattr(CELL, field)})
    assert run(ALL, images()).history["loss"] != run(without, images()).history["loss"]


def test_a_field_that_says_so_does_not_change_the_training() -> None:
    values = {"metrics": ("perplexity",), "tuned": True, "signals": True}
    assert values.keys() == {name for name, field in FIELDS.items() if not field.changes_training}
    plain = run(CELL, images())
    for name, value in values.items():
        other = run(changed(**{name: value}), images())
        for column in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert other.history[column] == plain.history[column], (name, column)


def test_smoothing_is_not_part_of_what_is_evaluated() -> None:
    smoothed = run(changed(label_smoothing=0.3, learning_rate=1e-30), images())
    plain = run(changed(learning_rate=1e-30), images())
    assert smoothed.history["val_loss"] == plain.history["val_loss"]
    assert smoothed.history["loss"] != plain.history["loss"]


def test_augmentation_has_its_own_seed_and_never_changes_the_evaluation() -> None:
    frozen = changed(learning_rate=1e-30, augmentation=("flip",))
    one, other = run(frozen, images()), run(dataclasses.replace(frozen, augment_seed=7), images())
    assert one.history["loss"] != other.history["loss"]
    plain = run(changed(learning_rate=1e-30), images())
    assert one.history["val_loss"] == other.history["val_loss"] == plain.history["val_loss"]


@pytest.mark.parametrize(
    "optimizer", ["sgd", "sgd(momentum=0.9)", "rmsprop", "adam", "adamw", "adam(epsilon=keras)"]
)
def test_a_cell_with_all_factors_resumes_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    cell = dataclasses.replace(ALL, optimizer=optimizer, learning_rate=0.01)
    whole = run(cell, images())
    for _ in range(2):
        with pytest.raises(TrainingInterrupted):
            run(cell, images(), checkpoints=tmp_path, checkpoint_interval=0, stop=lambda: True)
    resumed = run(cell, images(), checkpoints=tmp_path)
    assert resumed.history["loss"] == whole.history["loss"]
    assert resumed.metrics == whole.metrics


# Tasks


def test_tokens_are_classified_at_each_step_and_report_the_usual_metrics() -> None:
    cell = changed(
        model="rnn(width=16)", activation=None, optimizer="adam", learning_rate=0.02, epochs=25
    )
    result = run(cell, tokens())
    found = result.metrics
    assert result.history["bits_per_character"][0] > 1.5
    assert found["test_token_accuracy"] > 0.95
    assert found["test_bits_per_character"] == pytest.approx(found["test_loss"] / math.log(2))
    assert found["test_perplexity"] == pytest.approx(math.exp(found["test_loss"]))
    assert list(found)[2] == "val_loss"


def test_the_loss_of_tokens_is_the_mean_over_all_steps() -> None:
    outputs = seeds.standard_normal((3, 6, 5), seeds.make_generator(0, "o"))
    y = torch.randint(0, 5, (3, 6), generator=seeds.make_generator(0, "y"))
    objective = Objective(
        info=tokens().info, metrics=metrics.get_task_metrics("token_classification")
    )
    slow = [-torch.log_softmax(outputs[n, t], 0)[y[n, t]] for n in range(3) for t in range(6)]
    assert float(objective.compute_loss(outputs, y)) == pytest.approx(
        float(torch.stack(slow).mean()), rel=1e-6
    )
    accuracy = metrics.REGISTRY.get("token_accuracy")
    assert accuracy.score is not None
    right = sum(int(outputs[n, t].argmax() == y[n, t]) for n in range(3) for t in range(6))
    assert float(accuracy.score(outputs, y)) == pytest.approx(right / 6)


def test_a_regression_may_have_several_targets() -> None:
    result = run(changed(optimizer="adam", learning_rate=0.02, epochs=30), several())
    assert result.metrics["test_mae"] < 0.3
    assert "test_squared_error" not in result.metrics


def test_an_autoencoder_is_trained_on_its_own_inputs() -> None:
    result = run(changed(optimizer="adam", learning_rate=0.01, epochs=20), autoencoded())
    assert result.history["val_loss"][-1] < 0.7 * result.history["val_loss"][0]
    # The loss is the mean over 16 pixels in [0, 1], the squared error their sum.
    assert result.metrics["test_squared_error"] == pytest.approx(
        16 * result.metrics["test_loss"], rel=1e-5
    )


def test_augmented_autoencoding_reconstructs_what_was_shown() -> None:
    frozen = changed(learning_rate=1e-30, augmentation=("flip",))
    assert run(frozen, autoencoded()).outcome == "ok"


def test_further_metrics_are_measured_beside_the_tasks_own() -> None:
    result = run(changed(metrics=("perplexity", "accuracy")), images())
    assert {"accuracy", "val_perplexity"} <= result.history.keys()
    assert result.metrics["test_perplexity"] == pytest.approx(math.exp(result.metrics["test_loss"]))
    assert run(changed(metrics=("squared_error", "psnr")), several()).metrics[
        "test_psnr"
    ] == pytest.approx(
        10 * math.log10(4 / run(changed(), several()).metrics["test_loss"]), rel=1e-6
    )


def test_a_metric_of_another_task_is_refused_with_those_that_fit() -> None:
    with pytest.raises(StudyError, match=r"does not measure classification.*accuracy"):
        run(changed(metrics=("mae",)), images())


def test_a_last_batch_of_one_sample_is_refused_where_it_would_break_batch_normalization() -> None:
    with pytest.raises(FitError, match=r"one sample.*Use a batch_size other than 33"):
        run(changed(normalization="batch", batch_size=33), images())


def test_biases_have_a_rule_of_their_own() -> None:
    cell = make_cell(
        {
            "data": "digits",
            "model": "lstm(width=4)",
            "initializer": "orthogonal",
            "biases": "forget_gate",
        }
    )
    assert cell.biases == "forget_gate"
    told = changed(model="lstm(width=8)", activation=None, epochs=1)
    without, with_gate = (
        run(told, tokens()),
        run(dataclasses.replace(told, biases="forget_gate"), tokens()),
    )
    assert without.history["loss"] != with_gate.history["loss"]


@pytest.mark.parametrize("metric", tuple(metrics.REGISTRY), ids=lambda metric: metric.name)
def test_a_metric_is_scored_or_follows_from_the_loss_or_the_whole_set(
    metric: metrics.Metric,
) -> None:
    ways = (metric.score, metric.of_loss, metric.of_set)
    assert [way for way in ways if way is not None] == [way for way in ways if callable(way)]
    assert sum(way is not None for way in ways) == 1
    assert metric.summary.endswith(".")


def test_a_loss_that_overflows_gives_a_finite_perplexity() -> None:
    perplexity = metrics.REGISTRY.get("perplexity").of_loss
    assert perplexity is not None
    assert perplexity(1e6) == math.exp(700)
