"""Structure of published models, labelled by hand: small configurations, observed on a batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from structure_cases import sequence
from torch import nn

from fanin import seeds
from fanin.structure import ModelStructure, describe_structure

IDS = torch.tensor([[1, 2, 3, 4, 5]])
SMALL = {
    "vocab_size": 17,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}


def build(model: str, config: str, **options: Any) -> nn.Module:
    """A model of transformers; the test is skipped where that cannot be imported."""
    transformers = pytest.importorskip("transformers")
    try:
        make, options_of = getattr(transformers, model), getattr(transformers, config)
    except ImportError as error:
        pytest.skip(str(error))
    with seeds.preserve_torch_state(0):
        built: nn.Module = make(options_of(**options)).float()
    return built


def read(model: nn.Module, **batch: torch.Tensor) -> ModelStructure:
    return describe_structure(model, batch or {"input_ids": IDS})


def get_block(structure: ModelStructure, prefix: str) -> dict[str, str]:
    """The roles of one block's layers, with r and w for those that read and write."""
    return {
        one.layer.removeprefix(prefix): "+".join(
            [*one.roles, *("r" if one.reads else ""), *("w" if one.writes else "")]
        )
        for one in structure.layers
        if one.layer.startswith(prefix)
    }


def get_depths(structure: ModelStructure) -> list[int]:
    return [stream.depth for stream in structure.streams]


def get_norms(structure: ModelStructure) -> set[tuple[str, ...]]:
    return {branch.norms for branch in structure.branches}


ATTENTION = {"q": "query+r", "k": "key+r", "v": "value+r", "o": "attention_output+w"}


def test_gpt2() -> None:
    options = {"vocab_size": 17, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
    found = read(build("GPT2LMHeadModel", "GPT2Config", **options))
    assert get_block(found, "transformer.h.1.") == {
        "attn.c_attn": "query+key+value+r",
        "attn.c_proj": "attention_output+w",
        "mlp.c_fc": "up+r",
        "mlp.c_proj": "down+w",
    }
    assert found.streams[0].sources == ("transformer.wte", "transformer.wpe")
    assert (get_depths(found), get_norms(found)) == ([4], {("pre",)})
    assert found.packed[0].rows == (((0, 8),), ((8, 16),), ((16, 24),))
    assert found.list_layers("embedding") == ("transformer.wte", "transformer.wpe")
    assert found.list_layers("head") == ("lm_head",)
    assert found.ties == (("transformer.wte.weight", "lm_head.weight"),)


def test_llama() -> None:
    found = read(build("LlamaForCausalLM", "LlamaConfig", **GROUPED))
    assert get_block(found, "model.layers.1.") == {
        **{f"self_attn.{name}_proj": roles for name, roles in ATTENTION.items()},
        "mlp.gate_proj": "gate+r",
        "mlp.up_proj": "up+r",
        "mlp.down_proj": "down+w",
    }
    assert (get_depths(found), get_norms(found)) == ([4], {("pre",)})
    assert found.packed == ()


def test_mixtral() -> None:
    model = build("MixtralForCausalLM", "MixtralConfig", **GROUPED, num_local_experts=4)
    found = read(model)
    assert get_block(found, "model.layers.1.mlp.") == {
        "gate": "router+r",
        "experts.gate_up_proj": "gate+up+r",
        "experts.down_proj": "down+w",
    }
    assert get_depths(found) == [4]
    assert [mixture.router for mixture in found.mixtures] == [
        "model.layers.0.mlp.gate",
        "model.layers.1.mlp.gate",
    ]
    assert found.packed[0].layer == "model.layers.0.mlp.experts.gate_up_proj"
    assert (found.packed[0].names, found.packed[0].rows) == (
        ("gate", "up"),
        (((0, 24),), ((24, 48),)),
    )


def test_a_sum_of_routed_and_shared_experts_is_one_branch() -> None:
    options = {
        "num_experts": 4,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
        "num_experts_per_tok": 2,
    }
    found = read(build("Qwen2MoeForCausalLM", "Qwen2MoeConfig", **GROUPED, **options))
    assert get_depths(found) == [4]
    block = get_block(found, "model.layers.0.mlp.")
    assert (block["gate"], block["shared_expert_gate"]) == ("router+r", "gate+r")
    assert (block["experts.down_proj"], block["shared_expert.down_proj"]) == ("down+w", "down+w")


def test_t5() -> None:
    options = {"vocab_size": 17, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 4}
    model = build(
        "T5ForConditionalGeneration",
        "T5Config",
        **options,
        num_layers=2,
        feed_forward_proj="gated-gelu",
    )
    found = read(model, input_ids=IDS, decoder_input_ids=IDS)
    assert get_depths(found) == [4, 6]
    assert get_block(found, "decoder.block.1.layer.1.EncDecAttention.") == {
        **ATTENTION,
        "k": "key",
        "v": "value",
    }
    assert get_block(found, "encoder.block.1.layer.1.DenseReluDense.") == {
        "wi_0": "gate+r",
        "wi_1": "up+r",
        "wo": "down+w",
    }
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"
    assert get_block(found, bias) == {"": "embedding"}
    assert get_block(found, "shared") == {"": "embedding"}
    assert found.unreached == ()


def test_bert_is_post_norm() -> None:
    found = read(build("BertForMaskedLM", "BertConfig", **SMALL, max_position_embeddings=8))
    assert (get_depths(found), get_norms(found)) == ([4], {("post",)})
    assert len(found.streams[0].sources) == 3
    assert found.list_layers("head") == ("cls.predictions.decoder",)


def test_vit() -> None:
    options = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    model = build("ViTForImageClassification", "ViTConfig", image_size=16, patch_size=8, **options)
    found = read(model, pixel_values=sequence(2, 3, 16, 16))
    assert (get_depths(found), len(found.attentions)) == ([4], 2)
    assert len(found.list_layers("up")) == len(found.list_layers("down")) == 2
    assert found.list_layers("head") == ("classifier",)


def test_convnext() -> None:
    model = build(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        hidden_sizes=[4, 8],
        depths=[2, 1],
        num_stages=2,
    )
    found = read(model, pixel_values=sequence(2, 3, 32, 32))
    assert get_depths(found) == [2, 1]
    for branch in found.branches:
        assert [name.rpartition(".")[2] for name in branch.layers] == [
            "dwconv",
            "pwconv1",
            "pwconv2",
        ]
        assert (branch.readers, branch.writers) == (branch.layers[:1], branch.layers[2:])


def test_resnet() -> None:
    model = build(
        "ResNetForImageClassification",
        "ResNetConfig",
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[2, 2],
        layer_type="basic",
    )
    found = read(model, pixel_values=sequence(2, 3, 32, 32))
    assert (get_depths(found), get_norms(found)) == ([4], {("end",)})
    assert [len(branch.projection) for branch in found.branches] == [0, 0, 1, 0]


@pytest.mark.filterwarnings("ignore")
def test_mamba() -> None:
    model = build(
        "MambaForCausalLM",
        "MambaConfig",
        vocab_size=17,
        hidden_size=8,
        state_size=4,
        num_hidden_layers=2,
    )
    found = read(model)
    assert get_depths(found) == [2]
    block = get_block(found, "backbone.layers.1.mixer.")
    assert (block["in_proj"], block["out_proj"]) == ("gate+r", "w")
    assert found.packed[0].rows == (((0, 16),), ((16, 32),))
    assert found.packed[0].names == ("rest", "gate")


PACKED = {
    "GPTNeoX": (
        {**SMALL, "rotary_pct": 0.5},
        [[(i * 12 + part * 4, i * 12 + part * 4 + 4) for i in range(4)] for part in range(3)],
    ),
    "Bloom": (
        {"vocab_size": 17, "hidden_size": 16, "n_layer": 2, "n_head": 4},
        [[(i * 12 + part * 4, i * 12 + part * 4 + 4) for i in range(4)] for part in range(3)],
    ),
    "Falcon": (
        {
            "vocab_size": 17,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
            "bias": False,
        },
        [[(0, 8), (16, 24)], [(8, 12), (24, 28)], [(12, 16), (28, 32)]],
    ),
}


@pytest.mark.parametrize("family", PACKED)
def test_rows_that_alternate_by_head_are_found(family: str) -> None:
    options, rows = PACKED[family]
    found = read(build(f"{family}ForCausalLM", f"{family}Config", **options))
    assert [packed.names for packed in found.packed] == [("query", "key", "value")] * 2
    assert [list(ranges) for ranges in found.packed[0].rows or ()] == rows
    assert get_depths(found) == [4]
    parallel = family != "Bloom"
    assert {branch.step for branch in found.branches} == set(range(2 if parallel else 4))


def test_a_router_that_is_a_linear_layer_of_its_own_class() -> None:
    options = {**GROUPED, "num_local_experts": 4, "intermediate_size_mlp": 24, "head_dim": 4}
    found = read(build("Llama4ForCausalLM", "Llama4TextConfig", **options, pad_token_id=0))
    assert get_depths(found) == [4]
    assert len(found.list_layers("router")) == 2


def test_a_compiled_or_parallel_model_has_the_structure_of_the_bare_one() -> None:
    model = build("LlamaForCausalLM", "LlamaConfig", **GROUPED)
    expected = read(model)
    assert read(torch.compile(model, backend="eager")) == expected  # type: ignore[arg-type]
    assert read(nn.DataParallel(model)) == expected
    model.requires_grad_(False)
    assert read(model) == expected
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore")
@seeds.preserve_torch_state(0)
def test_adapters_leave_the_structure_of_their_base() -> None:
    peft = pytest.importorskip("peft")
    model = build("LlamaForCausalLM", "LlamaConfig", **GROUPED)
    expected = read(model)
    adapted = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(target_modules=["q_proj", "o_proj", "down_proj"])
    )
    found = read(adapted)
    assert found.streams == expected.streams
    assert found.attentions == expected.attentions
    assert all(found.get_role(one.layer) == one for one in expected.layers)
    assert len(found.list_layers("adapter")) == 12
