"""Lazy layers: rules wait, and apply when the weight appears, with the draw it would have had."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from apply_cases import built, state
from torch import Tensor, nn

from fanin import fans, verify
from fanin.apply import Record, initialize
from fanin.errors import FitError
from fanin.seeds import preserve_torch_state

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")

IMAGES = torch.linspace(-1, 1, 4 * 4 * 6 * 6).reshape(4, 4, 6, 6)
ROWS = torch.linspace(-1, 1, 15).reshape(3, 5)


def make_cnn() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(8, 3, groups=2),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.LazyConvTranspose2d(6, 3, stride=2),
        nn.Flatten(),
        nn.LazyLinear(12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )


def make_mlp() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(12), nn.ReLU(), nn.LazyLinear(3))


@preserve_torch_state(0)
def run(model: nn.Module, x: Tensor) -> Tensor:
    """A forward pass; torch fills what it gives a shape from its global generator."""
    output: Tensor = model(x)
    return output


def make_twin(make: Callable[[], nn.Module], x: Tensor) -> nn.Module:
    """The same model with its shapes given."""
    model = built(make)
    run(model, x)
    return model


def have_equal_parameters(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return mine.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


def drop_before(record: Record) -> list[object]:
    return [replace(one, before=None) for one in record]


# --- the draw that it would have had
# -----------------------------------------------------------------------------

RULES = {
    "he_normal": {},
    "orthogonal": {"biases": "normal(std=0.1)"},
    "torch_default": {},
    "keras_default": {"shared_stream": True},
    "uniform(low=-0.1, high=0.1)": {"shared_stream": True},
    "he_normal(mode=fan_out)": {"convention": "effective", "norms": "constant(value=0.5)"},
    "keep": {},
}


@pytest.mark.parametrize("rule", RULES)
def test_a_lazy_model_gets_the_weights_and_the_record_of_its_eager_twin(rule: str) -> None:
    twin = make_twin(make_cnn, IMAGES)
    expected = initialize(twin, rule, seed=3, **RULES[rule])  # type: ignore[arg-type]
    model = built(make_cnn)
    record = initialize(model, rule, seed=3, **RULES[rule])  # type: ignore[arg-type]
    assert len(record.waiting) == 8
    run(model, IMAGES)
    assert record.waiting == ()
    if rule != "keep":
        assert have_equal_parameters(model, twin)
    assert drop_before(record) == drop_before(expected)
    assert verify(model, record).failed == ()


def test_patterns_and_splits_reach_lazy_layers() -> None:
    rules = {"5.*": "xavier_uniform", nn.Conv2d: "orthogonal", "7.weight": "zero", "5.bias": "keep"}
    options = {"default": "he_normal", "split": {"5.weight": [4, 8]}, "exclude": "3.bias"}
    twin = make_twin(make_cnn, IMAGES)
    expected = initialize(twin, rules, seed=1, **options)  # type: ignore[arg-type]
    model = built(make_cnn)
    record = initialize(model, rules, seed=1, **options)  # type: ignore[arg-type]
    run(model, IMAGES)
    assert drop_before(record) == drop_before(expected)
    assert record["5.weight"].reason == "pattern '5.*'"
    assert [part.shape[0] for part in record["5.weight"].parts] == [4, 8]
    assert torch.equal(model.get_parameter("5.weight"), twin.get_parameter("5.weight"))
    assert record["3.bias"].reason == "excluded"


def test_the_first_output_is_that_of_the_filled_weights() -> None:
    twin = make_twin(make_mlp, ROWS)
    initialize(twin, "he_normal", seed=0)
    model = built(make_mlp)
    initialize(model, "he_normal", seed=0)
    assert torch.equal(run(model, ROWS), run(twin, ROWS))


def test_the_hooks_are_gone_afterwards_and_training_is_not_undone() -> None:
    model = built(make_mlp)
    initialize(model, "he_normal", seed=0)
    run(model, ROWS)
    layers = [model[0], model[2]]
    assert [type(layer) for layer in layers] == [nn.Linear] * 2
    for layer in layers:
        assert not layer._forward_pre_hooks
        assert not layer._load_state_dict_pre_hooks
    with torch.no_grad():
        layers[0].weight.add_(1)
    before = state(model)
    run(model, ROWS)
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())


def test_a_layer_in_two_places_is_filled_once() -> None:
    def make() -> nn.Module:
        layer = nn.LazyLinear(5)
        return nn.Sequential(layer, nn.ReLU(), layer)

    model = built(make)
    record = initialize(model, "he_normal", seed=0)
    run(model, ROWS)
    assert record["2.weight"].tied_to == "0.weight"
    assert record["0.weight"].changed
    assert verify(model, record).passed


def test_a_frozen_lazy_layer_stays() -> None:
    model = built(make_mlp)
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    record = initialize(model, "zero", seed=0)
    run(model, ROWS)
    assert record["0.weight"].reason.startswith("frozen")
    assert model[0].weight.count_nonzero() == model[0].weight.numel()
    assert not model[2].weight.any()


# --- what the record says meanwhile
# -----------------------------------------------------------------------------


def test_the_record_says_what_waits_and_for_which_rule() -> None:
    model = built(make_cnn)
    record = initialize(model, {"5.*": "orthogonal"}, default="he_normal", seed=0, norms="keep")
    assert record["5.weight"].reason == "waits for its shape: orthogonal"
    assert record["0.weight"].reason == "waits for its shape: he_normal"
    assert record["1.weight"].reason == "waits for its shape: keep"
    assert record["5.weight"].treatment == "waiting"
    assert [one.name for one in record.touched] == ["7.weight", "7.bias"]
    text = str(record)
    assert "8 wait for their shape (lazy)" in text
    assert max(map(len, text.splitlines())) <= 80
    plain = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert plain["waiting"] == [one.name for one in record.waiting]
    assert Record.from_json(plain) == record
    run(model, IMAGES)
    assert "wait" not in str(record)


def test_a_preview_leaves_no_hook() -> None:
    model = built(make_mlp)
    hooks = len(model[0]._forward_pre_hooks)
    record = initialize(model, "zero", seed=0, preview=True)
    assert len(record.waiting) == 4
    assert len(model[0]._forward_pre_hooks) == hooks


# --- copies, loads, second thoughts
# -----------------------------------------------------------------------------


def test_a_deep_copy_waits_on_its_own() -> None:
    twin = make_twin(make_mlp, ROWS)
    initialize(twin, "he_normal", seed=0)
    model = built(make_mlp)
    record = initialize(model, "he_normal", seed=0)
    copied = copy.deepcopy(model)
    run(copied, ROWS)
    assert have_equal_parameters(copied, twin)
    assert len(record.waiting) == 4  # the original still waits
    run(model, ROWS)
    assert have_equal_parameters(model, twin)
    assert record.waiting == ()


def test_a_pickled_model_waits_too() -> None:
    twin = make_twin(make_mlp, ROWS)
    initialize(twin, "he_normal", seed=0)
    model = built(make_mlp)
    initialize(model, "he_normal", seed=0)
    again = pickle.load(io.BytesIO(pickle.dumps(model)))
    run(again, ROWS)
    assert have_equal_parameters(again, twin)


def test_what_is_loaded_before_the_first_batch_stays() -> None:
    trained = make_twin(make_mlp, ROWS)
    values = {name: value for name, value in state(trained).items() if name.startswith("0")}
    model = built(make_mlp)
    record = initialize(model, "he_normal", seed=0)
    model.load_state_dict(values, strict=False)
    run(model, ROWS)
    assert all(torch.equal(state(model)[name], value) for name, value in values.items())
    assert record["0.weight"].reason == "loaded, before it had a shape"
    assert (record["0.weight"].shape, record["0.weight"].changed) == ((12, 5), False)
    assert record["2.weight"].rule == "he_normal"


def test_a_state_dict_that_has_no_shapes_either_loads_nothing() -> None:
    model = built(make_mlp)
    record = initialize(model, "he_normal", seed=0)
    model.load_state_dict(built(make_mlp).state_dict())
    run(model, ROWS)
    assert record["0.weight"].rule == "he_normal"


def test_what_the_user_puts_there_stays() -> None:
    model = built(make_mlp)
    record = initialize(model, "he_normal", seed=0)
    model[0].weight = nn.Parameter(torch.ones(12, 5))
    model[0].bias = nn.Parameter(torch.ones(12))
    model[0].in_features = 5
    run(model, ROWS)
    assert record["0.weight"].reason == "kept: it was replaced before it had a shape"
    assert bool((model[0].weight == 1).all())


def test_another_dtype_before_the_first_batch_is_kept() -> None:
    model = built(make_mlp)
    record = initialize(model, "he_normal", seed=0)
    model.to(torch.float64)
    run(model, ROWS.double())
    twin = make_twin(make_mlp, ROWS)
    initialize(twin, "he_normal", seed=0)
    assert record["0.weight"].dtype == "float64"
    assert torch.equal(model[0].weight.float(), twin[0].weight)


def test_the_second_initialization_counts() -> None:
    twin = make_twin(make_mlp, ROWS)
    initialize(twin, "orthogonal", seed=1)
    model = built(make_mlp)
    first = initialize(model, "he_normal", seed=0)
    second = initialize(model, "orthogonal", seed=1)
    run(model, ROWS)
    assert have_equal_parameters(model, twin)
    assert len(first.waiting) == 4
    assert second.waiting == ()


# --- refusals
# -----------------------------------------------------------------------------


def test_a_rule_that_looks_at_the_whole_model_is_refused() -> None:
    model = built(make_cnn)
    before = model[7].weight.detach().clone()
    with pytest.raises(FitError, match=r"auto looks at the whole model, and 0\.weight.*one batch"):
        initialize(model, "auto", seed=0)
    assert torch.equal(model[7].weight, before)
    run(model, IMAGES)
    assert initialize(model, "auto", seed=0).waiting == ()


def test_a_rule_that_does_not_fit_raises_in_each_forward_pass() -> None:
    model = built(make_mlp)
    initialize(model, {"2.weight": "delta_orthogonal"}, default="he_normal", seed=0)
    for _ in range(2):
        with pytest.raises(FitError, match=r"(?s)rules of 2 waited.*do not fit.*2\.weight"):
            run(model, ROWS)
    initialize(model, "he_normal", seed=0)
    run(model, ROWS)


def test_lazy_parameters_that_two_layers_share_are_refused() -> None:
    model = built(make_mlp)
    model[2].weight = model[0].weight
    with pytest.raises(FitError, match=r"0\.weight has no shape.*shared by several layers"):
        initialize(model, "he_normal", seed=0)


def test_lazy_layers_on_meta_are_refused() -> None:
    with torch.device("meta"):
        model = make_mlp()
    with pytest.raises(FitError, match=r"0\.weight, .*on the device meta"):
        initialize(model, "he_normal", seed=0, device="cpu")


class LazyScale(nn.modules.lazy.LazyModuleMixin, nn.Module):
    """A lazy layer of a class that fanin does not know."""

    cls_to_become = None

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.UninitializedParameter()

    def initialize_parameters(self, x: Tensor) -> None:
        with torch.no_grad():
            self.scale.materialize(x.shape[1:])
            self.scale.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_a_lazy_layer_that_nobody_knows_is_kept_and_refused_if_strict() -> None:
    model = built(lambda: nn.Sequential(LazyScale(), nn.LazyLinear(3)))
    with pytest.raises(FitError, match=r"0\.scale has no shape.*strict=True"):
        initialize(model, "he_normal", seed=0, strict=True)
    record = initialize(model, "he_normal", seed=0)
    assert "fanin does not know" in record["0.scale"].reason
    run(model, ROWS)
    assert (record["0.scale"].rule, record["1.weight"].rule) == (None, "he_normal")
    assert bool((model[0].scale == 1).all())


def test_every_lazy_layer_of_torch_has_the_roles_of_its_eager_class() -> None:
    names = [name for name in dir(nn) if name.startswith("Lazy") and name != "LazyModuleMixin"]
    assert len(names) >= 13
    for name in names:
        options = {"LazyLinear": (3,)}.get(name, (4, 1) if "Conv" in name else ())
        lazy = getattr(nn, name)(*options, **({"affine": True} if "Instance" in name else {}))
        axes = 3 if name == "LazyLinear" else int(name[-2]) + 2
        roles = dict(fans.lazy_layers.get_lazy_roles(lazy))
        run(lazy, torch.ones(2, 4, *[3] * (axes - 2)))
        expected = {key: one.role for key, one in fans.describe_parameters(lazy).items()}
        assert {key: roles[key] for key in expected} == expected, name
