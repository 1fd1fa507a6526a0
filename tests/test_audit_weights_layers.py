"""F014 and F015: layers that are copies, and layers drawn from the same random numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from audit_weight_cases import draw, draw_tokens, judge, make_mlp, pick
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.diagnosis.findings.drawn_numbers import describe_draw, is_random


@seeds.preserve_torch_state(0)
def make_encoder(layers: int = 4) -> nn.Module:
    """torch's encoder, which copies its layers."""
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), layers)


def test_copied_encoder_layers_are_one_finding_with_a_remedy() -> None:
    model = make_encoder()
    (finding,) = judge(model, draw(2, 5, 16))
    assert (finding.code, finding.severity) == ("F014", "warning")
    assert finding.places == ("layers.1", "layers.2", "layers.3")
    assert finding.evidence["copies"] == 4
    for patch in finding.patches:
        rules = dict.fromkeys(patch.parameters, patch.initializer)
        fanin.initialize(model, rules, default="keep", only=patch.parameters, seed=0)
    assert judge(model, draw(2, 5, 16)) == []
    assert not torch.equal(model.layers[0].linear1.bias, model.layers[1].linear1.bias)  # type: ignore


def test_encoder_layers_that_were_made_one_by_one_are_sound() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(
            *(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(4))
        )
    assert judge(model, draw(2, 5, 16)) == []


class Twins(nn.Module):
    """Two networks side by side, the second a copy."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.online = make_mlp(8, 16, 8)
        self.target = copy.deepcopy(self.online)
        self.target.requires_grad_(requires_grad=not frozen)
        with seeds.preserve_torch_state(1):
            self.predictor = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictor(self.online(x)), self.target(x)


def test_a_frozen_copy_is_a_target_network_and_a_trained_one_a_twin() -> None:
    (finding,) = judge(Twins(frozen=True), draw(4, 8))
    assert (finding.code, finding.severity, finding.where) == ("F014", "note", "target")
    assert finding.patches == ()
    (finding,) = judge(Twins(frozen=False), draw(4, 8))
    assert (finding.code, finding.severity, finding.where) == ("F014", "warning", "target")


class Experts(nn.Module):
    """Maps that are stacked in one parameter."""

    @seeds.preserve_torch_state(0)
    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Parameter(0.3 * torch.randn(4, 8, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(torch.einsum("bi,eio->beo", x, self.maps).relu().sum(1))
        return output


def test_equal_experts_of_a_stack() -> None:
    model = Experts()
    assert judge(model, draw(4, 8)) == []
    with torch.no_grad():
        model.maps[2] = model.maps[0].clone()
    (finding,) = judge(model, draw(4, 8))
    assert (finding.code, finding.severity, finding.where) == ("F014", "warning", "maps")
    assert finding.evidence["equal_maps"] == 2


def test_copies_in_every_block_are_one_finding() -> None:
    with seeds.preserve_torch_state(0):
        blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(3)]
        model = nn.Sequential(*blocks)
    for block in blocks:
        block[2].load_state_dict(block[0].state_dict())
    (finding,) = judge(model, draw(4, 8))
    assert (finding.code, finding.places) == ("F014", ("0.2", "1.2", "2.2"))
    assert finding.evidence["sets"] == 3
    assert {name for patch in finding.patches for name in patch.parameters} == {
        f"{block}.2.{name}" for block in range(3) for name in ("weight", "bias")
    }


class SharedEnds(nn.Module):
    """An embedding and a head of the same numbers, tied or not."""

    @seeds.preserve_torch_state(0)
    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        else:
            with torch.no_grad():
                self.head.weight.copy_(self.embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.head(self.embedding(tokens))
        return output


def test_tied_weights_are_none_and_a_head_copied_from_the_embedding_is_a_note() -> None:
    tokens = draw_tokens(50, 2, 6)
    assert judge(SharedEnds(tied=True), tokens) == []
    (finding,) = judge(SharedEnds(tied=False), tokens)
    assert (finding.code, finding.severity) == ("F014", "note")


def seed_each(model: nn.Sequential, draw_weight: Callable[[Tensor], Any] | None) -> nn.Sequential:
    """Seed the global generator before every layer."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            with seeds.preserve_torch_state(7):
                layer.reset_parameters()
                if draw_weight is not None:
                    torch.manual_seed(7)
                    draw_weight(layer.weight)
    return model


@for_each("sizes", [(10, 16, 20, 24, 4), (784, 128, 64, 10), (3, 4, 3, 4)])
@for_each("start", [None, nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.normal_])
def test_layers_with_one_seed_each_share_their_numbers(sizes: tuple[int, ...], start: Any) -> None:
    model = seed_each(make_mlp(*sizes), start)
    (finding,) = pick(judge(model, draw(8, sizes[0])), "F015")
    assert (finding.severity, finding.where) == ("warning", "2.weight")
    assert finding.evidence["same_as"] == "0.weight"
    correlation = finding.evidence["correlation"]
    assert isinstance(correlation, float)
    assert correlation > 0.999
    names = {name for patch in finding.patches for name in patch.parameters}
    assert names == set(finding.places)


def test_a_uniform_and_a_normal_weight_of_the_same_draw() -> None:
    model = make_mlp(16, 24, 32, 4)
    with torch.no_grad():
        for layer, bend in ((model[0], torch.erf), (model[2], lambda z: 0.1 * z)):
            z = seeds.standard_normal(layer.weight.shape, seeds.make_generator(0, "draw"))  # type: ignore
            layer.weight.copy_(bend(z))  # type: ignore
    (finding,) = judge(model, draw(8, 16))
    assert (finding.code, finding.where) == ("F015", "2.weight")


@for_each("count", range(20))
def test_independent_tiny_layers_share_nothing(count: int) -> None:
    with seeds.preserve_torch_state(count):
        layers = [nn.Linear(2 + index % 3, 2 + (index + 1) % 3) for index in range(30)]
    assert judge(nn.Sequential(*layers), draw(8, 2)) == []


def test_equal_constants_and_tables_are_no_copies() -> None:
    model = make_mlp(16, 16, 16, 16, 4)
    ramp = torch.arange(1.0, 17.0).log().expand(16, 16)
    for layer in (0, 2, 4):
        for values in (torch.eye(16), torch.zeros(16, 16), ramp, _make_sines(16)):
            with torch.no_grad():
                model[layer].weight.copy_(values)  # type: ignore
            found = judge(model, draw(8, 16))
            assert pick(found, "F014") == pick(found, "F015") == []


def _make_sines(size: int) -> Tensor:
    place, rate = torch.arange(size)[:, None], 100 ** (torch.arange(size)[None] / size)
    return torch.sin(place / rate)


def test_what_looks_random() -> None:
    assert is_random(draw(64, 64))
    assert is_random(draw(64, 64).bfloat16())
    assert is_random(draw(2, 4))
    assert not is_random(torch.arange(1.0, 17.0).log().expand(64, 16))
    assert not is_random(torch.eye(32))
    assert not is_random(_make_sines(64))
    assert not is_random(torch.linspace(-1, 1, 8).view(2, 4))
    assert not is_random(torch.full((8, 8), 0.3))
    assert not is_random(torch.full((8, 8), torch.nan))


def test_the_draw_that_fits() -> None:
    z = draw(100, 100)
    assert describe_draw(0.02 * z).startswith("normal(std=0.0")
    assert describe_draw(torch.erf(z / 2**0.5) / 7).startswith("uniform(low=-0.142")
    assert describe_draw(5 + z).startswith("normal(mean=")
    assert describe_draw(torch.full((3, 3), 0.5)) == "constant(value=0.5)"
