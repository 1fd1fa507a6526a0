"""Values that a model sets on purpose stay, and the record names them; ordinary ones do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fanin
from fanin.errors import UnfilledWarning

pytestmark = pytest.mark.usefixtures("draws_globally")


class LowRank(nn.Module):
    """LoRA on a linear layer: B is zero, so that training begins at the layer's own output."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(64, 64)
        self.lora_A = nn.Linear(64, 4, bias=False)
        self.lora_B = nn.Linear(4, 64, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.lora_B(self.lora_A(x))
        return out


def make_gated() -> nn.Module:
    """Layers whose start depends on constants that the model sets."""
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(16, 16),
            "other": nn.Linear(16, 16),
            "third": nn.Linear(16, 16),
            "gamma": nn.BatchNorm1d(16),
            "norm": nn.LayerNorm(16),
            "gate": nn.Linear(16, 16),
            "offsets": nn.Linear(16, 8),
            "lstm": nn.LSTM(4, 5),
            "dt": nn.Linear(4, 32),
            "prior": nn.Linear(16, 9),
            "sines": nn.Embedding(12, 8),
            "kernel": nn.Conv2d(4, 4, 3, groups=1, bias=False),
        }
    )
    with torch.no_grad():
        model["gamma"].weight.zero_()
        model["gate"].bias.fill_(-2.0)
        model["offsets"].weight.zero_()
        model["offsets"].bias.copy_(torch.linspace(-1, 1, 8))
        model["lstm"].bias_ih_l0[5:10] = 1.0
        model["dt"].bias.copy_(torch.linspace(-6.9, -2.3, 32))
        model["prior"].bias.fill_(-4.6)
        angles = torch.arange(12)[:, None] / 100 ** (torch.arange(4) / 4)
        model["sines"].weight.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))
        nn.init.dirac_(model["kernel"].weight)
    return model


SPECIAL = {
    "gamma.weight": "constant 0",
    "gate.bias": "constant -2",
    "offsets.weight": "all 0",
    "offsets.bias": "beside offsets.weight, which is all 0",
    "lstm.bias_ih_l0": "constant 1 in f",
    "dt.bias": "from -6.9 to -2.3",
    "prior.bias": "constant -4.6",
    "sines.weight": "a table of sines",
    "kernel.weight": "an identity",
}


@pytest.mark.parametrize("rule", ["he_normal", "torch_default"])
def test_what_the_model_sets_stays_and_is_named(rule: str) -> None:
    model = make_gated()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = fanin.initialize(model, rule, seed=0)
    kept = {one.name: one.reason for one in record if one.rule is None}
    assert kept == {name: f"special: {text}, set by the model" for name, text in SPECIAL.items()}
    for name in SPECIAL:
        assert torch.equal(model.get_parameter(name), before[name])
    assert "special='overwrite' fills them" in str(record)


def test_overwrite_fills_everything() -> None:
    record = fanin.initialize(make_gated(), "he_normal", special="overwrite", seed=0)
    assert all(one.rule is not None for one in record)


def test_a_rule_that_names_a_parameter_fills_it() -> None:
    model = make_gated()
    fanin.initialize(
        model, {"offsets.weight": "he_normal"}, default="he_normal", biases="zero", seed=0
    )
    assert model["offsets"].weight.any()
    assert not model["gate"].bias.any()  # a rule for all biases names them too


def test_the_output_of_a_low_rank_update_stays_the_base_layers() -> None:
    model, x = LowRank(), torch.randn(3, 64)
    record = fanin.initialize(model, "he_normal", seed=0)
    assert record["lora_B.weight"].rule is None
    assert torch.equal(model(x), model.base(x))


def test_a_model_that_was_never_initialized_has_nothing_special() -> None:
    zeros = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    for parameter in zeros.parameters():
        nn.init.zeros_(parameter)
    assert all(one.rule for one in fanin.initialize(zeros, "he_normal", seed=0))
    partly = make_gated()
    with torch.no_grad():
        partly["linear"].weight[0, 0] = math.inf  # memory that was never filled
    assert fanin.initialize(partly, "he_normal", seed=0)["gate.bias"].rule == "zero"


def test_what_fanin_wrote_is_not_the_models_own() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    fanin.initialize(model, {"0.weight": "zero"}, default="he_normal", seed=0)
    assert fanin.initialize(model, "he_normal", seed=1)["0.weight"].rule == "he_normal"


def test_a_trained_model_is_initialized_anew_whole() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        x = torch.randn(64, 8, generator=generator)
        loss = (model(x) - x[:, :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(one.rule for one in fanin.initialize(model, "he_normal", seed=0))


def test_the_record_says_what_was_there_before() -> None:
    model = nn.Sequential(nn.Linear(400, 300), nn.LayerNorm(300))
    record = fanin.initialize(model, "he_normal", seed=0)
    before = record["0.weight"].before
    assert before is not None
    # n = 120,000; torch's default is uniform within ±1/√400.
    assert before.std == pytest.approx(0.05 / math.sqrt(3), rel=0.02)
    assert before.mean == pytest.approx(0, abs=5e-4)
    assert before.constant is None
    assert record["1.weight"].before is not None
    assert record["1.weight"].before.constant == 1
    assert "before  mean" in str(record["0.weight"])
    assert record.to_json()["parameters"][1]["before"]["filled"] is True


def test_memory_that_nobody_filled_and_no_rule_fills_is_named() -> None:
    class Transitions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(50, 50)
            self.start = nn.Parameter(torch.full((3,), 1e30))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x)
            return out

    record = fanin.initialize(Transitions(), "he_normal", seed=0)
    assert "1 hold memory that nobody ever filled, and no rule fills them:" in str(record)


def test_numbers_are_counted_beside_names() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.PReLU())
    text = str(fanin.initialize(model, "he_normal", seed=0))
    assert "2 of 3 parameters filled, 99.9 % of the numbers; seed 0" in text


def test_a_model_of_which_little_is_known_is_a_warning_and_strictly_an_error() -> None:
    class Unseen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = nn.Parameter(torch.randn(4, 9, 7))
            self.head = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("not on this machine")

    model = Unseen()
    before = model.head.weight.clone()
    with pytest.raises(fanin.errors.FitError, match=r"(?s)95\.5 % of the numbers.*strict=True"):
        fanin.initialize(model, "he_normal", strict=True, seed=0)
    assert torch.equal(model.head.weight, before)
    text = "stack 4×9×7: a parameter of its own in Unseen"
    with pytest.warns(UnfilledWarning, match=text) as caught:
        fanin.initialize(model, "he_normal", seed=0)
    assert caught[0].filename == __file__  # the line that called it


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: _reshape(nn.Linear(8, 8), 3, 8), "Linear whose weight is 3×8, not 8×8"),
        (lambda: nn.PReLU(), "PReLU: no rule is about its weight"),
    ],
)
def test_kept_says_why_in_words_that_are_true(make: object, reason: str) -> None:
    model = nn.Sequential(make(), nn.Linear(90, 90))  # type: ignore[operator]
    assert fanin.initialize(model, "he_normal", seed=0)["0.weight"].reason == reason


def _reshape(layer: nn.Linear, *shape: int) -> nn.Linear:
    layer.weight = nn.Parameter(torch.randn(shape))
    return layer
