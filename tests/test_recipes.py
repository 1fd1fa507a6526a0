"""Recipes: every entry on a model of its family, and numbers against formulas and packages."""

from __future__ import annotations

import math

import pytest
import torch
from recipe_models import FAMILIES, make_model

import fanin
from fanin import catalogue
from fanin.initializers.recipes import REGISTRY, RecipeEntry

ENTRIES = tuple(REGISTRY)
SIGMAS = 6
"""Of the standard deviation of n normal numbers, whose own is 1/√(2·n): two-sided level 2e-9."""


def test_there_are_twenty_and_each_has_a_model_here() -> None:
    assert len(ENTRIES) >= 20
    assert {entry.name for entry in ENTRIES} == FAMILIES.keys()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_says_where_it_is_from(entry: RecipeEntry) -> None:
    for text in (entry.summary, entry.scales, entry.deviates, entry.models, entry.avoid):
        assert len(text) > 2
        assert text.endswith(".") or text is entry.models
    assert entry.source.link.startswith("https://")
    assert 2015 < entry.year < 2027
    shown = catalogue.describe("recipes", entry.name)
    assert str(entry.year) in shown.facts["source"]
    for spec in (entry.name, *entry.examples):
        made = fanin.recipe(spec)
        assert fanin.get(made.spec) == made


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_recipe_draws_what_it_says(entry: RecipeEntry) -> None:
    """Of every parameter of 400 numbers and more; a planted factor of 1.5 is seen."""
    model, batch = make_model(FAMILIES[entry.name])
    record = fanin.initialize(model, f"recipe:{entry.name}", seed=0, batch=batch)
    label_count = 0
    for one in record:
        n = math.prod(one.shape)
        label_count += ":" in one.reason and one.rule is not None
        if not one.intended_std or one.measured_std is None or n < 400 or one.parts:
            continue
        error = abs(one.measured_std / one.intended_std - 1)
        assert error < SIGMAS / math.sqrt(2 * n) + 0.01 < 0.5, str(one)
    assert label_count >= 4
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    again, _ = make_model(FAMILIES[entry.name])
    fanin.initialize(again, fanin.recipe(entry.name), seed=0, batch=batch)
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def stds(recipe: str, name: str) -> dict[str, float | None]:
    model, batch = make_model(name)
    record = fanin.initialize(model, f"recipe:{recipe}", seed=0, batch=batch, special="overwrite")
    return {one.name: one.intended_std for one in record}


def test_residual_outputs_are_scaled_by_depth_and_others_are_not() -> None:
    """L = 3: by L in torchtitan's Qwen 3, by block in its Llama 3, whose w3 is scaled too."""
    down, up, gate = (f"model.layers.2.mlp.{part}_proj.weight" for part in ("down", "up", "gate"))
    qwen, llama, plain = (
        stds(recipe, "llama")
        for recipe in (
            "torchtitan_qwen3",
            "torchtitan_llama3",
            "torchtitan_llama3(scale_up=false)",
        )
    )
    assert qwen[down] == pytest.approx(0.02 / math.sqrt(6))
    assert qwen[up] == qwen[gate] == 0.02
    assert llama[down] == llama[up] == pytest.approx(0.02 / math.sqrt(2 * 3))
    assert llama["model.layers.0.mlp.down_proj.weight"] == pytest.approx(0.02 / math.sqrt(2))
    assert llama[gate] == plain[up] == 0.02
    assert llama["model.embed_tokens.weight"] == 1.0
    cut = 0.9865783925581086  # the standard deviation of N(0, 1) cut at ±3
    assert llama["lm_head.weight"] == pytest.approx(cut / 8)
    oss = stds("torchtitan_gpt_oss", "llama")
    assert oss["model.layers.1.self_attn.q_proj.weight"] == pytest.approx(0.02 / 2)
    olmo = stds("olmo2(mode=normalized)", "llama")
    assert olmo[down] == pytest.approx(cut / math.sqrt(128) / math.sqrt(6))


def test_the_audit_sees_the_deviation_that_the_recipe_names() -> None:
    for recipe, found in (
        ("torchtitan_llama3", True),
        ("torchtitan_llama3(scale_up=false)", False),
        ("torchtitan_qwen3", False),
        ("gpt2", False),
    ):
        model, batch = make_model("llama")
        fanin.initialize(model, f"recipe:{recipe}", seed=0, batch=batch, special="overwrite")
        codes = {finding.code for finding in fanin.audit(model, batch).findings}
        assert ("F030" in codes) is found, recipe
    assert "F030" in REGISTRY.get("torchtitan_llama3").deviates


def test_nanochat_and_modded_nanogpt_start_branches_at_zero() -> None:
    nano, modded = stds("nanochat", "llama"), stds("modded_nanogpt", "llama")
    for found in (nano, modded):
        assert found["model.layers.1.self_attn.o_proj.weight"] == 0
        assert found["model.layers.1.mlp.down_proj.weight"] == 0
    assert nano["model.layers.1.self_attn.q_proj.weight"] == pytest.approx(1 / 8)
    assert nano["model.layers.1.mlp.up_proj.weight"] == pytest.approx(0.4 / 8)
    assert (nano["model.embed_tokens.weight"], nano["lm_head.weight"]) == (0.8, 0.001)
    assert modded["model.layers.1.mlp.up_proj.weight"] == pytest.approx(0.5 / 8)


def test_rwkv_knows_keys_low_ranks_and_norms_of_heads() -> None:
    found = stds("rwkv7", "rwkv")
    third = 1 / math.sqrt(3)
    assert found["att.1.key.weight"] == pytest.approx(0.05 / 8 * third)
    assert found["att.1.receptance.weight"] == pytest.approx(0.5 / 8 * third)
    assert found["key.1.weight"] == pytest.approx(0.5 / 8 * third)
    assert found["att.1.output.weight"] == found["value.1.weight"] == found["att.1.w1"] == 0
    model, batch = make_model("rwkv")
    fanin.initialize(model, "recipe:rwkv7", seed=0, batch=batch)
    assert model.get_parameter("att.1.ln_x.weight")[0].item() == pytest.approx((2 / 3) ** 0.7)
    second = model.get_parameter("att.1.w2")
    assert torch.allclose(second @ second.mT, 0.01 * torch.eye(8), atol=1e-6)
    head = model.get_parameter("head.weight")
    assert torch.allclose(head.mT @ head, 0.25 * 300 / 64 * torch.eye(64), atol=1e-5)


def test_resnets_start_the_last_norm_of_each_branch_at_zero() -> None:
    for recipe, zero in (
        ("resnet_goyal", True),
        ("resnet_torchvision(zero_init_residual=true)", True),
        ("resnet_torchvision", False),
    ):
        model, batch = make_model("resnet")
        record = fanin.initialize(model, f"recipe:{recipe}", seed=0, batch=batch)
        assert bool((model.get_parameter("3.bn2.weight") == 0).all()) is zero
        assert bool((model.get_parameter("3.bn1.weight") == 1).all())
        grouped = record["3.conv1.weight"]
        assert grouped.intended_std == pytest.approx(math.sqrt(2 / 72))  # 8 outputs · 9 per group


def test_dit_and_its_modulation() -> None:
    found = stds("dit", "dit")
    assert found["blocks.1.adaLN_modulation.1.weight"] == found["final.weight"] == 0
    assert found["labels.weight"] == found["t_embedder.2.weight"] == 0.02
    assert found["blocks.1.up.weight"] == pytest.approx(math.sqrt(2 / 320))
    assert found["patches.weight"] == pytest.approx(math.sqrt(2 / (192 + 64 * 64)), rel=0.01)


PACKAGE = {
    "gpt2(position_std=0.02)": ("gpt2", ()),
    "llama": ("llama", ()),
    "bert(truncated=false)": ("bert", ()),
    "t5": ("t5", ()),
    "clip(swapped=true, position_std=0.02)": ("clip", ("patch_embedding",)),
    "vit_timm": ("vit", ("cls_token", "patch_embeddings")),
    "dinov3": ("dinov3", ("patch_embeddings",)),
    "convnext": ("convnext", ()),
    "wav2vec2": ("wav2vec2", ("feature_projection.projection.bias", ".conv.bias")),
    "mamba2(embedding_std=0.1)": ("mamba2", ("in_proj", "out_proj", "A_log")),
}
"""Of transformers: the recipe that stands for it, and where the recipe says that it deviates."""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PACKAGE)
def test_parts_have_the_moments_of_transformers(recipe: str) -> None:
    """Standard deviations of every parameter of 50 numbers and more."""
    name, deviates = PACKAGE[recipe]
    model, batch = make_model(name)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    fanin.initialize(model, f"recipe:{recipe}", seed=1, batch=batch)
    compared = 0
    for key, value in model.named_parameters():
        if value.numel() < 50 or any(part in key for part in deviates) or "original" in key:
            continue
        theirs, ours = (one.float().std().item() for one in (before[key], value))
        if theirs == 0 or ours == 0:
            assert theirs == ours, key
            continue
        bound = SIGMAS * math.sqrt(2) / math.sqrt(2 * value.numel()) + 0.02
        assert abs(math.log(ours / theirs)) < bound, key
        compared += 1
    assert compared >= 4
