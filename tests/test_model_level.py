"""What an initializer of whole models may ask for: the structure, a batch, a loss, requirements."""

from __future__ import annotations

import gc
import json
import pickle

import pytest
import torch
from model_level_cases import (
    Demanding,
    Descending,
    Halved,
    expect_unchanged,
    make_convolutional,
    make_language,
)
from torch import nn

import fanin
from fanin import seeds, structure
from fanin.errors import FitError, UsageError

TOKENS = torch.arange(12).reshape(2, 6) % 7
IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
LABELS = torch.tensor([1, 4])


def test_places_count_branches_and_blocks() -> None:
    places = structure.place_layers(structure.describe_structure(make_language(), TOKENS))
    q, proj = places["blocks.1.q"], places["blocks.2.proj"]
    assert (q.reads, q.writes, q.branch, q.branches, q.block, q.blocks) == (True, False, 2, 6, 1, 3)
    assert (proj.reads, proj.writes, proj.branch, proj.block) == (False, True, 5, 2)
    assert (proj.position, proj.layers, proj.roles) == (1, 2, ("down",))
    assert q.attends
    assert not proj.attends
    assert places["head"].branch is None
    assert places["head"].roles == ("head",)
    assert str(proj) == "down, writes to stream 0, branch 6 of 6"


def test_parallel_branches_are_one_block() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for i in range(0, 8, 4):
                a, b, c, d = self.layers[i : i + 4]
                x = x + b(torch.relu(a(x))) + d(torch.relu(c(x)))
            return x

    with seeds.preserve_torch_state(0):
        model = Parallel()
    places = structure.place_layers(structure.describe_structure(model, torch.ones(2, 4)))
    assert [places[f"layers.{i}"].block for i in (1, 3, 5, 7)] == [0, 0, 1, 1]
    assert [places[f"layers.{i}"].blocks for i in (1, 7)] == [2, 2]


def test_tables_of_positions_are_told_by_their_indices() -> None:
    model = make_language()
    record = fanin.initialize(model, fanin.recipe("gpt2", position_std=0.5), seed=0, batch=TOKENS)
    assert record["positions.weight"].intended_std == 0.5
    assert record["tokens.weight"].intended_std == 0.02
    counting = torch.arange(6).expand(2, 6)  # tokens that count up are no positions only by chance
    again = fanin.initialize(model, fanin.recipe("gpt2", position_std=0.5), seed=0, batch=counting)
    assert again["positions.weight"].intended_std == 0.5


def test_gpt2_scales_what_writes_to_the_stream() -> None:
    record = fanin.initialize(make_language(depth=8), "recipe:gpt2", seed=0)
    std = {one.name: one.intended_std for one in record}
    assert std["blocks.3.o.weight"] == std["blocks.3.proj.weight"] == pytest.approx(0.02 / 4)
    assert std["blocks.3.v.weight"] == std["blocks.3.fc.weight"] == std["head.weight"] == 0.02
    assert record["blocks.3.o.weight"].place == (
        "attention output, writes to stream 0, branch 7 of 16"
    )


def test_roles_correct_what_the_graph_shows() -> None:
    roles = {"blocks.*.fc": "gate"}
    record = fanin.initialize(make_language(), "recipe:gpt2", seed=0, roles=roles)
    assert record["blocks.0.fc.weight"].place.startswith("gate")
    with pytest.raises(UsageError, match="No layer matches"):
        fanin.initialize(make_language(), "recipe:gpt2", seed=0, roles={"*.none": "gate"})
    with pytest.raises(UsageError, match="no rule here does"):
        fanin.initialize(make_language(), "he_normal", seed=0, roles=roles)


def test_recipes_have_specs_of_their_own() -> None:
    made = fanin.recipe("gpt2", std=0.01)
    assert made == fanin.get("recipe:gpt2(std=0.01)") == fanin.recipe("gpt2(std=0.01)")
    assert str(made) == "recipe:gpt2(std=0.01)"
    assert "gpt2" in fanin.names("recipes")
    with pytest.raises(fanin.FaninError, match="Did you mean gpt2"):
        fanin.recipe("gtp2")
    with pytest.raises(FitError, match="whole model"):
        made(torch.empty(4, 4), generator=torch.Generator())


def test_what_was_fitted_is_recorded_and_nothing_else_moves() -> None:
    model = make_convolutional().train()
    buffers = {name: one.clone() for name, one in model.named_buffers()}
    plain = fanin.initialize(make_convolutional(), "normal(std=1.0)", seed=3)
    random = torch.get_rng_state()
    record = fanin.initialize(model, Halved(), seed=3, batch=IMAGES)
    assert torch.equal(random, torch.get_rng_state())
    one = record["layers.0.weight"]
    assert one.fitted == "halved"
    assert "fitted" in str(one)
    half = plain["layers.0.weight"].measured_std
    assert half is not None
    assert one.measured_std == pytest.approx(half / 2)
    assert record["layers.0.bias"].fitted == ""
    assert all(module.training for module in model.modules())
    assert all(torch.equal(buffers[name], one) for name, one in model.named_buffers())
    assert all(one.requires_grad and one.grad is None for one in model.parameters())


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        (Halved(), {}, "looks at data"),
        (Halved(), {"batch": torch.full((2, 3, 8, 8), torch.nan)}, "not finite"),
        (Halved(), {"batch": torch.ones(2, 7)}, "forward pass failed"),
        (Descending(), {"batch": IMAGES}, "give target="),
        (Descending(), {"batch": IMAGES, "target": torch.tensor([1, 9])}, "labels from 1 to 9"),
        (
            Descending(),
            {"batch": IMAGES, "loss": lambda output: output.square()},
            "Expected one number",
        ),
        (Descending(), {"batch": IMAGES, "loss": lambda output: output.sum() * 1e39}, "is inf|nan"),
    ],
)
def test_bad_input_leaves_the_model_as_it_was(
    rule: fanin.Initializer, given: dict[str, object], message: str
) -> None:
    model = make_convolutional()
    with expect_unchanged(model), pytest.raises((UsageError, FitError), match=message):
        fanin.initialize(model, rule, seed=0, **given)  # type: ignore[arg-type]


def test_an_error_while_fitting_puts_all_back() -> None:
    model = make_convolutional()
    with expect_unchanged(model), pytest.raises(RuntimeError, match="on purpose"):
        fanin.initialize(model, Halved(fail=True), seed=0, batch=IMAGES)


def test_a_loss_can_be_fitted_to() -> None:
    model, drawn = make_convolutional(), make_convolutional()
    fanin.initialize(drawn, "normal(std=1.0)", seed=0)
    fanin.initialize(model, Descending(), seed=0, batch=IMAGES, target=LABELS)
    loss = nn.CrossEntropyLoss()
    for one in (model, drawn):
        one.eval()
    assert loss(model(IMAGES), LABELS) < loss(drawn(IMAGES), LABELS)


def test_a_reparametrized_weight_is_not_changed_in_place() -> None:
    model = make_convolutional()
    torch.nn.utils.parametrizations.weight_norm(model.layers[0])
    with expect_unchanged(model), pytest.raises(FitError, match="is set through WeightNorm"):
        fanin.initialize(model, Halved(), seed=0, batch=IMAGES)


def test_an_unmet_requirement_is_an_error_with_the_change() -> None:
    model = make_language()
    with (
        expect_unchanged(model),
        pytest.raises(FitError, match=r"a scalar \(blocks.0.o.*add self.scale"),
    ):
        fanin.initialize(model, Demanding(met=False), seed=0)
    record = fanin.initialize(model, Demanding(), seed=0)
    assert [one.what for one in record.requires] == ["a scalar"]
    assert "Requires a scalar (met): add self.scale" in str(record)


def test_groups_of_parameters_have_their_learning_rates() -> None:
    model = make_language()
    record = fanin.initialize(model, Demanding(), seed=0)
    groups = record.param_groups(0.1, weight_decay=0.01)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (0.1, 0.01),
        (0.025, 0.04),
    ]
    assert groups[1]["param_names"][:2] == ["blocks.0.o.weight", "blocks.0.proj.weight"]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    torch.optim.AdamW(groups).step()
    saved = pickle.loads(pickle.dumps(record))
    with pytest.raises(UsageError, match="model=model"):
        saved.param_groups(0.1)
    assert len(saved.param_groups(0.1, model=model)) == 2
    with pytest.raises(UsageError, match="lr must be"):
        record.param_groups(-1.0)
    assert json.loads(json.dumps(record.to_json()))["multipliers"]["blocks.0.o.weight"] == {
        "factor": 0.25,
        "reason": "narrow",
        "decay": 4.0,
    }
    del model, groups
    gc.collect()
    with pytest.raises(UsageError, match="no longer knows"):
        record.param_groups(0.1)
