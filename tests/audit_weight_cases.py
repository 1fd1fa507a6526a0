"""Examinations without measurement, and models, for the tests of the judges of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.weight_judges import JUDGES
from fanin.structure import describe_structure


def examine(
    model: nn.Module, batch: Any, expected: Mapping[str, Tensor] | None = None
) -> Examination:
    """What is known of a model that was not measured."""
    return Examination(
        model=model,
        batch=batch,
        target=None,
        loss=None,
        measurement=None,
        structure=describe_structure(model, batch),
        expected=expected,
    )


def judge(
    model: nn.Module, batch: Any, expected: Mapping[str, Tensor] | None = None
) -> list[Finding]:
    """All findings of the judges of weights."""
    examination = examine(model, batch, expected)
    return [finding for find in JUDGES for finding in find(examination)]


def pick(findings: Iterable[Finding], code: str) -> list[Finding]:
    """The findings of one code."""
    return [finding for finding in findings if finding.code == code]


@seeds.preserve_torch_state(0)
def make_mlp(*sizes: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), act()]
    return nn.Sequential(*layers[:-1])


def draw(*shape: int) -> Tensor:
    """A batch of standard normal numbers."""
    return seeds.standard_normal(shape, seeds.make_generator(1, "batch"))


def draw_tokens(high: int, *shape: int) -> Tensor:
    """A batch of token numbers."""
    return torch.randint(high, shape, generator=seeds.make_generator(1, "tokens"))
