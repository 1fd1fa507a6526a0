"""gpt2, bert, mitchell, zero_one, idinit: numbers by hand on models of several kinds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from model_level_cases import expect_unchanged, make_language
from torch import nn
from width_cases import (
    CASES,
    draw,
    make_encoder,
    make_gpt2,
    make_images,
    make_perceptron,
    needs_transformers,
    tokens,
)

import fanin
from fanin import seeds
from fanin.errors import FitError, SpecError

every_case = pytest.mark.parametrize(("make", "batch", "branches"), CASES.values(), ids=CASES)


def list_writers(record: fanin.Record) -> list[str]:
    return [one.name for one in record if "writes to" in one.place and one.role == "weight"]


@every_case
def test_gpt2_divides_by_the_root_of_the_branches_where_a_layer_writes(
    make: Any, batch: torch.Tensor, branches: int
) -> None:
    record = fanin.initialize(make(), "gpt2(std=0.1)", seed=0, batch=batch)
    writers = list_writers(record)
    assert len(writers) == branches
    for one in record:
        if one.role in ("weight", "embedding"):
            scale = math.sqrt(branches) if one.name in writers else 1.0
            assert one.intended_std == pytest.approx(0.1 / scale)
        elif one.role == "bias":
            assert one.rule == "zero"
        else:
            assert one.rule in ("constant", "zero")


def test_gpt2_reaches_both_writers_of_a_block_and_no_other_layer() -> None:
    record = fanin.initialize(make_encoder(), "gpt2", seed=0, batch=draw(2, 5, 16))
    assert list_writers(record) == [
        f"layers.{n}.{layer}.weight"
        for n in range(2)
        for layer in ("self_attn.out_proj", "linear2")
    ]


@needs_transformers
def test_gpt2_gives_transformers_gpt2_its_own_moments() -> None:
    """Its own initialization, as transformers 5 does it: 0.02, and 0.02/√(2·3) for c_proj."""
    model = make_gpt2(width=64)
    own = {name: one.detach().std().item() for name, one in model.named_parameters()}
    record = fanin.initialize(model, "gpt2", seed=0, batch={"input_ids": tokens()})
    assert len(list_writers(record)) == 6
    for one in record:
        if one.role in ("weight", "embedding") and one.tied_to is None:
            assert one.measured_std == pytest.approx(one.intended_std, rel=0.1)
            assert own[one.name] == pytest.approx(one.intended_std, rel=0.1)


def test_roles_correct_what_a_layer_is_taken_for() -> None:
    record = fanin.initialize(
        make_language(), "zero_one", seed=0, batch=tokens(), roles={"head": "none"}
    )
    assert record["head.weight"].rule == "hadamard"
    record = fanin.initialize(make_language(), "zero_one", seed=0, batch=tokens())
    assert record["head.weight"].rule == "zero"


@pytest.mark.parametrize("spec", ["gpt2", "mitchell", "complete_p(base=8, base_depth=1)"])
def test_a_model_without_a_residual_stream_is_refused_unchanged(spec: str) -> None:
    model = make_perceptron()
    with expect_unchanged(model), pytest.raises(FitError, match="residual stream"):
        fanin.initialize(model, spec, seed=0)


@every_case
def test_bert_truncates_at_two_standard_deviations(
    make: Any, batch: torch.Tensor, branches: int
) -> None:
    model = make()
    record = fanin.initialize(model, "bert", seed=0)
    for one in record:
        if one.role in ("weight", "embedding"):
            assert one.intended_std == pytest.approx(0.02 * 0.8796256610342398)
            assert model.get_parameter(one.name).abs().max().item() <= 0.04


def test_mitchell_counts_blocks_from_one_or_takes_all() -> None:
    model = make_language()
    cut = 0.9865783925581086
    record = fanin.initialize(model, "mitchell", seed=0, batch=tokens())
    total = fanin.initialize(make_language(), "mitchell(depth=total)", seed=0, batch=tokens())
    for block in range(3):
        for layer, fan_in in (("o", 8), ("proj", 32)):
            name = f"blocks.{block}.{layer}.weight"
            assert record[name].intended_std == pytest.approx(
                cut / math.sqrt(fan_in) / math.sqrt(2 * (block + 1))
            )
            assert total[name].intended_std == pytest.approx(cut / math.sqrt(fan_in * 6))
        for layer in "qkv":
            assert record[f"blocks.{block}.{layer}.weight"].intended_std == pytest.approx(
                cut / math.sqrt(8)
            )
        assert record[f"blocks.{block}.fc.weight"].intended_std == pytest.approx(cut / math.sqrt(8))
    for name in ("tokens.weight", "positions.weight", "head.weight"):
        assert record[name].intended_std == pytest.approx(cut / math.sqrt(8))
    worst = max(
        (model.get_parameter(one.name).abs().max() / one.intended_std).item()
        for one in record
        if one.intended_std and one.role == "weight"
    )
    assert worst <= 3 / cut + 1e-5


@every_case
def test_a_network_of_zeros_and_ones_is_the_identity_of_its_stream_and_puts_out_zero(
    make: Any, batch: torch.Tensor, branches: int
) -> None:
    model = make()
    record = fanin.initialize(model, "zero_one", seed=0, batch=batch)
    writers = list_writers(record)
    assert len(writers) == branches
    for name in writers:
        assert record[name].rule == "zero"
        assert not model.get_parameter(name).any()
    if hasattr(model, "head"):
        assert not model.eval()(batch).any()


def test_the_seed_changes_nothing_of_zero_one_but_the_embeddings() -> None:
    one, other = make_language(), make_language()
    fanin.initialize(one, "zero_one", seed=0, batch=tokens())
    fanin.initialize(other, "zero_one", seed=1, batch=tokens())
    differing = [
        name
        for name, weight in one.named_parameters()
        if not torch.equal(weight, other.get_parameter(name))
    ]
    assert differing == ["tokens.weight", "positions.weight"]


@pytest.mark.parametrize("spec", ["zero_one", "idinit"])
def test_every_parameter_of_a_residual_network_learns_by_the_third_step(spec: str) -> None:
    """Zero in the readout and at the ends of branches keeps gradients back for two steps only."""
    model, batch = make_images(), draw(4, 3, 6, 6)
    fanin.initialize(model, spec, seed=0, batch=batch)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    assert [name for name, one in model.named_parameters() if torch.equal(one, before[name])] == []


@every_case
def test_idinit_nearly_keeps_the_stream_and_leaves_no_unit_dead(
    make: Any, batch: torch.Tensor, branches: int
) -> None:
    model = make()
    record = fanin.initialize(model, "idinit", seed=0, batch=batch)
    writers = list_writers(record)
    assert len(writers) == branches
    for one in record:
        if one.role == "weight":
            weight = model.get_parameter(one.name)
            assert weight.flatten(1).any(1).all()
            size = weight[weight != 0].abs().mean().item()
            assert size == pytest.approx(1e-6 if one.name in writers else 1.0, rel=0.5)


@pytest.mark.parametrize(
    "spec", ["gpt2", "bert", "mitchell", "zero_one", "idinit", "mup(base=8)", "mimetic"]
)
def test_low_precision_and_the_device_meta_get_the_same_numbers(spec: str) -> None:
    reference = make_encoder()
    fanin.initialize(reference, spec, seed=3, batch=draw(2, 5, 16))
    half = make_encoder().to(torch.bfloat16)
    fanin.initialize(half, spec, seed=3, batch=draw(2, 5, 16).to(torch.bfloat16))
    for name, one in half.named_parameters():
        assert torch.equal(one, reference.get_parameter(name).to(torch.bfloat16)), name
    with seeds.preserve_torch_state(0), torch.device("meta"):
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        empty = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    fanin.initialize(empty, spec, seed=3, batch=draw(2, 5, 16).to("meta"), device="cpu")
    for name, one in empty.named_parameters():
        assert torch.equal(one, reference.get_parameter(name)), name


@pytest.mark.parametrize(
    "spec",
    [
        "gpt2(std=-1.0)",
        "bert(std=-1.0)",
        "mitchell(gain=0.0)",
        "mitchell(depth=all)",
        "zero_one(gain=-1.0)",
        "idinit(tau=-1.0)",
        "idinit(epsilon=-1.0)",
        "idinit(noise=-1.0)",
        "mimetic(alpha_qk=-1.0)",
        "mimetic(std=-1.0)",
        "mimetic(signs=audio)",
        "mup(base=0)",
        "mup(base=8, std=-1.0)",
        "mup(base=8, optimizer=lion)",
        "mup(base=8, base_head_dim=0)",
        "complete_p(base=8, base_depth=0)",
        "complete_p(base=8)",
        "weight_selection(source='larger.pt')",
        "weight_selection(source='a.safetensors', layers=last)",
    ],
)
def test_an_option_out_of_range_is_a_spec_error(spec: str) -> None:
    with pytest.raises(SpecError):
        fanin.get(spec)
