"""User models: built, tried and refused like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from user_code_files import write_file

import fanin
from fanin import models
from fanin.errors import FitError, SpecError, UnknownName, UserCodeError

LINEAR = """
    import math
    from torch import nn
    def make(
        input_shape, outputs, *, width: int = 64, activation: str = "relu", norm: str | None = None
    ):
        layers = nn.Linear(math.prod(input_shape), width), nn.Linear(width, outputs)
        return nn.Sequential(nn.Flatten(), *layers)
    """

TOKENS = """
    from torch import nn
    class Make(nn.Module):
        def __init__(
            self, input_shape, outputs, vocabulary=None, per_step=False, *, width: int = 8
        ):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.head = nn.Linear(width, outputs)
            self.per_step = per_step
        def forward(self, x):
            steps = self.head(self.embedding(x))
            return steps if self.per_step else steps.mean(1)
    """

NUMPY = """
    import torch
    from torch import nn
    def make(input_shape, outputs):
        made = nn.Linear(input_shape[0], outputs)
        with torch.no_grad():
            made.weight.copy_(torch.from_numpy(made.weight.numpy() * 2))
        return made
    """


@pytest.mark.parametrize("shape", [(8,), (1, 8, 8), (5, 4)])
def test_it_fits_what_its_code_fits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = models.get(f"{write_file(tmp_path, LINEAR)}:make(width=16)")
    model.check(shape, 3, "classification")
    assert model.build(shape, 3)(torch.zeros(5, *shape)).shape == (5, 3)


def test_its_spec_makes_it_again_with_its_activation_and_normalization(tmp_path: Path) -> None:
    path = write_file(tmp_path, LINEAR)
    model = models.get(f"{path}:make(width=16)", "tanh", "batch")
    assert model.spec == f"{path}:make(activation=tanh, norm=batch, width=16)"
    assert model.split() == (f"{path}:make(width=16)", "tanh", "batch")
    assert models.get(*model.split()) == model


def test_an_activation_is_refused_if_the_callable_has_no_such_option(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no option activation"):
        models.get(f"{write_file(tmp_path, NUMPY)}:make", "tanh")


def test_an_unknown_option_is_told_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean width"):
        models.get(f"{write_file(tmp_path, LINEAR)}:make(widht=16)")


def test_it_receives_tokens_and_steps_if_it_has_parameters_for_them(tmp_path: Path) -> None:
    model = models.get(f"{write_file(tmp_path, TOKENS)}:Make")
    model.check((7,), 3, "classification", vocabulary=11)
    model.check((7,), 3, "token_classification", vocabulary=11)
    tokens = torch.zeros(5, 7, dtype=torch.int64)
    assert model.build((7,), 3, vocabulary=11)(tokens).shape == (5, 3)
    assert model.build((7,), 3, vocabulary=11, per_step=True)(tokens).shape == (5, 7, 3)


def test_checking_allocates_nothing(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        "from torch import nn\ndef make(shape, n): return nn.Linear(shape[0], n, bias=False)",
    )
    models.get(f"{path}:make").check((1_000_000,), 1_500, "classification")  # 6 GB
    with pytest.raises(FitError, match="at most 2,000,000,000 are built"):
        models.get(f"{path}:make").check((1_000_000,), 2_500, "classification")


def test_one_that_reads_its_weights_is_checked_on_the_cpu(tmp_path: Path) -> None:
    model = models.get(f"{write_file(tmp_path, NUMPY)}:make")
    model.check((4,), 3, "regression")
    assert model.build((4,), 3)(torch.ones(2, 4)).shape == (2, 3)


def test_it_is_built_with_the_same_weights_each_time_and_moves_no_random_state(
    tmp_path: Path,
) -> None:
    model = models.get(f"{write_file(tmp_path, LINEAR)}:make")
    before = torch.get_rng_state()
    one, two = model.build((4,), 3), model.build((4,), 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", r"make must return a torch\.nn\.Module.*returned None"),
        ("return nn.Linear", r"must return a torch\.nn\.Module.*\(type\)"),
        ("return nn.Linear(4, n + 1)", r"a Linear that maps \(2, 4\) to \(2, 4\), not to \(2, 3\)"),
        ("return nn.LSTM(4, n + 1)", r"a LSTM that maps \(2, 4\) to \(2, 4\), not to \(2, 3\)"),
        ("return nn.Identity().train", r"must return a torch\.nn\.Module.*\(method\)"),
        (
            "return nn.Linear(5, n)",
            r"Linear of .*mine\.py:make, on inputs of shape \(2, 4\), raised RuntimeError: mat1 "
            r"and mat2",
        ),
        ("return nn.Linear(4, n, widht=3)", r"raised TypeError: .*widht.*\(mine\.py, line 2\)"),
        ("raise SystemExit(2)", r"raised SystemExit: 2 \(mine\.py, line 2\)"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_any_work(
    tmp_path: Path, body: str, said: str
) -> None:
    path = write_file(tmp_path, f"from torch import nn\ndef make(shape, n): {body}")
    with pytest.raises(FitError, match=said):
        models.get(f"{path}:make").check((4,), 3, "classification")


def test_its_own_refusal_of_the_data_is_passed_on(tmp_path: Path) -> None:
    path = write_file(
        tmp_path,
        "from fanin.errors import FitError\ndef make(shape, n): raise FitError('Images only.')",
    )
    with pytest.raises(FitError, match=r"^Images only\.$"):
        models.get(f"{path}:make").check((4,), 3, "classification")


def test_a_function_that_takes_no_shape_is_refused_when_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"Expected make\(input_shape, outputs"):
        models.get(f"{write_file(tmp_path, 'def make(*, width=64): ...')}:make")


def test_fanin_initializes_it(tmp_path: Path) -> None:
    module = models.get(f"{write_file(tmp_path, LINEAR)}:make").build((4,), 3)
    assert isinstance(module, nn.Module)
    assert fanin.initialize(module, "he_normal", seed=0)["1.weight"].fan_in == 4
