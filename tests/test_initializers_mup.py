"""mup and complete_p: against microsoft/mup's rules, and forms that must train alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from model_level_cases import expect_unchanged, make_language
from torch import Tensor, nn
from width_cases import draw, make_gpt2, make_images, make_perceptron, needs_transformers, tokens

import fanin
from fanin import seeds
from fanin.errors import FitError


class Net(nn.Module):
    """Embedding and a layer that reads the input, one residual branch, a readout."""

    def __init__(self, width: int, divisor: float = 1.0) -> None:
        super().__init__()
        self.emb, self.stem = nn.Embedding(11, width), nn.Linear(5, width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)
        self.divisor = divisor

    def forward(self, i: Tensor, x: Tensor) -> Tensor:
        h = self.emb(i) + self.stem(x)
        h = h + self.down(torch.relu(self.up(self.norm(h))))
        y: Tensor = self.head(h / self.divisor)
        return y


def make_net(width: int = 64, divisor: float = 1.0) -> Net:
    with seeds.preserve_torch_state(0):
        return Net(width, divisor)


BATCH = (torch.tensor([0, 3, 5, 7]), draw(4, 5))

# What mup 1.0.0's MuAdamW and MuSGD gave for this network with base width 16 and width 64, lr = 1
# and weight decay = 1, its readout a MuReadout: (learning rate, weight decay).
MUP = {
    "adam": {"up.weight": (0.25, 4.0), "down.weight": (0.25, 4.0)},
    "sgd": dict.fromkeys(
        [
            *("emb.weight", "stem.weight", "stem.bias", "up.bias", "down.bias"),
            *("norm.weight", "norm.bias", "head.weight"),
        ],
        (4.0, 0.25),
    ),
}


def list_rates(record: fanin.Record, model: nn.Module) -> dict[str, tuple[float, float]]:
    return {
        name: (group["lr"], group["weight_decay"])
        for group in record.param_groups(1.0, weight_decay=1.0, model=model)
        for name in group["param_names"]
    }


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_form_with_a_multiplier_has_the_rates_of_microsofts_package(optimizer: str) -> None:
    model = make_net()
    record = fanin.initialize(
        model, f"mup(base=16, optimizer={optimizer}, readout=multiplier)", seed=0, batch=BATCH
    )
    wanted = {name: MUP[optimizer].get(name, (1.0, 1.0)) for name, _ in model.named_parameters()}
    assert list_rates(record, model) == wanted
    assert [one.what for one in record.requires] == ["readout multiplier"]
    assert "head(x / 4)" in record.requires[0].change
    assert record.requires[0].met is None


def test_standard_deviations_are_the_base_models_and_what_the_width_makes_of_them() -> None:
    for width in (16, 64):
        multiple = width / 16
        record = fanin.initialize(make_net(width), "mup(base=16)", seed=0, batch=BATCH)
        assert record["emb.weight"].intended_std == 1
        assert record["stem.weight"].intended_std == pytest.approx(1 / math.sqrt(5))
        assert record["up.weight"].intended_std == pytest.approx(1 / math.sqrt(width))
        assert record["down.weight"].intended_std == pytest.approx(1 / math.sqrt(3 * width))
        assert record["head.weight"].intended_std == pytest.approx(1 / math.sqrt(16) / multiple)
        fixed = fanin.initialize(make_net(width), "mup(base=16, std=0.02)", seed=0, batch=BATCH)
        for name, power in (("emb", 0), ("stem", 0), ("up", 0.5), ("down", 0.5), ("head", 1)):
            assert fixed[f"{name}.weight"].intended_std == pytest.approx(0.02 / multiple**power)
    zero = fanin.initialize(make_net(), "mup(base=16, readout=zero)", seed=0, batch=BATCH)
    assert zero["head.weight"].rule == "zero"


def train(
    model: nn.Module, record: fanin.Record, kind: Callable[..., Any], batch: Any, steps: int = 5
) -> list[float]:
    """The losses of some steps in fp64."""
    optimizer = kind(record.param_groups(0.05, weight_decay=0.1))
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(*batch)
        loss = F.cross_entropy(output.flatten(0, -2), torch.arange(output[..., 0].numel()) % 3)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def adamw(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, eps=1e-30)


@pytest.mark.parametrize(
    ("kind", "optimizer"), [(torch.optim.SGD, "sgd"), (adamw, "adam")], ids=["sgd", "adamw"]
)
def test_a_small_readout_trains_as_one_with_a_multiplier(
    kind: Callable[..., Any], optimizer: str
) -> None:
    """The default needs no change of the model, and is the same training step by step. Without the
    rates it is not.
    """
    plain, divided = make_net().double(), make_net(divisor=4.0).double()
    batch = (BATCH[0], BATCH[1].double())
    spec = f"mup(base=16, optimizer={optimizer}"
    small = fanin.initialize(plain, f"{spec})", seed=0, batch=batch)
    other = fanin.initialize(divided, f"{spec}, readout=multiplier)", seed=0, batch=batch)
    losses = train(divided, other, kind, batch)
    assert train(plain, small, kind, batch) == pytest.approx(losses, rel=1e-9)
    assert losses[-1] < losses[0]
    fanin.initialize(plain, f"{spec})", seed=0, batch=batch)
    unscaled = dataclasses.replace(small, multipliers={})
    assert train(plain, unscaled, kind, batch) != pytest.approx(losses, rel=1e-3)


class Deep(nn.Module):
    """Residual branches whose outputs are divided by a number."""

    def __init__(self, depth: int, divisor: float = 1.0) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, 16), nn.Linear(16, 3)
        self.up = nn.ModuleList(nn.Linear(16, 32) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(32, 16) for _ in range(depth))
        self.divisor = divisor

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            h = h + down(torch.relu(up(h))) / self.divisor
        y: Tensor = self.head(h)
        return y


def make_deep(depth: int, divisor: float = 1.0) -> Deep:
    with seeds.preserve_torch_state(0):
        return Deep(depth, divisor).double()


def test_branches_that_hold_their_factor_train_as_branches_that_are_multiplied() -> None:
    batch = (draw(6, 5).double(),)
    spec = "complete_p(base=8, base_depth=2"
    folded, multiplied = make_deep(8), make_deep(8, divisor=4.0)
    one = fanin.initialize(folded, f"{spec})", seed=0, batch=batch)
    other = fanin.initialize(multiplied, f"{spec}, branch=multiplier)", seed=0, batch=batch)
    assert one.requires == ()
    (required,) = other.requires
    assert required.what == "branch multiplier"
    assert "x + f(x) / 4" in required.change
    assert required.where == tuple(f"down.{n}" for n in range(8))
    losses = train(multiplied, other, adamw, batch)
    assert train(folded, one, adamw, batch) == pytest.approx(losses, rel=1e-9)
    assert losses[-1] < losses[0]
    plain = make_deep(8)
    fanin.initialize(plain, "mup(base=8)", seed=0, batch=batch)
    record = fanin.initialize(plain, "mup(base=8)", seed=0, batch=batch)
    assert train(plain, record, adamw, batch) != pytest.approx(losses, rel=1e-3)


def test_complete_p_divides_what_ends_a_branch_by_the_depth_and_leaves_the_rest_to_mup() -> None:
    batch = (draw(6, 5).double(),)
    model = make_deep(8)
    deep = fanin.initialize(model, "complete_p(base=8, base_depth=2)", seed=0, batch=batch)
    wide = fanin.initialize(model, "mup(base=8)", seed=0, batch=batch)
    rates, base = list_rates(deep, model), list_rates(wide, model)
    for name, (rate, decay) in base.items():
        deeper = 4 if name.startswith("down") else 1
        assert rates[name] == (rate / deeper, pytest.approx(decay * deeper))
        if name.endswith("weight"):
            assert deep[name].intended_std == pytest.approx(wide[name].intended_std / deeper)


class SubNorm(nn.Module):
    """Branches that end with a normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + norm(layer(x))
        y: Tensor = self.head(x)
        return y


def test_branches_that_end_with_a_normalization_cannot_hold_the_factor() -> None:
    with seeds.preserve_torch_state(0):
        model = SubNorm()
    batch = draw(4, 8)
    with expect_unchanged(model), pytest.raises(FitError, match="branch=multiplier"):
        fanin.initialize(model, "complete_p(base=8, base_depth=1)", seed=0, batch=batch)
    fanin.initialize(model, "complete_p(base=8, base_depth=3)", seed=0, batch=batch)
    record = fanin.initialize(
        model, "complete_p(base=8, base_depth=1, branch=multiplier)", seed=0, batch=batch
    )
    assert "/ 3" in record.requires[0].change


@needs_transformers
def test_gpt2_keeps_its_tied_table_and_asks_for_two_changes() -> None:
    model = make_gpt2(width=64)
    record = fanin.initialize(
        model,
        "mup(base=32, std=0.02, base_head_dim=8)",
        seed=0,
        batch={"input_ids": tokens()},
    )
    assert record["transformer.wte.weight"].intended_std == pytest.approx(0.02)
    assert record["transformer.h.0.attn.c_attn.weight"].intended_std == pytest.approx(
        0.02 / math.sqrt(2)
    )
    what = {one.what: one.change for one in record.requires}
    assert set(what) == {"readout multiplier", "attention scale"}
    assert "lm_head(x / 2)" in what["readout multiplier"]
    assert "scale=0.176777" in what["attention scale"]  # √8/16
    rates = list_rates(record, model)
    assert rates["transformer.wte.weight"] == (1.0, 1.0)
    assert rates["transformer.h.1.mlp.c_proj.weight"] == (0.5, 2.0)
    assert sum(rate == 0.5 for rate, _ in rates.values()) == 12


def test_heads_of_the_base_width_need_no_other_scale() -> None:
    record = fanin.initialize(
        make_language(), "mup(base=4, base_head_dim=8)", seed=0, batch=tokens()
    )
    assert record.requires == ()
    record = fanin.initialize(make_language(), "mup(base=4)", seed=0, batch=tokens())
    assert [one.what for one in record.requires] == ["attention scale"]


def test_a_stem_is_an_input_a_grouped_kernel_hidden_and_a_depthwise_one_an_input() -> None:
    images = make_images(16)
    record = fanin.initialize(images, "mup(base=8)", seed=0, batch=draw(2, 3, 6, 6))
    rates = list_rates(record, images)
    assert rates["stem.weight"][0] == 1
    assert rates["blocks.0.two.weight"][0] == rates["blocks.0.four.weight"][0] == 0.5
    assert rates["head.weight"][0] == 0.5
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(
            nn.Conv1d(3, 16, 1), nn.Conv1d(16, 16, 3, groups=16), nn.Flatten(), nn.Linear(16, 4)
        )
    record = fanin.initialize(model, "mup(base=8)", seed=0, batch=draw(2, 3, 3))
    assert list_rates(record, model)["1.weight"][0] == 1
    assert record["1.weight"].intended_std == pytest.approx(1 / math.sqrt(3))


def test_at_the_base_width_it_is_an_ordinary_start() -> None:
    model = make_perceptron(64)
    ordinary = fanin.initialize(model, "lecun_normal", seed=0)
    record = fanin.initialize(model, "mup(base=64)", seed=0)
    assert record.multipliers == {}
    assert record.requires == ()
    assert len(record.param_groups(0.1)) == 1
    for one in ordinary:
        assert record[one.name].intended_std == pytest.approx(one.intended_std)


def test_a_parametrized_weight_is_refused_unchanged() -> None:
    model = make_perceptron()
    with seeds.preserve_torch_state(0):
        nn.utils.parametrizations.weight_norm(model[2])
    with expect_unchanged(model), pytest.raises(FitError, match=r"2\.weight is set through"):
        fanin.initialize(model, "mup(base=16)", seed=0)


def test_a_model_without_readout_and_stream_has_no_width() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 4)

        def forward(self, i: Tensor) -> Tensor:
            y: Tensor = self.table(i)
            return y

    with seeds.preserve_torch_state(0):
        model = Nothing()
    with expect_unchanged(model), pytest.raises(FitError, match="no readout"):
        fanin.initialize(model, "mup(base=16)", seed=0)
