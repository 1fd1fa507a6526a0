"""What layers hold: role, fans and parts of every parameter, against sums written out by hand and
what torch computes.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from apply_cases import built
from torch import Tensor, nn

from fanin import fans, seeds
from fanin.errors import FitError, UnknownName
from fanin.fans import Fans, LayerParameter, describe_parameters

Facts = tuple[str, tuple[int, ...], float | None, float | None]


def facts(held: LayerParameter) -> Facts:
    """Role, shape, fan-in and fan-out; of a packed parameter those of its parts, which must
    agree.
    """
    found = {part.layout.fans for part in held.layout.parts} or {held.layout.fans}
    assert len(found) == 1
    (one,) = found
    return (held.role, held.layout.shape, one.fan_in if one else None, one.fan_out if one else None)


def all_facts(module: nn.Module) -> dict[str, Facts]:
    """Of the parameters that the module really has."""
    held = describe_parameters(module)
    return {name: facts(held[name]) for name, _ in module.named_parameters(recurse=False)}


# --- one map
# -----------------------------------------------------------------------------

with seeds.preserve_torch_state(0):
    LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], int, int]] = {
        "linear": (nn.Linear(5, 3), (3, 5), 5, 3),
        "conv1d": (nn.Conv1d(6, 4, 5), (4, 6, 5), 6 * 5, 4 * 5),
        "conv2d": (nn.Conv2d(3, 8, (3, 5)), (8, 3, 3, 5), 3 * 15, 8 * 15),
        "conv3d": (nn.Conv3d(2, 3, 2), (3, 2, 2, 2, 2), 2 * 8, 3 * 8),
        "dilated": (nn.Conv2d(3, 8, 3, dilation=4), (8, 3, 3, 3), 3 * 9, 8 * 9),
        "grouped": (nn.Conv2d(8, 12, 3, groups=4), (12, 2, 3, 3), 2 * 9, 3 * 9),
        "depthwise": (nn.Conv2d(6, 12, 3, groups=6), (12, 1, 3, 3), 1 * 9, 2 * 9),
        "strided": (nn.Conv2d(3, 8, 4, stride=2), (8, 3, 4, 4), 3 * 16, 8 * 16),
        "transposed1d": (nn.ConvTranspose1d(6, 4, 5), (6, 4, 5), 6 * 5, 4 * 5),
        "transposed2d": (nn.ConvTranspose2d(64, 16, 3), (64, 16, 3, 3), 576, 144),
        "transposed3d": (nn.ConvTranspose3d(2, 3, 2), (2, 3, 2, 2, 2), 2 * 8, 3 * 8),
        "transposed, grouped": (nn.ConvTranspose2d(8, 12, 3, groups=4), (8, 3, 3, 3), 2 * 9, 3 * 9),
        "bilinear": (nn.Bilinear(4, 5, 3), (3, 4, 5), 4 * 5, 3),
    }


@pytest.mark.parametrize(("layer", "shape", "fan_in", "fan_out"), LAYERS.values(), ids=LAYERS)
def test_a_layer_of_one_map_holds_a_weight_and_a_bias_with_its_fans(
    layer: nn.Module, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> None:
    outputs = layer.bias.numel()
    assert all_facts(layer) == {
        "weight": ("weight", shape, fan_in, fan_out),
        "bias": ("bias", (outputs,), fan_in, fan_out),
    }


@pytest.mark.parametrize("make", [nn.Embedding, nn.EmbeddingBag])
def test_a_table_is_looked_up_one_row_at_a_time(make: type[nn.Module]) -> None:
    assert all_facts(built(lambda: make(50, 8))) == {"weight": ("embedding", (50, 8), 1, 8)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm2d(6),
        lambda: nn.LayerNorm((3, 6)),
        lambda: nn.GroupNorm(2, 6),
        lambda: nn.InstanceNorm1d(6, affine=True),
    ],
)
def test_a_normalization_has_a_scale_and_a_shift_without_fans(make: type[nn.Module]) -> None:
    norm = make()
    shape = tuple(norm.weight.shape)
    assert all_facts(norm) == {
        "weight": ("norm scale", shape, None, None),
        "bias": ("norm shift", shape, None, None),
    }


def test_what_is_absent_or_unknown_is_not_there() -> None:
    assert all_facts(nn.RMSNorm(6)) == {"weight": ("norm scale", (6,), None, None)}
    assert describe_parameters(nn.BatchNorm1d(6, affine=False)) == {}
    assert describe_parameters(nn.PReLU()) == {}


def test_a_subclass_is_what_its_base_is() -> None:
    class Mine(nn.Linear):
        pass

    assert facts(describe_parameters(built(lambda: Mine(5, 3)))["weight"]) == (
        "weight",
        (3, 5),
        5,
        3,
    )


def test_a_bilinear_layer_with_weights_of_variance_one_over_fan_in_keeps_the_variance() -> None:
    """n = 20,000 outputs of 200 draws of weights: standard error below 4 %, tolerance 20 %; in1
    alone would give a factor 7.
    """
    g = torch.Generator().manual_seed(0)
    std = fans.calculate_fans(built(lambda: nn.Bilinear(9, 7, 10))).fan_in ** -0.5
    squares = []
    for _ in range(200):
        a, b = torch.randn(10, 9, generator=g), torch.randn(10, 7, generator=g)
        squares.append(
            nn.functional.bilinear(a, b, torch.randn(10, 9, 7, generator=g) * std).square().mean()
        )
    assert torch.stack(squares).mean().item() == pytest.approx(1.0, rel=0.2)


# --- transformers' Conv1D
# -----------------------------------------------------------------------------


class Conv1D(nn.Module):
    """What transformers' class of this name is: y = x·W + b with W of shape (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.zeros(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))


def test_transformers_conv1d_is_a_linear_layer_stored_the_other_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        describe_parameters(Conv1D(12, 5)) == {}
    )  # another module's class of this name is not known
    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    layer = Conv1D(12, 5)
    assert all_facts(layer) == {
        "weight": ("weight", (5, 12), 5, 12),
        "bias": ("bias", (12,), 5, 12),
    }
    assert describe_parameters(layer)["weight"].layout.matrices_shape == (1, 12, 5)


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)
@pytest.mark.usefixtures("draws_globally")
@pytest.mark.filterwarnings("ignore")
def test_the_conv1d_of_transformers_itself_is_known() -> None:
    utils = pytest.importorskip("transformers.pytorch_utils", exc_type=ImportError)
    layer = utils.Conv1D(12, 5)
    assert all_facts(layer)["weight"] == ("weight", (5, 12), 5, 12)


# --- attention
# -----------------------------------------------------------------------------


def test_attention_packs_q_k_and_v_each_a_map_of_its_own() -> None:
    attention = built(lambda: nn.MultiheadAttention(8, 2))
    assert all_facts(attention) == {
        "in_proj_weight": ("weight", (24, 8), 8, 8),
        "in_proj_bias": ("bias", (24,), 8, 8),
    }
    parts = describe_parameters(attention)["in_proj_weight"].layout.parts
    assert [(part.name, *part.steps[0].args) for part in parts] == [
        ("q", 0, 0, 8),
        ("k", 0, 8, 8),
        ("v", 0, 16, 8),
    ]
    assert facts(describe_parameters(attention.out_proj)["weight"]) == ("weight", (8, 8), 8, 8)


def test_attention_with_other_dimensions_of_keys_and_values_holds_three_weights() -> None:
    attention = built(lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=10, add_bias_kv=True))
    assert all_facts(attention) == {
        "q_proj_weight": ("weight", (8, 8), 8, 8),
        "k_proj_weight": ("weight", (8, 6), 6, 8),
        "v_proj_weight": ("weight", (8, 10), 10, 8),
        "in_proj_bias": ("bias", (24,), 8, 8),
        "bias_k": ("bias", (1, 1, 8), None, None),
        "bias_v": ("bias", (1, 1, 8), None, None),
    }


def test_fans_of_a_layer_of_several_weights_are_an_error_that_names_them() -> None:
    with pytest.raises(FitError, match="several weights: in_proj_weight"):
        fans.calculate_fans(built(lambda: nn.MultiheadAttention(8, 2)))
    with pytest.raises(FitError, match="weight_ih_l0, weight_hh_l0"):
        fans.calculate_fans(built(lambda: nn.LSTM(3, 4)))


# --- recurrent layers
# -----------------------------------------------------------------------------

IN, H, P = 5, 6, 4


def recurrent(gates: int, layers: int, directions: int, projection: int) -> dict[str, Facts]:
    """Written out by hand: every gate is a map from the inputs, or from the state, to the hidden
    units.
    """
    found: dict[str, Facts] = {}
    state = projection or H
    for layer in range(layers):
        inputs = IN if layer == 0 else state * directions
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][:directions]:
            found[f"weight_ih{suffix}"] = ("weight", (gates * H, inputs), inputs, H)
            found[f"weight_hh{suffix}"] = ("recurrent weight", (gates * H, state), state, H)
            found[f"bias_ih{suffix}"] = ("bias", (gates * H,), inputs, H)
            found[f"bias_hh{suffix}"] = ("recurrent bias", (gates * H,), state, H)
            if projection:
                found[f"weight_hr{suffix}"] = ("weight", (projection, H), H, projection)
    return found


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("make", "gates"), [(nn.RNN, 1), (nn.LSTM, 4), (nn.GRU, 3)])
def test_every_gate_of_every_layer_and_direction_is_a_map(
    make: type[nn.RNNBase], gates: int, layers: int, directions: int
) -> None:
    module = built(lambda: make(IN, H, num_layers=layers, bidirectional=directions == 2))
    assert all_facts(module) == recurrent(gates, layers, directions, 0)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_projection_makes_the_state_smaller_and_is_a_map_of_its_own(
    layers: int, directions: int
) -> None:
    module = built(
        lambda: nn.LSTM(IN, H, num_layers=layers, bidirectional=directions == 2, proj_size=P)
    )
    assert all_facts(module) == recurrent(4, layers, directions, P)


@pytest.mark.parametrize(("make", "gates"), [(nn.RNNCell, 1), (nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_a_cell_is_one_layer_without_a_number(make: type[nn.RNNCellBase], gates: int) -> None:
    expected = {
        name.removesuffix("_l0"): found for name, found in recurrent(gates, 1, 1, 0).items()
    }
    assert all_facts(built(lambda: make(IN, H))) == expected


def test_a_layer_without_biases_has_none() -> None:
    module = built(lambda: nn.LSTM(IN, H, bias=False))
    assert set(all_facts(module)) == {"weight_ih_l0", "weight_hh_l0"}


def open_gate(cell: nn.RNNCellBase, **biases: float) -> nn.RNNCellBase:
    """A cell whose weights are zero and whose gates, found by their names, have these biases."""
    parts = {part.name: part for part in describe_parameters(cell)["bias_ih"].layout.parts}
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        for name, value in biases.items():
            parts[name].of(cell.bias_ih).fill_(value)
    return cell


def lstm(**biases: float) -> tuple[Tensor, Tensor]:
    """New hidden state and cell state, after h = 0 and c = 0.8, of an LSTM with these biases of its
    gates.
    """
    cell = open_gate(built(lambda: nn.LSTMCell(1, 3)), **biases)
    h, c = cell(torch.zeros(1, 1), (torch.zeros(1, 3), torch.full((1, 3), 0.8)))
    return h.detach(), c.detach()


def test_the_parts_of_an_lstm_are_the_gates_that_torch_computes() -> None:
    """All gates are ½ and the new content 0 unless a bias says otherwise: c' = f·c + i·g, h' =
    o·tanh(c').
    """
    full = torch.full((1, 3), 0.8)
    assert torch.allclose(lstm()[1], full / 2)
    assert torch.allclose(lstm(f=50.0)[1], full)
    assert torch.allclose(lstm(f=-50.0)[1], full * 0)
    assert torch.allclose(lstm(i=50.0, g=50.0)[1], full / 2 + 1)
    assert torch.allclose(lstm(i=-50.0, g=50.0)[1], full / 2)
    assert torch.allclose(lstm(o=50.0)[0], (full / 2).tanh())
    assert torch.allclose(lstm(o=-50.0)[0], full * 0)


def test_the_parts_of_a_gru_are_the_gates_that_torch_computes() -> None:
    """h' = (1 - z)·n + z·h, n = tanh(b_n + r·b_hn)."""
    h = torch.full((1, 3), 0.8)

    def step(new: float = 0.0, **biases: float) -> Tensor:
        cell = open_gate(built(lambda: nn.GRUCell(1, 3)), **biases)
        with torch.no_grad():
            describe_parameters(cell)["bias_hh"].layout.parts[2].of(cell.bias_hh).fill_(new)
            return cell(torch.zeros(1, 1), h)

    assert torch.allclose(step(), h / 2)
    assert torch.allclose(step(z=50.0), h)
    assert torch.allclose(step(z=-50.0, n=0.3), torch.full_like(h, 0.3).tanh())
    assert torch.allclose(step(z=-50.0, r=50.0, new=0.3), torch.full_like(h, 0.3).tanh())
    assert torch.allclose(step(z=-50.0, r=-50.0, new=0.3), h * 0)


def test_a_layer_has_the_gates_of_its_cell() -> None:
    for layer, cell in ((nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell)):
        of_layer = describe_parameters(built(lambda layer=layer: layer(IN, H)))["weight_hh_l0"]
        assert of_layer == describe_parameters(built(lambda cell=cell: cell(IN, H)))["weight_hh"]


# --- conventions, packs and mistakes
# -----------------------------------------------------------------------------


def test_strides_matter_in_effective_fans_only() -> None:
    strided, transposed = (
        built(lambda: nn.Conv2d(3, 8, 4, stride=2)),
        built(lambda: nn.ConvTranspose2d(8, 3, 4, stride=2)),
    )
    for module, expected in ((strided, Fans(48, 32)), (transposed, Fans(32, 48))):
        assert describe_parameters(module, "effective")["weight"].layout.fans == expected
        assert describe_parameters(module, "effective")["bias"].layout.fans == expected
    assert describe_parameters(built(lambda: nn.LSTM(IN, H)), "effective") == describe_parameters(
        built(lambda: nn.LSTM(IN, H))
    )


def test_a_part_is_a_view_of_its_rows_and_has_the_fans_of_its_share() -> None:
    layout = fans.pack(fans.WeightLayout((10, 4), Fans(4, 10)), {"q": 6, "kv": 4})
    weight = torch.arange(40.0).view(10, 4)
    q, kv = layout.parts
    assert torch.equal(q.of(weight), weight[:6])
    assert torch.equal(kv.of(weight), weight[6:])
    assert (q.layout.shape, q.layout.fans, kv.layout.fans) == ((6, 4), Fans(4, 6), Fans(4, 4))
    kv.of(weight).zero_()
    assert not weight[6:].any()


def test_parts_that_do_not_add_up_are_an_error_that_says_to_what() -> None:
    with pytest.raises(FitError, match=r"add up to 9; dimension 0 .* has 10"):
        fans.pack(fans.WeightLayout((10, 4), Fans(4, 10)), {"q": 5, "k": 4})


@pytest.mark.parametrize("make", [nn.LazyLinear, lambda n: nn.LazyConv2d(n, 3)])
def test_a_lazy_layer_has_no_shape_to_speak_of(make: type[nn.Module]) -> None:
    with pytest.raises(FitError, match="no shape yet"):
        describe_parameters(make(3))


def test_an_unknown_convention_offers_the_near_one() -> None:
    with pytest.raises(UnknownName, match="effective"):
        describe_parameters(nn.ReLU(), "efective")  # type: ignore[arg-type]
