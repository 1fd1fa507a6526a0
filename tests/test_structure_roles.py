"""Roles of layers in models that somebody wrote, told by the graph alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structure_cases as cases
import torch
import torch.nn.functional as F
from structure_cases import conv, dense, linear, norm, sequence, write
from torch import Tensor, nn

from fanin import models, seeds
from fanin.errors import UsageError
from fanin.structure import ModelStructure, describe_structure


def describe(model: nn.Module, *shape: int, **options: Any) -> ModelStructure:
    return describe_structure(model, sequence(*shape), **options)


def list_branches(structure: ModelStructure) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(branch.readers, branch.writers) for branch in structure.branches]


def get_roles(structure: ModelStructure) -> dict[str, str]:
    return {one.layer: "+".join(one.roles) for one in structure.layers}


# --- residual branches


def run_block(m: Any, x: Tensor) -> Tensor:
    x = m.embed(x)
    x = x + F.dropout(m.scale * m.second(F.relu(m.first(m.norm(x)))), 0.1, m.training)
    result: Tensor = m.head(x)
    return result


@pytest.mark.parametrize("batch", [None, sequence()], ids=["traced", "observed"])
def test_a_branch_has_its_first_and_last_layers(batch: Tensor | None) -> None:
    model = write(
        run_block, embed=linear(), norm=norm, first=linear(), second=linear(), head=linear()
    )
    model.scale = nn.Parameter(1e-6 * torch.ones(8))
    found = describe_structure(model, batch)
    (stream,) = found.streams
    (branch,) = stream.branches
    assert (stream.sources, stream.depth, stream.parent) == (("embed",), 1, None)
    assert (branch.readers, branch.writers, branch.norms) == (("first",), ("second",), ("pre",))
    assert get_roles(found) == {
        "embed": "",
        "first": "up",
        "second": "down",
        "head": "head",
    }
    assert (found.readers, found.writers, found.longest_path) == (("first",), ("second",), 4)


def test_normalization_after_the_sum_is_told_from_that_before_the_branch() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.norm1(x + m.b(F.relu(m.a(x))))
        result: Tensor = m.norm2(x + m.d(F.relu(m.c(x))))
        return result

    layers = dict.fromkeys("abcd", linear())
    found = describe(write(run, **layers, norm1=norm, norm2=norm))
    assert [branch.norms for branch in found.branches] == [("post",), ("post",)]


def test_a_downsampling_is_a_shortcut_and_no_branch() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x))
        x = F.relu(m.norm2(m.conv2(F.relu(m.conv1(x)))) + m.norm3(m.shortcut(x)))
        x = F.relu(x + m.conv4(F.relu(m.conv3(x))))
        result: Tensor = m.head(x.mean((2, 3)))
        return result

    model = write(
        run,
        stem=conv(3, 4),
        conv1=lambda: nn.Conv2d(4, 8, 3, 2, 1),
        conv2=conv(8, 8),
        norm2=lambda: nn.BatchNorm2d(8),
        shortcut=lambda: nn.Conv2d(4, 8, 1, 2),
        norm3=lambda: nn.BatchNorm2d(8),
        conv3=conv(8, 8),
        conv4=conv(8, 8),
        head=linear(8, 2),
    )
    found = describe(model, 2, 3, 8, 8)
    assert list_branches(found) == [(("conv1",), ("conv2",)), (("conv3",), ("conv4",))]
    assert [branch.projection for branch in found.branches] == [("shortcut",), ()]
    assert len(found.streams) == 1
    assert not found.list_layers("up")


def test_parallel_branches_share_their_step() -> None:
    model = write(
        cases.run_parallel,
        **dict.fromkeys(
            ["a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2", "embed", "head"], linear()
        ),
        norm1=norm,
        norm2=norm,
    )
    found = describe(model)
    assert [branch.writers[0] for branch in found.branches] == ["a2", "b2", "c2", "d2"]
    assert [branch.step for branch in found.branches] == [0, 0, 1, 1]
    assert [branch.index for branch in found.branches] == [0, 1, 2, 3]


def test_a_stream_inside_a_branch_is_nested() -> None:
    layers = {name: conv(4, 4) for name in ["a1", "a2", "b1", "b2", "c1", "c2"]}
    model = write(
        cases.run_unet,
        **layers,
        stem=conv(3, 4),
        down=lambda: nn.Conv2d(4, 4, 2, 2),
        up=lambda: nn.ConvTranspose2d(4, 4, 2, 2),
        out=conv(4, 1),
    )
    outer, inner = describe(model, 2, 3, 8, 8).streams
    assert [branch.writers for branch in outer.branches] == [("a2",), ("up",), ("c2",)]
    assert [branch.writers for branch in inner.branches] == [("b2",)]
    assert (outer.parent, inner.parent, inner.sources) == (None, outer.index, ("down",))


NO_BRANCHES = {
    "lstm": (cases.run_lstm, {"w": linear(8, 32), "u": linear(8, 32)}),
    "gru": (cases.run_gru, {"w": linear(8, 24), "u": linear(8, 24)}),
    "rnn": (cases.run_rnn, {"w": linear(), "u": linear()}),
    "highway": (cases.run_highway, {"t": linear(), "h": linear()}),
    "two embeddings": (lambda m, x: m.head(m.a(x) + m.b(x)), {"a": linear(), "b": linear()}),
    "low rank": (lambda m, x: m.head(m.a(x) + m.c(m.b(x))), dict.fromkeys("abc", linear())),
    "experts": (
        lambda m, x: m.head(m.b(F.relu(m.a(x))) + m.d(F.relu(m.c(x)))),
        dict.fromkeys("abcd", linear()),
    ),
    "gated": (lambda m, x: m.head(x + x * torch.sigmoid(m.a(x))), {"a": linear()}),
    "rotated": (
        lambda m, x: m.head((y := m.a(x)) * 0.8 + torch.cat([-y[..., 4:], y[..., :4]], -1) * 0.6),
        {"a": linear()},
    ),
}


@pytest.mark.parametrize("name", NO_BRANCHES)
def test_other_sums_are_no_residual_branches(name: str) -> None:
    code, layers = NO_BRANCHES[name]
    assert describe(write(code, **layers, head=linear())).streams == ()


def test_a_concatenation_is_no_residual_sum() -> None:
    model = write(cases.run_concatenating_unet, a=conv(3, 4), b=conv(4, 4), out=conv(8, 1))
    found = describe(model, 2, 3, 8, 8)
    assert found.streams == ()
    assert get_roles(found) == {"a": "", "b": "", "out": "head"}


def test_a_gate_inside_a_branch_does_not_end_it() -> None:
    layers = {"e1": linear(3, 2), "e2": linear(2, 3), "head": linear(3, 2)}
    model = write(cases.run_squeeze_excitation, c1=conv(3, 3), c2=conv(3, 3), **layers)
    found = describe(model, 2, 3, 8, 8)
    assert list_branches(found) == [(("c1",), ("c2",))]
    assert found.list_layers("gate") == ("e2",)


def test_a_branch_that_a_condition_scales_is_ended_by_its_own_layer() -> None:
    layers = dict.fromkeys(["embed", "proj", "first", "second"], linear())
    model = write(
        cases.run_conditioned,
        **layers,
        adapt=linear(8, 32),
        qkv=linear(8, 24),
        norm1=norm,
        norm2=norm,
    )
    found = describe(model)
    assert list_branches(found) == [(("qkv",), ("proj",)), (("first",), ("second",))]
    assert found.streams[0].sources == ("embed",)


def test_graph_networks_are_seen() -> None:
    convolution = describe(dense(cases.run_graph_convolution, "first second head"), 6, 8)
    assert list_branches(convolution) == [(("second",), ("second",))]
    model = write(cases.run_graph_attention, transform=linear(), score=linear(16, 1), head=linear())
    found = describe(model, 6, 8)
    assert (found.streams, found.attentions, found.list_layers("router")) == ((), (), ())
    assert found.list_layers("head") == ("head",)


# --- attention


PACKED = {
    "by part": (cases.run_timm, 24, [[(0, 8)], [(8, 16)], [(16, 24)]]),
    "by head": (
        cases.run_by_head,
        24,
        [[(0, 4), (12, 16)], [(4, 8), (16, 20)], [(8, 12), (20, 24)]],
    ),
    "by group": (
        cases.run_grouped,
        16,
        [[(0, 4), (8, 12)], [(4, 6), (12, 14)], [(6, 8), (14, 16)]],
    ),
}


@pytest.mark.parametrize("name", PACKED)
def test_the_rows_of_a_packed_layer_are_found(name: str) -> None:
    code, size, rows = PACKED[name]
    found = describe(write(code, qkv=linear(8, size), proj=linear(), norm=norm))
    (packed,) = found.packed
    assert (packed.layer, packed.names) == ("qkv", ("query", "key", "value"))
    assert [list(ranges) for ranges in packed.rows or ()] == rows
    assert packed.heads == len(rows[0])
    assert get_roles(found) == {"qkv": "query+key+value", "proj": "attention_output"}
    assert list_branches(found) == [(("qkv",), ("proj",))]


def test_without_a_batch_packed_parts_have_no_rows() -> None:
    def run_split(m: Any, x: Tensor) -> Tensor:
        parts = m.qkv(x).chunk(3, -1)
        result: Tensor = m.o(F.scaled_dot_product_attention(parts[0], parts[1], parts[2]))
        return result

    found = describe_structure(write(run_split, qkv=linear(8, 24), o=linear()))
    (packed,) = found.packed
    assert (packed.names, packed.rows, packed.heads) == (("query", "key", "value"), None, None)
    assert "give a batch" in str(found)


@pytest.mark.parametrize("code", [cases.run_einsum, cases.run_transposed])
def test_the_axis_of_the_softmax_tells_keys_from_queries(code: Any) -> None:
    (found,) = describe(dense(code, "q k v o")).attentions
    assert (found.query, found.key, found.value, found.output) == (("q",), ("k",), ("v",), ("o",))


def test_a_softmax_over_positions_is_neither_attention_nor_a_router() -> None:
    found = describe(write(cases.run_pooling, score=linear(8, 1), head=linear()))
    assert get_roles(found) == {"score": "", "head": "head"}


@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_own_encoder_is_seen_with_its_copies(norm_first: bool) -> None:
    with seeds.preserve_torch_state(0):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    found = describe(model)
    assert list_branches(found)[:2] == [
        (("layers.0.self_attn",), ("layers.0.self_attn.out_proj",)),
        (("layers.0.linear1",), ("layers.0.linear2",)),
    ]
    assert {branch.norms for branch in found.branches} == {("pre",) if norm_first else ("post",)}
    assert found.streams[0].depth == 4
    assert found.packed[0].rows == (((0, 8),), ((8, 16),), ((16, 24),))
    assert ("layers.0.linear1.weight", "layers.1.linear1.weight") in found.clones
    assert model.training


# --- gates


def test_the_matrices_of_a_gated_unit_are_told_apart() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        result: Tensor = x + m.w2(F.silu(m.w1(x)) * m.w3(x))
        return result

    found = describe(dense(run, "w1 w2 w3"))
    assert get_roles(found) == {"w1": "gate", "w2": "down", "w3": "up"}
    (unit,) = found.gated_units
    assert unit.activation == "silu"


def run_halves(m: Any, x: Tensor) -> Tensor:
    value, gate = m.packed(x).chunk(2, -1)
    result: Tensor = m.out(value * F.gelu(gate))
    return result


def run_alternating(m: Any, x: Tensor) -> Tensor:
    packed = m.packed(x)
    gate, value = packed[..., ::2].clamp(max=7), packed[..., 1::2].clamp(-7, 7)
    result: Tensor = m.out((value + 1) * (gate * torch.sigmoid(1.7 * gate)))
    return result


GATED = {
    "second half": (run_halves, ("up", "gate"), (((0, 8),), ((8, 16),))),
    "glu": (lambda m, x: m.out(F.glu(m.packed(x))), ("up", "gate"), (((0, 8),), ((8, 16),))),
    "alternating": (
        run_alternating,
        ("gate", "up"),
        tuple(tuple((i, i + 1) for i in range(start, 16, 2)) for start in (0, 1)),
    ),
}


@pytest.mark.parametrize("name", GATED)
def test_the_rows_of_a_packed_gate_are_found(name: str) -> None:
    code, names, rows = GATED[name]
    found = describe(write(code, packed=linear(8, 16), out=linear()))
    (packed,) = found.packed
    assert (packed.names, packed.rows) == (names, rows)
    assert get_roles(found) == {"packed": "gate+up", "out": "down+head"}


def test_the_gates_of_a_recurrent_network_are_gates() -> None:
    found = describe(write(cases.run_lstm, w=linear(8, 32), u=linear(8, 32), head=linear()))
    assert get_roles(found) == {"w": "gate", "u": "gate", "head": "head"}
    assert {packed.layer: packed.rows for packed in found.packed} == dict.fromkeys(
        "wu", (((0, 16), (24, 32)), ((16, 24),))
    )
    assert dict(found.shared) == {"w": 5, "u": 5}
    gru = describe(write(cases.run_gru, w=linear(8, 24), u=linear(8, 24), head=linear()))
    assert gru.packed[0].rows == (((0, 16),), ((16, 24),))


def test_an_activation_that_is_written_out_is_no_gate() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        result: Tensor = m.b(h * torch.sigmoid(1.702 * h))
        return result

    assert describe(dense(run, "a b")).list_layers("gate") == ()


# --- experts


@pytest.mark.parametrize("sparse", [True, False])
def test_a_router_and_its_experts_are_found_and_their_sum_is_one_branch(sparse: bool) -> None:
    found = describe(cases.make_mixture(sparse), 2, 8)
    (mixture,) = found.mixtures
    assert mixture.router == "router"
    assert mixture.experts == tuple((f"experts.{i}.0", f"experts.{i}.2") for i in range(4))
    assert found.branch_count == 1
    roles = get_roles(found)
    assert roles["router"] == "router"
    for index in range(4):
        assert (roles[f"experts.{index}.0"], roles[f"experts.{index}.2"]) == ("up", "down")
        role = found.get_role(f"experts.{index}.2")
        assert role is not None
        assert role.expert
        assert role.writes
    assert found.unreached == ()
    assert any("sibling" in one.reason for one in found.layers) is sparse


# --- the rest


def test_shared_tied_and_unused_layers_are_told() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        result: Tensor = m.b(F.relu(m.a(F.relu(m.a(x)))))
        return result

    model = dense(run, "a b spare")
    model.b.weight = model.a.weight
    found = describe(model)
    assert found.ties == (("a.weight", "b.weight"),)
    assert found.shared == (("a", 2),)
    assert found.unreached == ("spare",)


@seeds.preserve_torch_state(0)
def test_the_benchmark_models_are_seen() -> None:
    depths = {"mixer": 8, "vit": 8, "resnet20": 9, "cnn": 0}
    for name, depth in depths.items():
        found = describe(models.get(name).build((3, 32, 32), 10), 2, 3, 32, 32)
        assert found.branch_count == depth
        assert all(len(branch.readers) and len(branch.writers) == 1 for branch in found.branches)
        assert found.list_layers("head") == ("output",)


def test_corrections_say_what_a_layer_is() -> None:
    model = dense(lambda m, x: m.w2(m.w1(x) * m.w3(x)), "w1 w2 w3")
    assert get_roles(describe(model))["w1"] == ""
    found = describe(model, corrections={"w1": "gate", "*3": "up", "w2": "down+head"})
    assert get_roles(found) == {"w1": "gate", "w2": "down+head", "w3": "up"}
    role = found.get_role("w3")
    assert role is not None
    assert role.reason == "corrected by '*3'"
    assert get_roles(describe(model, corrections={"*": "none"})) == dict.fromkeys(
        ("w1", "w2", "w3"), ""
    )


def test_wrong_corrections_are_refused() -> None:
    model = dense(lambda m, x: m.fc(x), "fc")
    with pytest.raises(UsageError, match=r"'upp' is no role. Expected one of embedding, query"):
        describe(model, corrections={"fc": "upp"})
    with pytest.raises(UsageError, match=r"No layer matches 'fd', .* such as fc"):
        describe(model, corrections={"fd": "up"})


def test_a_pattern_with_brackets_means_itself() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.ModuleDict({"a[0]": nn.Linear(8, 8)})["a[0]"])
        holder = nn.ModuleDict({"a[0]": model})
    holder.forward = lambda x: model(x)  # type: ignore[method-assign]
    found = describe(holder, corrections={"a[0].0": "up"})
    assert get_roles(found) == {"a[0].0": "up"}


def test_the_text_has_80_columns_and_the_json_everything() -> None:
    found = describe(cases.make_mixture(True), 2, 8)
    assert max(map(len, str(found).splitlines())) <= 80
    assert "router weighs 4 × experts.*.0, experts.*.2" in str(found)
    read = json.loads(json.dumps(found.to_json()))
    assert read["streams"][0]["branches"][0]["readers"][0] == "router"
    assert {one["layer"] for one in read["layers"]} == {one.layer for one in found.layers}


# --- nothing is changed


@pytest.mark.usefixtures("draws_globally")
def test_describing_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model[0].weight.requires_grad_(False)
    batch, random = sequence(4, 8), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    describe_structure(model.train(), batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_rows_are_seen_in_inference_mode_and_not_where_no_gradient_flows() -> None:
    model = write(cases.run_timm, qkv=linear(8, 24), proj=linear(), norm=norm)
    expected = describe(model)
    with torch.inference_mode():
        assert describe(model) == expected
    code = model.code

    def run_without_gradients(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            return code(m, x)

    model.code = run_without_gradients
    found = describe(model)
    assert found.packed[0].rows is None
    assert found.streams == expected.streams
