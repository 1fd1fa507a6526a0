"""`rnn`, `lstm` and `gru`: the formulas of their docstring, what initializers make of them, what a
step sees.
"""

from __future__ import annotations

import pytest
import torch
from combinations import for_each
from model_cases import CASES, build, count, inputs, kinds, learns_by_heart
from torch import Tensor, nn

import fanin
from fanin import models
from fanin.errors import FitError, SpecError, UnknownName
from fanin.models import recurrent
from fanin.models.recurrent import LSTMOptions, Recurrent, RNNOptions

pytestmark = pytest.mark.usefixtures("draws_globally")

CELLS = ("rnn", "lstm", "gru")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
SEQUENCES, TEXTS, STEPS = CASES["sequences"], CASES["texts"], CASES["steps"]

every_cell = pytest.mark.parametrize("cell", CELLS)


def of_vectors(spec: str, *, per_step: bool = False) -> nn.Module:
    return models.get(spec).build_for(STEPS if per_step else SEQUENCES)


def states(
    cell: str, x: Tensor, w: dict[str, Tensor], layer: int, function: str = "tanh"
) -> Tensor:
    """All states of a layer, (N, steps, width), step by step as the formulas have it; without
    biases where it has none.
    """
    name = f"layers.{layer}"
    wide, deep = w[f"{name}.weight_ih_l0"], w[f"{name}.weight_hh_l0"]
    none = wide.new_zeros(len(wide))
    b, c = (w.get(f"{name}.bias_{part}_l0", none) for part in ("ih", "hh"))
    h = k = x.new_zeros(len(x), deep.shape[1])
    found = []
    for step in x.unbind(1):
        fed, kept = (
            (step @ wide.T + b).chunk(GATES[cell], 1),
            (h @ deep.T + c).chunk(GATES[cell], 1),
        )
        if cell == "rnn":
            h = getattr(torch, function)(fed[0] + kept[0])
        elif cell == "lstm":
            i, f, g, o = (one + other for one, other in zip(fed, kept, strict=True))
            k = torch.sigmoid(f) * k + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(k)
        else:
            r, z = (
                torch.sigmoid(one + other) for one, other in zip(fed[:2], kept[:2], strict=True)
            )
            h = (1 - z) * torch.tanh(fed[2] + r * kept[2]) + z * h
        found.append(h)
    return torch.stack(found, 1)


@pytest.mark.parametrize("options", ["", "bias=false", "width=5, depth=3"])
@every_cell
def test_the_outputs_are_a_linear_map_of_the_last_layers_last_state(
    cell: str, options: str
) -> None:
    module = of_vectors(f"{cell}({options})")
    w, h = module.state_dict(), inputs(SEQUENCES)
    for layer in range(3 if "depth" in options else 1):
        h = states(cell, h, w, layer)
    torch.testing.assert_close(
        module(inputs(SEQUENCES)), h[:, -1] @ w["output.weight"].T + w["output.bias"]
    )


@every_cell
def test_per_step_the_outputs_are_the_same_map_of_every_state(cell: str) -> None:
    module = of_vectors(cell, per_step=True)
    w, x = module.state_dict(), inputs(STEPS)
    torch.testing.assert_close(
        module(x), states(cell, x, w, 0) @ w["output.weight"].T + w["output.bias"]
    )


def test_a_relu_rnn_is_one_of_relu() -> None:
    module = of_vectors("rnn(activation=relu)")
    w, x = module.state_dict(), inputs(SEQUENCES)
    last = states("rnn", x, w, 0, "relu")[:, -1]
    torch.testing.assert_close(module(x), last @ w["output.weight"].T + w["output.bias"])


@every_cell
def test_tokens_are_rows_of_a_table(cell: str) -> None:
    module = models.get(f"{cell}(embedding=6)").build_for(TEXTS)
    w, x = module.state_dict(), inputs(TEXTS)
    assert w["embedding.weight"].shape == (50, 6)
    last = states(cell, w["embedding.weight"][x], w, 0)[:, -1]
    torch.testing.assert_close(module(x), last @ w["output.weight"].T + w["output.bias"])


def test_a_tokens_vector_is_as_wide_as_the_state_by_default() -> None:
    assert models.get("gru(width=9)").build_for(TEXTS).get_parameter("embedding.weight").shape == (
        50,
        9,
    )
    assert models.get("gru(width=9, embedding=9)").spec == "gru(width=9)"
    assert models.get("gru(width=9, embedding=64)").spec == "gru(embedding=64, width=9)"


@every_cell
def test_an_input_changes_no_output_of_the_steps_before_it_and_every_one_from_it_on(
    cell: str,
) -> None:
    module = of_vectors(f"{cell}(depth=2)", per_step=True).eval()
    x = inputs(STEPS)
    other = x.clone()
    other[:, 5] += 1
    before, after = module(x), module(other)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(2).all()


@every_cell
def test_parameters_number_what_the_gates_add_up_to_and_have_frozen_names(cell: str) -> None:
    module = of_vectors(f"{cell}(width=5, depth=2)")
    assert count(module) == GATES[cell] * 5 * (3 + 5 + 2 + 5 + 5 + 2) + 6 * 10
    assert [name for name, _ in module.named_parameters()][:5] == [
        *(f"layers.0.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        "layers.1.weight_ih_l0",
    ]
    assert kinds(models.get(cell).build_for(TEXTS)) == ["embedding", "output"]


# Initializers


@every_cell
def test_orthogonal_makes_the_recurrent_matrix_of_every_gate_orthogonal(cell: str) -> None:
    module = of_vectors(f"{cell}(depth=2)")
    record = fanin.initialize(module, "orthogonal", seed=0)
    for layer in range(2):
        for part in (
            module.get_parameter(f"layers.{layer}.weight_hh_l0").detach().chunk(GATES[cell])
        ):
            torch.testing.assert_close(part @ part.T, torch.eye(64), atol=1e-5, rtol=0)
    assert {one.role for one in record} == {"weight", "recurrent weight", "bias", "recurrent bias"}


@for_each("rule", ["forget_gate", "chrono(t_max=12.0)"])
@pytest.mark.parametrize(("cell", "gate"), [("lstm", 1), ("gru", 1)])
def test_rules_for_gates_find_the_one_that_keeps_the_state(cell: str, gate: int, rule: str) -> None:
    module = of_vectors(cell)
    fanin.initialize(module, "he_normal", seed=0, biases=rule)
    kept = module.get_parameter("layers.0.bias_ih_l0").detach().chunk(GATES[cell])[gate]
    assert (
        bool((kept == 1).all())
        if rule == "forget_gate"
        else 0 <= float(kept.min()) < float(kept.max()) <= 2.4
    )
    assert not module.get_parameter("layers.0.bias_hh_l0").any()


def test_irnn_gives_a_relu_rnn_that_adds_up_its_inputs() -> None:
    module = of_vectors("rnn(activation=relu)")
    fanin.initialize(module, "irnn", seed=0)
    assert torch.equal(module.get_parameter("layers.0.weight_hh_l0").detach(), torch.eye(64))


@for_each("rule", ["auto", "he_normal", "orthogonal", "torch_default", "keras_default", "irnn"])
@pytest.mark.parametrize("case", [SEQUENCES, TEXTS], ids=lambda case: str(case.name))
@every_cell
def test_no_parameter_is_unknown_to_any_rule(
    cell: str, case: fanin.data.DataInfo, rule: str
) -> None:
    module = models.get(f"{cell}(depth=2)").build_for(case)
    record = fanin.initialize(module, rule, seed=0)
    assert {one.role for one in record} <= {
        "weight",
        "recurrent weight",
        "bias",
        "recurrent bias",
        "embedding",
    }
    assert all(one.changed for one in record if one.role in ("weight", "recurrent weight"))


# Data


@every_cell
def test_a_model_for_long_sequences_runs_on_any_number_of_steps(cell: str) -> None:
    module = models.get(f"{cell}(width=4)").build((784, 1), 10)
    assert module(torch.zeros(2, 784, 1)).shape == module(torch.zeros(2, 3, 1)).shape == (2, 10)


@every_cell
def test_a_model_is_checked_without_memory(cell: str) -> None:
    module = models.get(f"{cell}(width=4096, depth=3)").build_skeleton_for(SEQUENCES)
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    with pytest.raises(FitError, match="at most 2,000,000,000 are built"):
        models.get(f"{cell}(width=100000)").build((12, 3), 2)


@every_cell
def test_the_numbers_of_a_batch_do_not_depend_on_its_other_samples(cell: str) -> None:
    module = of_vectors(f"{cell}(depth=2)")
    x = inputs(SEQUENCES, 8)
    torch.testing.assert_close(module(x)[3:4], module(x[3:4]))


@every_cell
def test_dropout_is_keyed_and_stands_behind_every_layer_and_none_of_torchs_is_there(
    cell: str,
) -> None:
    module = of_vectors(f"{cell}(depth=2, dropout=0.5)")
    assert [layer.dropout for layer in module.modules() if isinstance(layer, nn.RNNBase)] == [
        0.0,
        0.0,
    ]
    keys = models.DropoutKeys(module, 0)
    assert set(keys.layers) == {"dropout.0", "dropout.1"}
    x = inputs(SEQUENCES)
    first = module(x)
    assert torch.equal(first, module(x))
    keys.set(0, 1)
    assert not torch.allclose(first, module(x))
    assert torch.equal(module.eval()(x), module(x))


@every_cell
def test_dropout_thins_every_layers_states_and_not_the_inputs(cell: str) -> None:
    module = of_vectors(f"{cell}(depth=2, dropout=0.5)")
    seen: list[Tensor] = []
    for name in ("layers.0", "layers.1", "output"):
        module.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    module(inputs(SEQUENCES))
    assert [0.3 < float((given == 0).float().mean()) < 0.7 for given in seen] == [False, True, True]


@every_cell
def test_bias_is_that_of_the_recurrent_layers(cell: str) -> None:
    module = of_vectors(f"{cell}(bias=false)")
    assert [name for name, _ in module.named_parameters() if "bias" in name] == ["output.bias"]


@pytest.mark.parametrize("options", ["depth=2", "bias=false", "dropout=0.1"])
@pytest.mark.parametrize("case", [SEQUENCES, TEXTS], ids=lambda case: str(case.name))
@every_cell
def test_every_option_learns_random_labels_by_heart(
    cell: str, case: fanin.data.DataInfo, options: str
) -> None:
    module = models.get(f"{cell}({options})").build_for(case)
    fanin.initialize(module, "orthogonal", seed=0)
    assert learns_by_heart(module, case, lr=3e-3)


@every_cell
def test_the_copying_of_a_token_over_some_steps_is_learnt(cell: str) -> None:
    """32 sequences: the first of 12 tokens is the class. A network that is blind to it is right 1
    time in 10.
    """
    module = models.get(f"{cell}(width=32)").build_for(TEXTS)
    fanin.initialize(module, "orthogonal", seed=0, biases="forget_gate")
    x = inputs(TEXTS, 32)
    y = x[:, 0] % 10
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    assert bool((module(x).argmax(1) == y).all())


# Options


def test_equal_networks_have_one_identity() -> None:
    assert (
        models.get(
            "lstm(activation=tanh, width=64, depth=1, dropout=0, bias=true, embedding=none)"
        ).spec
        == "lstm"
    )
    assert models.get("rnn", "relu").spec == "rnn(activation=relu)"
    assert models.get("rnn").spec != models.get("gru").spec
    assert models.get(*models.get("gru(depth=2)").split()) == models.get("gru(depth=2)")


def test_plain_modules_can_be_made_by_hand() -> None:
    assert Recurrent(RNNOptions(width=3), (12, 3), 2)(inputs(SEQUENCES)).shape == (4, 2)
    assert Recurrent(LSTMOptions(), (12,), 2, vocabulary=50, per_step=True)(
        inputs(TEXTS)
    ).shape == (4, 12, 2)
    assert {options.cell for options in (RNNOptions, LSTMOptions, recurrent.GRUOptions)} == set(
        CELLS
    )


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        (
            "lstm(activation=relu)",
            SpecError,
            r"lstm is tanh; its gates are sigmoid. Received 'relu'. .*rnn\(activation=relu\)",
        ),
        (
            "gru(activation=sigmoid)",
            SpecError,
            "gru is tanh; its gates are sigmoid. Received 'sigmoid'. Leave it out.$",
        ),
        ("rnn(activation=gelu)", SpecError, "rnn is tanh or relu. Received 'gelu'. Leave it out"),
        ("rnn(activation=rellu)", UnknownName, "Did you mean .*relu"),
        ("rnn(width=0)", SpecError, "width is a whole number from 1"),
        ("gru(depth=0)", SpecError, "depth is a whole number from 1"),
        ("lstm(embedding=0)", SpecError, "embedding is a whole number from 1"),
        ("lstm(dropout=1)", SpecError, "below 1"),
        ("lstm(bidirectional=true)", UnknownName, "option of lstm"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        models.get(spec)


def test_an_embedding_of_vectors_does_not_fit() -> None:
    with pytest.raises(
        FitError, match=r"the inputs are already vectors of 3 numbers\. Leave embedding out"
    ):
        models.get("rnn(embedding=8)").build_for(SEQUENCES)


@every_cell
def test_images_and_rows_do_not_fit(cell: str) -> None:
    for case in (CASES["digits"], CASES["rows"]):
        with pytest.raises(FitError, match=f"{cell} takes sequences"):
            build(models.REGISTRY.get(cell), case)
