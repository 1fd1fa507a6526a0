"""mimetic: the products of attention weights, on packed, separate and transposed layers."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch
from model_level_cases import expect_unchanged, make_language
from torch import Tensor, nn
from width_cases import draw, make_encoder, make_gpt2, make_perceptron, needs_transformers, tokens

import fanin
from fanin import seeds
from fanin.errors import FitError

stats = pytest.importorskip("scipy.stats", reason="the law comes from scipy")


def multiply(query: Tensor, key: Tensor, value: Tensor, output: Tensor, heads: int) -> list[Tensor]:
    """Wv·Wo, and Wq·Wkᵀ of each head, from weights of shape (out, in)."""
    pairs = zip(query.chunk(heads), key.chunk(heads), strict=True)
    return [value.T @ output.T, *(q.T @ k for q, k in pairs)]


def standardize(product: Tensor, alpha: float, beta: float) -> Tensor:
    """Z, from αZ + βI."""
    width = product.shape[0]
    return (product - beta * torch.eye(width)) * math.sqrt(width) / alpha


def test_the_products_of_an_attention_of_one_head_are_alpha_z_plus_beta_i() -> None:
    """Each product is of full rank here: n = 4,096 entries; level 1e-4, where a share of 1.25·alpha
    is caught. Mean of the diagonal within five standard errors.
    """
    with seeds.preserve_torch_state(0):
        layer = nn.TransformerEncoderLayer(64, 1, 64, batch_first=True)
    fanin.initialize(layer, "mimetic", seed=0, batch=draw(2, 5, 64))
    attention = layer.self_attn
    weights = attention.in_proj_weight.detach().chunk(3)
    value_output, query_key = multiply(*weights, attention.out_proj.weight.detach(), heads=1)
    for product, alpha, beta in ((value_output, 0.4, -0.4), (query_key, 0.7, 0.7)):
        z = standardize(product, alpha, beta).flatten().double().numpy()
        assert stats.ks_1samp(z, stats.norm.cdf, method="asymp").pvalue > 1e-4
        wrong = standardize(product, alpha / 1.25, beta).flatten().double().numpy()
        assert stats.ks_1samp(wrong, stats.norm.cdf, method="asymp").pvalue < 1e-4
        assert product.diagonal().mean().item() == pytest.approx(beta, abs=5 * alpha / 64)
    z = [
        standardize(p, a, b).flatten()
        for p, a, b in ((value_output, 0.4, -0.4), (query_key, 0.7, 0.7))
    ]
    assert abs(torch.corrcoef(torch.stack(z))[0, 1].item()) < 5 / 64


@pytest.mark.parametrize("signs", ["vision", "language"])
def test_a_head_keeps_the_largest_singular_values_of_its_own_product(signs: str) -> None:
    model = make_encoder(width=32)
    fanin.initialize(model, f"mimetic(signs={signs})", seed=0, batch=draw(2, 5, 32))
    one, other = model.layers[0].self_attn, model.layers[1].self_attn
    query, key, value = one.in_proj_weight.detach().chunk(3)
    value_output, *heads = multiply(query, key, value, one.out_proj.weight.detach(), 4)
    sign = 1 if signs == "vision" else -1
    assert sign * value_output.diagonal().mean().item() == pytest.approx(-0.4, abs=0.1)
    for head, product in enumerate(heads):
        assert torch.linalg.matrix_rank(product) == 8
        assert sign * product.trace().item() > 4
        rows, columns = query.chunk(4)[head], key.chunk(4)[head]
        torch.testing.assert_close(rows @ rows.T, columns @ columns.T, atol=1e-4, rtol=1e-4)
    assert (heads[0] - heads[1]).abs().max() > 0.05
    assert (one.in_proj_weight - other.in_proj_weight).abs().max() > 0.05


def test_separate_layers_get_the_same_products_as_packed_ones_of_the_same_name() -> None:
    model = make_language()
    fanin.initialize(model, "mimetic", seed=0, batch=tokens())
    for block in model.blocks:
        query, key, value, output = (
            layer.weight.detach() for layer in (block.q, block.k, block.v, block.o)
        )
        value_output, query_key = multiply(query, key, value, output, heads=1)
        assert value_output.diagonal().mean().item() == pytest.approx(-0.4, abs=0.3)
        assert query_key.diagonal().mean().item() == pytest.approx(0.7, abs=0.5)
        torch.testing.assert_close(query @ query.T, key @ key.T, atol=1e-5, rtol=1e-5)


@needs_transformers
def test_the_transposed_packed_layers_of_gpt2_hold_the_products_too() -> None:
    model = make_gpt2()
    record = fanin.initialize(
        model, "mimetic(signs=language)", seed=0, batch={"input_ids": tokens()}
    )
    attention = model.transformer.h[0].attn
    query, key, value = attention.c_attn.weight.detach().T.chunk(3)
    value_output, *heads = multiply(query, key, value, attention.c_proj.weight.detach().T, 4)
    assert value_output.diagonal().mean().item() == pytest.approx(0.4, abs=0.1)
    assert all(product.trace().item() < -4 for product in heads)
    assert record["transformer.h.0.mlp.c_fc.weight"].rule == "truncated_normal(std=0.02)"
    assert not attention.c_attn.bias.any()


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_rows_that_alternate_by_head_are_put_where_they_belong() -> None:
    """GPT-NeoX packs (head, 3, head width)."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=30,
        max_position_embeddings=16,
    )
    with seeds.preserve_torch_state(0):
        model = GPTNeoXForCausalLM(config)
    fanin.initialize(model, "mimetic", seed=0, batch={"input_ids": tokens()})
    attention = model.gpt_neox.layers[0].attention
    packed = attention.query_key_value.weight.detach().view(4, 3, 8, 32)
    query, key, value = (packed[:, part].reshape(32, 32) for part in range(3))
    value_output, *heads = multiply(query, key, value, attention.dense.weight.detach(), 4)
    assert value_output.diagonal().mean().item() == pytest.approx(-0.4, abs=0.1)
    assert all(product.trace().item() > 4 for product in heads)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_heads_that_share_keys_are_refused_unchanged() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        vocab_size=30,
    )
    with seeds.preserve_torch_state(0):
        model = LlamaForCausalLM(config)
    with expect_unchanged(model), pytest.raises(FitError, match="16 of keys and 16 of values"):
        fanin.initialize(model, "mimetic", seed=0, batch={"input_ids": tokens()})


def test_a_model_without_attention_is_refused_unchanged() -> None:
    model = make_perceptron()
    with expect_unchanged(model), pytest.raises(FitError, match="No attention was found"):
        fanin.initialize(model, "mimetic", seed=0)


def test_packed_rows_that_were_not_observed_are_asked_for() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(2, 5, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            y: Tensor = x + self.out(mixed.transpose(1, 2).reshape(2, 5, 16))
            return y

    with seeds.preserve_torch_state(0):
        model = Attention()
    with expect_unchanged(model), pytest.raises(FitError, match=r"qkv\.weight .*not known.*batch="):
        fanin.initialize(model, "mimetic", seed=0)
    fanin.initialize(model, "mimetic", seed=0, batch=draw(2, 5, 16))
    value, output = model.qkv.weight.detach().chunk(3)[2], model.out.weight.detach()
    assert (value.T @ output.T).diagonal().mean().item() == pytest.approx(-0.4, abs=0.2)


def test_another_seed_gives_other_products_and_each_attention_has_its_own() -> None:
    first, second = make_encoder(), make_encoder()
    fanin.initialize(first, "mimetic", seed=0, batch=draw(2, 5, 16))
    fanin.initialize(second, "mimetic", seed=1, batch=draw(2, 5, 16))
    one, other = first.layers[0].self_attn, second.layers[0].self_attn
    assert (one.in_proj_weight - other.in_proj_weight).abs().max() > 0.05
