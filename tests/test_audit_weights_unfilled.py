"""F016 and F017: parameters that were never filled, and parameters unlike their siblings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from audit_weight_cases import draw, draw_tokens, judge, make_mlp, pick
from combinations import for_each
from torch import Tensor, nn

from fanin import seeds

RUBBISH: dict[str, Callable[[Tensor], Any]] = {
    "bytes of text": lambda w: w.view(-1).copy_(
        torch.frombuffer(bytearray(range(256)) * w.numel(), dtype=torch.float32)[: w.numel()]
    ),
    "denormal numbers": lambda w: w.copy_(draw(*w.shape) * 1e-40),
    "zeros and a few pointers": lambda w: (
        w.zero_().view(-1)[:4].copy_(torch.tensor([4.6e-41, 1.2e-40, 0.0, 0.25]))
    ),
    "huge numbers": lambda w: w.copy_(draw(*w.shape) * 1e30),
    "not a number and huge": lambda w: w.fill_(torch.nan)[0, :2].copy_(torch.tensor([1e20, 2e-38])),
}


@for_each("name", RUBBISH)
def test_rubbish_is_found(name: str) -> None:
    model = make_mlp(16, 16, 16, 4)
    with torch.no_grad():
        RUBBISH[name](model[2].weight)  # type: ignore
    (finding,) = pick(judge(model, draw(4, 16)), "F016")
    assert (finding.severity, finding.where) == ("error", "2.weight")
    assert finding.patches[0].parameters == ("2.weight",)


MEANT: dict[str, Callable[[Tensor], Any]] = {
    "zeros": lambda w: w.zero_(),
    "tiny scales": lambda w: w.fill_(1e-6),
    "a forbidden transition": lambda w: w[0].fill_(-1e12),
    "minus infinity": lambda w: w[:, 0].fill_(-torch.inf),
    "dead units of a trained model": lambda w: w[:3].copy_(draw(3, 16) * 1e-41),
    "a pruned model": lambda w: w.mul_(draw(*w.shape).abs() > 1.5),
}


@for_each("name", MEANT)
def test_what_is_meant_is_no_rubbish(name: str) -> None:
    model = make_mlp(16, 16, 16, 4)
    with torch.no_grad():
        MEANT[name](model[2].weight)  # type: ignore
    assert pick(judge(model, draw(4, 16)), "F016") == []


class Language(nn.Module):
    """An embedding and a head."""

    @seeds.preserve_torch_state(0)
    def __init__(self, rows: int = 200, width: int = 16, padding: int | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, width, padding_idx=padding)
        self.head = nn.Linear(width, rows)
        nn.init.normal_(self.embedding.weight, std=0.02)
        if padding is not None:
            nn.init.zeros_(self.embedding.weight[padding])

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.head(self.embedding(tokens))
        return output


TOKENS = (200, 4, 6)

NEW_ROWS: dict[str, Callable[[Tensor], Any]] = {
    "zeros": lambda rows: rows.zero_(),
    "N(0, 1)": lambda rows: rows.copy_(draw(*rows.shape)),
    "much smaller": lambda rows: rows.mul_(0.01),
}


@for_each("name", NEW_ROWS)
@for_each("count", [8, 60])
@for_each("where", ["embedding", "head"])
def test_new_rows_that_nobody_initialized(name: str, count: int, where: str) -> None:
    model = Language()
    weight = getattr(model, where).weight
    with torch.no_grad():
        NEW_ROWS[name](weight[-count:])
    (finding,) = judge(model, draw_tokens(*TOKENS))
    assert (finding.code, finding.severity) == ("F016", "warning")
    assert finding.where == f"{where}.weight"
    assert finding.evidence["odd_rows"] == count
    (patch,) = finding.patches
    assert patch.rows == (200 - count, 200)


def test_new_rows_of_memory_that_nobody_filled() -> None:
    model = Language()
    with torch.no_grad():
        model.embedding.weight[-8:] = draw(8, 16) * 1e20
    (finding,) = pick(judge(model, draw_tokens(*TOKENS)), "F016")
    assert (finding.severity, finding.where) == ("error", "embedding.weight")
    (patch,) = finding.patches
    assert patch.rows == (192, 200)
    assert patch.initializer.startswith("normal(std=0.0")


def test_rows_that_are_meant() -> None:
    assert judge(Language(padding=0), draw_tokens(*TOKENS)) == []
    assert judge(Language(padding=199), draw_tokens(*TOKENS)) == []
    with torch.no_grad():
        model = Language()
        model.embedding.weight[0] = 0  # padding without a name
        assert judge(model, draw_tokens(*TOKENS)) == []
        old = model.embedding.weight[:-20] + 0.1
        model.embedding.weight[:-20] = old
        model.embedding.weight[-20:] = old.mean(0) + 0.001 * draw(20, 16)
        assert judge(model, draw_tokens(*TOKENS)) == []  # new tokens at the mean of the old ones


@for_each("seed", range(20))
def test_small_sound_tables_are_no_finding(seed: int) -> None:
    model = Language(20, 8)
    with seeds.preserve_torch_state(seed):
        nn.init.normal_(model.embedding.weight)
    assert judge(model, draw_tokens(20, 2, 3)) == []


def make_deep(count: int = 10) -> nn.Sequential:
    """Ten layers of one shape."""
    return make_mlp(8, *[24] * (count + 1), 4)


def test_a_layer_of_another_size_than_its_siblings() -> None:
    model = make_deep()
    with torch.no_grad():
        model[8].weight.mul_(3)  # type: ignore
    (finding,) = judge(model, draw(4, 8))
    assert (finding.code, finding.severity, finding.where) == ("F017", "warning", "8.weight")
    assert finding.patches[0].initializer.startswith("uniform(low=-0.2")


@for_each("value", [0.0, 1.0])
def test_a_constant_layer_among_drawn_ones(value: float) -> None:
    model = make_deep()
    nn.init.constant_(model[8].weight, value)  # type: ignore
    found = pick(judge(model, draw(4, 8)), "F017")
    assert [finding.where for finding in found] == ["8.weight"]


class Blocks(nn.Module):
    """Residual blocks with a normalization."""

    @seeds.preserve_torch_state(0)
    def __init__(self, count: int = 8) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x

    def get(self, block: int, layer: int) -> nn.Linear:
        """A layer of a block."""
        found = self.blocks[block][layer]  # type: ignore[index]
        assert isinstance(found, nn.Linear | nn.LayerNorm)
        return found  # type: ignore[return-value]


def test_a_block_that_was_forgotten_is_one_finding() -> None:
    model = Blocks()
    for layer in (1, 3):
        for block in range(8):
            nn.init.zeros_(model.get(block, layer).bias)
            if block != 5:
                std = 0.02
                with torch.no_grad():
                    model.get(block, layer).weight.copy_(
                        std
                        * seeds.standard_normal(
                            tuple(model.get(block, layer).weight.shape),
                            seeds.make_generator(0, "block", block, layer),
                        )
                    )
    nn.init.constant_(model.get(5, 1).bias, 0.5)
    (finding,) = judge(model, draw(4, 16))
    assert finding.code == "F017"
    assert set(finding.places) == {
        "blocks.5.1.weight",
        "blocks.5.1.bias",
        "blocks.5.3.weight",
    }


def test_one_norm_scale_that_was_drawn() -> None:
    model = Blocks()
    with torch.no_grad():
        model.get(2, 0).weight.copy_(0.02 * draw(16))
    (finding,) = judge(model, draw(4, 16))
    assert (finding.code, finding.where) == ("F017", "blocks.2.0.weight")
    assert (finding.patches[0].operation, finding.patches[0].value) == ("set", 1.0)


SCHEDULES: dict[str, Callable[[int], float]] = {
    "1/√l": lambda block: 1 / (1 + block) ** 0.5,
    "1/l": lambda block: 1 / (1 + block),
    "2^-l": lambda block: 2.0**-block,
    "every fourth": lambda block: 0.1 if block % 4 == 3 else 1.0,
    "halves": lambda block: 0.1 if block >= 4 else 1.0,
    "noise of 20 %": lambda block: (1.2, 0.8, 1.1, 0.9, 1.3, 1.0, 0.85, 1.15)[block],
}


@for_each("name", SCHEDULES)
def test_scales_that_change_with_depth_are_meant(name: str) -> None:
    model = Blocks()
    with torch.no_grad():
        for block in range(8):
            model.get(block, 3).weight.mul_(SCHEDULES[name](block))
            model.get(block, 0).weight.fill_(SCHEDULES[name](block))
    assert judge(model, draw(4, 16)) == []


@for_each("seed", range(20))
def test_small_siblings_differ_by_chance(seed: int) -> None:
    with seeds.preserve_torch_state(seed):
        model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(40)))
    assert judge(model, draw(4, 3)) == []
