"""User initializers: a function that fills a tensor, or one that makes an initializer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from user_code_files import write_file

import fanin
from fanin import fans, seeds
from fanin.errors import FitError, SpecError, UnknownName
from fanin.initializers import HeNormal, Initializer

FILLS = """
    import time, torch
    def fill_(tensor, *, gain: float = 1.0, generator, fan_in):
        return tensor.normal_(0, gain / fan_in ** 0.5, generator=generator)
    def unseeded_(tensor, bound=1.0):
        torch.nn.init.uniform_(tensor, -bound, bound)
    def slowly_(tensor):
        for rows in tensor.chunk(10):
            torch.nn.init.uniform_(rows)
            time.sleep(0.001)
    """

MAKES = """
    from __future__ import annotations
    from dataclasses import dataclass
    import torch, fanin
    from fanin.initializers import Initializer
    def make(*, mode="fan_in"): return fanin.get("he_normal", mode=mode)
    def auto(): return fanin.get("auto")
    def gates(*, bias: float = 1.0): return fanin.get("forget_gate", value=bias)
    @dataclass(frozen=True)
    class Ones(Initializer):
        value: float = 1.0
        name = "ones"
        deterministic = True
        def check(self): pass
        def sample(self, layout, generator): return torch.full(layout.shape, self.value)
        def intended_std(self, layout): return 0.0
    """


@pytest.fixture
def fills(tmp_path: Path) -> str:
    return write_file(tmp_path, FILLS, "fills.py")


@pytest.fixture
def makes(tmp_path: Path) -> str:
    return write_file(tmp_path, MAKES, "makes.py")


def drawn(
    initializer: Initializer, shape: tuple[int, ...] = (40, 30), seed: int = 0
) -> torch.Tensor:
    return initializer(torch.empty(shape), generator=seeds.make_generator(seed, "init", "w"))


def perceptron() -> nn.Sequential:
    with seeds.preserve_torch_state(0):
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


# Functions that fill


def test_it_is_an_initializer_whose_spec_is_the_reference_with_its_options(fills: str) -> None:
    initializer = fanin.get(f"{fills}:fill_(gain=2)")
    assert isinstance(initializer, Initializer)
    assert initializer.spec == str(initializer) == f"{fills}:fill_(gain=2.0)"
    assert fanin.get(initializer.spec) == initializer == fanin.get(f"{fills}:fill_", gain=2.0)
    assert hash(fanin.get(initializer.spec)) == hash(initializer)
    assert fanin.get(f"{fills}:fill_(gain=1)").spec == f"{fills}:fill_"


def test_it_is_given_the_generator_and_the_fans_of_the_layer(fills: str) -> None:
    layout = fans.WeightLayout((12, 5, 3, 3), fans.Fans(45, 27), groups=4)
    found = fanin.get(f"{fills}:fill_").sample(layout, seeds.make_generator(0, "init", "w"))
    expected = torch.empty(12, 5, 3, 3).normal_(
        0, 1 / math.sqrt(45), generator=seeds.make_generator(0, "init", "w")
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["fill_", "unseeded_"])
def test_the_same_stream_gives_the_same_numbers_and_another_stream_others(
    fills: str, name: str
) -> None:
    initializer = fanin.get(f"{fills}:{name}")
    before = torch.get_rng_state()
    assert torch.equal(drawn(initializer), drawn(initializer))
    assert not torch.equal(drawn(initializer), drawn(initializer, seed=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["fill_", "unseeded_"])
def test_a_generator_that_goes_on_gives_other_numbers(fills: str, name: str) -> None:
    initializer, generator = fanin.get(f"{fills}:{name}"), seeds.make_generator(0, "init", "w")
    first = initializer(torch.empty(40, 30), generator=generator)
    assert not torch.equal(first, initializer(torch.empty(40, 30), generator=generator))


def test_functions_of_torch_are_used_as_they_are() -> None:
    found = drawn(fanin.get("torch.nn.init:xavier_uniform_(gain=2.0)"))
    expected = nn.init.xavier_uniform_(
        torch.empty(40, 30), 2.0, generator=seeds.make_generator(0, "init", "w")
    )
    assert torch.equal(found, expected)


def test_the_record_of_a_model_shows_the_reference(fills: str) -> None:
    record = fanin.initialize(perceptron(), f"{fills}:fill_(gain=2)", seed=0)
    assert record["0.weight"].rule == f"{fills}:fill_(gain=2.0)"
    # n = 128 numbers: the standard error of their std is 1/√(2n) = 6.3 % of it; four of them.
    assert record["0.weight"].measured_std == pytest.approx(2 / math.sqrt(8), rel=0.25)
    assert record["0.weight"].intended_std is None


def test_the_parts_of_a_packed_weight_are_filled_each_with_its_own_numbers(fills: str) -> None:
    with seeds.preserve_torch_state(0):
        attention = nn.MultiheadAttention(8, 2)
    fanin.initialize(attention, f"{fills}:unseeded_", seed=0)
    q, k, v = attention.in_proj_weight.detach().chunk(3)
    assert not torch.equal(q, k)
    assert not torch.equal(k, v)


def test_threads_do_not_change_what_is_drawn(fills: str) -> None:
    def weights(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        try:
            with seeds.preserve_torch_state(0):
                model = nn.Sequential(
                    *(nn.Linear(600, 600) for _ in range(4))
                )  # large enough for threads
            fanin.initialize(model, f"{fills}:slowly_", seed=0)
            return [parameter.detach() for parameter in model.parameters()]
        finally:
            torch.set_num_threads(1)

    assert all(torch.equal(one, two) for one, two in zip(weights(1), weights(3), strict=True))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return tensor * 2", "it returned another tensor"),
        ("return 3", r"it returned 3 \(int\)"),
        ("tensor.fill_(float('nan'))", "numbers that are not finite"),
        ("tensor.resize_(3)", r"of shape \(3,\) for a weight of shape \(4, 16\)"),
        ("tensor.no_such()", r"raised AttributeError: .*no_such.*\(mine\.py, line 3\)"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, body: str, said: str
) -> None:
    model = perceptron()
    before = [parameter.clone() for parameter in model.parameters()]
    only_the_last = (
        "def fill_(tensor):\n"
        f"    if tensor.shape == (4, 16):\n        {body}\n"
        "    else: tensor.fill_(1)"
    )
    with pytest.raises(FitError, match=said):
        fanin.initialize(model, f"{write_file(tmp_path, only_the_last)}:fill_", seed=0)
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


def test_one_that_needs_fans_does_not_fit_a_vector(fills: str) -> None:
    with pytest.raises(FitError, match="has no fans"):
        drawn(fanin.get(f"{fills}:fill_"), (7,))


@pytest.mark.parametrize("option", ["name", "user_component", "sample", "spec"])
def test_an_option_that_every_initializer_has_already_is_refused(
    tmp_path: Path, option: str
) -> None:
    with pytest.raises(SpecError, match=f"has an option {option}"):
        fanin.get(f"{write_file(tmp_path, f'def fill_(tensor, {option}=1): ...')}:fill_")


# Functions that make one


def test_what_makes_an_initializer_draws_as_that_one_under_its_own_name(makes: str) -> None:
    initializer = fanin.get(f"{makes}:make(mode=fan_out)")
    inner = HeNormal(mode="fan_out")
    assert torch.equal(drawn(initializer), drawn(inner))
    assert initializer.spec == f"{makes}:make(mode=fan_out)"
    assert initializer.intended_std(
        fans.get_tensor_layout(torch.empty(4, 5))
    ) == inner.intended_std(fans.get_tensor_layout(torch.empty(4, 5)))
    assert initializer.gaussian == inner.gaussian


def test_a_class_of_initializers_can_be_the_reference(makes: str) -> None:
    initializer = fanin.get(f"{makes}:Ones(value=3)")
    assert drawn(initializer).unique().tolist() == [3]
    assert initializer.spec == f"{makes}:Ones(value=3.0)"
    assert initializer.deterministic
    assert fanin.initialize(perceptron(), initializer, seed=0)["0.weight"].stream is None


def test_one_that_makes_an_initializer_of_whole_models_chooses_as_that_one(makes: str) -> None:
    one, two = perceptron(), perceptron()
    fanin.initialize(one, f"{makes}:auto", seed=0)
    fanin.initialize(two, "auto", seed=0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_law_of_gates_stays_one(makes: str) -> None:
    with seeds.preserve_torch_state(0):
        one, two = nn.LSTM(4, 5), nn.LSTM(4, 5)
    fanin.initialize(one, "orthogonal", biases=f"{makes}:gates(bias=2)", seed=0)
    fanin.initialize(two, "orthogonal", biases="forget_gate(value=2.0)", seed=0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_one_that_makes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FitError, match=r"must return a fanin initializer.*returned 'he_normal'"):
        fanin.get(f"{write_file(tmp_path, 'def make(): return ' + repr('he_normal'))}:make")


def test_a_mistaken_option_of_the_initializer_inside_is_told(makes: str) -> None:
    with pytest.raises(SpecError, match="mode"):
        fanin.get(f"{makes}:make(mode=sideways)")
    with pytest.raises(UnknownName, match="Did you mean mode"):
        fanin.get(f"{makes}:make(mod=fan_in)")


def test_an_option_is_given_once(fills: str) -> None:
    with pytest.raises(SpecError, match="gives gain already"):
        fanin.get(f"{fills}:fill_(gain=2.0)", gain=3.0)
