"""verify: whether the weights that are there are those of a record, which are not, and why."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from apply_cases import Everything, Recurrent, built, everything, mlp, state, unchanged
from combinations import for_each
from model_level_cases import Demanding, Descending, Halved, make_convolutional, make_language
from torch import nn
from torch.nn.utils import parametrizations

from fanin import seeds
from fanin.apply import ParameterCheck, Record, initialize, verify
from fanin.errors import UnknownName, UsageError

MODELS: dict[str, Callable[[], nn.Module]] = {
    "everything": Everything,
    "recurrent": Recurrent,
    "attention": lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=10, add_bias_kv=True),
    "transformer": lambda: nn.TransformerEncoderLayer(16, 2, 32),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(20, 12)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(20, 12)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(20, 12)),
    "older weight_norm": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(20, 12))),
    "complex": lambda: nn.Linear(20, 12, dtype=torch.complex64),
    "bfloat16": lambda: nn.Linear(20, 12, dtype=torch.bfloat16),
    "channels last": lambda: nn.Conv2d(6, 8, 3).to(memory_format=torch.channels_last),
    "empty": lambda: nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 3)),
}
RULES = ("he_normal", "orthogonal", "torch_default", "truncated_normal(std=0.1)")


def fits(model: str, rule: str) -> bool:
    return model != "complex" or rule in ("he_normal", "normal(std=0.1)")


def save(record: Record) -> Record:
    """The record after a way through JSON."""
    return Record.from_json(json.loads(json.dumps(record.to_json())))


# --- as recorded
# -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:.*weight_norm")
@for_each("model", MODELS)
@pytest.mark.parametrize("rule", RULES)
def test_what_was_initialized_is_as_recorded(rule: str, model: str) -> None:
    if not fits(model, rule):
        return
    module = built(MODELS[model])
    record = initialize(module, rule, seed=4, biases="normal(std=0.1)")
    before = state(module)
    found = verify(module, save(record))
    assert found.passed, str(found)
    assert bool(found)
    assert unchanged(module, before)
    assert str(found).startswith(("All ", "The parameter is "))
    drawn = [check for check in found if record[check.name].rule]
    assert all(check.by == "numbers" for check in drawn)


def test_every_way_to_tell_rules_is_drawn_again() -> None:
    model = nn.ModuleDict({"a": everything(), "b": built(Recurrent)})
    for options in (
        {"split": {"a.head.weight": {"first": 20, "rest": 30}}, "biases": "forget_gate"},
        {"shared_stream": True},
        {"convention": "effective", "biases": "chrono(t_max=20)"},
        {"recurrent": "irnn", "norms": "uniform(low=0.5, high=1.5)"},
        {"embeddings": "uniform(low=-0.1, high=0.1)", "special": "overwrite"},
    ):
        record = initialize(model, "xavier_normal", seed=2, **options)  # type: ignore[arg-type]
        assert verify(model, save(record)).passed, options


def test_auto_and_observed_packs_are_drawn_again() -> None:
    """What a batch showed is in the record; the batch is not needed to verify."""
    layer = built(lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    record = initialize(layer, "auto", seed=0, batch=torch.ones(1, 3, 16))
    assert verify(layer, save(record)).passed


@pytest.mark.parametrize(
    ("dtypes", "how"),
    [
        ((torch.bfloat16,), "to the bit, in bfloat16"),
        ((torch.float16,), "to the bit, in float16"),
        ((torch.float64,), "to the bit, in float64"),
        ((torch.bfloat16, torch.float32), "rounded to bfloat16"),
    ],
    ids=str,
)
def test_a_cast_is_seen_and_is_no_difference(dtypes: tuple[torch.dtype, ...], how: str) -> None:
    model = everything()
    record = initialize(model, "orthogonal", seed=0)
    for dtype in dtypes:
        model.to(dtype)
    found = verify(model, record)
    assert found.passed
    assert found["conv.weight"].why == f"the recorded draw, {how}"
    assert how in " ".join(str(found).split())


def test_wrappers_change_nothing() -> None:
    model = everything()
    record = initialize(nn.DataParallel(model), "he_normal", seed=0)
    assert record[0].name == "module.table.weight"
    compiled = torch.compile(model, backend="eager")
    for one in (model, nn.DataParallel(model), compiled):
        assert verify(one, save(record)).passed  # type: ignore[arg-type]


def test_a_model_on_meta_has_no_weights_and_has_them_after_loading() -> None:
    model = mlp()
    record = initialize(model, "he_normal", seed=0)
    with torch.device("meta"):
        late = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    found = verify(late, record)
    assert not found.passed
    assert {check.why for check in found.unknown} == {"it has no memory (device meta)"}
    assert "Nothing can be told" in str(found)
    late.load_state_dict(model.state_dict(), assign=True)
    assert verify(late, record).passed
    again = initialize(late.to("meta"), "he_normal", seed=0, device="cpu")
    assert verify(late, again).passed


def test_a_preview_says_what_there_would_be() -> None:
    model = mlp()
    record = initialize(model, "he_normal", seed=0, preview=True)
    assert not verify(model, record).passed
    initialize(model, "he_normal", seed=0)
    assert verify(model, record).passed


# --- not as recorded
# -----------------------------------------------------------------------------


def damage(change: Callable[[nn.Sequential], None]) -> ParameterCheck:
    """The check of a weight of 600 numbers after something happened to it."""
    model = mlp()
    record = initialize(model, "he_normal", seed=0)
    with torch.no_grad():
        change(model)
    found = verify(model, save(record))
    assert not found
    assert [check.name for check in found.failed] == ["0.weight"]
    assert str(found).startswith(
        "1 of 4 parameters is not as recorded (seed 0):\n  0.weight  30×20"
    )
    return found.failed[0]


def fill(model: nn.Sequential, values: torch.Tensor) -> None:
    model[0].weight.copy_(values)


def normal(seed: int, std: float) -> torch.Tensor:
    return seeds.standard_normal((30, 20), seeds.make_generator(seed, "test")) * std


DAMAGES: dict[str, tuple[Callable[[nn.Sequential], None], str]] = {
    "trained": (
        lambda model: model[0].weight.add_(normal(1, 0.001)),
        r"moved by 0\.3\d* % of its norm .*trained",
    ),
    "one number": (
        lambda model: model[0].weight[3, 4].add_(0.001),
        r"moved by 0\.01\d* %.*trained",
    ),
    "rescaled": (lambda model: model[0].weight.mul_(0.5), r"times 0\.5: rescaled"),
    "never filled": (lambda model: model[0].weight.zero_(), r"all 0: never filled"),
    "not finite": (lambda model: model[0].weight[0].fill_(float("nan")), r"not finite"),
    "garbage": (lambda model: model[0].weight[0].fill_(1e30), r"absurd numbers: memory"),
    "another seed": (
        lambda model: initialize(model, "he_normal", seed=7, only="0.weight"),
        r"^the draw of seed 7, not of seed 0$",
    ),
    "another stream": (
        lambda model: fill(model, normal(1, (2 / 20) ** 0.5)),
        r"another draw of the same distribution",
    ),
    "another spread": (
        lambda model: fill(model, normal(1, 0.02)),
        r"other numbers \(mean .*, std 0\.0(19|2)\d*\): loaded over",
    ),
    "shards drawn alike": (
        lambda model: fill(model, normal(1, 0.3)[:15].repeat(2, 1)),
        r"the same numbers 2 times along axis 0: each process drew its own shard",
    ),
    "columns drawn alike": (
        lambda model: fill(model, normal(1, 0.3)[:, :5].repeat(1, 4)),
        r"the same numbers 2 times along axis 1",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_differs_is_named_with_why(name: str) -> None:
    change, why = DAMAGES[name]
    check = damage(change)
    assert re.search(why, check.why), check.why
    assert (check.by, check.n) == ("numbers", 600)


def test_the_p_value_tells_another_spread_from_another_draw() -> None:
    """n = 600: another draw of the rule is probable, one of a spread that is 20 % off is not."""
    alike = damage(DAMAGES["another stream"][0])
    other = damage(lambda model: fill(model, normal(1, 1.2 * (2 / 20) ** 0.5)))
    assert alike.p_value is not None
    assert other.p_value is not None
    assert alike.p_value > 0.01 > 1e-6 > other.p_value
    assert other.std == pytest.approx(1.2 * 0.316, rel=0.1)
    assert other.expected_std == pytest.approx(0.316, rel=0.01)


def test_another_distribution_of_the_same_moments_is_seen() -> None:
    """n = 600 of a uniform distribution, where a normal one is recorded."""
    bound = (3 * 2 / 20) ** 0.5
    uniform = torch.special.ndtr(normal(1, 1.0)) * 2 * bound - bound
    check = damage(lambda model: fill(model, uniform))
    assert check.p_value is not None
    assert check.p_value < 0.01


def test_constants_say_what_they_are_instead() -> None:
    model = mlp()
    record = initialize(model, "he_normal", seed=0)
    with torch.no_grad():
        model[0].bias.uniform_(-0.1, 0.1, generator=seeds.make_generator(0, "test"))
    (check,) = verify(model, record).failed
    assert check.name == "0.bias"
    assert "instead of 0: trained" in check.why


def test_other_models_and_names_are_told() -> None:
    record = initialize(mlp(), "he_normal", seed=0)
    other = built(
        lambda: nn.Sequential(nn.Linear(20, 31), nn.ReLU(), nn.Linear(31, 10, bias=False))
    )
    other.add_module("new", built(lambda: nn.Linear(2, 2)))
    found = verify(other, record)
    assert "no such parameter" in found["2.bias"].why
    assert "the shape 31×20 instead of 30×20" in found["0.weight"].why
    assert found.unrecorded == ("new.weight", "new.bias")
    assert "says nothing of 2 of the model's: new.weight, new.bias" in " ".join(str(found).split())


def test_a_tie_that_is_lost_is_a_difference() -> None:
    model = everything()
    record = initialize(model, "he_normal", seed=0)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    (check,) = verify(model, save(record)).failed
    assert check.name == "head.weight"
    assert "no longer tied to table.weight" in check.why


def test_what_was_kept_should_hold_what_it_held() -> None:
    model = mlp()
    record = initialize(model, "he_normal", seed=0, exclude="0.*")
    found = verify(model, save(record))
    assert found.passed
    assert found["0.weight"].by == "moments"
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    (check,) = verify(model, save(record)).failed
    assert "kept then, and changed since" in check.why


# --- methods that fit, recipes
# -----------------------------------------------------------------------------


def test_what_was_scaled_to_a_batch_is_the_draw_times_a_factor() -> None:
    model = make_convolutional()
    record = initialize(model, Halved(), seed=3, batch=torch.ones(2, 3, 8, 8))
    found = verify(model, save(record))
    assert found.passed
    assert found["layers.0.weight"].why == "the recorded draw, times 0.5, as it was fitted"


def test_what_was_fitted_number_by_number_is_tested_by_its_moments() -> None:
    model, labels = make_convolutional(), torch.tensor([1, 2])
    images = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
    record = initialize(model, Descending(), seed=3, batch=images, target=labels)
    found = verify(model, save(record))
    assert found.passed
    assert found["layers.5.weight"].by == "moments"
    with torch.no_grad():
        model.layers[5].weight.mul_(1.3)
    assert [check.name for check in verify(model, record).failed] == ["layers.5.weight"]


def test_recipes_and_requirements_go_through_json() -> None:
    for rule in ("recipe:gpt2", Demanding()):
        model = make_language()
        record = initialize(model, rule, seed=0)
        assert save(record) == record
        assert verify(model, save(record)).passed


# --- by moments
# -----------------------------------------------------------------------------


def my_init_(tensor: torch.Tensor, *, generator: torch.Generator) -> None:
    """A user's function: normal numbers."""
    tensor.normal_(0, 0.3, generator=generator)


def by_function() -> tuple[nn.Module, Record]:
    model = mlp()
    return model, initialize(model, f"{__file__}:my_init_", seed=0)


def test_a_users_function_is_not_run_again_but_tested_by_moments() -> None:
    model, record = by_function()
    record = replace(
        record,
        parameters=tuple(
            replace(one, rule="/nowhere.py:evil") if one.rule and ":" in one.rule else one
            for one in record
        ),
    )
    found = verify(model, save(record))
    assert found.passed
    assert found["0.weight"].by == "moments"
    assert found["0.weight"].p_value is not None
    assert found["0.weight"].p_value > 0.01
    told = " ".join(str(found).split())
    assert "Tested by mean and variance: 2 (n 300 to 600 numbers each), at level 0.01" in told


def test_moments_that_are_off_fail_at_the_level_for_all_together() -> None:
    """n = 600: a spread that is 25 % off, beside one of 300 numbers that is right."""
    model, record = by_function()
    with torch.no_grad():
        model[0].weight.mul_(1.25)
    found = verify(model, record)
    (check,) = found.failed
    assert check.name == "0.weight"
    assert check.p_value is not None
    assert check.p_value < 1e-6
    assert verify(model, record, level=1e-30).passed


def test_what_cannot_be_told_is_no_success() -> None:
    model = mlp()
    record = initialize(model, "keep", seed=0, biases="keep")
    unmeasured = replace(record, parameters=tuple(replace(one, before=None) for one in record))
    found = verify(model, unmeasured)
    assert not found.passed
    assert not found.failed
    assert len(found.unknown) == 4
    assert "was not measured" in str(found)


# --- the object, and mistakes
# -----------------------------------------------------------------------------


def test_a_verification_is_a_sequence_and_goes_through_json() -> None:
    model = everything()
    record = initialize(model, "he_normal", seed=0)
    found = verify(model, record)
    assert len(found) == len(list(model.parameters()))
    assert found[0] is found["table.weight"]
    with pytest.raises(UnknownName, match="table"):
        found["tabel.weight"]
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (plain["schema"], plain["passed"], plain["level"]) == (1, True, 0.01)
    assert plain["checks"][0]["name"] == "table.weight"


def test_each_line_fits_80_columns() -> None:
    model = nn.ModuleDict({"a_rather_long_name_for_a_part_of_a_model": everything()})
    record = initialize(model, "he_normal", seed=0)
    initialize(model, "xavier_uniform", seed=1)
    text = str(verify(model, record))
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((3, None), r"takes a torch\.nn\.Module first, not 3"),
        ((nn.Identity(), {"schema": 4}), r"Record\.from_json"),
    ],
    ids=["model", "record"],
)
def test_mistakes_are_told(arguments: tuple[Any, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        verify(*arguments)


@pytest.mark.parametrize("level", [0, 1, -1, "small", True])
def test_the_level_lies_between_0_and_1(level: Any) -> None:
    record = initialize(mlp(), "zero", seed=0)
    with pytest.raises(UsageError, match="level must lie between 0 and 1"):
        verify(mlp(), record, level=level)


def test_the_callers_random_state_does_not_move() -> None:
    model = everything()
    record = initialize(model, "orthogonal", seed=0)
    initialize(model, "orthogonal", seed=1)
    before = torch.random.get_rng_state()
    copied = copy.deepcopy(record)
    verify(model, record)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert record == copied
