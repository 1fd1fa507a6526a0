"""Packed maps that a plain Linear holds are found by one forward pass on a batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fanin

pytestmark = pytest.mark.usefixtures("draws_globally")

D, HEADS = 16, 4


class Attention(nn.Module):
    """One layer makes q, k and v: in blocks, by head, or by group with shared k and v."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        rows = D + 2 * D // HEADS * 2 if order == "grouped" else 3 * D
        self.qkv = nn.Linear(D, rows)
        self.proj = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        size = D // HEADS
        out = self.qkv(x)
        if self.order == "blocks":
            q, k, v = out.reshape(batch, length, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        elif self.order == "heads":
            q, k, v = out.reshape(batch, length, HEADS, 3, size).permute(3, 0, 2, 1, 4)
        else:
            groups = out.reshape(batch, length, 2, 4, size).permute(0, 2, 3, 1, 4)
            q = groups[:, :, :2].flatten(1, 2)
            k = groups[:, :, 2:3].expand(-1, -1, 2, -1, -1).flatten(1, 2)
            v = groups[:, :, 3:].expand(-1, -1, 2, -1, -1).flatten(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out = self.proj(mixed.transpose(1, 2).flatten(2))
        return x + out


X = torch.randn(2, 5, D)


@pytest.mark.parametrize(
    ("order", "shapes"),
    [
        ("blocks", {"q": (D, D), "k": (D, D), "v": (D, D)}),
        ("heads", {"q": (D, D), "k": (D, D), "v": (D, D)}),
        ("grouped", {"q": (D, D), "k": (D // 2, D), "v": (D // 2, D)}),
    ],
)
def test_q_k_and_v_are_told_apart(order: str, shapes: dict[str, tuple[int, int]]) -> None:
    model = Attention(order)
    record = fanin.initialize(model, "orthogonal", batch=X, seed=0)
    assert {part.name: part.shape for part in record["qkv.weight"].parts} == shapes
    assert record["qkv.weight"].reason == "weight of Linear, which packs q, k, v"
    assert record["proj.weight"].parts == ()
    divided = {"blocks": (1, 3 * D), "heads": (HEADS, 12), "grouped": (2, 16)}[order]
    first = {"blocks": D, "heads": 4, "grouped": 8}[order]
    q = model.qkv.weight.reshape(*divided, D)[:, :first].reshape(D, D)
    assert torch.allclose(q @ q.T, torch.eye(D), atol=1e-5)


def test_gate_and_up_projection_of_one_layer_are_two_maps() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.down = nn.Linear(D, 48), nn.Linear(24, D)

        def forward(self, x: Tensor) -> Tensor:
            gate, up = self.both(x).chunk(2, dim=-1)
            out: Tensor = x + self.down(F.silu(gate) * up)
            return out

    record = fanin.initialize(Gated(), "xavier_uniform", batch=X, seed=0)
    assert [(part.name, part.fan_out) for part in record["both.weight"].parts] == [
        ("gate", 24),
        ("up", 24),
    ]


def test_a_told_split_counts_and_without_a_batch_nothing_is_packed() -> None:
    told = fanin.initialize(Attention("blocks"), "he_normal", batch=X, split={"qkv.*": 2}, seed=0)
    assert [part.name for part in told["qkv.weight"].parts] == ["0", "1"]
    assert fanin.initialize(Attention("blocks"), "he_normal", seed=0)["qkv.weight"].parts == ()


def test_a_batch_that_the_model_does_not_take_packs_nothing() -> None:
    record = fanin.initialize(Attention("blocks"), "he_normal", batch=torch.randn(2, 3), seed=0)
    assert record["qkv.weight"].parts == ()


def test_looking_at_a_compiled_model_compiles_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    calls = []

    def compile_nothing(graph: torch.fx.GraphModule, _: object) -> object:
        calls.append(graph)
        return graph.forward

    model.compile(backend=compile_nothing)
    fanin.initialize(model, "he_normal", batch=torch.randn(3, 4), seed=0)
    assert calls == []
