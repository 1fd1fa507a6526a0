"""What the audit is given in a test, and the registry of sound models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Case:
    """A model and everything that the audit takes with it."""

    model: nn.Module
    batch: Any
    """A tensor, a tuple of positional arguments, or a dict of keyword arguments."""
    target: Any = None
    loss: Loss | None = None
    """None: cross-entropy of integer targets, the squared error of the others, or the output's own
    ``.loss``.
    """


@dataclass(frozen=True)
class SoundModel:
    """A model that starts well; the audit finds no error in it."""

    name: str
    make: Callable[[], Case]
    slow: bool = False
    rate: float = 3e-3
    """A learning rate at which Adam lowers the loss within 30 steps."""

    def build(self, seed: int = 0) -> Case:
        """The same for each seed; the global random state stays as it is."""
        with seeds.preserve_torch_state(seed):
            return self.make()


REGISTRY: dict[str, SoundModel] = {}


def sound(
    *, slow: bool = False, rate: float = 3e-3
) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a function that makes a sound model, under its name."""

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        add(make.__name__, make, slow=slow, rate=rate)
        return make

    return register


def add(name: str, make: Callable[[], Case], *, slow: bool = False, rate: float = 3e-3) -> None:
    """Register a sound model under a name."""
    assert name not in REGISTRY, name
    REGISTRY[name] = SoundModel(name, make, slow, rate)


# --- synthetic tasks, drawn from torch's global generator


def draw_classes(x: Tensor, classes: int) -> Tensor:
    """Integer labels that a linear map of each sample decides, all about equally often."""
    scores = x.flatten(1).float() @ torch.randn(x[0].numel(), classes)
    return ((scores - scores.mean(0)) / scores.std(0)).argmax(1)


def draw_values(x: Tensor, outputs: int = 1) -> Tensor:
    """Standardized numbers that a smooth function of each sample gives."""
    values = torch.tanh(x.flatten(1).float() @ torch.randn(x[0].numel(), outputs))
    return (values - values.mean(0)) / values.std(0)


def draw_tokens(samples: int, steps: int, vocabulary: int) -> Tensor:
    """Sequences whose next token is mostly the last one plus three."""
    start = torch.randint(vocabulary, (samples, 1))
    regular = (start + 3 * torch.arange(steps)) % vocabulary
    noise = torch.randint(vocabulary, (samples, steps))
    return torch.where(torch.rand(samples, steps) < 0.1, noise, regular)


def draw_images(samples: int = 8, channels: int = 3, side: int = 16) -> Tensor:
    """Standardized images of low spatial frequency with some noise."""
    coarse = torch.randn(samples, channels, side // 4, side // 4)
    smooth = F.interpolate(coarse, size=(side, side), mode="bilinear")
    noisy = smooth + 0.3 * torch.randn_like(smooth)
    return (noisy - noisy.mean()) / noisy.std()


# --- one training step


def call(model: nn.Module, batch: Any) -> Any:
    """The output of the model for a batch."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def compute_loss(case: Case, output: Any) -> Tensor:
    """The loss of the case's output, as the audit takes it."""
    if case.loss is not None:
        return case.loss(output, case.target)
    if case.target is None:
        own = getattr(output, "loss", None)
        if isinstance(own, Tensor):
            return own
        return sum_of_squares(output)
    if case.target.is_floating_point():
        return F.mse_loss(output, case.target)
    classes = output.shape[-1]
    return F.cross_entropy(output.reshape(-1, classes), case.target.reshape(-1))


def sum_of_squares(output: Any) -> Tensor:
    """Of all floating-point tensors in an output: something to take gradients of."""
    return torch.stack([one.float().square().mean() for one in collect_tensors(output)]).sum()


def collect_tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors in nested tuples, lists and mappings."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() and output.numel() else []
    if isinstance(output, Mapping):
        return [one for value in output.values() for one in collect_tensors(value)]
    if isinstance(output, tuple | list):
        return [one for value in output for one in collect_tensors(value)]
    return []


@dataclass
class Training:
    """A short training on one batch."""

    case: Case
    rate: float = 3e-3
    losses: list[float] = field(default_factory=list)

    def run(self, steps: int) -> list[float]:
        """Full-batch steps of Adam; the loss before each, and at the end. Dropout's masks are the
        same every time.
        """
        with seeds.preserve_torch_state(0):
            return self._train(steps)

    def _train(self, steps: int) -> list[float]:
        trainable = [one for one in self.case.model.parameters() if one.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=self.rate)
        self.case.model.train()
        for _ in range(steps):
            loss = compute_loss(self.case, call(self.case.model, self.case.batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses.append(float(loss.detach()))
        last = compute_loss(self.case, call(self.case.model, self.case.batch))
        self.losses.append(float(last.detach()))
        return self.losses
