"""Parameters whose axes the caller tells: experts, heads, matrices the other way round."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from fanin.apply.rules import Rules
from fanin.errors import FitError, UnknownName, UsageError
from fanin.fans import Layout

pytestmark = pytest.mark.usefixtures("draws_globally")

EXPERTS = Layout(in_axis=2, out_axis=1, batch_axis=0)


def make_stack() -> nn.ParameterDict:
    """Eight experts of 64 inputs and 128 outputs."""
    return nn.ParameterDict({"up": nn.Parameter(torch.zeros(8, 128, 64))})


def test_experts_are_drawn_one_by_one_with_the_fans_of_one() -> None:
    model = make_stack()
    record = fanin.initialize(
        model, {"up": "he_normal"}, default="keep", layouts={"up": EXPERTS}, seed=0
    )
    assert (record["up"].fan_in, record["up"].fan_out) == (64, 128)
    assert record["up"].intended_std == pytest.approx(math.sqrt(2 / 64))
    streams = [part.stream for part in record["up"].parts]
    assert len(set(streams)) == 8
    assert None not in streams
    # n = 65,536: the standard deviation of a draw has a standard error of 0.0005.
    assert model["up"].std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.02)
    assert not torch.equal(model["up"][0], model["up"][1])


def test_an_expert_has_the_weights_that_its_own_stream_gives() -> None:
    """The map of an expert is what a matrix of its shape gets from the stream of its name."""
    from fanin import seeds

    model = make_stack()
    fanin.initialize(model, {"up": "orthogonal"}, default="keep", layouts={"up": EXPERTS}, seed=3)
    for expert in (0, 5):
        generator = seeds.make_generator(3, "init", f"up[{expert}]")
        alone = fanin.get("orthogonal")(torch.empty(128, 64), generator=generator)
        assert torch.equal(model["up"][expert], alone)
    assert torch.allclose(model["up"][2].T @ model["up"][2], torch.eye(64), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "layout", "fans"),
    [
        ((4, 6), Layout(in_axis=0, out_axis=1), (4, 6)),
        ((4, 6), Layout(in_axis=1, out_axis=0), (6, 4)),
        ((4, 2, 3), Layout(in_axis=0, out_axis=(1, 2)), (4, 6)),
        ((4, 2, 3), Layout(in_axis=(1, 2), out_axis=0), (6, 4)),
        ((5, 4, 6), Layout(in_axis=-2, out_axis=-1, batch_axis=0), (4, 6)),
        ((2, 5, 4, 6), Layout(in_axis=2, out_axis=3, batch_axis=(0, 1)), (4, 6)),
        ((3, 3, 4, 6), Layout(in_axis=2, out_axis=3), (36, 54)),
    ],
    ids=str,
)
def test_axes_give_fans_and_every_number_is_written(
    shape: tuple[int, ...], layout: Layout, fans: tuple[int, int]
) -> None:
    model = nn.ParameterDict({"w": nn.Parameter(torch.full(shape, math.nan))})
    record = fanin.initialize(
        model, {"w": "xavier_uniform"}, default="keep", layouts={"w": layout}, seed=0
    )
    assert (record["w"].fan_in, record["w"].fan_out) == fans
    bound = math.sqrt(6 / sum(fans))
    assert model["w"].isfinite().all()
    assert model["w"].abs().max().item() <= bound
    assert len(model["w"].unique()) == math.prod(shape)


def test_a_matrix_the_other_way_round_maps_orthogonally() -> None:
    """Of (in, heads, size), the map from the inputs to all heads is orthogonal."""
    model = nn.ParameterDict({"q": nn.Parameter(torch.zeros(12, 3, 4))})
    layout = Layout(in_axis=0, out_axis=(1, 2))
    fanin.initialize(model, {"q": "orthogonal"}, default="keep", layouts={"q": layout}, seed=0)
    matrix = model["q"].reshape(12, 12)
    assert torch.allclose(matrix @ matrix.T, torch.eye(12), atol=1e-5)


def test_a_stack_without_told_axes_is_refused_and_untouched() -> None:
    model = make_stack()
    with pytest.raises(FitError, match=r"Tell it by layouts=\{pattern: fanin\.Layout\("):
        fanin.initialize(model, {"up": "he_normal"}, default="keep", seed=0)
    assert not model["up"].any()
    fanin.initialize(model, {"up": "normal(std=0.1)"}, default="keep", seed=0)
    assert model["up"].any()


def test_parts_that_alternate_are_told_by_repeats() -> None:
    """GPT-NeoX: rows ordered (head, q or k or v, head size)."""
    heads, size = 3, 4
    model = nn.ModuleDict({"qkv": nn.Linear(12, 36)})
    split = {"qkv.*": {"repeats": heads, "q": size, "k": size, "v": size}}
    record = fanin.initialize(model, "orthogonal", split=split, seed=0)
    assert [part.shape for part in record["qkv.weight"].parts] == [(12, 12)] * 3
    assert record["qkv.weight"].fan_out == 12
    weight = model["qkv"].weight.reshape(heads, 3, size, 12)
    for part in range(3):
        matrix = weight[:, part].reshape(12, 12)
        assert torch.allclose(matrix @ matrix.T, torch.eye(12), atol=1e-5)


def test_the_maps_of_experts_are_split_in_turn() -> None:
    """Mixtral: each expert's gate and up-projection lie behind one another."""
    model = nn.ParameterDict({"gate_up": nn.Parameter(torch.zeros(2, 12, 6))})
    record = fanin.initialize(
        model,
        {"gate_up": "xavier_normal"},
        default="keep",
        layouts={"gate_up": EXPERTS},
        split={"gate_up": {"gate": 6, "up": 6}},
        seed=0,
    )
    names = [part.name for part in record["gate_up"].parts]
    assert names == ["0.gate", "0.up", "1.gate", "1.up"]
    assert {(part.fan_in, part.fan_out) for part in record["gate_up"].parts} == {(6, 6)}


def test_rules_in_toml_tell_axes(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        'default = "keep"\n[patterns]\nup = "he_normal"\n'
        "[layouts]\nup = { in_axis = 2, out_axis = 1, batch_axis = 0 }\n"
    )
    rules = Rules.load(path)
    record = fanin.initialize(make_stack(), rules, seed=0)
    assert record["up"].fan_in == 64
    assert record.to_json()["rules"]["layouts"] == {
        "up": {"in_axis": 2, "out_axis": 1, "batch_axis": 0}
    }


@pytest.mark.parametrize(
    ("layout", "error", "text"),
    [
        ({"in_axis": 0}, UsageError, "needs out_axis"),
        ({"in_axes": 0, "out_axis": 1}, UnknownName, "in_axis"),
        ({"in_axis": 0, "out_axis": "1"}, UsageError, "number of an axis"),
        ({"in_axis": 0, "out_axis": ()}, UsageError, "at least one axis as out_axis"),
        (3, UsageError, "fanin.Layout"),
        ({"in_axis": 0, "out_axis": 0}, FitError, "names an axis twice"),
        ({"in_axis": 0, "out_axis": 3}, FitError, "axes 0 to 2"),
    ],
)
def test_a_bad_layout_is_refused_in_words(
    layout: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fanin.initialize(
            make_stack(),
            {"up": "he_normal"},
            default="keep",
            layouts={"up": layout},  # type: ignore[dict-item]
            seed=0,
        )


def test_a_class_is_taught_once() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(3, 16, 32))
            self.shift = nn.Parameter(torch.ones(32))

    class Deeper(Graph):
        pass

    assert fanin.initialize(Graph(), "he_normal", seed=0, exclude="theta")["shift"].rule is None
    fanin.register_layer(Graph, theta=Layout(in_axis=1, out_axis=2, batch_axis=0), shift="bias")
    record = fanin.initialize(Deeper(), "he_normal", seed=0)
    assert record["theta"].fan_in == 16
    assert len(record["theta"].parts) == 3
    assert record["shift"].rule == "zero"


@pytest.mark.parametrize(
    ("cls", "described", "text"),
    [
        (nn.Linear, {"weight": "bias"}, "torch's own"),
        (int, {"weight": "bias"}, "subclass of torch.nn.Module"),
        (type("Own", (nn.Module,), {}), {}, "Say what the parameters of Own are"),
        (type("Own", (nn.Module,), {}), {"w": "wieght"}, "role for w of Own"),
        (type("Own", (nn.Module,), {}), {"w": 3}, "w of Own: A layout is"),
    ],
)
def test_a_class_that_cannot_be_taught_is_refused(
    cls: type, described: dict[str, object], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        fanin.register_layer(cls, **described)  # type: ignore[arg-type]
