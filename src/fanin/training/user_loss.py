"""Users' losses: functions that make a function of (outputs, targets), named by a reference.

``make(*, option=default, …)`` returns a function that gets what the model returns, be it one tensor
or several, and the targets of a batch, and returns the mean loss. If it has a parameter `outputs`,
it receives the number of classes or targets; if it has a parameter `class_counts`, the number of
training samples of each class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from fanin import specs, user_code
from fanin.errors import FitError, quote
from fanin.registry import Registry, UserEntry

LossFunction = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class UserLoss:
    """A user's function that makes a loss, and its options."""

    component: user_code.UserComponent
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec: the reference and the options."""
        return specs.render_canonical(self.component.name, self.options)

    def build(self, outputs: int, class_counts: tuple[int, ...]) -> LossFunction:
        """What the user's function makes, checked at each call.

        Args:
            outputs: number of classes or of targets.
            class_counts: training samples of each class; empty without classes.

        Raises `FitError` if that cannot be called.
        """
        loss = self.component.call(self.options, outputs=outputs, class_counts=class_counts)
        if not callable(loss):
            raise self.component.make_return_error(loss)
        return partial(_compute, self.component, loss)


def _compute(
    component: user_code.UserComponent, loss: LossFunction, outputs: Any, targets: Tensor
) -> Tensor:
    """The loss of a batch; the targets are a copy, which the function may change."""
    value = loss(outputs, targets.clone())
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value.reshape(())
    returned = (
        f"a {value.dtype} tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else quote(value)
    )
    raise FitError(
        f"The loss of {component.name} returned {returned} for a batch of {len(targets)}. Expected "
        "a tensor of one floating-point number, such as values.mean()."
    )


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's loss."""
    component = user_code.load_component(reference, user_code.LOSS)
    return UserEntry(component.name, component.options, partial(UserLoss, component))


REGISTRY: Registry[UserEntry, UserLoss] = Registry("loss", UserEntry)

REGISTRY.load_user_entries_with(load_entry)
