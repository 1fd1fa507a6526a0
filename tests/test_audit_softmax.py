"""Softmaxes in hidden layers, and losses that take shares of the output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fanin

pytestmark = pytest.mark.usefixtures("draws_globally")

INPUT, LABELS = (
    torch.randn(64, 20, generator=torch.Generator().manual_seed(1)),
    torch.arange(64) % 3,
)


def list_severities(model: nn.Module, code: str, **options: object) -> list[str]:
    torch.manual_seed(0)
    audit = fanin.audit(model, INPUT, **{"target": LABELS, **options})  # type: ignore[arg-type]
    return [one.severity for one in audit.findings if one.code == code]


def build(*hidden: nn.Module, last: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), *hidden, nn.Linear(last, 3))


def test_one_hidden_softmax_is_a_warning_and_two_are_an_error() -> None:
    assert list_severities(build(nn.Softmax(-1)), "F055") == ["warning"]
    two = build(nn.Softmax(-1), nn.Linear(32, 32), nn.Dropout(0.1), nn.Softmax(-1))
    assert list_severities(two, "F055") == ["error"]


def test_a_softmax_at_the_output_or_before_a_normalization_is_none_of_it() -> None:
    assert list_severities(build(nn.ReLU()), "F055") == []
    sound = build(nn.Softmax(-1), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU())
    assert list_severities(sound, "F055") == []


class Attending(nn.Module):
    """Weights of a softmax average values, or a memory that a layer holds, beside a shortcut."""

    def __init__(self, has_memory: bool) -> None:
        super().__init__()
        self.scores, self.values, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 3)
        self.has_memory = has_memory

    def forward(self, x: Tensor) -> Tensor:
        weights = self.scores(x).softmax(-1)
        attended = self.values(weights) if self.has_memory else weights @ self.values(x[:20])
        return self.head(x + attended)  # type: ignore[no-any-return]


@pytest.mark.parametrize("has_memory", [True, False])
def test_weights_of_attention_are_none_of_it(has_memory: bool) -> None:
    torch.manual_seed(0)
    assert list_severities(Attending(has_memory), "F055") == []


def take_shares(output: Tensor, target: Tensor) -> Tensor:
    """Keras' cross-entropy of probabilities."""
    shares = (output / output.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
    return -(nn.functional.one_hot(target, output.shape[-1]) * shares.log()).sum(-1).mean()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_loss_of_shares_asks_for_positive_outputs(classes: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, classes)]
    labels = torch.arange(64) % classes
    found = {
        name: list_severities(nn.Sequential(*layers, *end), "F039", target=labels, loss=take_shares)
        for name, end in {
            "nothing": [],
            "relu": [nn.ReLU()],
            "softmax": [nn.Softmax(-1)],
            "softplus": [nn.Softplus()],
        }.items()
    }
    assert found["nothing"] == ["error"]
    assert found["relu"] == ["error"]
    assert found["softmax"] == found["softplus"] == []


def test_a_loss_of_directions_takes_any_numbers() -> None:
    def compare_directions(output: Tensor, target: Tensor) -> Tensor:
        wanted = nn.functional.one_hot(target, 3).float()
        return (1 - nn.functional.cosine_similarity(output, wanted)).mean()

    assert list_severities(build(nn.Tanh()), "F039", loss=compare_directions) == []
