"""Sequences generated to test long memory: the adding problem and the copying problem.

Everything is drawn once and for all from the streams (0, name, part, what), so every replicate and
every machine has the same data. A part's draws do not depend on the size of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fanin import seeds, specs
from fanin.data.dataset import Arrays, DataInfo, Dataset
from fanin.data.datasets.families import FAMILIES, Family, require_range
from fanin.data.formats.tensors import compute_fingerprint, to_tensors
from fanin.errors import SpecError

_SEED = 0
_MOST_STEPS = 10_000
_MOST_SAMPLES = 10_000_000
_MOST_NUMBERS = 1_000_000_000
"""In all samples together: 4 GB of float32, 8 GB of labels."""


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
    """Steps between the end of the symbols and the beginning of the answer: T, the delimiter among
    them.
    """
    symbols: int = 8
    memory: int = 10
    """How many symbols are to be remembered."""
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


def load_adding(options: Adding) -> Dataset:
    """The adding problem: (N, length, 2) → (N,).

    Feature 0 is a value, uniform in [0, 1); feature 1 a marker, 1 at two steps and 0 elsewhere. One
    marker stands in the first half (the first ``length // 2`` steps), the other in the second, each
    uniform in its half. The target is the sum of the two values that are marked. It has mean 1 and
    variance 1/6, so always to answer 1 has a mean squared error of 1/6.

    Source: Hochreiter, Schmidhuber: Long short-term memory, 1997, experiment 4; in this form Le,
    Jaitly, Hinton 2015. Differs from: the former, whose values lie in [−1, 1] and whose lengths
    vary; the latter, which trains on 100,000 samples and tests on 10,000.
    """

    def draw(part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        half = options.length // 2
        x = torch.zeros(n, options.length, 2)
        x[..., 0] = torch.rand(
            n, options.length, generator=seeds.make_generator(_SEED, "adding", part, "values")
        )
        first = torch.randint(
            half, (n,), generator=seeds.make_generator(_SEED, "adding", part, "first")
        )
        second = half + torch.randint(
            options.length - half,
            (n,),
            generator=seeds.make_generator(_SEED, "adding", part, "second"),
        )
        rows = torch.arange(n)
        x[rows, first, 1] = x[rows, second, 1] = 1.0
        return x.numpy(), (x[rows, first, 0] + x[rows, second, 0]).numpy()

    return _generate(describe_adding(options), draw)


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


def load_copying(options: Copying) -> Dataset:
    """The copy memory problem: tokens (N, T + 2·memory) → a class for each step.

    With S symbols, token S is the blank and S + 1 the delimiter. An input is `memory` random
    symbols, T − 1 blanks, the delimiter, `memory` blanks; the target is T + `memory` blanks, then
    the symbols in their order. Who remembers nothing answers blanks, then any symbol, with a mean
    cross-entropy of ``memory · ln S / (T + 2·memory)``: 10 · ln 8 / (T + 20).

    Source: Hochreiter, Schmidhuber: Long short-term memory, 1997; in this form Arjovsky, Shah,
    Bengio: Unitary evolution recurrent neural networks, 2016, arXiv:1511.06464, where T is 100 to
    500.
    """

    def draw(part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        generator = seeds.make_generator(_SEED, "copying", part, "symbols", options.symbols)
        symbols = torch.randint(options.symbols, (n, options.memory), generator=generator)
        x = torch.full((n, options.steps), options.symbols)
        y = x.clone()
        x[:, : options.memory] = symbols
        x[:, options.memory + options.length - 1] = options.symbols + 1
        y[:, -options.memory :] = symbols
        return x.numpy(), y.numpy()

    return _generate(describe_copying(options), draw)


def _generate(info: DataInfo, draw: Callable[[str, int], tuple[np.ndarray, np.ndarray]]) -> Dataset:
    arrays = Arrays(*draw("train", info.n_train), *draw("test", info.n_test))
    parts: tuple[Tensor, Tensor, Tensor, Tensor] = to_tensors(info, arrays, info.name)
    return Dataset(
        info,
        *parts,
        divisor=1.0,
        standardise=False,
        fingerprint=compute_fingerprint(parts),
        published=True,
        source="generated",
        units="",
    )


def _require_samples(family: str, n_train: int, n_test: int, numbers: int) -> None:
    require_range(family, 1, _MOST_SAMPLES, n_train=n_train, n_test=n_test)
    total = (n_train + n_test) * numbers
    if total > _MOST_NUMBERS:
        raise SpecError(
            f"{family} would hold {total:,} numbers, {numbers:,} for each of {n_train + n_test:,} "
            "samples; at most "
            f"{_MOST_NUMBERS:,} are generated. Use shorter sequences or fewer samples."
        )


FAMILIES.add(
    Family(
        name="adding",
        title="the adding problem: the sum of the two values of a sequence that are marked",
        reference="Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9 (1997); "
        "Le, Jaitly, Hinton (2015), "
        "arXiv:1504.00941",
        options=Adding,
        describe=describe_adding,
        load=load_adding,
    )
)

FAMILIES.add(
    Family(
        name="copying",
        title="the copy memory problem: symbols to be repeated after a long blank",
        reference="Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9 (1997); "
        "Arjovsky, Shah, Bengio: "
        "Unitary evolution recurrent neural networks (2016), arXiv:1511.06464",
        options=Copying,
        describe=describe_copying,
        load=load_copying,
    )
)
