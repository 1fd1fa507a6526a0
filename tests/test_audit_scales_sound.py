"""Sound models: what the judges of scales say of published architectures as they are."""

from __future__ import annotations

from typing import Any

import pytest
import zoo_cases
from audit_scale_cases import judge, list_serious, numbers
from torch import nn

import fanin
from fanin import models

REAL_DEFECTS = {"mobilevit": ["F035"]}
"""transformers draws the scales of MobileViT's batch normalizations from N(0, 0.02)."""


@pytest.mark.filterwarnings("ignore")  # of the packages themselves
@pytest.mark.usefixtures("draws_globally")
@pytest.mark.parametrize("measured", [False, True])
def test_architectures_of_transformers_are_sound(measured: bool) -> None:
    pytest.importorskip("transformers")
    alarms: dict[str, Any] = {}
    tried = 0
    for kind in ("gpt2", "bert", "llama", "mixtral", "t5", "vit", "gpt_neox", "mobilevit"):
        model = zoo_cases.build(kind)
        batch = zoo_cases.make_batch(model) if model is not None else None
        if model is None or batch is None:
            continue
        tried += 1
        found = list_serious(judge(model, batch, measured=measured))
        if [code for code, _ in found] != REAL_DEFECTS.get(kind, []):
            alarms[kind] = found
    assert tried >= 6
    assert alarms == {}


@pytest.mark.parametrize("rule", ["auto", "he_normal", "torch_default"])
def test_own_models_are_sound(rule: str) -> None:
    """He's start, and torch's where normalizations or little depth let it pass."""
    alarms = {}
    for spec, shape in (
        ("mlp", (20,)),
        ("cnn", (1, 28, 28)),
        ("lenet5", (1, 28, 28)),
        ("resnet20", (3, 32, 32)),
        ("vit", (3, 32, 32)),
        ("mixer", (3, 32, 32)),
        ("lstm", (7, 5)),
        ("gru", (7, 5)),
    ):
        model: nn.Module = models.get(spec).build(shape, 10)
        batch = numbers(8, *shape)
        fanin.initialize(model, rule, seed=0, batch=batch)
        if found := list_serious(judge(model, batch, measured=True)):
            alarms[spec] = found
    assert alarms == {}
