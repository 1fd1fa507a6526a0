"""Small models and loops for tests of what is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds


class Plain(nn.Module):
    """Two hidden layers: one followed by a module, one by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 10)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(10, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.fc2(self.act(self.fc1(x)))))  # type: ignore[no-any-return]


class Mixed(nn.Module):
    """Convolutions, batch normalization, dropout of torch's own, an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv1(x.reshape(-1, 1, 6, 6))))
        x = self.relu(self.conv2(x)).mean((2, 3))
        return self.out(self.drop(x))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """An encoder layer of torch, with its own dropout and its fast path in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(x.reshape(len(x), 6, -1)).mean(1))  # type: ignore[no-any-return]


def make_layer() -> nn.Module:
    """One small layer."""
    return nn.Linear(2, 2)


WIDTHS: dict[type[nn.Module], int] = {Plain: 6, Mixed: 36, Attention: 36}


def make_model(kind: Callable[[], nn.Module]) -> Any:
    """The same weights in each call."""
    with seeds.preserve_global_state(7):
        return kind()


def draw_batches(width: int, count: int, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches in each call."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        x = torch.randn(size, width, generator=generator)
        yield x, torch.randint(0, 3, (size,), generator=generator)


@dataclass
class Course:
    """What a training came to."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """Of evaluations in between."""
    weights: list[Tensor] = field(default_factory=list)


def train(
    model: nn.Module,
    width: int,
    *,
    steps: int = 8,
    watched: AbstractContextManager[Any] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    after_step: Callable[[int, Tensor], None] = lambda step, loss: None,
) -> Course:
    """A plain loop, with an evaluation after every third step."""
    course = Course()
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=0.01)
    with seeds.preserve_global_state(3), watched or nullcontext():
        for step, (x, y) in enumerate(draw_batches(width, steps), 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            course.losses.append(loss.item())
            after_step(step, loss)
            if step % 3 == 0:
                model.eval()
                with torch.no_grad():
                    course.scores.append(F.cross_entropy(model(x), y).item())
                model.train()
    course.weights = [one.detach().clone() for one in model.parameters()]
    return course


def agree(one: Course, other: Course) -> bool:
    """Whether two trainings are the same, bit for bit."""
    return (
        one.losses == other.losses
        and one.scores == other.scores
        and all(map(torch.equal, one.weights, other.weights))
    )


def count_hooks() -> int:
    """What is installed for all modules and for all optimizers."""
    from torch.nn.modules import module
    from torch.optim import optimizer

    tables: list[Any] = [
        module._global_forward_hooks,
        module._global_forward_pre_hooks,
        vars(optimizer)["_global_optimizer_pre_hooks"],
        vars(optimizer)["_global_optimizer_post_hooks"],
        torch.overrides._get_current_function_mode_stack(),
    ]
    return sum(map(len, tables))
