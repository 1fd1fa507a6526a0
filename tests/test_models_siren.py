"""`siren`: the formula of the paper, its weights, and what other activations are beside it."""

from __future__ import annotations

import math

import pytest
import torch
from model_cases import CASES, count, inputs, kinds, learns_by_heart
from torch import Tensor, nn

import fanin
from fanin import models, seeds
from fanin.errors import FitError, SpecError
from fanin.fans import calculate_fans, get_module_layout
from fanin.models.siren import COORDINATES, SirenNetwork, SirenOptions

pytestmark = pytest.mark.usefixtures("draws_globally")

PLACES = CASES["coordinates"]
PAPER = {"hidden.0.weight": "siren(first=true)"}


def coordinates(n: int) -> Tensor:
    """n places in [-1, 1]²."""
    return torch.rand(n, 2, generator=seeds.make_generator(0, "places")) * 2 - 1


def linear(h: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def test_it_is_the_formula_of_its_docstring() -> None:
    module = models.get("siren(width=5, omega=3.0, omega_hidden=2.0)").build_for(PLACES)
    w, h = module.state_dict(), inputs(PLACES)
    for layer, omega in enumerate((3, 2, 2)):
        h = torch.sin(omega * linear(h, w, f"hidden.{layer}"))
    torch.testing.assert_close(module(inputs(PLACES)), linear(h, w, "output"))


def test_with_another_activation_it_is_the_usual_network_without_frequencies() -> None:
    module = models.get("siren(width=5, depth=1, activation=relu)").build_for(PLACES)
    w, x = module.state_dict(), inputs(PLACES)
    torch.testing.assert_close(module(x), linear(torch.relu(linear(x, w, "hidden.0")), w, "output"))


def test_the_weights_of_the_paper_are_bounded_as_it_says() -> None:
    """Uniform draws of 512 numbers and more reach 0.99 of their bound, but for one time in 170 with
    the smallest.
    """
    module = models.get("siren(width=256)").build_for(PLACES)
    fanin.initialize(module, PAPER, default="siren", seed=0)
    hidden = math.sqrt(6 / 256) / 30
    bounds = {"hidden.0": 1 / 2, "hidden.1": hidden, "hidden.2": hidden, "output": hidden}
    assert kinds(module) == list(bounds)
    for name, bound in bounds.items():
        largest = float(module.get_parameter(f"{name}.weight").detach().abs().max())
        assert 0.99 * bound < largest <= bound * (1 + 1e-6)


def test_with_the_papers_weights_phases_have_a_variance_near_one_at_every_depth() -> None:
    """512 units × 1,000 places: within 5 % of √0.797; weights for a frequency that is 10 % off are
    seen.
    """
    module = models.get("siren(width=512, depth=6)").build((2,), 1)
    fanin.initialize(module, PAPER, default="siren", seed=0)
    assert phase(module) == pytest.approx(math.sqrt(0.797), rel=0.05)
    fanin.initialize(module, PAPER, default="siren(omega=27.0)", seed=0)
    assert phase(module) != pytest.approx(math.sqrt(0.797), rel=0.05)


def phase(module: nn.Module) -> float:
    """The standard deviation of what goes into the last sines."""
    seen: list[Tensor] = []
    handle = module.get_submodule("activations.5").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        module(coordinates(1000))
    handle.remove()
    return float(seen[0].std())


def test_the_layer_of_the_coordinates_says_so_and_has_the_fans_of_a_linear_layer() -> None:
    module = models.get("siren(width=5)").build_for(PLACES)
    layouts = [get_module_layout(layer) for layer in module.get_submodule("hidden").children()]
    assert [layout and layout.part for layout in layouts] == [COORDINATES, "", ""]
    assert calculate_fans(module.get_submodule("hidden.0")) == calculate_fans(nn.Linear(2, 5))


def test_the_rule_alone_knows_the_layer_of_the_coordinates() -> None:
    alone, by_pattern = (models.get("siren").build_for(PLACES) for _ in range(2))
    fanin.initialize(alone, "siren", seed=0)
    fanin.initialize(by_pattern, PAPER, default="siren", seed=0)
    assert all(
        torch.equal(a, b) for a, b in zip(alone.parameters(), by_pattern.parameters(), strict=True)
    )


def test_auto_sees_the_frequency_inside_the_sine() -> None:
    """E sin² 30z = 1/2 for standard normal z, so that the gain is √2."""
    record = fanin.initialize(models.get("siren").build_for(PLACES), "auto", seed=0)
    assert record["hidden.1.weight"].gain == pytest.approx(math.sqrt(2))


def test_a_wave_of_many_periods_is_learnt_with_sines_and_not_with_relu() -> None:
    """sin(25·x) on 200 places of [-1, 1], 8 periods; the variance left after 300 steps of Adam."""

    def left(spec: str, rules: dict[str, str], default: str) -> float:
        module = models.get(spec).build((1,), 1)
        fanin.initialize(module, rules, default=default, seed=0)
        x = torch.linspace(-1, 1, 200)[:, None]
        y = torch.sin(25 * x)
        optimizer = torch.optim.Adam(module.parameters(), 1e-3)
        for _ in range(300):
            optimizer.zero_grad()
            error = (module(x) - y).square().mean()
            error.backward()
            optimizer.step()
        return float(error.detach() / y.var())

    assert left("siren", PAPER, "siren") < 0.01
    assert left("siren(activation=relu)", {}, "he_normal") > 0.3


@pytest.mark.parametrize("options", ["", "depth=1", "bias=false", "omega=10.0"])
def test_every_option_learns_random_numbers_by_heart(options: str) -> None:
    module = models.get(f"siren({options})").build_for(PLACES)
    fanin.initialize(module, PAPER, default="siren", seed=0)
    assert learns_by_heart(module, PLACES, steps=600)


def test_parameters_number_what_the_layers_add_up_to_and_have_frozen_names() -> None:
    module = models.get("siren").build((2,), 3)
    assert count(module) == 3 * 64 + 2 * 65 * 64 + 65 * 3
    assert kinds(module) == ["hidden.0", "hidden.1", "hidden.2", "output"]
    assert kinds(models.get("siren(bias=false)").build((2,), 3), "bias") == ["output"]


def test_equal_networks_have_one_identity() -> None:
    assert models.get("siren(omega=30, omega_hidden=30, activation=sin)").spec == "siren"
    assert (
        models.get("siren(activation=relu, omega=10.0, omega_hidden=5.0)").spec
        == "siren(activation=relu)"
    )
    assert models.get("siren(depth=1, omega_hidden=5.0)").spec == "siren(depth=1)"
    assert models.get("siren(omega=10.0)").spec == "siren(omega=10.0)"
    assert models.get(*models.get("siren(omega=10.0)").split()) == models.get("siren(omega=10.0)")


def test_the_plain_module_can_be_made_by_hand() -> None:
    assert SirenNetwork(SirenOptions(depth=1), (2,), 1)(torch.zeros(5, 2)).shape == (5, 1)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("siren(omega=0)", r"siren\(omega=…\) must be above 0, not 0.0"),
        ("siren(omega_hidden=-1)", r"siren\(omega_hidden=…\) must be above 0"),
        ("siren(depth=0)", "depth is a whole number from 1"),
        ("siren(width=0)", "width is a whole number from 1"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    spec: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(spec)


def test_images_do_not_fit() -> None:
    with pytest.raises(FitError, match="siren takes tables"):
        models.get("siren").build_for(CASES["digits"])
