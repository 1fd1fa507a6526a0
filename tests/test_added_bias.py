"""logit_bias: the constant output with the least loss, by torch's own losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FaninError, FitError, UnknownName, UsageError

LABELS = torch.tensor([0] * 70 + [1] * 20 + [2] * 9 + [3])
"""Four classes with 70, 20, 9 and 1 % of the labels."""


def find_gradient(bias: Tensor, loss: Any) -> Tensor:
    """The derivative of a loss by a constant output: 0 where the loss is least."""
    point = bias.double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(point), point)
    return gradient


@pytest.mark.parametrize("weight", [None, (1.0, 3.0, 0.5)])
@pytest.mark.parametrize("shape", [(100,), (5, 20), (5, 4, 5)])
def test_no_constant_has_a_lower_cross_entropy(
    weight: tuple[float, ...] | None, shape: tuple[int, ...]
) -> None:
    labels = torch.cat([LABELS[:95], torch.full((5,), -100)]).reshape(shape)
    bias = fanin.logit_bias(labels, smoothing=0, weight=weight, classes=3)
    factors = None if weight is None else torch.tensor(weight, dtype=torch.float64)

    def loss(point: Tensor) -> Tensor:
        flat = labels.flatten()
        return F.cross_entropy(point.expand(len(flat), 3), flat, weight=factors)

    assert bias.shape == (3,)
    assert float(find_gradient(bias, loss).abs().max()) < 1e-6
    assert float(bias.exp().sum()) == pytest.approx(1)


def test_no_constant_has_a_lower_cross_entropy_with_shares() -> None:
    shares = seeds.standard_normal((50, 4, 3), seeds.make_generator(0, "test")).double().softmax(1)
    bias = fanin.logit_bias(shares, smoothing=0)

    def loss(point: Tensor) -> Tensor:
        return F.cross_entropy(point.reshape(1, 4, 1).expand(50, 4, 3), shares)

    assert float(find_gradient(bias, loss).abs().max()) < 1e-6


@pytest.mark.parametrize("pos_weight", [None, 3.0, (1.0, 2.0, 30.0)])
def test_no_constant_has_a_lower_binary_cross_entropy(pos_weight: Any) -> None:
    generator = seeds.make_generator(0, "test")
    labels = (seeds.standard_normal((200, 3), generator) > torch.tensor([-1.0, 0.5, 2.0])).float()
    bias = fanin.logit_bias(labels, outputs="sigmoid", smoothing=0, pos_weight=pos_weight)
    factors = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)

    def loss(point: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            point.expand(200, 3), labels.double(), pos_weight=factors
        )

    assert bias.shape == (3,)
    assert float(find_gradient(bias, loss).abs().max()) < 1e-6


def test_one_output_and_ignored_labels_of_sigmoid() -> None:
    labels = torch.tensor([1, 0, 0, 0, -100, -100])
    bias = fanin.logit_bias(labels, outputs="sigmoid", smoothing=0)
    torch.testing.assert_close(bias, torch.tensor([math.log(1 / 3)]))
    assert torch.equal(fanin.logit_bias(labels[:, None], outputs="sigmoid", smoothing=0), bias)
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, :2, :4] = 1
    found = fanin.logit_bias(masks, outputs="sigmoid", smoothing=0)
    torch.testing.assert_close(found, torch.tensor([math.log(8 / 120)]))


def test_a_class_without_a_label_is_rare_and_not_impossible() -> None:
    bias = fanin.logit_bias(LABELS, classes=6)
    expected = (torch.tensor([70, 20, 9, 1, 0, 0]) + 0.5) / 103
    torch.testing.assert_close(bias.exp(), expected)
    with pytest.raises(FitError, match="Class 4 has no label"):
        fanin.logit_bias(LABELS, classes=6, smoothing=0)
    with pytest.raises(FitError, match="Output 0 has one value"):
        fanin.logit_bias(torch.ones(9), outputs="sigmoid", smoothing=0)
    assert bool(fanin.logit_bias(torch.ones(9), outputs="sigmoid").isfinite())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [nn.Linear, lambda i, o, **k: nn.Conv2d(i, o, 1, **k)])
def test_the_bias_is_written_into_a_head_and_nothing_else(make: Any, dtype: torch.dtype) -> None:
    with seeds.preserve_torch_state(0):
        head = make(7, 6, dtype=dtype)
    weight = head.weight.detach().clone()
    bias = fanin.logit_bias(LABELS, layer=head)
    assert len(bias) == 6  # the head says how many classes there are
    torch.testing.assert_close(head.bias.detach(), bias.to(dtype))
    assert torch.equal(head.weight, weight)


def test_a_prior_in_place_of_labels() -> None:
    one = fanin.logit_bias(prior=0.01, outputs="sigmoid", classes=5)
    torch.testing.assert_close(one, torch.full((5,), -math.log(99)))
    several = fanin.logit_bias(prior=[0.7, 0.2, 0.1])
    torch.testing.assert_close(several.exp(), torch.tensor([0.7, 0.2, 0.1]))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, UsageError, "neither"),
        ({"labels": LABELS, "prior": 0.1}, UsageError, "both"),
        ({"labels": LABELS, "outputs": "softmx"}, UnknownName, "softmax"),
        ({"labels": LABELS, "pos_weight": 2}, UsageError, "does not belong"),
        ({"labels": LABELS, "outputs": "sigmoid", "weight": 2}, UsageError, "does not belong"),
        ({"labels": LABELS, "outputs": "sigmoid"}, FitError, "Class numbers belong"),
        ({"labels": LABELS, "smoothing": -1}, UsageError, "at least 0"),
        ({"labels": LABELS, "classes": 3}, FitError, "between 0 and 2; received 0 to 3"),
        ({"labels": LABELS - 1}, FitError, "ignore_index"),
        ({"labels": LABELS * 0 - 100}, FitError, "Every label is ignore_index"),
        ({"labels": LABELS.float()}, FitError, "must be integers"),
        ({"labels": LABELS.float() / 0}, FitError, "NaN"),
        ({"labels": LABELS[:0]}, FitError, "empty"),
        ({"labels": "cat"}, FitError, "tensor or numbers"),
        ({"labels": torch.rand(5, 3) + 1}, FitError, "shares"),
        ({"labels": torch.zeros(5, 3), "classes": 4}, FitError, "3 outputs along axis 1"),
        ({"labels": LABELS, "weight": [1, -1, 1, 1]}, FitError, "above 0"),
        ({"prior": [0.7, 0.2]}, FitError, "sum to 1"),
        ({"prior": 1.0, "outputs": "sigmoid"}, FitError, "below 1"),
        ({"labels": LABELS, "layer": nn.Linear(3, 4, bias=False)}, FitError, "bias=True"),
        ({"labels": LABELS, "layer": nn.LazyLinear(4)}, FitError, "cannot be written yet"),
        ({"labels": LABELS, "layer": nn.Linear(3, 4, device="meta")}, FitError, "on meta"),
        ({"labels": LABELS, "layer": 4}, UsageError, "must be a module"),
        ({"labels": LABELS, "layer": nn.Linear(3, 3)}, FitError, "between 0 and 2"),
    ],
)
@pytest.mark.usefixtures("draws_globally")
def test_bad_input_is_an_error(
    arguments: dict[str, Any], error: type[FaninError], text: str
) -> None:
    with pytest.raises(error, match=text):
        fanin.logit_bias(**arguments)


def test_an_error_leaves_the_head_as_it_is() -> None:
    with seeds.preserve_torch_state(0):
        head = nn.Linear(3, 4)
    before = head.bias.detach().clone()
    with pytest.raises(FitError):
        fanin.logit_bias(LABELS, layer=head, weight=[1, 2])
    assert torch.equal(head.bias, before)
