"""What becomes of signals and gradients on their way: judged where it happens, and once."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.diagnosis.finding import Finding


def build(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with seeds.preserve_torch_state(seed):
        return make()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return seeds.standard_normal(shape, seeds.make_generator(seed, "test"))


X = draw(64, 32)
Y = torch.arange(64) % 3


def list_serious(model: nn.Module, batch: Tensor = X, target: Tensor = Y) -> list[Finding]:
    found = fanin.audit(model, batch, target=target).findings
    return [one for one in found if one.severity != "note"]


# --- F011: a step behind which all samples are alike


class Centred(nn.Module):
    """A normalization of one number, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(32, 1), nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head((h - h.mean(-1, keepdim=True)) / (1e-5 + h.std(-1, correction=0)[:, None]))


class Called(Centred):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.layer_norm(self.first(x), (1,)))


class Grouped(nn.Module):
    """As many groups as channels, of one place each: what is left is rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 8, 32), nn.GroupNorm(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(x[:, None]))).flatten(1))


LOST = {
    "before the head": (
        lambda: nn.Sequential(
            nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1), nn.LayerNorm(1), nn.Linear(1, 3)
        ),
        "3",
    ),
    "a softmax of one number": (
        lambda: nn.Sequential(nn.Linear(32, 1), nn.Softmax(-1), nn.Linear(1, 3)),
        "1",
    ),
    "as a function": (Called, ""),
    "by hand": (Centred, ""),
    "groups of one": (Grouped, "norm"),
}


@for_each("name", list(LOST))
def test_a_step_that_makes_all_samples_alike_is_named(name: str) -> None:
    make, place = LOST[name]
    (found,) = list_serious(build(make))
    assert (found.code, found.severity, found.where) == ("F011", "error", place)


def test_a_normalized_output_of_one_number_is_an_error() -> None:
    model = build(lambda: nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1)))
    model.append(nn.LayerNorm(1))  # type: ignore[operator]
    (found,) = list_serious(model, X, draw(64, 1, seed=1))
    assert (found.code, found.severity, found.where) == ("F011", "error", "3")


class Branch(nn.Module):
    """A branch that is lost, beside a way on."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(32, 16), nn.Linear(16, 3)
        self.norm, self.inner = nn.LayerNorm(features), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        normal = self.norm(h.reshape(len(h), -1, *self.norm.normalized_shape)).flatten(1)
        return self.head(h + self.inner(normal))


def test_a_lost_branch_is_a_warning() -> None:
    found = [one for one in list_serious(build(Branch)) if one.code == "F011"]
    assert [(one.severity, one.where) for one in found] == [("warning", "norm")]
    assert list_serious(build(lambda: Branch(16))) == []


class Gated(nn.Module):
    """Zeros that are meant: a gate, a normalization's weight, the difference of twins."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(32, 16), nn.Linear(32, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)
        self.twin = nn.Linear(32, 16)
        self.twin.load_state_dict(self.first.state_dict())
        for parameter in (*self.gate.parameters(), self.norm.weight):
            nn.init.zeros_(parameter)
        self.twin.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        difference = self.first(x) - self.twin(x)
        return self.head(h * self.gate(x) + self.norm(h) + difference)


def test_zeros_that_are_meant_lose_nothing() -> None:
    assert [one.code for one in list_serious(build(Gated))] == []


# --- F045: a causal model that shifts its labels itself


class LanguageModel(nn.Module):
    """Labels in the batch; its own loss compares each output with the label after it, or, as a
    masked language model, with the one in its place.
    """

    def __init__(self, *, causal: bool, shifted: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.causal, self.shifted = causal, shifted

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        hidden_from = torch.ones(12, 12).triu(1).bool() if self.causal else None
        logits = self.head(self.layer(self.table(input_ids), src_mask=hidden_from))
        given, wanted = logits, labels
        if self.shifted:
            given, wanted = logits[:, :-1], labels[:, 1:]
        loss = F.cross_entropy(given.flatten(0, 1), wanted.flatten(), ignore_index=-100)
        return {"loss": loss, "logits": logits}


TOKENS = torch.arange(96).reshape(8, 12) * 7 % 20


@for_each("causal", [True, False])
@for_each("shifted", [True, False])
def test_labels_that_the_model_shifts_show_a_leak(causal: bool, shifted: bool) -> None:
    model = build(lambda: LanguageModel(causal=causal, shifted=shifted))
    labels = TOKENS.clone()
    labels[:, :2] = -100
    found = fanin.audit(model, {"input_ids": TOKENS, "labels": labels})
    assert [one.code for one in found.errors] == (["F045"] if shifted and not causal else [])


# --- drift and phases: one mistake, one place


def stack(depth: int, gain: float, *, head: float | None = None, act: type = nn.Tanh) -> nn.Module:
    """Hidden weights of gain/√fan-in; the head is torch's, or of this standard deviation."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layer = nn.Linear(64 if index else 32, 64)
        nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, act()]
    last = nn.Linear(64, 3)
    if head is not None:
        nn.init.normal_(last.weight, std=head)
    return nn.Sequential(*layers, last)


def test_biases_that_make_all_inputs_alike_are_one_finding() -> None:
    def make() -> nn.Module:
        model = stack(24, 1.0)
        for layer in model.children():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.bias, std=0.7)
        return model

    (found,) = list_serious(build(make))
    assert found.code == "F008"
    assert "F010" in str(found.evidence["seen too"])
    assert [one.operation for one in found.patches] == ["initialize", "set"]


@for_each("head", [None, 0.01, 0.17])
def test_a_head_of_its_own_rule_does_not_hide_chaos(head: float | None) -> None:
    found = list_serious(build(lambda: stack(20, 2.5, head=head)))
    assert [(one.code, one.where, len(one.places)) for one in found] == [("F009", "0", 20)]
    (patch,) = found[0].patches
    assert "38.weight" in patch.parameters  # the last hidden layer; the head stays
    assert "40.weight" not in patch.parameters


def test_a_small_head_alone_takes_no_gradients_away() -> None:
    found = list_serious(build(lambda: stack(4, 2**0.5, head=1e-4, act=nn.ReLU)))
    assert {one.code for one in found}.isdisjoint({"F004", "F006", "F008", "F010"})


def test_a_bias_of_the_head_does_not_hide_a_signal_that_vanished() -> None:
    found = list_serious(build(lambda: stack(6, 0.3, act=nn.ReLU)))
    assert [one.code for one in found] == ["F004", "F028"]
    assert found[0].severity == "error"
    assert found[0].evidence["ratio"] < 1e-4  # type: ignore[operator]
    assert found[0].evidence["rms at the end"] > 0.01  # type: ignore[operator]
    assert set(str(found[0].evidence["seen too"]).split(", ")) <= {"F006", "F008", "F010"}


def make_normalized(depth: int, *, act: type = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(64 if index else 32, 64), nn.BatchNorm1d(64), act()]
    return nn.Sequential(*layers, nn.Linear(64, 3))


def test_gradients_that_explode_between_normalizations_are_seen() -> None:
    (found,) = list_serious(build(lambda: make_normalized(50)))
    assert (found.code, found.where) == ("F007", "0")
    assert 1.15 < found.evidence["growth per layer"] < 1.3  # type: ignore[operator]
    assert list_serious(build(lambda: make_normalized(12))) == []
    assert list_serious(build(lambda: make_normalized(50, act=nn.Identity))) == []


# --- F025, F038


def make_depthwise(channels: int, blocks: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3), nn.ReLU()]
    for _ in range(blocks):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.ReLU()]
        layers += [nn.Conv2d(channels, channels, 1), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


@for_each("channels", [8, 16, 32])
def test_small_depthwise_kernels_are_judged_together(channels: int) -> None:
    model = build(lambda: make_depthwise(channels, 4))
    found = list_serious(model, draw(16, 3, 12, 12), torch.arange(16) % 3)
    places = {one.code: one.places for one in found}
    assert places["F025"] == ("2.weight", "6.weight", "10.weight", "14.weight")
    assert "F028" not in places  # it would blame the same weights


RARE = (torch.arange(64) % 16 == 0).float()


@for_each("flat", [True, False])
def test_one_logit_is_told_its_prior(flat: bool) -> None:
    model = build(lambda: nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1)))
    assert isinstance(model, nn.Sequential)
    head, target = model[2], RARE[:, None]
    if flat:
        model.append(nn.Flatten(0))
        target = RARE
    loss = nn.BCEWithLogitsLoss()
    found = fanin.audit(model, X, target=target, loss=loss).findings
    (prior,) = [one for one in found if one.code == "F038"]
    (patch,) = prior.patches
    share = float(RARE.mean())
    assert patch.value == pytest.approx([math.log(share / (1 - share))], abs=0.2)
    nn.init.constant_(head.bias, patch.value[0])  # type: ignore[arg-type, index]
    again = fanin.audit(model, X, target=target, loss=loss).findings
    assert "F038" not in [one.code for one in again]


class Blocks(nn.Module):
    """Three plain layers behind each normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(32),
                *(part for _ in range(3) for part in (nn.Linear(32, 32), nn.ReLU())),
            )
            for _ in range(4)
        )
        self.head = nn.Linear(32, 3)
        for block in self.blocks:
            for layer in block.children():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_wrong_gains_of_many_blocks_are_one_finding() -> None:
    (found,) = [one for one in list_serious(build(Blocks)) if one.code == "F028"]
    assert len(found.places) == 12
    assert "3 more such paths" in found.summary
    (patch,) = found.patches
    assert set(patch.parameters) == set(found.places)


def test_four_numbers_of_a_unit_do_not_show_that_it_is_off() -> None:
    model = build(lambda: nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)))
    with torch.no_grad():
        model[0].bias.copy_(torch.where(torch.arange(32) < 20, -5.0, 0.0))  # type: ignore[index, union-attr]
    assert "F002" in [one.code for one in list_serious(model)]
    assert "F002" not in [one.code for one in list_serious(model, X[:4], Y[:4])]
