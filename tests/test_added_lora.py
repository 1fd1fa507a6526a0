"""initialize_lora on pairs of one's own: the function stays, and each method is what it says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fanin
from fanin import LoraPair, seeds
from fanin.additions.lora_method import REGISTRY
from fanin.errors import FaninError, FitError, UnknownName, UsageError

pytestmark = pytest.mark.usefixtures("draws_globally")

METHODS = (*REGISTRY.names(), "pissa(niter=8)")


def make_pair(
    outputs: int = 12,
    inputs: int = 20,
    rank: int = 4,
    scaling: float = 3.0,
    dtype: torch.dtype = torch.float32,
    name: str = "pair",
) -> LoraPair:
    """A linear layer with a pair whose product is 0."""
    with seeds.preserve_torch_state(1):
        base = nn.Linear(inputs, outputs, dtype=dtype)
        a = nn.Linear(inputs, rank, bias=False, dtype=dtype)
        b = nn.Linear(rank, outputs, bias=False, dtype=dtype)
    nn.init.zeros_(b.weight)
    return LoraPair(base, a, b, scaling=scaling, name=name)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Fixed random numbers."""
    return seeds.standard_normal(shape, seeds.make_generator(seed, "test"))


def run(pair: LoraPair, x: Tensor) -> Tensor:
    """What the layer and its pair compute."""
    assert isinstance(pair.base, nn.Module)
    assert isinstance(pair.a, nn.Module)
    assert isinstance(pair.b, nn.Module)
    with torch.no_grad():
        output: Tensor = pair.base(x) + pair.scaling * pair.b(pair.a(x))
    return output


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (4, 9)])
def test_the_function_stays_to_rounding(method: str, shape: tuple[int, int]) -> None:
    pair = make_pair(*shape, dtype=torch.float64)
    x = normal(40, shape[1]).double()
    before = run(pair, x)
    fanin.initialize_lora(pair, method, seed=3, batch=x)
    assert float((run(pair, x) - before).abs().max()) < 1e-13
    assert bool(pair.a_weight.any())


@pytest.mark.parametrize("method", METHODS)
def test_in_bf16_the_weight_gives_up_the_product_of_the_rounded_pair(method: str) -> None:
    pair = make_pair(dtype=torch.bfloat16)
    before = pair.read_matrix()
    record = fanin.initialize_lora(pair, method, seed=3, batch=normal(40, 20))
    after = pair.read_matrix() + pair.compute_addition()
    # half a unit of rounding of the weight, which may have grown by what it gave up
    limit = 2**-8 * float(pair.read_matrix().abs().max())
    if method == "orthogonal":
        limit += float(pair.compute_addition().abs().max())
    assert float((after - before).abs().max()) <= limit
    largest = float(before.abs().max())
    assert record.pairs[0].deviation == pytest.approx(
        float((after - before).abs().max()) / largest, rel=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_no_draw_moves_the_global_state_and_the_seed_decides(method: str) -> None:
    state = torch.random.get_rng_state()
    made = []
    for seed in (0, 0, 1):
        pair = make_pair()
        fanin.initialize_lora(pair, method, seed=seed, batch=normal(40, 20))
        made.append(pair.a_weight.detach().clone())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(made[0], made[1])
    draws = method in ("kaiming", "gaussian", "orthogonal")
    assert torch.equal(made[0], made[2]) != draws or method.startswith("pissa(")


@pytest.mark.parametrize("method", ["pissa", "olora"])
@pytest.mark.parametrize("scaling", [0.5, 16 / 4, 16 / math.sqrt(4)])
def test_scaling_is_what_the_weight_gives_up(method: str, scaling: float) -> None:
    pair = make_pair(scaling=scaling)
    before = pair.read_matrix()
    fanin.initialize_lora(pair, method, seed=0)
    given = before - pair.read_matrix()
    a, b = pair.a_weight.detach(), pair.b_weight.detach()
    torch.testing.assert_close(given, scaling * (b @ a), atol=1e-6, rtol=1e-5)
    assert torch.linalg.matrix_rank(given, rtol=1e-4) == 4
    if method == "pissa":  # the part of rank 4 that is nearest to the weight
        rest = torch.linalg.svdvals(before)[4:].square().sum().sqrt()
        assert float(pair.read_matrix().norm()) == pytest.approx(float(rest), rel=1e-5)


def test_a_randomized_pissa_comes_near_the_exact_one() -> None:
    exact, near = make_pair(40, 60), make_pair(40, 60)
    fanin.initialize_lora(exact, "pissa", seed=0)
    fanin.initialize_lora(near, "pissa(niter=20)", seed=0)
    best, found = (float(one.read_matrix().norm()) for one in (exact, near))
    assert best * (1 - 1e-5) <= found <= 1.01 * best


def test_the_moments_of_random_pairs() -> None:
    """4,096 numbers each: standard error of a deviation 1.1 %, of which 4 are allowed."""
    for method, std in (("kaiming", 1 / math.sqrt(3 * 512)), ("gaussian", 1 / 8)):
        pair = make_pair(16, 512, rank=8)
        fanin.initialize_lora(pair, method, seed=0)
        assert float(pair.a_weight.detach().std()) == pytest.approx(std, rel=0.045)
        assert not bool(pair.b_weight.detach().any())
    pair = make_pair(512, 512, rank=8)
    fanin.initialize_lora(pair, "orthogonal", seed=0)
    for one in (pair.a_weight, pair.b_weight):
        assert float(one.detach().square().mean()) == pytest.approx(0.5 / 100, rel=0.09)


def test_eva_takes_the_directions_in_which_the_inputs_vary() -> None:
    pair = make_pair(inputs=20, rank=2)
    directions = torch.linalg.qr(normal(20, 2, seed=5)).Q
    x = normal(500, 2, seed=6) * torch.tensor([10.0, 4.0]) @ directions.T + 7 + normal(500, 20) / 10
    fanin.initialize_lora(pair, "eva", seed=0, batch=x)
    overlap = (pair.a_weight.detach() @ directions).abs()
    torch.testing.assert_close(overlap, torch.eye(2), atol=0.05, rtol=0)


def test_eva_refuses_a_batch_that_shows_too_little() -> None:
    pair = make_pair()
    before = pair.a_weight.detach().clone()
    with pytest.raises(FitError, match="in 3 directions, and its rank is 4"):
        fanin.initialize_lora(pair, "eva", seed=0, batch=normal(4, 20))
    with pytest.raises(UsageError, match="give batch"):
        fanin.initialize_lora(pair, "eva", seed=0)
    with pytest.raises(FitError, match="NaN"):
        fanin.initialize_lora(pair, "eva", seed=0, batch=normal(40, 20) / 0)
    assert torch.equal(pair.a_weight, before)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_pair_adds_already_is_refused_folded_or_dropped(method: str) -> None:
    x = normal(40, 20).double()
    pair = make_pair(dtype=torch.float64)
    nn.init.constant_(pair.b_weight, 0.3)
    before = run(pair, x)
    with pytest.raises(FitError, match="existing="):
        fanin.initialize_lora(pair, method, seed=0, batch=x)
    assert torch.equal(run(pair, x), before)
    fanin.initialize_lora(pair, method, seed=0, batch=x, existing="fold")
    assert float((run(pair, x) - before).abs().max()) < 1e-12
    nn.init.constant_(pair.b_weight, 0.3)
    assert isinstance(pair.base, nn.Module)
    alone = pair.base(x).detach()
    assert float((run(pair, x) - alone).abs().max()) > 0.1
    fanin.initialize_lora(pair, method, seed=0, batch=x, existing="drop")
    assert float((run(pair, x) - alone).abs().max()) < 1e-12


def test_starting_twice_with_another_method_needs_no_word_where_the_product_is_zero() -> None:
    pair = make_pair()
    for method in ("orthogonal", "kaiming", "orthogonal", "gaussian", "pissa"):
        fanin.initialize_lora(pair, method, seed=0)
    with pytest.raises(FitError, match="existing='fold'"):
        fanin.initialize_lora(pair, "kaiming", seed=0)


def test_pairs_on_raw_weights_convolutions_and_embeddings() -> None:
    raw = LoraPair(normal(6, 9), normal(3, 9, seed=1), torch.zeros(6, 3), name="raw")
    convolution = LoraPair(
        nn.Conv2d(3, 8, 3), nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 8, 1, bias=False), name="c"
    )
    table = LoraPair(nn.Embedding(30, 8), normal(4, 30), torch.zeros(8, 4), name="table")
    nn.init.zeros_(convolution.b_weight)
    x = normal(2, 3, 9, 9)
    before = run(convolution, x)
    looked_up = table.read_matrix()
    record = fanin.initialize_lora([raw, convolution, table], "pissa", seed=0)
    assert [one.name for one in record.pairs] == ["raw", "c", "table"]
    torch.testing.assert_close(run(convolution, x), before, atol=1e-5, rtol=0)
    torch.testing.assert_close(table.read_matrix() + table.compute_addition(), looked_up)
    for pair in (raw, convolution, table):
        fanin.initialize_lora(pair, "kaiming", seed=0, existing="fold")
    assert not bool(table.a_weight.any())
    assert float(table.b_weight.detach().std()) == pytest.approx(1, rel=0.5)
    assert float(convolution.a_weight.detach().abs().max()) <= 1 / math.sqrt(27)


def test_two_pairs_draw_from_two_streams() -> None:
    pairs = [make_pair(name=name) for name in ("one", "two")]
    fanin.initialize_lora(pairs, "gaussian", seed=0)
    assert not torch.equal(pairs[0].a_weight, pairs[1].a_weight)
    alone = make_pair(name="two")
    fanin.initialize_lora(alone, "gaussian", seed=0)
    assert torch.equal(alone.a_weight, pairs[1].a_weight)
    with pytest.raises(UsageError, match="Give each LoraPair a name"):
        fanin.initialize_lora([make_pair(), make_pair()], "gaussian", seed=0)


def test_a_tied_weight_gives_nothing_up() -> None:
    base = nn.Linear(20, 12)
    pairs = []
    for name in ("one", "two"):
        a, b = nn.Linear(20, 4, bias=False), nn.Linear(4, 12, bias=False)
        nn.init.zeros_(b.weight)
        pairs.append(LoraPair(base, a, b, name=name))
    before = base.weight.detach().clone()
    with pytest.raises(FitError, match="tied"):
        fanin.initialize_lora(pairs, "pissa", seed=0)
    assert torch.equal(base.weight, before)
    fanin.initialize_lora(pairs, "orthogonal", seed=0)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: make_pair(rank=3), FitError, "even rank"),
        (lambda: LoraPair(nn.Linear(5, 4), nn.Linear(5, 2), nn.Linear(3, 4)), FitError, "no pair"),
        (
            lambda: LoraPair(nn.Linear(6, 4), nn.Linear(5, 2), nn.Linear(2, 4)),
            FitError,
            "make a weight of",
        ),
        (lambda: nn.Linear(3, 3), UsageError, "no LoRA layers of peft"),
        (lambda: [], UsageError, "Expected a model"),
        (lambda: 3, UsageError, "Expected a model"),
    ],
)
def test_what_is_no_pair_is_an_error(make: object, error: type[FaninError], text: str) -> None:
    assert callable(make)
    with pytest.raises(error, match=text):
        fanin.initialize_lora(make(), "orthogonal", seed=0, existing="drop")


def test_bad_arguments_are_errors_and_change_nothing() -> None:
    pair = make_pair(3, 4, rank=4)
    before = pair.read_matrix()
    with pytest.raises(FitError, match="rank of at most 3"):
        fanin.initialize_lora(pair, "pissa", seed=0)
    with pytest.raises(UnknownName, match="pissa"):
        fanin.initialize_lora(pair, "pisa", seed=0)
    with pytest.raises(UnknownName, match="fold"):
        fanin.initialize_lora(pair, "pissa", seed=0, existing="folded")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed"):
        fanin.initialize_lora(pair, "pissa", seed=-1)
    with pytest.raises(UsageError, match="scaling"):
        LoraPair(nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(1, 3), scaling=0)
    with torch.no_grad():
        pair.weight[0, 0] = math.nan
    with pytest.raises(FitError, match="NaN"):
        fanin.initialize_lora(pair, "olora", seed=0)
    assert bool(pair.weight[0, 0].isnan())
    assert torch.equal(pair.weight[1:], before[1:])
