"""Layers and wrappers of other packages: PyTorch Geometric and peft, as they are installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo_cases
from torch import nn

import fanin
from fanin.apply import Record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("draws_globally"),
    pytest.mark.filterwarnings("ignore"),  # of the packages themselves
]

NODES, EDGES, SIZE, HIDDEN = 12, 40, 10, 6

FANS = {
    "GCNConv": {"lin.weight": (SIZE, HIDDEN)},
    "SAGEConv": {"lin_l.weight": (SIZE, HIDDEN), "lin_r.weight": (SIZE, HIDDEN)},
    "GraphConv": {"lin_rel.weight": (SIZE, HIDDEN), "lin_root.weight": (SIZE, HIDDEN)},
    "GATConv": {"lin.weight": (SIZE, HIDDEN), "att_src": (HIDDEN, 1), "att_dst": (HIDDEN, 1)},
    "GATv2Conv": {"lin_l.weight": (SIZE, HIDDEN), "att": (HIDDEN, 1)},
    "TransformerConv": {"lin_key.weight": (SIZE, HIDDEN), "lin_query.weight": (SIZE, HIDDEN)},
}
"""Fan-in and fan-out of the weights of each convolution from SIZE to HIDDEN features."""


@pytest.mark.parametrize("name", FANS)
def test_convolutions_of_graphs_have_their_fans(name: str) -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    layer = getattr(geometric, name)(SIZE, HIDDEN)
    record = fanin.initialize(layer, "he_normal", strict=True, seed=0)
    for weight, fans in FANS[name].items():
        assert (record[weight].fan_in, record[weight].fan_out) == fans, weight
    assert [one.name for one in record if one.rule is None] == []
    edges = torch.randint(0, NODES, (2, EDGES))
    assert layer(torch.randn(NODES, SIZE), edges).isfinite().all()


def test_relations_are_maps_of_their_own() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    record = fanin.initialize(geometric.RGCNConv(SIZE, HIDDEN, 3), "he_normal", seed=0)
    assert len(record["weight"].parts) == 3
    assert (record["weight"].fan_in, record["root"].fan_in) == (SIZE, SIZE)


def make_lora() -> tuple[Any, nn.Module]:
    peft = zoo_cases.import_beside_torchvision("peft")
    if peft is None:
        pytest.skip("peft is not installed: make test-zoo")
    base = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    config = peft.LoraConfig(target_modules=["0", "2"], r=4)
    return peft.get_peft_model(base, config), base


def test_lora_begins_at_the_output_of_its_base() -> None:
    model, _ = make_lora()
    x = torch.randn(3, 64)
    before = model(x)
    record: Record = fanin.initialize(model, "he_normal", seed=0)
    assert torch.equal(model(x), before)
    kept = {
        one.name.rpartition("lora_")[2][:1]: one.reason for one in record if "lora_" in one.name
    }
    assert kept["B"] == "special: all 0, set by the model"
    assert kept["A"].startswith("weight")
    assert {one.reason for one in record if "base_layer" in one.name} == {
        "frozen (requires_grad is False)"
    }


def test_the_wrapped_base_has_the_weights_of_the_bare_one() -> None:
    model, base = make_lora()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    bare = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    fanin.initialize(model, "he_normal", seed=7)
    fanin.initialize(bare, "he_normal", seed=7)
    assert torch.equal(base[0].base_layer.weight, bare[0].weight)
    assert torch.equal(base[2].base_layer.weight, bare[2].weight)
