"""Methods of residual branches on published models: what their own options set, or why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo_cases
from published_cases import build_published
from structure_cases import sequence
from torch import nn

import fanin
from fanin import seeds
from fanin.errors import FitError

IDS = {"input_ids": torch.tensor([[1, 2, 3, 4, 5]])}


def list_zeros(model: nn.Module) -> set[str]:
    """The scales that are 0."""
    return {
        name
        for name, one in model.named_parameters()
        if name.endswith("weight") and bool((one == 0).all())
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet50", "resnext50_32x4d"])
def test_zero_gamma_sets_what_timm_sets_for_its_own_classes(name: str) -> None:
    timm = zoo_cases.import_beside_torchvision("timm")
    if timm is None:
        pytest.skip("timm is not installed")
    with seeds.preserve_global_state(0):
        model = timm.create_model(name, zero_init_last=False)
        expected = timm.create_model(name, zero_init_last=True)
    assert not list_zeros(model)
    fanin.initialize(model, "zero_gamma", seed=0, batch=sequence(1, 3, 32, 32))
    assert list_zeros(model) == list_zeros(expected)


def test_skip_init_finds_convnexts_layer_scale() -> None:
    pytest.importorskip("transformers")
    model: Any = build_published("ConvNextForImageClassification", "cpu")
    batch = {"pixel_values": sequence(1, 3, 64, 64)}
    record = fanin.initialize(model, "skip_init", seed=0, batch=batch)
    scales = {name for name, _ in model.named_parameters() if "layer_scale" in name}
    assert len(scales) == 5
    assert {one.name for one in record.parameters if one.rule == "constant(value=0.0)"} == scales


REFUSED = {
    (
        "deep_norm",
        "BertForMaskedLM",
    ): r"x = norm\(1\.414 \* x \+ f\(x\)\).*the model has x \+ f\(x\)",
    ("deep_norm", "GPT2LMHeadModel"): r"normalization after the sum",
    ("admin", "BertForMaskedLM"): r"self\.omega = nn\.Parameter",
    ("t_fixup", "LlamaForCausalLM"): r"no normalization \(model\.layers\.0\.input_layernorm",
    ("magneto", "LlamaForCausalLM"): r"sub-LayerNorm \(model\.layers\.0\.self_attn\.o_proj",
    ("rezero", "GPTNeoXForCausalLM"): r"scale .*gpt_neox\.layers\.0\.attention\.dense",
    ("zero_gamma", "BloomForCausalLM"): r"normalizes the branch's input",
    ("fixup", "ViTForImageClassification"): r"no normalization",
}


@pytest.mark.parametrize(("method", "name"), REFUSED)
def test_a_published_model_that_lacks_what_a_method_needs_is_refused(
    method: str, name: str
) -> None:
    pytest.importorskip("transformers")
    model = build_published(name, "cpu")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = {"pixel_values": sequence(1, 3, 32, 32)} if name.startswith("ViT") else IDS
    with pytest.raises(FitError, match=REFUSED[method, name]):
        fanin.initialize(model, method, seed=0, batch=batch)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
