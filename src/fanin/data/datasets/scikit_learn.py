"""Data sets that need no file: digits and diabetes, which scikit-learn carries.

Neither has a split of its own. 20 % of the samples are the test set, drawn once and for all by the
stream (0, "test set", name), class by class for digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from fanin import seeds
from fanin.data.dataset import REGISTRY, Arrays, DataInfo, DatasetEntry
from fanin.data.split import split
from fanin.errors import MissingExtra

_SEED = 0
_TEST_FRACTION = 0.2


def _digits(_: Mapping[str, bytes]) -> Arrays:
    bunch = import_loader("load_digits")()
    # Values 0 … 16: counts of dark pixels in blocks of 4 × 4.
    return _split("digits", bunch.images.astype(np.uint8)[:, None], bunch.target, stratified=True)


def _diabetes(_: Mapping[str, bytes]) -> Arrays:
    # The raw columns: scikit-learn's scaled ones are computed over all rows, test set included.
    bunch = import_loader("load_diabetes")(scaled=False)
    return _split("diabetes", bunch.data, bunch.target, stratified=False)


def _split(name: str, x: np.ndarray, y: np.ndarray, *, stratified: bool) -> Arrays:
    generator = seeds.make_generator(_SEED, "test set", name)
    train, test = split(
        torch.from_numpy(y), fraction=_TEST_FRACTION, stratified=stratified, generator=generator
    )
    return Arrays(x[train.numpy()], y[train.numpy()], x[test.numpy()], y[test.numpy()])


def import_loader(loader: str) -> Callable[..., Any]:
    """A function of ``sklearn.datasets``; raises `MissingExtra` without scikit-learn."""
    try:
        with seeds.preserve_python_state():  # scikit-learn imports rich
            import sklearn.datasets
    except ImportError:
        raise MissingExtra("scikit-learn", "study", "This data set") from None
    function: Callable[..., Any] = getattr(sklearn.datasets, loader)
    return function


REGISTRY.add(
    DatasetEntry(
        info=DataInfo(
            name="digits",
            task="classification",
            input_shape=(1, 8, 8),
            outputs=10,
            n_train=1438,
            n_test=359,
        ),
        title="handwritten digits, grey, 8 × 8",
        reference="Alpaydin, Kaynak: Optical recognition of handwritten digits, UCI repository "
        "(1998)",
        read=_digits,
        package="scikit-learn",
        divisor=16.0,
    )
)

REGISTRY.add(
    DatasetEntry(
        info=DataInfo(
            name="diabetes", task="regression", input_shape=(10,), outputs=1, n_train=354, n_test=88
        ),
        title="progression of diabetes within a year; ten columns on the patient",
        reference="Efron, Hastie, Johnstone, Tibshirani: Least angle regression. Annals of "
        "Statistics 32 (2004)",
        read=_diabetes,
        package="scikit-learn",
        standardise=True,
        units="points of disease progression",
    )
)
