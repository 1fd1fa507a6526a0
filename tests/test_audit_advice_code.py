"""The code that `write_code` prints runs, and does what the patches do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import seeds
from fanin.diagnosis.advice import apply_patches, copy_model, write_code
from fanin.diagnosis.patch import Patch
from fanin.errors import UnknownName


@pytest.fixture(autouse=True)
def draw_the_same() -> Iterator[None]:
    """Modules draw from torch's global generator: always the same, and its state is restored."""
    with seeds.preserve_torch_state(0):
        yield


def initialize(*names: str, rule: str, rows: tuple[int, int] | None = None) -> Patch:
    return Patch(operation="initialize", parameters=names, initializer=rule, rows=rows)


def run(code: str, model: nn.Module, **names: object) -> None:
    """Execute code on a model, with torch's random state restored."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(code, {"model": model, **names})


def measure(values: torch.Tensor) -> torch.Tensor:
    """What tells distributions apart: quantiles of the sizes, and the singular values."""
    values = values.detach().double().flatten(1)
    levels = torch.linspace(0.1, 1.0, 10, dtype=torch.float64)
    return torch.cat([values.abs().flatten().quantile(levels), torch.linalg.svdvals(values)])


RULES = {
    "he_normal": 'nn.init.kaiming_normal_(model.weight, nonlinearity="relu")',
    "he_normal(mode=fan_out)": 'nn.init.kaiming_normal_(model.weight, mode="fan_out", '
    'nonlinearity="relu")',
    "he_uniform(a=0.2)": "nn.init.kaiming_uniform_(model.weight, a=0.2)",
    "lecun_normal": 'nn.init.kaiming_normal_(model.weight, nonlinearity="linear")',
    "lecun_normal(gain=1.5)": "nn.init.normal_(model.weight, std=0.15)",
    "lecun_uniform(gain=2.0)": "nn.init.uniform_(model.weight, -0.34641, 0.34641)",
    "xavier_uniform(gain=1.5)": "nn.init.xavier_uniform_(model.weight, gain=1.5)",
    "xavier_normal": "nn.init.xavier_normal_(model.weight)",
    "orthogonal(gain=1.1)": "nn.init.orthogonal_(model.weight, gain=1.1)",
    "normal(std=0.02)": "nn.init.normal_(model.weight, std=0.02)",
    "normal(mean=0.5, std=0.02)": "nn.init.normal_(model.weight, mean=0.5, std=0.02)",
    "uniform(low=-0.1, high=0.3)": "nn.init.uniform_(model.weight, -0.1, 0.3)",
    "truncated_normal(std=0.02)": "nn.init.trunc_normal_(model.weight, std=0.02, a=-0.04, b=0.04)",
    "variance_scaling(scale=2.0)": "nn.init.trunc_normal_(model.weight, std=0.160774, a=-0.321549",
    "he_normal(truncated=true)": "nn.init.trunc_normal_(model.weight, std=0.160774, a=-0.321549",
    "zero": "nn.init.zeros_(model.weight)",
    "constant(value=0.3)": "nn.init.constant_(model.weight, 0.3)",
}


@pytest.mark.parametrize("rule", RULES)
def test_torchs_function_draws_from_the_same_distribution(rule: str) -> None:
    ours, theirs = nn.Linear(100, 80), nn.Linear(100, 80)
    patch = initialize("weight", rule=rule)
    code = write_code(ours, [patch])
    assert RULES[rule] in code
    apply_patches(ours, [patch], seed=0)
    run(code, theirs)
    expected, found = measure(ours.weight), measure(theirs.weight)
    # n = 8,000 numbers: deciles agree within 4 %, the smallest singular values within 0.1 of σ.
    torch.testing.assert_close(found, expected, rtol=0.08, atol=0.03 * expected.max().item())


def test_a_wrong_distribution_would_be_seen() -> None:
    one, other = nn.Linear(100, 80), nn.Linear(100, 80)
    fanin.initialize(one, "he_normal", seed=0)
    for rule in ("he_uniform", "lecun_normal", "orthogonal(gain=1.4142)"):
        fanin.initialize(other, rule, seed=0)
        expected = measure(one.weight)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(
                measure(other.weight), expected, rtol=0.08, atol=0.03 * expected.max().item()
            )


@pytest.mark.parametrize(
    ("model", "name", "rule"),
    [
        (nn.LSTM(8, 8), "weight_hh_l0", "orthogonal"),
        (nn.GRU(8, 8), "weight_ih_l0", "orthogonal"),
        (nn.ConvTranspose2d(8, 8, 3), "weight", "orthogonal"),
        (nn.Conv2d(8, 8, 3, groups=4), "weight", "orthogonal"),
        (nn.Linear(8, 8, dtype=torch.bfloat16), "weight", "he_normal"),
        (nn.Embedding(8, 8, padding_idx=0), "weight", "normal(std=0.02)"),
        (parametrizations.weight_norm(nn.Linear(8, 8)), "weight", "he_normal"),
        (nn.Linear(8, 8), "weight", "sparse"),
        (nn.Linear(8, 8).requires_grad_(False), "weight", "sparse"),
    ],
)
def test_what_torch_has_no_function_for_is_a_call_of_fanin_with_the_same_numbers(
    model: nn.Module, name: str, rule: str
) -> None:
    ours, theirs = copy_model(model), copy_model(model)
    patch = initialize(name, rule=rule)
    code = write_code(model, [patch], seed=4)
    assert "nn.init" not in code
    apply_patches(ours, [patch], seed=4)
    run(code, theirs)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_fans_that_torch_counts_wrongly_are_written_as_a_number() -> None:
    model = nn.ConvTranspose2d(16, 4, 3)
    code = write_code(model, [initialize("weight", rule="he_normal")])
    assert "# he_normal, fan-in 144" in code
    assert "nn.init.normal_(model.weight, std=0.117851)" in code


def test_set_scale_and_rows_do_the_same() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 30))
    patches = [
        Patch(operation="scale", parameters=("0.weight",), value=0.1),
        Patch(operation="set", parameters=("0.bias",), value=0.0),
        Patch(operation="set", parameters=("1.weight",), value=-10.5, rows=(1, 2)),
        Patch(operation="set", parameters=("1.bias",), value=tuple(i / 7 for i in range(30))),
        initialize("1.weight", rule="sparse(sparsity=0.5)", rows=(20, 25)),
    ]
    ours, theirs = copy_model(model), copy_model(model)
    apply_patches(ours, patches, seed=0)
    code = write_code(model, patches, seed=0)
    run(code, theirs)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=0)
    assert max(map(len, code.splitlines())) <= 100


def test_layers_that_differ_by_an_index_alone_are_a_loop() -> None:
    blocks = nn.ModuleList(
        nn.ModuleDict({"up": nn.Linear(4, 8), "down": nn.Linear(8, 4)}) for _ in range(12)
    )
    model = nn.ModuleDict({"h": blocks})
    names = tuple(f"h.{i}.down.weight" for i in range(12))
    code = write_code(model, [Patch(operation="scale", parameters=names, value=0.2)])
    assert code.splitlines()[-2:] == [
        "    for i in range(12):",
        '        model["h"][i]["down"].weight.mul_(0.2)',
    ]
    before = copy_model(model)
    run(code, model)
    for name, value in before.named_parameters():
        factor = 0.2 if name in names else 1
        torch.testing.assert_close(model.get_parameter(name), value * factor)


def test_a_batch_shows_packed_maps_to_the_code_too() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(mixed)  # type: ignore[no-any-return]

    model, batch = Attention(), torch.randn(2, 5, 16)
    patch = initialize("qkv.weight", rule="orthogonal")
    code = write_code(model, [patch], batch=batch)
    assert "batch=batch" in code
    run(code, model, batch=batch)
    for part in model.qkv.weight.detach().chunk(3):
        torch.testing.assert_close(part @ part.T, torch.eye(16), atol=1e-5, rtol=0)


def test_a_name_that_the_model_does_not_have_is_an_error() -> None:
    with pytest.raises(UnknownName, match="Did you mean weight"):
        write_code(nn.Linear(2, 2), [initialize("weigth", rule="he_normal")])
