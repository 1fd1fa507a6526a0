"""Sequences and tokens of one's own: arrays of a file or of a function, trained by fanin's loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from combinations import for_each

from fanin import data
from fanin.cell.result import Result
from fanin.errors import DataInvalid, FaninError
from fanin.study.canonical_cell import make_cell
from fanin.training.train import DataCache, train

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 11, (24, 5))
VECTORS = RANDOM.standard_normal((24, 5, 3)).astype(np.float32)
LABELS = np.arange(24) % 3

CODE = """
import numpy as np

def tags(*, n=120, steps=6):
    "Each step's class is the parity of its token."
    x = np.random.default_rng(0).integers(0, 10, (n, steps))
    return dict(x_train=x, y_train=x % 2, x_test=x[:40], y_test=x[:40] % 2, vocabulary=10)

def topics(*, n=120, steps=6):
    "The class is that of the first token."
    x = np.random.default_rng(0).integers(0, 10, (n, steps)).astype(np.uint8)
    y = (x[:, 0] > 4).astype(int)
    return dict(x_train=x, y_train=y, x_test=x[:40], y_test=y[:40], vocabulary=list("abcdefghij"))

def waves(*, n=120, steps=8):
    x = np.random.default_rng(0).standard_normal((n, steps, 2)).astype(np.float32)
    y = (x[:, :, 0].sum(1) > 0).astype(int)
    return {"x_train": x, "y_train": y, "x_test": x[:40], "y_test": y[:40], "kind": "sequence"}

def signs(*, n=120, steps=8):
    x = np.random.default_rng(0).standard_normal((n, steps, 2)).astype(np.float32)
    y = (x[:, :, 0] > 0).astype(int)
    return {"x_train": x, "y_train": y, "x_test": x[:40], "y_test": y[:40], "kind": "sequence"}

def amounts(*, n=120, steps=6):
    x = np.random.default_rng(0).integers(0, 10, (n, steps))
    y = x.sum(1).astype(np.float32)
    return {"x_train": x, "y_train": y, "x_test": x[:40], "y_test": y[:40], "vocabulary": 10}
"""


def save(folder: Path, x: np.ndarray, y: np.ndarray, **marks: Any) -> data.Dataset:
    arrays = {"x_train": x[:16], "y_train": y[:16], "x_test": x[16:], "y_test": y[16:]}
    (folder / "mine").mkdir(exist_ok=True)
    np.savez(folder / "mine" / "mine.npz", **arrays, **marks)
    return data.load("mine")


@for_each("dtype", ["int64", "int32", "uint8", "uint16"])
def test_integers_with_a_vocabulary_are_tokens(dtype: str, root: Path) -> None:
    dataset = save(root, TOKENS.astype(dtype), LABELS, vocabulary=np.array(11))
    info = dataset.info
    assert (info.kind, info.vocabulary, info.input_shape) == ("tokens", 11, (5,))
    assert (info.task, info.outputs) == ("classification", 3)
    assert dataset.x_train.dtype == torch.uint8  # a vocabulary of at most 256
    assert dataset.x_train.tolist() == TOKENS[:16].tolist()
    assert data.describe("mine") == info


def test_a_large_vocabulary_may_be_told_by_names(root: Path) -> None:
    names = np.array([f"word {n}" for n in range(300)])
    dataset = save(root, TOKENS * 25, LABELS, vocabulary=names)
    assert dataset.info.vocabulary == 300
    assert dataset.x_train.dtype == torch.int64


def test_a_label_for_each_step_makes_a_classification_of_steps(root: Path) -> None:
    tags = TOKENS % 4
    info = save(root, TOKENS, tags, vocabulary=np.array(11)).info
    assert (info.task, info.outputs, info.per_step) == ("token_classification", 4, True)
    info = save(root, VECTORS, tags, kind=np.array("sequence")).info
    assert (info.task, info.kind, info.input_shape) == ("token_classification", "sequence", (5, 3))


def test_float_arrays_of_that_kind_are_sequences_and_images_otherwise(root: Path) -> None:
    dataset = save(root, VECTORS, LABELS, kind=np.array("sequence"))
    assert dataset.info.kind == "sequence"
    assert dataset.x_train.shape == (16, 5, 3)
    assert save(root, VECTORS, LABELS).info.input_shape == (1, 5, 3)
    assert save(root, VECTORS, LABELS, kind=np.array(["image"])).info.kind == "image"


@for_each(
    "x, y, marks, message",
    [
        (TOKENS, LABELS, {}, "If they are tokens, add an array vocabulary with their number"),
        (TOKENS, LABELS, {"kind": np.array("tokens")}, "lacks an array vocabulary"),
        (TOKENS, LABELS, {"vocabulary": np.array(10)}, "holds the token 10, first in row"),
        (TOKENS - 1, LABELS, {"vocabulary": np.array(11)}, "holds the token -1, first in row"),
        (TOKENS, LABELS, {"vocabulary": np.array(1)}, "two or more, or one name for each"),
        (
            TOKENS,
            LABELS,
            {"vocabulary": np.array(11.0)},
            r"vocabulary of .* has shape \(\) \(float",
        ),
        (VECTORS, LABELS, {"vocabulary": np.array(11)}, "its inputs are tokens, but x_train has"),
        (TOKENS, TOKENS[:, :3], {"vocabulary": np.array(11)}, r"or \(N, 5\), one for each step"),
        (TOKENS, LABELS, {"kind": np.array("sequence")}, "Expected sequences of float numbers"),
        (VECTORS, LABELS, {"kind": np.array("video")}, "kind of .* is 'video'. Expected one word"),
        (VECTORS, LABELS, {"kind": np.array("table")}, "of kind table, but x_train has shape"),
        (
            VECTORS[:, 0],
            LABELS,
            {"kind": np.array("image")},
            "of kind image, but x_train has shape",
        ),
    ],
)
def test_what_is_no_sequence_is_refused_in_words(
    x: np.ndarray, y: np.ndarray, marks: dict[str, np.ndarray], message: str, root: Path
) -> None:
    with pytest.raises(DataInvalid, match=message):
        save(root, x, y, **marks)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(dataset: str, model: str, **changes: Any) -> Result:
    fields = {
        "data": f"mine.py:{dataset}",
        "model": model,
        "initializer": "xavier_uniform",
        "optimizer": "adam",
        "learning_rate": 0.02,
        "epochs": 20,
        "batch_size": 16,
    }
    return train(make_cell({**fields, **changes}), cache=DataCache(), environment={})


@for_each(
    "dataset, model, metric",
    [
        ("tags", "lstm(width=8)", "test_token_accuracy"),
        ("tags", "gpt(width=16, depth=1, heads=2)", "test_token_accuracy"),
        ("topics", "gru(width=8)", "test_accuracy"),
        ("topics", "transformer(width=16, depth=1, heads=2)", "test_accuracy"),
        ("waves", "lstm(width=8)", "test_accuracy"),
        ("signs", "gru(width=8)", "test_token_accuracy"),
    ],
)
def test_built_in_models_learn_sequences_of_ones_own(
    dataset: str, model: str, metric: str, mine: Path
) -> None:
    rate = 0.005 if "transformer" in model else 0.02
    result = run(dataset, model, learning_rate=rate)
    assert result.outcome == "ok"
    assert result.metrics[metric] > 0.8, result.metrics


def test_a_number_for_each_sequence_of_tokens_is_a_regression(mine: Path) -> None:
    result = run("amounts", "gru(width=8)", epochs=30)
    assert result.metrics["test_mae"] < 5  # predicting the mean gives about 6


def test_an_image_model_is_refused_for_tokens(mine: Path) -> None:
    with pytest.raises(FaninError, match="tokens"):
        run("topics", "cnn")
