"""The records of GPT-2 small, ResNet-50 and a bidirectional LSTM, parameter by parameter, against
fans worked out from shapes.

Built from their configurations on the device meta: nothing is computed, and `preview` writes
nothing.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch
from torch import nn

from fanin import initialize
from fanin.apply import Record

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)


def published(model: str, config: str, **options: Any) -> nn.Module:
    transformers = importlib.import_module("transformers")
    with torch.device("meta"):
        built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    return built


def fans(record: Record, name: str) -> tuple[float | None, float | None]:
    return record[name].fan_in, record[name].fan_out


@needs_transformers
def test_every_parameter_of_gpt2_small_is_right() -> None:
    model = published("GPT2LMHeadModel", "GPT2Config")
    rules = {"*.c_proj.weight": "normal(std=0.004)"}
    record = initialize(
        model, rules, default="normal(std=0.02)", split={"*.c_attn.*": 3}, seed=0, preview=True
    )
    expected = {
        "attn.c_attn": (768, 768),
        "attn.c_proj": (768, 768),
        "mlp.c_fc": (768, 3072),
        "mlp.c_proj": (3072, 768),
    }
    for layer in range(12):
        for module, found in expected.items():
            name = f"transformer.h.{layer}.{module}.weight"
            std = 0.004 if module.endswith("c_proj") else 0.02
            assert fans(record, name) == found
            assert record[name].intended_std == std
            assert record[name].gain == pytest.approx(std * math.sqrt(found[0]))
            assert record[name.replace("weight", "bias")].rule == "zero"
        packed = record[f"transformer.h.{layer}.attn.c_attn.weight"]
        assert [(part.name, part.shape) for part in packed.parts] == [
            (name, (768, 768)) for name in "qkv"
        ]
    assert (
        fans(record, "transformer.wte.weight") == fans(record, "transformer.wpe.weight") == (1, 768)
    )
    assert record["lm_head.weight"].tied_to == "transformer.wte.weight"
    norms = [parameter for parameter in record if ".ln_" in parameter.name]
    assert {parameter.rule for parameter in norms if parameter.name.endswith("weight")} == {
        "constant"
    }
    assert len(record) == 12 * 12 + 5  # twelve to a block; two tables, the last norm, the tied head
    assert [parameter.name for parameter in record if parameter.rule is None] == ["lm_head.weight"]


@needs_transformers
def test_every_parameter_of_resnet50_is_right() -> None:
    model = published("ResNetForImageClassification", "ResNetConfig", num_labels=1000)
    record = initialize(model, "he_normal(mode=fan_out)", seed=0, preview=True)
    kernels = [parameter for parameter in record if len(parameter.shape) == 4]
    assert len(kernels) == 53
    for parameter in kernels:
        outputs, inputs, height, width = parameter.shape
        assert (parameter.fan_in, parameter.fan_out) == (
            inputs * height * width,
            outputs * height * width,
        )
        assert parameter.intended_std == pytest.approx(math.sqrt(2 / (outputs * height * width)))
    (head,) = [parameter for parameter in record if len(parameter.shape) == 2]
    assert (head.fan_in, head.fan_out) == (2048, 1000)
    scales = [p for p in record if p.role == "norm scale"]
    assert len(scales) == 53
    assert {p.rule for p in scales} == {"constant"}
    assert sum(math.prod(p.shape) for p in record) == 25_557_032
    assert all(p.rule for p in record)


def test_every_parameter_of_a_bidirectional_lstm_is_right() -> None:
    with torch.device("meta"):
        model = nn.LSTM(128, 256, num_layers=2, bidirectional=True)
    record = initialize(
        model, "xavier_uniform", recurrent="orthogonal", biases="forget_gate", seed=0, preview=True
    )
    assert len(record) == 16
    for layer, inputs in ((0, 128), (1, 512)):
        for direction in ("", "_reverse"):
            source, state = (
                record[f"weight_ih_l{layer}{direction}"],
                record[f"weight_hh_l{layer}{direction}"],
            )
            assert ([part.name for part in source.parts], source.fan_in, source.fan_out) == (
                list("ifgo"),
                inputs,
                256,
            )
            assert source.intended_std == pytest.approx(math.sqrt(2 / (inputs + 256)))
            assert (state.rule, state.fan_in, state.fan_out, state.intended_std) == (
                "orthogonal",
                256,
                256,
                1 / 16,
            )
            assert record[f"bias_ih_l{layer}{direction}"].rule == "forget_gate"
            assert record[f"bias_hh_l{layer}{direction}"].rule == "zero"
    streams = [
        part.stream for parameter in record for part in parameter.parts if part.stream is not None
    ]
    assert len(set(streams)) == len(streams) == 32
