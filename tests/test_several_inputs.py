"""Data with several inputs, and models of one's own that take them by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from combinations import for_each

import fanin
from fanin import data, seeds
from fanin.cell.result import Result
from fanin.data import InputPart
from fanin.errors import FaninError
from fanin.models.several_inputs import unpack
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study
from fanin.training.train import DataCache, TrainingInterrupted, train

CODE = """
import numpy as np
import torch
from torch import nn


def data(*, n=160):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (n, 4, 4)).astype(np.uint8)
    words = random.integers(0, 6, (n, 3))
    age = random.standard_normal(n).astype(np.float32)
    y = (words[:, 0] - 2.5 + 2 * age > 0).astype(int)
    whole = {"image": image, "words": words, "age": age}
    half = {name: part[: n // 2] for name, part in whole.items()}
    return {"x_train": whole, "y_train": y, "x_test": half, "y_test": y[: n // 2],
            "vocabulary": {"words": 6}}


class Model(nn.Module):
    def __init__(self, shapes, outputs, vocabulary):
        super().__init__()
        assert shapes == {"image": (4, 4), "words": (3,), "age": (1,)}
        assert vocabulary == {"words": 6}
        self.table = nn.Embedding(6, 4)
        self.hidden = nn.Linear(16 + 12 + 1, 32)
        self.out = nn.Linear(32, outputs)

    def forward(self, age, image, words):
        assert words.dtype == torch.int64
        parts = [image.flatten(1), self.table(words).flatten(1), age]
        return self.out(torch.relu(self.hidden(torch.cat(parts, 1))))


def make(input_shape, outputs, *, vocabulary):
    return Model(input_shape, outputs, vocabulary)


class Narrow(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.out = nn.Linear(16, outputs)

    def forward(self, image):
        return self.out(image.flatten(1))


def narrow(input_shape, outputs):
    return Narrow(outputs)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(**changes: Any) -> Result:
    options = {name: changes.pop(name) for name in ("checkpoints", "stop") if name in changes}
    fields = {"data": "mine.py:data", "model": "mine.py:make", "initializer": "xavier_uniform"}
    fields |= {"optimizer": "adam", "learning_rate": 0.01, "epochs": 40, "batch_size": 16}
    chosen = make_cell({**fields, **changes})
    return train(chosen, cache=DataCache(), environment={}, checkpoint_interval=0, **options)


def test_a_data_set_of_several_inputs_keeps_each_by_name() -> None:
    dataset = data.load("mine.py:data")
    assert dataset.info.parts == (
        InputPart("image", (4, 4)),
        InputPart("words", (3,), 6),
        InputPart("age", (1,)),
    )
    assert dataset.info.input_shape == (16 + 3 + 1,)
    parts = unpack(dataset.x_train, dataset.info.parts)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (160, 4, 4)).astype(np.uint8)
    assert torch.equal(parts["image"], torch.from_numpy(image).float() / 255)
    assert parts["words"].tolist() == random.integers(0, 6, (160, 3)).tolist()
    assert parts["age"].shape == (160, 1)


def test_a_model_of_ones_own_takes_them_by_name_and_learns_from_all() -> None:
    result = run()
    assert result.outcome == "ok"
    assert result.metrics["test_accuracy"] > 0.9
    assert "doubts" not in result.data


def test_an_interrupted_training_continues_bit_for_bit(home: Path) -> None:
    whole = run(epochs=3)
    with pytest.raises(TrainingInterrupted):
        run(epochs=3, checkpoints=home / "c", stop=lambda: True)
    again = run(epochs=3, checkpoints=home / "c")
    assert again.history["val_loss"] == whole.history["val_loss"]


def test_layers_are_initialized_with_their_true_fans() -> None:
    model = fanin.models.get("mine.py:make").build_for(data.describe("mine.py:data"))
    record = fanin.initialize(
        model, "he_normal", seed=0, batch=data.load("mine.py:data").x_train[:2]
    )
    assert record["model.hidden.weight"].fan_in == 29


def test_arrays_in_a_file_may_have_several_inputs_too(root: Path) -> None:
    x = seeds.make_numpy_generator(0, "x").standard_normal((12, 2)).astype(np.float32)
    parts = {"x_train.a": x[:8], "x_train.b": x[:8, :1], "x_test.a": x[8:], "x_test.b": x[8:, :1]}
    labels = {"y_train": np.arange(8) % 2, "y_test": np.arange(4) % 2}
    np.savez(root / "mine.npz", **parts, **labels)
    data.add("mine", root / "mine.npz")
    info = data.describe("mine")
    assert [part.name for part in info.parts] == ["a", "b"]
    assert data.load("mine").info == info


def test_a_built_in_model_and_one_that_lacks_an_input_are_refused() -> None:
    base = {"data": "mine.py:data", "batch_size": 16}
    axes = {"initializer": ["zero"]}
    with pytest.raises(FaninError, match="mlp takes one input; the data have image, words, age"):
        Study("s", base={**base, "model": "mlp"}, axes=axes).plan()
    with pytest.raises(FaninError, match=r"unexpected keyword argument 'words'"):
        Study("s", base={**base, "model": "mine.py:narrow"}, axes=axes).plan()


X = np.zeros((4, 2), np.float32)
Y = np.arange(4) % 2


@for_each(
    "changes, message",
    [
        ({"x_test": {"a": X}}, "trains on the inputs a, b and tests on a"),
        ({"x_train": {"a": X, "b": X[:3]}}, "different numbers of rows: a 4, b 3"),
        ({"x_train": {"a": X, "b": X[:, :1]}}, r"x_train.b of .* has shape \(4, 1\)"),
        ({"x_train": {"a": X, "b c": X}, "x_test": {"a": X, "b c": X}}, "is called 'b c'"),
        (
            {"x_train": {"a": X, "b": X.astype(int)}, "x_test": {"a": X, "b": X.astype(int)}},
            "is int64",
        ),
        ({"vocabulary": {"b": 5}}, "Expected integers, since vocabulary.b is given"),
        ({"vocabulary": {"b": 1}}, "Expected a number of tokens from 2"),
        ({"x_train": {"a": X, "b": X * np.nan}}, "holds NaN"),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused_in_words(
    changes: dict[str, Any], message: str, home: Path
) -> None:
    from fanin.data.formats.input_parts import flatten_parts
    from fanin.data.formats.user_arrays import read_arrays

    arrays: dict[str, Any] = {"x_train": {"a": X, "b": X}, "x_test": {"a": X, "b": X}}
    arrays |= {"y_train": Y, "y_test": Y, **changes}
    flat = {name: np.asarray(value) for name, value in flatten_parts(arrays).items()}
    with pytest.raises(FaninError, match=message):
        read_arrays(flat, "mine", "made here")


def test_a_token_outside_its_vocabulary_is_refused() -> None:
    from fanin.data.formats.user_arrays import read_arrays

    tokens = np.array([[0], [1], [7], [1]])
    arrays = {"x_train.a": tokens, "x_test.a": tokens, "y_train": Y, "y_test": Y}
    with pytest.raises(FaninError, match=r"x_train.a holds the token 7. Expected numbers 0 to 4"):
        read_arrays({**arrays, "vocabulary.a": np.array(5)}, "mine", "made here")
