"""A method for a part of a model requires something of that part only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import residual_cases as cases
import torch
from residual_cases import get_state, is_unchanged, make, tokens
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FitError


class Halves(nn.Module):
    """Two stacks one after the other, each with options of its own."""

    def __init__(self, encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(cases.WORDS, cases.WIDTH), nn.Linear(cases.WIDTH, 5)
        self.encoder = cases.make_stack(2, **encoder)
        self.decoder = cases.make_stack(2, **decoder)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for branch in (*cases.list_branches(self.encoder), *cases.list_branches(self.decoder)):
            x = branch(x)
        y: Tensor = self.head(x)
        return y


class Narrow(nn.Module):
    """Attention of two heads that share their keys and values, normalized at its end."""

    def __init__(self) -> None:
        super().__init__()
        half = cases.WIDTH // 2
        self.q, self.o = nn.Linear(cases.WIDTH, cases.WIDTH), nn.Linear(cases.WIDTH, cases.WIDTH)
        self.k, self.v = nn.Linear(cases.WIDTH, half), nn.Linear(cases.WIDTH, half)
        self.norm = nn.LayerNorm(cases.WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        k, v = (one(x).repeat(1, 1, 2) for one in (self.k, self.v))
        y: Tensor = self.norm(self.o(cases.attend(self.q(x), k, v)))
        return y


BARE = {"norm": "none"}
ALPHA = (2 * 4) ** 0.25  # DeepNorm's α for the four blocks of both halves
FITTING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "skip_init": ({"norm": "none", "scale": "scalar"}, BARE, "a learnable scale"),
    "rezero": ({"norm": "none", "scale": "vector"}, BARE, "a learnable scale"),
    "fixup(scalars=false)": (BARE, {"norm": "pre"}, "no normalization"),
    "t_fixup": (BARE, {"norm": "post"}, "no normalization"),
    "deep_norm": ({"norm": "post", "skip": ALPHA}, {"norm": "pre"}, "skip weight"),
    "magneto": ({"norm": "pre", "sub": True}, {"norm": "pre"}, "sub-LayerNorm"),
    "admin": ({"norm": "post", "skip": "omega"}, {"norm": "post"}, "a learnable weight"),
}
"""By method: an encoder that has what it requires, a decoder that lacks it, and what that is."""

Start = Callable[[nn.Module, str, str], fanin.Record]


def by_pattern(model: nn.Module, method: str, part: str) -> fanin.Record:
    return fanin.initialize(
        model, {f"{part}.*": method}, default="he_normal", seed=0, batch=tokens()
    )


def by_only(model: nn.Module, method: str, part: str) -> fanin.Record:
    return fanin.initialize(model, method, only=f"{part}.*", seed=0, batch=tokens())


def by_loaded(model: nn.Module, method: str, part: str) -> fanin.Record:
    state = model.state_dict()
    loaded = {name: value for name, value in state.items() if not name.startswith(part)}
    return fanin.initialize(model, method, loaded=loaded, seed=0, batch=tokens())


def freezing(model: nn.Module, method: str, part: str) -> fanin.Record:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(part))
    return fanin.initialize(model, method, seed=0, batch=tokens())


@pytest.mark.parametrize("start", [by_pattern, by_only, by_loaded, freezing])
@pytest.mark.parametrize("method", FITTING)
def test_what_the_rest_of_the_model_lacks_does_not_count(method: str, start: Start) -> None:
    encoder, decoder, what = FITTING[method]
    model = make(Halves, encoder, decoder)
    record = start(model, method, "encoder")
    found = {one.what: one for one in record.requires}
    required = next(one for name, one in found.items() if name.startswith(what))
    assert required.met is True
    assert all(name.startswith("encoder.") for one in record.requires for name in one.where)
    matrices = [one for one in record.touched if one.name.startswith("encoder.") and one.rule]
    assert len(matrices) >= 12


@pytest.mark.parametrize("start", [by_pattern, by_only, by_loaded, freezing])
@pytest.mark.parametrize("method", FITTING)
def test_what_the_part_itself_lacks_is_refused(method: str, start: Start) -> None:
    encoder, decoder, what = FITTING[method]
    model = make(Halves, encoder, decoder)
    before = get_state(model)
    with pytest.raises(FitError) as refused:
        start(model, method, "decoder")
    assert what in str(refused.value)
    assert "decoder." in str(refused.value)
    assert "encoder." not in str(refused.value)
    assert is_unchanged(model, before)


@pytest.mark.parametrize("method", FITTING)
def test_a_method_for_all_is_refused_as_before(method: str) -> None:
    encoder, decoder, what = FITTING[method]
    with pytest.raises(FitError, match=what):
        fanin.initialize(make(Halves, encoder, decoder), method, seed=0, batch=tokens())


def test_a_part_without_branches_is_required_nothing() -> None:
    record = fanin.initialize(make(Halves, BARE, BARE), "skip_init", only="head.*", seed=0)
    assert record.requires == ()
    assert [one.name for one in record.touched] == ["head.weight", "head.bias"]


def test_depth_is_that_of_the_whole_model() -> None:
    """A signal runs through all blocks, whoever draws them."""
    model = make(Halves, BARE, {"norm": "pre"})
    record = by_pattern(model, "fixup(scalars=false)", "encoder")
    assert "in one of 8 branches" in record["encoder.0.0.inner.q.weight"].reason


def test_zero_gamma_for_a_part() -> None:
    model: Any = make(cases.ResNet, "norm")
    model.blocks[3].kind = "plain"
    with pytest.raises(FitError, match=r"normalization with a scale .*blocks\.3\.convs\.1"):
        fanin.initialize(model, "zero_gamma", seed=0)
    record = fanin.initialize(model, "zero_gamma", exclude="blocks.3.*", seed=0)
    (required,) = record.requires
    assert required.where == tuple(f"blocks.{block}.convs.1" for block in range(3))
    assert bool((model.blocks[2].norms[1].weight == 0).all())
    assert bool((model.blocks[3].norms[1].weight == 1).all())


def test_mup_for_a_part_asks_for_the_attention_of_that_part_and_sets_its_rates() -> None:
    model = make(Halves, {"norm": "pre"}, {"norm": "pre"})
    rules = {"encoder.*": "mup(base=4, readout=multiplier)"}
    record = fanin.initialize(model, rules, default="he_normal", seed=0, batch=tokens())
    (required,) = record.requires  # the readout is not its own
    assert required.what == "attention scale"
    assert required.where == tuple(f"encoder.{block}.0.inner.q" for block in range(2))
    assert {name.partition(".")[0] for name in record.multipliers} == {"encoder"}


def test_what_mup_leaves_alone_may_be_parametrized_and_keeps_its_rate_if_it_is_loaded() -> None:
    model: Any = make(Halves, {"norm": "pre"}, {"norm": "pre"})
    nn.utils.parametrizations.weight_norm(model.decoder[0][0].inner.o)
    record = fanin.initialize(
        model, "mup(base=4)", exclude=["decoder.0.0.inner.o.*", "encoder.*"], seed=0, batch=tokens()
    )
    assert "decoder.0.0.inner.o.weight" not in record.multipliers
    assert record["encoder.0.0.inner.q.weight"] in record.kept
    assert record.multipliers["encoder.0.0.inner.q.weight"].factor == 0.25


@pytest.mark.parametrize("method", ["mimetic", "complete_p(base=4, base_depth=1)"])
def test_attention_and_branches_of_another_part_do_not_count(method: str) -> None:
    model: Any = make(Halves, {"norm": "pre"}, {"norm": "pre"})
    for block in model.decoder:  # keys of half the width, and a normalization at the end
        block[0].inner = make(Narrow)
    record = by_pattern(model, method, "encoder")
    assert all(name.startswith("encoder.") for one in record.requires for name in one.where)
    with pytest.raises(FitError, match=r"products of attention|end with a layer"):
        by_pattern(model, method, "decoder")


def test_a_method_for_a_pattern_fills_the_scales_and_biases_there_too() -> None:
    scaled = {"norm": "none", "scale": "scalar"}
    model: Any = make(Halves, scaled, scaled)
    record = by_pattern(model, "skip_init", "encoder")
    assert [one.scale.item() for one in cases.list_branches(model.encoder)] == [0.0] * 4
    assert [one.scale.item() for one in cases.list_branches(model.decoder)] == [1.0] * 4
    assert record["encoder.0.0.scale"].reason.startswith("pattern 'encoder.*': multiplies the br")


def test_what_a_rule_names_goes_before_the_method_of_a_pattern() -> None:
    model: Any = make(cases.ResNet, "norm")
    rules = {"blocks.0.norms.1.weight": "constant(value=0.5)", "blocks.*": "zero_gamma"}
    fanin.initialize(model, rules, default="he_normal", seed=0)
    starts = [block.norms[1].weight[0].item() for block in model.blocks]
    assert starts == [0.5, 0.0, 0.0, 0.0]
    assert model.blocks[1].norms[0].weight[0].item() == 1.0
    fanin.initialize(model, {"blocks.*": "zero_gamma"}, default="he_normal", norms="keep", seed=0)
    assert [block.norms[1].weight[0].item() for block in model.blocks] == starts


def test_of_two_methods_the_one_of_the_pattern_has_the_first_word() -> None:
    model: Any = make(Halves, {"norm": "none", "scale": "scalar"}, BARE)
    rules = {"encoder.*": "skip_init(alpha=0.25)"}
    record = fanin.initialize(model, rules, default="fixup(scalars=false)", seed=0, batch=tokens())
    assert [one.scale.item() for one in cases.list_branches(model.encoder)] == [0.25] * 4
    assert bool((model.decoder[0][0].inner.o.weight == 0).all())
    found = {one.what: one.where for one in record.requires}
    assert all(name.startswith("decoder.") for name in found["no normalization"])


def test_a_value_that_the_model_set_stays_under_a_pattern_as_under_a_default() -> None:
    model: Any = make(Halves, {"norm": "pre"}, {"norm": "pre"})
    gamma = model.encoder[0][0].norm.weight
    with torch.no_grad():
        gamma.zero_()
    record = by_pattern(model, "mup(base=4, base_head_dim=8)", "encoder")
    assert record["encoder.0.0.norm.weight"] in record.kept
    assert bool((gamma == 0).all())


def test_a_lazy_layer_gets_the_biases_of_a_pattern_s_method() -> None:
    starts = []
    for build in (nn.LazyLinear, lambda outputs: nn.Linear(7, outputs)):
        model = make(lambda build=build: nn.Sequential(build(6), nn.Linear(6, 5)))
        rules = {"0.*": "torch_default"}
        fanin.initialize(model, rules, default="he_normal", seed=3)
        with seeds.preserve_torch_state(0):  # torch draws the lazy layer first
            model(torch.ones(2, 7))
        starts.append(get_state(model))
    assert all(torch.equal(starts[0][name], value) for name, value in starts[1].items())
    assert float(starts[0]["0.bias"].abs().max()) > 0
    assert bool((starts[0]["1.bias"] == 0).all())
