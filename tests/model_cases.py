"""Cases of the models' tests: a data set of each kind, which models fit it, random samples of it, a
few steps of training.

The contract of the models asks `every_fit` and `case_of`, which ask the registry: a new entry is
tested on all data that it takes, a new case with all models that take it.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin
from fanin import models, seeds
from fanin.data import DataInfo
from fanin.errors import FitError
from fanin.models import Model, ModelEntry

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
CLASSES = 10


def _case(
    name: str, task: str, shape: tuple[int, ...], outputs: int, vocabulary: int | None = None
) -> DataInfo:
    return DataInfo(
        name=name,
        task=task,  # type: ignore[arg-type]
        input_shape=shape,
        outputs=outputs,
        n_train=32,
        n_test=32,
        vocabulary=vocabulary,
    )


CASES = {
    case.name: case
    for case in (
        _case("digits", "classification", DIGITS, CLASSES),
        _case("mnist", "classification", MNIST, CLASSES),
        _case("cifar", "classification", CIFAR, CLASSES),
        _case("sequences", "classification", (12, 3), CLASSES),
        _case("texts", "classification", (12,), CLASSES, vocabulary=50),
        _case("next-token", "token_classification", (12,), 50, vocabulary=50),
        _case("steps", "token_classification", (12, 3), CLASSES),
        _case("rows", "classification", (8,), CLASSES),
        _case("housing", "regression", (8,), 1),
        _case("coordinates", "regression", (2,), 3),
        _case("adding", "regression", (12, 2), 1),
        _case("digits-again", "autoencoding", DIGITS, 64),
        _case("rows-again", "autoencoding", (8,), 8),
    )
}
"""Every kind of input that a data set can have, with every task that goes with it; small, but for
images of the usual sizes.
"""

HEAVY = frozenset({"vgg11", "vgg16", "resnet56", "resnet110"})
"""Models that take seconds: of these, one kind of data is enough for every day."""


def default(entry: ModelEntry) -> Model:
    """The model of an entry with its default options."""
    return models.get(entry.name)


def fits(model: Model, case: DataInfo) -> bool:
    """Whether a model says that it fits a data set."""
    try:
        model.check(case.input_shape, case.outputs, case.task, vocabulary=case.vocabulary)
    except FitError:
        return False
    return True


@cache
def cases_of(entry: ModelEntry) -> tuple[DataInfo, ...]:
    """The data sets that an entry fits, in the order of `CASES`."""
    return tuple(case for case in CASES.values() if fits(default(entry), case))


def case_of(entry: ModelEntry) -> DataInfo:
    """The first of them: classes of a small image, if the entry takes those."""
    return cases_of(entry)[0]


def every_fit() -> list[tuple[ModelEntry, DataInfo]]:
    """Each entry of the registry with each data set that it fits; of a heavy one with the first."""
    return [
        (entry, case)
        for entry in models.REGISTRY
        for case in cases_of(entry)[: 1 if entry.name in HEAVY else None]
    ]


def inputs(case: DataInfo, count: int = 4) -> Tensor:
    """Standard normal numbers or random tokens of a data set's shape, the same every time."""
    if case.vocabulary is None:
        return images(case.input_shape, count)
    return torch.randint(
        case.vocabulary, (count, *case.input_shape), generator=seeds.make_generator(0, "x")
    )


def targets(case: DataInfo, x: Tensor) -> Tensor:
    """What `x` is to become, the same every time: random classes or numbers, or the inputs
    themselves.
    """
    count, generator = len(x), seeds.make_generator(0, "y")
    match case.task:
        case "autoencoding":
            return x.flatten(1)
        case "regression":
            return torch.randn(count, case.outputs, generator=generator)
        case "token_classification":
            return torch.randint(case.outputs, (count, case.input_shape[0]), generator=generator)
    return torch.randint(case.outputs, (count,), generator=generator)


def loss(case: DataInfo, outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of classes, mean squared error of numbers."""
    if case.task in ("regression", "autoencoding"):
        return F.mse_loss(outputs, y)
    return F.cross_entropy(outputs.flatten(0, -2), y.flatten())


def known_by_heart(case: DataInfo, outputs: Tensor, y: Tensor) -> bool:
    """Whether every class is right, or 0.9 of the variance of the numbers is explained; half of it
    through a narrow code.

    The 16 largest principal components of 32 normal samples of 64 numbers explain 0.7 of their
    variance.
    """
    if case.task in ("regression", "autoencoding"):
        left = 0.5 if case.task == "autoencoding" else 0.1
        return bool(F.mse_loss(outputs, y) < left * y.var())
    return bool((outputs.argmax(-1) == y).all())


def build(entry: ModelEntry, case: DataInfo, rule: str | None = None, seed: int = 0) -> nn.Module:
    """The default model of an entry for a data set, initialized by a rule if one is given."""
    module = default(entry).build_for(case)
    if rule is not None:
        fanin.initialize(module, rule, seed=seed, batch=inputs(case, 2))
    return module


def learns_by_heart(
    module: nn.Module, case: DataInfo, *, samples: int = 32, steps: int = 300, lr: float = 1e-3
) -> bool:
    """Whether Adam teaches it random targets, as `known_by_heart` says, within so many steps."""
    x = inputs(case, samples)
    y = targets(case, x)
    optimizer = torch.optim.Adam(module.parameters(), lr)
    for _ in range(steps):
        outputs = module(x)
        if known_by_heart(case, outputs, y):
            return True
        optimizer.zero_grad()
        loss(case, outputs, y).backward()
        optimizer.step()
    return False


# Images and their classes, for models that take nothing else


def images(shape: tuple[int, ...], count: int = 4) -> Tensor:
    """Standard normal numbers of that shape, the same every time."""
    return torch.randn(count, *shape, generator=seeds.make_generator(0, "x"))


def initialized(
    spec: str, shape: tuple[int, ...], rule: str = "he_normal", seed: int = 0
) -> nn.Module:
    """The model of a spec with weights that the rule drew."""
    module = models.get(spec).build(shape, CLASSES)
    fanin.initialize(module, rule, seed=seed, batch=images(shape, 2))
    return module


def overfits(
    module: nn.Module,
    shape: tuple[int, ...],
    *,
    samples: int = 32,
    steps: int = 300,
    lr: float = 1e-3,
) -> bool:
    """Whether Adam learns random labels by heart within so many steps."""
    case = _case("images", "classification", shape, CLASSES)
    return learns_by_heart(module, case, samples=samples, steps=steps, lr=lr)


def count(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def kinds(module: nn.Module, suffix: str = "weight") -> list[str]:
    """The qualified names of the parameters that end so, without that ending."""
    return [
        name.removesuffix(f".{suffix}")
        for name, _ in module.named_parameters()
        if name.endswith(f".{suffix}")
    ]
