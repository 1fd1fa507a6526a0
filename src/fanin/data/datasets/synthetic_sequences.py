"""Sequences generated to test long memory: the adding problem and the copying problem.

All numbers are drawn from the streams (0, name, subset, what), so every replicate and every machine
has the same data. The draws of a subset do not depend on the size of the other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fanin import seeds, specs
from fanin.data.dataset import Arrays, DataInfo, SubsetName
from fanin.data.datasets.dataset_entry import PrimaryEntry, require_range
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.errors import SpecError

_SEED = 0
_MOST_STEPS = 10_000
_MOST_SAMPLES = 10_000_000
_MOST_NUMBERS = 1_000_000_000
"""In all samples: 4 GB of float32, 8 GB of labels."""


@dataclass(frozen=True)
class Adding:
    """Options of ``adding``."""

    length: int = 100
    n_train: int = 20_000
    n_test: int = 2_000

    def __post_init__(self) -> None:
        specs.coerce_fields("adding", self)
        require_range("adding", 2, _MOST_STEPS, length=self.length)
        _require_samples("adding", self.n_train, self.n_test, 2 * self.length)


@dataclass(frozen=True)
class Copying:
    """Options of ``copying``."""

    length: int = 20
    """T, the steps from the end of the symbols to the start of the answer, with the delimiter."""
    symbols: int = 8
    memory: int = 10
    """How many symbols must be remembered."""
    n_train: int = 20_000
    n_test: int = 2_000

    def __post_init__(self) -> None:
        specs.coerce_fields("copying", self)
        require_range("copying", 1, _MOST_STEPS, length=self.length, memory=self.memory)
        require_range("copying", 2, 10_000, symbols=self.symbols)
        _require_samples("copying", self.n_train, self.n_test, self.steps)

    @property
    def steps(self) -> int:
        """Steps of one sequence: T + 2·memory."""
        return self.length + 2 * self.memory


def describe_adding(options: Adding) -> DataInfo:
    """Sequences of two features, and one number."""
    return DataInfo(
        name="adding",
        task="regression",
        input_shape=(options.length, 2),
        outputs=1,
        n_train=options.n_train,
        n_test=options.n_test,
    )


def read_adding(options: Adding) -> Arrays:
    """The adding problem: (N, length, 2) → (N,).

    Feature 0 is a value, uniform in [0, 1). Feature 1 is a marker: 1 at two steps, 0 elsewhere. One
    marker is in the first half (the first ``length // 2`` steps), the other in the second, each
    uniform in its half. The target is the sum of the two marked values. Its mean is 1 and its
    variance 1/6, so the constant answer 1 has a mean squared error of 1/6.

    Source: Hochreiter, Schmidhuber: Long short-term memory, 1997, experiment 4; in this form Le,
    Jaitly, Hinton 2015. Differs from: the former, whose values are in [−1, 1] and whose lengths
    vary; the latter, which trains on 100,000 samples and tests on 10,000.
    """
    return Arrays(
        *_draw_adding(options, "train", options.n_train),
        *_draw_adding(options, "test", options.n_test),
    )


def _draw_adding(options: Adding, subset: SubsetName, n: int) -> tuple[np.ndarray, np.ndarray]:
    def make_generator(what: str) -> torch.Generator:
        return seeds.make_generator(_SEED, "adding", subset, what)

    length = options.length
    half = length // 2
    x = torch.zeros(n, length, 2)
    x[..., 0] = torch.rand(n, length, generator=make_generator("values"))
    first = torch.randint(half, (n,), generator=make_generator("first"))
    second = half + torch.randint(length - half, (n,), generator=make_generator("second"))
    rows = torch.arange(n)
    x[rows, first, 1] = x[rows, second, 1] = 1.0
    return x.numpy(), (x[rows, first, 0] + x[rows, second, 0]).numpy()


def describe_copying(options: Copying) -> DataInfo:
    """Tokens, and a class for each step: a symbol or the blank."""
    return DataInfo(
        name="copying",
        task="token_classification",
        input_shape=(options.steps,),
        outputs=options.symbols + 1,
        n_train=options.n_train,
        n_test=options.n_test,
        vocabulary=options.symbols + 2,
    )


def read_copying(options: Copying) -> Arrays:
    """The copy memory problem: tokens (N, T + 2·memory) → a class for each step.

    With S symbols, token S is the blank and token S + 1 the delimiter. An input is `memory` random
    symbols, T − 1 blanks, the delimiter, `memory` blanks. The target is T + `memory` blanks, then
    the symbols in order. A model without memory answers blanks, then guesses: its mean
    cross-entropy is ``memory · ln S / (T + 2·memory)``, by default 10 · ln 8 / (T + 20).

    Source: Hochreiter, Schmidhuber: Long short-term memory, 1997; in this form Arjovsky, Shah,
    Bengio: Unitary evolution recurrent neural networks, 2016, arXiv:1511.06464, where T is 100 to
    500.
    """
    return Arrays(
        *_draw_copying(options, "train", options.n_train),
        *_draw_copying(options, "test", options.n_test),
    )


def _draw_copying(options: Copying, subset: SubsetName, n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = seeds.make_generator(_SEED, "copying", subset, "symbols", options.symbols)
    symbols = torch.randint(options.symbols, (n, options.memory), generator=generator)
    x = torch.full((n, options.steps), options.symbols)
    y = x.clone()
    x[:, : options.memory] = symbols
    x[:, options.memory + options.length - 1] = options.symbols + 1
    y[:, -options.memory :] = symbols
    return x.numpy(), y.numpy()


def _require_samples(name: str, n_train: int, n_test: int, numbers: int) -> None:
    require_range(name, 1, _MOST_SAMPLES, n_train=n_train, n_test=n_test)
    total = (n_train + n_test) * numbers
    if total > _MOST_NUMBERS:
        raise SpecError(
            f"{name} would hold {total:,} numbers, {numbers:,} for each of {n_train + n_test:,} "
            f"samples; at most {_MOST_NUMBERS:,} are generated. Use shorter sequences or fewer "
            "samples."
        )


REGISTRY.add(
    PrimaryEntry(
        name="adding",
        title="the adding problem: the sum of the two values of a sequence that are marked",
        reference="Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9 (1997); "
        "Le, Jaitly, Hinton (2015), arXiv:1504.00941",
        options=Adding,
        describe=describe_adding,
        read=lambda options, _: read_adding(options),
    )
)

REGISTRY.add(
    PrimaryEntry(
        name="copying",
        title="the copy memory problem: symbols to be repeated after a long blank",
        reference="Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9 (1997); "
        "Arjovsky, Shah, Bengio: Unitary evolution recurrent neural networks (2016), "
        "arXiv:1511.06464",
        options=Copying,
        describe=describe_copying,
        read=lambda options, _: read_copying(options),
    )
)
