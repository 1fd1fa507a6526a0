"""Reparametrized weights: after a forward pass the layer still has the weight that the record
speaks of.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from apply_cases import built, state, unchanged
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from fanin import seeds
from fanin.apply import initialize
from fanin.errors import FitError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning"),
]

Wrap = Callable[[nn.Module], nn.Module]

EXACT: dict[str, Wrap] = {
    "weight_norm": lambda layer: parametrizations.weight_norm(layer),
    "weight_norm of the whole": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "weight_norm, older": lambda layer: nn.utils.weight_norm(layer),
    "weight_norm of the whole, older": lambda layer: nn.utils.weight_norm(layer, dim=None),
}
SPECTRAL: dict[str, Wrap] = {
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer),
    "spectral_norm, older": lambda layer: nn.utils.spectral_norm(layer),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(40, 30),
    "convolution": lambda: nn.Conv1d(8, 12, 5, groups=2),
    "transposed": lambda: nn.ConvTranspose1d(8, 12, 5),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def wrapped(layer: Callable[[], nn.Module], wrap: Wrap) -> nn.Sequential:
    model = built(lambda: nn.Sequential(wrap(layer())))
    assert isinstance(model, nn.Sequential)
    return model


def used(model: nn.Sequential, training: bool = True) -> Tensor:
    """The weight after a forward pass in that mode."""
    layer = model.train(training)[0]
    model(
        torch.zeros(
            1,
            layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels,
            *[9] * (layer.weight.dim() - 2),
        )
    )
    return layer.weight.detach()


def plain(layer: Callable[[], nn.Module], rule: str) -> Tensor:
    """What the rule gives to the layer without its parametrization."""
    model = built(lambda: nn.Sequential(layer()))
    initialize(model, rule, seed=4)
    return model[0].weight.detach()


# --- what can be reached
# -----------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("wrap", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("rule", ["he_normal", "orthogonal", "constant(value=0.1)"])
def test_weight_norm_has_the_intended_weight_after_a_forward_pass(
    rule: str, wrap: Wrap, layer: Callable[[], nn.Module]
) -> None:
    model = wrapped(layer, wrap)
    record = initialize(model, rule, seed=4)
    for training in (True, False):
        assert torch.allclose(used(model, training), plain(layer, rule), rtol=1e-5, atol=1e-7)
    weight = record["0.weight"]
    assert (weight.role, weight.rule, weight.changed) == ("weight", rule, True)
    assert weight.measured_std == pytest.approx(
        used(model).std(correction=0).item(), rel=1e-5, abs=1e-7
    )
    assert "set through" in weight.reason


@every_layer
@pytest.mark.parametrize("wrap", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("rule", ["zero", "identity"])
def test_rows_of_zeros_are_zeros_and_not_numbers_divided_by_zero(
    rule: str, wrap: Wrap, layer: Callable[[], nn.Module]
) -> None:
    model = wrapped(layer, wrap)
    initialize(model, rule, seed=4)
    assert torch.allclose(used(model), plain(layer, rule), atol=1e-6)
    model(torch.ones(1, *_input_shape(model[0]))).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in model.parameters()
    )


def _input_shape(layer: nn.Module) -> tuple[int, ...]:
    return (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, 9)


def test_a_layer_whose_norm_is_zero_still_starts_in_directions_of_its_own() -> None:
    model = wrapped(LAYERS["linear"], EXACT["weight_norm"])
    initialize(model, "zero", seed=4)
    directions = model[0].parametrizations.weight.original1.detach()
    assert torch.equal(
        directions, seeds.standard_normal((30, 40), seeds.make_generator(4, "init", "0.weight"))
    )


@every_layer
@pytest.mark.parametrize("rule", ["orthogonal", "he_normal"])
def test_orthogonal_has_an_orthogonal_weight_and_the_record_its_std(
    rule: str, layer: Callable[[], nn.Module]
) -> None:
    model = wrapped(layer, lambda one: parametrizations.orthogonal(one))
    record = initialize(model, rule, seed=4)
    weight = used(model)
    matrices = weight if weight.shape[-2] <= weight.shape[-1] else weight.mT
    eye = torch.eye(matrices.shape[-2]).expand(*matrices.shape[:-1], -1)
    assert torch.allclose(matrices @ matrices.mT, eye, atol=1e-4)
    assert record["0.weight"].measured_std == pytest.approx(
        weight.std(correction=0).item(), rel=1e-4
    )


def test_an_orthogonal_square_weight_is_kept_to_rounding() -> None:
    model = wrapped(lambda: nn.Linear(20, 20), lambda one: parametrizations.orthogonal(one))
    initialize(model, "orthogonal", seed=4)
    assert torch.allclose(used(model), plain(lambda: nn.Linear(20, 20), "orthogonal"), atol=1e-5)


def test_what_a_parametrization_draws_itself_is_a_function_of_the_seed() -> None:
    """Torch's orthogonal completes a rectangular matrix by random columns, from the global
    generator.
    """
    first, second = (
        wrapped(LAYERS["linear"], lambda one: parametrizations.orthogonal(one)) for _ in range(2)
    )
    initialize(first, "he_normal", seed=4)
    with seeds.preserve_torch_state(77):
        initialize(second, "he_normal", seed=4)
    assert torch.equal(
        first[0].parametrizations.weight[0].base, second[0].parametrizations.weight[0].base
    )


# --- what cannot be reached
# -----------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("wrap", SPECTRAL.values(), ids=SPECTRAL)
def test_spectral_norm_divides_by_the_norm_and_the_record_shows_the_effective_std(
    wrap: Wrap, layer: Callable[[], nn.Module]
) -> None:
    model = wrapped(layer, wrap)
    record = initialize(model, "he_normal", seed=4)
    asked = plain(layer, "he_normal")
    first = 1 if isinstance(model[0], nn.ConvTranspose1d) else 0
    norm = torch.linalg.matrix_norm(asked.movedim(first, 0).flatten(1), 2)
    weight = record["0.weight"]
    assert weight.measured_std == pytest.approx(
        used(model, False).std(correction=0).item(), rel=1e-5
    )
    assert weight.measured_std == pytest.approx((asked / norm).std(correction=0).item(), rel=1e-3)
    for training in (
        False,
        True,
    ):  # no power iteration in the first, one in the second: the vectors are those of this weight
        assert torch.allclose(used(model, training), asked / norm, rtol=1e-3, atol=1e-4)
    assert abs(weight.measured_std / weight.intended_std - 1) > 0.2


@pytest.mark.parametrize("wrap", SPECTRAL.values(), ids=SPECTRAL)
def test_a_weight_of_norm_one_that_is_to_be_zero_is_an_error_and_all_is_as_before(
    wrap: Wrap,
) -> None:
    model = built(lambda: nn.Sequential(wrap(nn.Linear(5, 4)), nn.Linear(4, 3)))
    before = state(model)
    with pytest.raises(
        FitError, match=r"SpectralNorm makes numbers that are not finite of zero for 0\.weight"
    ):
        initialize(model, "zero", seed=0)
    assert unchanged(model, before)


@pytest.mark.parametrize("wrap", SPECTRAL.values(), ids=SPECTRAL)
def test_a_deterministic_rule_shows_its_effective_std_too(wrap: Wrap) -> None:
    model = wrapped(lambda: nn.Linear(6, 6), wrap)
    weight = initialize(model, "identity(gain=3.0)", seed=0)["0.weight"]
    assert torch.allclose(used(model), torch.eye(6), atol=1e-5)
    assert weight.measured_std == pytest.approx(weight.intended_std / 3, rel=1e-4)


# --- a user's own
# -----------------------------------------------------------------------------


class Doubled(nn.Module):
    """W = 2·V, with its inverse."""

    def forward(self, stored: Tensor) -> Tensor:
        return 2 * stored

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / 2


class OneWay(nn.Module):
    """W = V²: nobody said how to get back."""

    def forward(self, stored: Tensor) -> Tensor:
        return stored.square()


class Failing(Doubled):
    """Its inverse fails once the flag is set."""

    broken = False

    def right_inverse(self, weight: Tensor) -> Tensor:
        if self.broken:
            raise ValueError("no such weight")
        return weight / 2


def by(make: Callable[[], nn.Module]) -> Wrap:
    def wrap(layer: nn.Module) -> nn.Module:
        parametrize.register_parametrization(layer, "weight", make())
        return layer

    return wrap


@every_layer
def test_a_users_parametrization_is_set_through_its_right_inverse(
    layer: Callable[[], nn.Module],
) -> None:
    model = wrapped(layer, by(Doubled))
    record = initialize(model, "he_normal", seed=4)
    assert torch.equal(used(model), plain(layer, "he_normal"))
    assert torch.equal(model[0].parametrizations.weight.original, plain(layer, "he_normal") / 2)
    assert record["0.weight"].reason == f"weight of {type(model[0]).__name__}, set through Doubled"
    carrier = record["0.parametrizations.weight.original"]
    assert (carrier.tied_to, carrier.rule, carrier.reason) == (
        "0.weight",
        None,
        "carries 0.weight (Doubled)",
    )


def test_parametrizations_in_a_chain_are_inverted_in_turn() -> None:
    model = wrapped(LAYERS["linear"], lambda layer: by(Doubled)(by(Doubled)(layer)))
    record = initialize(model, "he_normal", seed=4)
    assert torch.equal(used(model), plain(LAYERS["linear"], "he_normal"))
    assert "Doubled and Doubled" in record["0.weight"].reason


def test_one_without_a_right_inverse_is_an_error_that_says_so_and_nothing_is_changed() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(6, 5), by(OneWay)(nn.Linear(5, 4))))
    before = state(model)
    with pytest.raises(
        FitError, match=r"1\.weight .*computed by OneWay, which has no right_inverse"
    ):
        initialize(model, "he_normal", seed=0)
    assert unchanged(model, before)
    assert initialize(model, "he_normal", seed=0, exclude="1.weight")["0.weight"].changed


def test_one_that_fails_leaves_the_whole_model_as_it_was() -> None:
    wraps = [
        by(Doubled),
        EXACT["weight_norm"],
        SPECTRAL["spectral_norm"],
        SPECTRAL["spectral_norm, older"],
        EXACT["weight_norm, older"],
    ]
    model = built(
        lambda: nn.Sequential(
            nn.Linear(5, 5),
            *(wrap(nn.Linear(5, 5)) for wrap in wraps),
            by(Failing)(nn.Linear(5, 5)),
        )
    )
    orthogonal = built(lambda: parametrizations.orthogonal(nn.Linear(5, 7)))
    model.insert(3, orthogonal)
    model.eval()  # otherwise spectral_norm moves when it is read
    before, weights = state(model), [layer.weight.detach().clone() for layer in model]
    model[-1].parametrizations.weight[0].broken = True
    with pytest.raises(
        FitError,
        match=r"7\.weight cannot be set through Failing, so nothing was changed: no such weight",
    ):
        initialize(model, "he_normal", seed=0)
    assert unchanged(model, before)
    assert all(
        torch.equal(layer.weight, weight) for layer, weight in zip(model, weights, strict=True)
    )


# --- around it
# -----------------------------------------------------------------------------


def test_patterns_use_the_name_that_the_layer_uses() -> None:
    model = wrapped(LAYERS["linear"], EXACT["weight_norm"])
    record = initialize(model, {"0.weight": "lecun_normal"}, default="zero", seed=4)
    assert record["0.weight"].rule == "lecun_normal"
    assert torch.allclose(used(model), plain(LAYERS["linear"], "lecun_normal"), rtol=1e-5)


def test_a_preview_moves_nothing_and_a_frozen_one_stays() -> None:
    model = wrapped(LAYERS["linear"], SPECTRAL["spectral_norm"])
    before = state(model)
    assert initialize(model, "he_normal", seed=0, preview=True)["0.weight"].rule == "he_normal"
    assert unchanged(model, before)
    model[0].parametrizations.weight.original.requires_grad_(False)
    assert "frozen" in initialize(model, "he_normal", seed=0)["0.weight"].reason
    assert torch.equal(
        model[0].parametrizations.weight.original, before["0.parametrizations.weight.original"]
    )


@pytest.mark.parametrize(
    "wrap", [EXACT["weight_norm"], by(Doubled)], ids=["weight_norm", "a user's"]
)
def test_parameters_keep_their_memory_and_mode(wrap: Wrap) -> None:
    model = wrapped(lambda: nn.Conv2d(4, 6, 3), wrap).to(memory_format=torch.channels_last)
    kept = [
        (parameter.data_ptr(), parameter.stride(), parameter.requires_grad)
        for parameter in model.parameters()
    ]
    initialize(model, "he_normal", seed=0)
    assert [(one.data_ptr(), one.stride(), one.requires_grad) for one in model.parameters()] == kept
    assert all(module.training for module in model.modules())


def test_gates_of_a_recurrent_layer_under_weight_norm_are_still_gates() -> None:
    model = built(lambda: parametrizations.weight_norm(nn.LSTM(5, 6), "weight_hh_l0"))
    record = initialize(model, "orthogonal", seed=0)
    assert [part.name for part in record["weight_hh_l0"].parts] == ["i", "f", "g", "o"]
    for gate in model.weight_hh_l0.detach().chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(6), atol=1e-5)


def test_a_weight_that_is_plain_elsewhere_is_set_where_it_is_normalized() -> None:
    """Otherwise the singular vectors would be those of the old weight."""
    plain, normalized = (
        built(lambda: nn.Linear(9, 9, bias=False)),
        wrapped(lambda: nn.Linear(9, 9), SPECTRAL["spectral_norm"])[0],
    )
    plain.weight = normalized.parametrizations.weight.original
    record = initialize(nn.ModuleList([plain, normalized]).eval(), "he_normal", seed=0)
    assert record["0.weight"].tied_to == "1.weight"
    assert torch.linalg.matrix_norm(normalized.weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_a_parametrized_buffer_is_no_parameter() -> None:
    layer = nn.BatchNorm1d(3)
    parametrize.register_parametrization(layer, "running_var", Doubled())
    record = initialize(layer, "zero", seed=0)
    assert [parameter.name for parameter in record] == ["weight", "bias"]


def test_an_embedding_under_weight_norm_keeps_its_padding_row_at_zero() -> None:
    table = built(lambda: parametrizations.weight_norm(nn.Embedding(7, 4, padding_idx=2)))
    initialize(table, "zero", seed=0)
    assert not table.weight[2].any()
    assert table.weight[[0, 1, 3]].all()
