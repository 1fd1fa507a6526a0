"""Digits and diabetes, which scikit-learn embeds.

Neither has a split of its own: 20 % of the samples are the test set, drawn once by the stream
(0, "test set", name), stratified by class for digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fanin import seeds
from fanin.data.dataset import Arrays, DataInfo
from fanin.data.datasets.dataset_entry import PrimaryEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.sources.origin import FilelessOrigin
from fanin.data.split import split
from fanin.errors import MissingExtra

SCIKIT_LEARN = FilelessOrigin(package="scikit-learn")

_SEED = 0
_TEST_FRACTION = 0.2


def import_loader(loader: str) -> Callable[..., Any]:
    """A function of ``sklearn.datasets``; raises `MissingExtra` without scikit-learn."""
    try:
        with seeds.preserve_python_state():  # scikit-learn imports rich
            import sklearn.datasets
    except ModuleNotFoundError:
        raise MissingExtra("scikit-learn", "study", "This data set") from None
    function: Callable[..., Any] = getattr(sklearn.datasets, loader)
    return function


def _read_digits() -> Arrays:
    bunch = import_loader("load_digits")()
    # Values 0 … 16: counts of dark pixels in blocks of 4 × 4.
    images = bunch.images.astype(np.uint8)[:, None]
    return _split("digits", images, bunch.target, stratified=True)


def _read_diabetes() -> Arrays:
    # The raw columns: scikit-learn scales columns with the moments of all rows, test set included.
    bunch = import_loader("load_diabetes")(scaled=False)
    return _split("diabetes", bunch.data, bunch.target, stratified=False)


def _split(name: str, x: np.ndarray, y: np.ndarray, *, stratified: bool) -> Arrays:
    generator = seeds.make_generator(_SEED, "test set", name)
    train, test = split(
        torch.from_numpy(y), fraction=_TEST_FRACTION, stratified=stratified, generator=generator
    )
    return Arrays(x[train.numpy()], y[train.numpy()], x[test.numpy()], y[test.numpy()])


_DIGITS = DataInfo(
    name="digits",
    task="classification",
    input_shape=(1, 8, 8),
    outputs=10,
    n_train=1438,
    n_test=359,
)

_DIABETES = DataInfo(
    name="diabetes", task="regression", input_shape=(10,), outputs=1, n_train=354, n_test=88
)

REGISTRY.add(
    PrimaryEntry(
        name="digits",
        title="handwritten digits, grey, 8 × 8",
        reference="Alpaydin, Kaynak: Optical recognition of handwritten digits, UCI repository "
        "(1998)",
        describe=lambda _: _DIGITS,
        read=lambda *_: _read_digits(),
        origin=SCIKIT_LEARN,
        divisor=16.0,
    )
)

REGISTRY.add(
    PrimaryEntry(
        name="diabetes",
        title="progression of diabetes within a year; ten columns on the patient",
        reference="Efron, Hastie, Johnstone, Tibshirani: Least angle regression. Annals of "
        "Statistics 32 (2004)",
        describe=lambda _: _DIABETES,
        read=lambda *_: _read_diabetes(),
        origin=SCIKIT_LEARN,
        standardise=True,
        units="points of disease progression",
    )
)
