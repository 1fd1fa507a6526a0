"""initialize(model, …): what is filled, what is left, and that a mistake changes nothing."""

from __future__ import annotations

import pytest
import torch
from apply_cases import RULES, everything, mlp, stack, state, unchanged
from combinations import for_each
from torch import nn

from fanin import fans, initializers, seeds
from fanin.apply import initialize
from fanin.errors import FitError, SpecError, UnknownName, UsageError

every_rule = for_each("rule", RULES)


def test_nearly_all_rules_suit_the_layers_of_these_tests() -> None:
    assert len(RULES) >= 30


# --- what is filled
# -----------------------------------------------------------------------------


@every_rule
def test_a_weight_gets_what_the_rule_draws_for_its_layout_from_its_own_stream(rule: str) -> None:
    model = everything()
    initialize(model, rule, seed=7)
    for name in ("conv", "up"):
        layer = model.get_submodule(name)
        layout = fans.get_module_layout(layer)
        assert layout is not None
        expected = initializers.get(rule).sample(
            layout, seeds.make_generator(7, "init", f"{name}.weight")
        )
        assert torch.equal(layer.weight.detach(), expected)


@every_rule
def test_the_same_seed_gives_the_same_model_and_other_layers_do_not_matter(rule: str) -> None:
    small = stack(lambda: nn.Linear(20, 30))
    large = mlp()
    large.insert(1, stack(lambda: nn.Conv1d(3, 4, 5)))
    for model in (small, large):
        initialize(model, rule, seed=1)
    assert torch.equal(small[0].weight, large[0].weight)


@every_rule
def test_another_seed_gives_other_weights(rule: str) -> None:
    first, second = mlp(), mlp()
    initialize(first, rule, seed=0, only="0.*")
    initialize(second, rule, seed=1, only="0.*")
    assert torch.equal(first[0].weight, second[0].weight) is initializers.get(rule).deterministic


def test_weights_are_those_that_every_version_before_drew() -> None:
    """Streams are named by the qualified name alone: stored results depend on it."""
    model = mlp()
    initialize(model, "he_normal", seed=11)
    first, last = model[0].weight[0, :4].detach(), model[2].weight[-1, -3:].detach()
    assert first.tolist() == pytest.approx(
        [-0.33494002, -0.30562833, 0.12818615, 0.47792763], rel=1e-5
    )
    assert last.tolist() == pytest.approx([0.14220807, 0.19275814, -0.07069515], rel=1e-5)


def test_layers_of_one_shape_are_independent_draws() -> None:
    model = stack(lambda: nn.Linear(16, 16), lambda: nn.Linear(16, 16))
    initialize(model, "normal", seed=0)
    assert not torch.equal(model[0].weight, model[1].weight)


def test_biases_are_zero_norms_one_and_zero_embeddings_small_with_a_zero_padding_row() -> None:
    model = everything()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(9.0)
    initialize(model, "he_normal", seed=0)
    assert (model.conv.bias == 0).all()
    assert (model.up.bias == 0).all()
    for norm in model.norms:
        assert (norm.weight == 1).all()
        assert getattr(norm, "bias", None) is None or (norm.bias == 0).all()
    table = model.table.weight.detach()
    assert (table[3] == 0).all()
    rest = torch.cat([table[:3], table[4:]])
    assert (rest != 0).all()
    assert rest.std().item() == pytest.approx(0.02, rel=0.1)  # n = 784: standard error 2.5 %


def test_biases_norms_and_embeddings_can_be_told_otherwise() -> None:
    model = everything()
    record = initialize(
        model,
        "zero",
        seed=0,
        biases="constant(value=0.5)",
        norms="zero",
        embeddings="lecun_normal",
        exclude="attention.*",
    )
    assert (model.conv.bias == 0.5).all()
    assert (model.norms[0].weight == 0).all()
    assert (model.norms[0].bias == 0).all()
    assert record["table.weight"].rule == "lecun_normal"
    assert record["table.weight"].intended_std == 1.0


def test_keep_leaves_a_role_as_it_is() -> None:
    model = everything()
    before = state(model)
    record = initialize(model, "keep", seed=0, biases="keep", norms="keep", embeddings="keep")
    assert unchanged(model, before)
    assert record.rule == "keep"
    assert not any(parameter.changed or parameter.rule for parameter in record)
    assert record["conv.bias"].reason == "bias kept on request"
    initialize(model, "zero", seed=0, biases="keep", norms="keep")
    assert (model.conv.weight == 0).all()
    assert torch.equal(model.conv.bias, before["conv.bias"])


def test_frozen_and_unknown_parameters_stay_and_the_record_says_so() -> None:
    model = everything()
    before = state(model)
    record = initialize(model, "he_normal", seed=0)
    for name, reason in {
        "frozen.weight": "frozen",
        "frozen.bias": "frozen",
        "slope.weight": "PReLU: no rule is about its weight",
    }.items():
        assert torch.equal(model.get_parameter(name), before[name])
        assert record[name].reason.startswith(reason)
        assert (record[name].rule, record[name].changed, record[name].stream) == (None, False, None)


def test_buffers_are_not_touched() -> None:
    model = everything()
    model.norms[0].running_mean.fill_(3.0)
    initialize(model, "he_normal", seed=0)
    assert (model.norms[0].running_mean == 3).all()


def test_one_layer_is_a_model() -> None:
    (layer,) = stack(lambda: nn.Linear(784, 10))
    record = initialize(layer, "xavier_uniform", seed=0)
    assert [parameter.name for parameter in record] == ["weight", "bias"]
    assert (record["weight"].fan_in, record["weight"].fan_out) == (784, 10)


def test_a_model_without_parameters_has_an_empty_record() -> None:
    assert len(initialize(nn.ReLU(), "he_normal", seed=0)) == 0


def test_an_empty_weight_is_left_in_silence() -> None:
    model = mlp()
    model[0].weight = nn.Parameter(torch.empty(0, 20))
    record = initialize(model, "he_normal", seed=0)
    assert (record["0.weight"].changed, record["0.weight"].measured_std) == (False, None)
    assert record["2.weight"].changed


def test_a_layer_without_outputs_is_planned_and_the_record_says_that_nothing_is_drawn() -> None:
    model = mlp()
    model[0].out_features, model[0].bias = 0, None
    model[0].weight = nn.Parameter(torch.empty(0, 20))
    for rule in ("he_normal", "kaiming_uniform_", "xavier_normal", "orthogonal", "sparse", "auto"):
        weight = initialize(model, rule, seed=0)["0.weight"]
        assert (weight.role, weight.changed, weight.stream) == ("weight", False, None)
        assert weight.reason.endswith("it has no elements, so nothing is drawn")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtype_memory_format_and_gradients_are_kept(dtype: torch.dtype) -> None:
    reference, model = everything(), everything().to(dtype)
    model.conv.to(memory_format=torch.channels_last)
    strides = model.conv.weight.stride()
    for each in (reference, model):
        initialize(each, "orthogonal", seed=0)
    assert model.conv.weight.stride() == strides
    for name, parameter in model.named_parameters():
        assert parameter.dtype is dtype
        if not name.startswith(("frozen", "slope")):
            assert torch.equal(parameter, reference.get_parameter(name).to(dtype))
            assert parameter.requires_grad


# --- ties
# -----------------------------------------------------------------------------


def test_a_tied_parameter_is_filled_once_and_both_rows_say_so() -> None:
    model = everything()
    record = initialize(model, "constant", seed=0)
    assert model.table.weight is model.head.weight
    assert record["table.weight"].rule == "normal(std=0.02)"
    assert record["head.weight"].tied_to == "table.weight"
    assert record["head.weight"].reason == "tied to table.weight"
    assert record["head.weight"].changed
    assert (model.head.weight[3] == 0).all()


def test_parameters_that_share_memory_are_tied_too() -> None:
    model = stack(lambda: nn.Linear(6, 4, bias=False), lambda: nn.Linear(4, 6, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    record = initialize(model, "normal", seed=0)
    assert record["1.weight"].tied_to == "0.weight"
    assert torch.equal(
        model[0].weight, seeds.standard_normal((4, 6), seeds.make_generator(0, "init", "0.weight"))
    )


def test_a_tie_is_filled_in_its_first_known_role() -> None:
    model = everything()
    holder = nn.ParameterList([model.conv.weight])
    record = initialize(nn.ModuleList([holder, model]), "he_normal", seed=0)
    assert record["0.0"].tied_to == "1.conv.weight"
    assert record["1.conv.weight"].role == "weight"


def test_the_padding_row_stays_zero_when_the_head_comes_first() -> None:
    model = nn.ModuleDict(
        {
            "head": stack(lambda: nn.Linear(4, 9, bias=False))[0],
            "table": stack(lambda: nn.Embedding(9, 4, 2))[0],
        }
    )
    model["table"].weight = model["head"].weight
    record = initialize(model, "he_normal", seed=0)
    assert record["table.weight"].tied_to == "head.weight"
    assert (model["table"].weight[2] == 0).all()


def test_a_tie_with_a_frozen_parameter_is_frozen() -> None:
    model = stack(lambda: nn.Linear(4, 4, bias=False), lambda: nn.Linear(4, 4, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach(), requires_grad=False)
    before = state(model)
    assert "frozen" in initialize(model, "zero", seed=0)["0.weight"].reason
    assert unchanged(model, before)


def test_a_module_that_is_used_twice_is_initialized_once() -> None:
    (layer,) = stack(lambda: nn.Linear(4, 4))
    record = initialize(nn.Sequential(layer, nn.ReLU(), layer), "he_normal", seed=0)
    assert [parameter.tied_to for parameter in record] == [None, None, "0.weight", "0.bias"]


# --- patterns and preview
# -----------------------------------------------------------------------------


def test_include_and_exclude_choose_by_pattern() -> None:
    model = mlp()
    before = state(model)
    record = initialize(model, "zero", seed=0, only=["0.*", "2.weight"], exclude="*.bias")
    assert [parameter.name for parameter in record if parameter.changed] == ["0.weight", "2.weight"]
    assert record["0.bias"].reason == "excluded"
    assert record["2.bias"].reason == "excluded"
    assert torch.equal(model[0].bias, before["0.bias"])
    assert initialize(model, "zero", seed=0, only="0.*")["2.bias"].reason == "outside of only"


def test_a_tied_parameter_answers_to_each_of_its_names() -> None:
    assert initialize(everything(), "zero", seed=0, only="head.*")["table.weight"].changed
    assert (
        initialize(everything(), "zero", seed=0, exclude="head.*")["table.weight"].reason
        == "excluded"
    )


@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_a_pattern_that_matches_nothing_offers_near_names(argument: str) -> None:
    model = mlp()
    before = state(model)
    with pytest.raises(UnknownName, match=r"0\.weight"):
        initialize(model, "zero", seed=0, **{argument: ["2.*", "0.wieght"]})
    assert unchanged(model, before)


@pytest.mark.parametrize("patterns", [3, [3], []])
def test_include_must_be_patterns(patterns: object) -> None:
    with pytest.raises(UsageError, match=r"only.*pattern"):
        initialize(mlp(), "zero", seed=0, only=patterns)  # type: ignore[arg-type]


@every_rule
def test_a_preview_is_the_record_and_changes_nothing(rule: str) -> None:
    model = everything()
    before = state(model)
    preview = initialize(model, rule, seed=0, preview=True)
    assert unchanged(model, before)
    assert not any(parameter.changed or parameter.measured_std for parameter in preview)
    record = initialize(model, rule, seed=0)
    for planned, done in zip(preview, record, strict=True):
        assert (planned.name, planned.rule, planned.stream, planned.intended_std) == (
            done.name,
            done.rule,
            done.stream,
            done.intended_std,
        )


# --- mistakes
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", [None, torch.zeros(3), {"a": 1}, nn.Linear])
def test_what_is_no_module_is_a_usage_error(model: object) -> None:
    with pytest.raises(UsageError, match=r"torch\.nn\.Module"):
        initialize(model, "zero", seed=0)  # type: ignore[arg-type]


def test_the_seed_is_required() -> None:
    with pytest.raises(TypeError, match="seed"):
        initialize(mlp(), "zero")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rule": "he_nromal"}, UnknownName),
        ({"rule": "he_normal(mode=up)"}, SpecError),
        ({"rule": None}, SpecError),
        ({"seed": -1}, UsageError),
        ({"seed": None}, UsageError),
        ({"biases": "zeroo"}, UnknownName),
        ({"norms": "one"}, UnknownName),
        ({"embeddings": "normal(sd=1)"}, UnknownName),
        ({"convention": "true"}, UnknownName),
        ({"biases": "he_normal"}, FitError),
        ({"device": "cpuu"}, UsageError),
        ({"norms": "orthogonal"}, FitError),
    ],
    ids=str,
)
def test_a_mistake_is_found_before_anything_is_written(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    model = everything()
    before = state(model)
    given = {"rule": "zero", "seed": 0} | arguments
    with pytest.raises(error):
        initialize(model, given.pop("rule"), **given)
    assert unchanged(model, before)


def test_all_parameters_that_cannot_be_filled_are_named_at_once() -> None:
    model = mlp()
    model[2].weight = nn.Parameter(model[2].weight.detach().to(torch.complex64))
    before = state(model)
    with pytest.raises(FitError) as error:
        initialize(model, "uniform", seed=0, biases="he_normal")
    assert all(name in str(error.value) for name in ("0.bias", "2.weight", "2.bias"))
    assert unchanged(model, before)
