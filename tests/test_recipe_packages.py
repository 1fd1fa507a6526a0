"""Recipes against the models of timm and torchvision, which only ``make test-zoo`` installs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import zoo_cases
from torch import nn

import fanin
from fanin import seeds

timm = zoo_cases.import_beside_torchvision("timm")
if timm is None:
    pytest.skip("timm is not installed (make test-zoo)", allow_module_level=True)

IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
SIGMAS = 6


def _make_vit(**options: Any) -> nn.Module:
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=3, num_classes=200, **options
    )
    return model


def _make_timm(name: str) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=200)
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "vit_timm": (_make_vit, ()),
    # timm takes packed queries, keys and values as one map; its table of positions is truncated
    "vit_jax": (lambda: _make_vit(weight_init="jax"), ("qkv.weight", "cls_token")),
    "convnext": (lambda: _make_timm("convnext_atto"), ()),
    # squeeze-and-excitation starts as torch's default in timm's older configurations
    "efficientnet": (lambda: _make_timm("efficientnet_b0"), ()),
    "resnet_torchvision(zero_init_residual=true)": (lambda: _make_timm("resnet18"), ()),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CASES)
def test_parts_have_the_moments_of_the_package(recipe: str) -> None:
    """Standard deviations of every parameter of 50 numbers and more."""
    make, deviates = CASES[recipe]
    with seeds.preserve_torch_state(0):
        model = make().eval()
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    fanin.initialize(model, f"recipe:{recipe}", seed=1, batch=IMAGES, special="overwrite")
    compared, wrong = 0, []
    for key, value in model.named_parameters():
        if value.numel() < 50 or any(part in key for part in deviates):
            continue
        theirs, ours = (one.float().std().item() for one in (before[key], value))
        if theirs == 0 or ours == 0:
            if theirs != ours or not torch.equal(before[key], value):
                wrong.append(f"{key}: {theirs:.4g} there, {ours:.4g} here")
            continue
        bound = SIGMAS * math.sqrt(2) / math.sqrt(2 * value.numel()) + 0.02
        if abs(math.log(ours / theirs)) >= bound:
            wrong.append(f"{key}: {theirs:.4g} there, {ours:.4g} here")
        compared += 1
    assert not wrong
    assert compared >= 10
