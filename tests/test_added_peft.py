"""initialize_lora on peft's own layers: equal to peft's start where peft has it. Needs peft:
`make test-zoo`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import zoo_cases
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FitError, UnknownName, UsageError

pytestmark = [pytest.mark.usefixtures("draws_globally"), pytest.mark.filterwarnings("ignore")]

X = seeds.standard_normal((64, 24), seeds.make_generator(0, "test"))


class Net(nn.Module):
    """Two linear layers, not square."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 40), nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 24) → (N, 10)."""
        output: Tensor = self.second(self.first(x).tanh())
        return output


@pytest.fixture(name="peft")
def _peft() -> Any:
    package = zoo_cases.import_beside_torchvision("peft")
    if package is None:
        pytest.skip("peft is not installed: make test-zoo")
    return package


def adapt(peft: Any, start: object, **options: Any) -> nn.Module:
    """A net with peft's adapters, started by peft."""
    with seeds.preserve_torch_state(0):
        config = peft.LoraConfig(
            target_modules=["first", "second"],
            r=4,
            lora_alpha=10,
            init_lora_weights=start,
            **options,
        )
        adapted: nn.Module = peft.get_peft_model(Net(), config)
    return adapted


def collect(model: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The weight, A and B of each layer."""
    for layer in model.modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "get_base_layer"):
            a, b = layer.lora_A["default"], layer.lora_B["default"]
            yield tuple(one.weight.detach() for one in (layer.get_base_layer(), a, b))


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_deterministic_starts_equal_those_of_peft(peft: Any, method: str, rslora: bool) -> None:
    theirs = adapt(peft, method, use_rslora=rslora)
    ours = adapt(peft, True, use_rslora=rslora)
    before = ours(X).detach()
    record = fanin.initialize_lora(ours, method, seed=0)
    assert [one.name for one in record.pairs] == ["first", "second"]
    for mine, their in zip(collect(ours), collect(theirs), strict=True):
        torch.testing.assert_close(mine[0], their[0], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(mine[2] @ mine[1], their[2] @ their[1], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(ours(X).detach(), before, atol=5e-6, rtol=0)


@pytest.mark.parametrize(("method", "start"), [("kaiming", True), ("gaussian", "gaussian")])
def test_random_starts_have_the_moments_of_peft(peft: Any, method: str, start: object) -> None:
    """96 and 160 numbers each: standard error of a deviation 7.2 %, of which 4 are allowed, on
    either side.
    """
    theirs, ours = adapt(peft, start), adapt(peft, "orthogonal")
    fanin.initialize_lora(ours, method, seed=0)
    for mine, their in zip(collect(ours), collect(theirs), strict=True):
        assert torch.equal(mine[0], their[0])
        assert float(mine[1].std()) == pytest.approx(float(their[1].std()), rel=0.4)
        assert not bool(mine[2].any())
        if method == "kaiming":
            assert float(mine[1].abs().max()) <= mine[1].shape[1] ** -0.5


def test_the_orthogonal_start_has_the_moments_of_peft_and_adds_nothing(peft: Any) -> None:
    """Mean squares of 96 to 160 numbers, 20 starts: standard error 3 %, of which 4 are allowed."""
    sizes: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(20):
        with seeds.preserve_torch_state(seed):
            theirs = peft.get_peft_model(
                Net(),
                peft.LoraConfig(target_modules=["first"], r=4, init_lora_weights="orthogonal"),
            )
        ours = copy.deepcopy(theirs)
        fanin.initialize_lora(ours, "orthogonal", seed=seed)
        for name, model in (("ours", ours), ("theirs", theirs)):
            ((_, a, b),) = collect(model)
            sizes[name] += [float(a.square().mean()), float(b.square().mean())]
            assert float((b @ a).abs().max()) < 1e-7
    mean = {name: sum(values) / len(values) for name, values in sizes.items()}
    assert mean["ours"] == pytest.approx(mean["theirs"], rel=0.2)
    assert mean["ours"] == pytest.approx(0.005, rel=0.12)


def test_eva_spans_what_peft_finds(peft: Any) -> None:
    scales = 1.4 ** torch.arange(24)  # peft's decomposition is randomized and needs gaps
    data = X * scales
    base = Net()
    config = peft.LoraConfig(
        target_modules=["first", "second"],
        r=4,
        init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=1.0),
    )
    theirs = peft.get_peft_model(copy.deepcopy(base), config)
    peft.initialize_lora_eva_weights(
        theirs,
        [data],
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None,
        show_progress_bar=False,
    )
    ours = peft.get_peft_model(
        copy.deepcopy(base), peft.LoraConfig(target_modules=["first", "second"], r=4)
    )
    before = ours(data).detach()
    fanin.initialize_lora(ours, "eva", seed=0, batch=data)
    for mine, their in zip(collect(ours), collect(theirs), strict=True):
        overlap = (mine[1] @ their[1].T).abs()
        torch.testing.assert_close(overlap, torch.eye(4), atol=5e-3, rtol=0)
    assert torch.equal(ours(data).detach(), before)


def test_conv1d_of_transformers_is_started_transposed(peft: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50)
    ids = torch.arange(20).reshape(2, 10)
    base = transformers.GPT2LMHeadModel(config).eval()
    before = base(ids).logits.detach()
    for method in ("pissa", "olora", "eva", "orthogonal", "kaiming"):
        lora = peft.LoraConfig(target_modules=["c_attn", "c_fc"], r=4, fan_in_fan_out=True)
        adapted = peft.get_peft_model(copy.deepcopy(base), lora).eval()
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        record = fanin.initialize_lora(adapted, method, seed=0, batch=batch)
        assert len(record.pairs) == 2
        torch.testing.assert_close(adapted(ids).logits.detach(), before, atol=2e-6, rtol=0)
    theirs = peft.get_peft_model(
        copy.deepcopy(base),
        peft.LoraConfig(
            target_modules=["c_attn", "c_fc"], r=4, fan_in_fan_out=True, init_lora_weights="pissa"
        ),
    )
    ours = peft.get_peft_model(copy.deepcopy(base), lora)
    fanin.initialize_lora(ours, "pissa", seed=0)
    for mine, their in zip(collect(ours), collect(theirs), strict=True):
        torch.testing.assert_close(mine[0], their[0], atol=2e-6, rtol=1e-5)


def test_places_that_a_mask_leaves_out_do_not_count_for_eva(peft: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=50)
    base = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.arange(40).reshape(2, 20)
    starts = []
    for padding in (0, 7):
        ids[:, 15:] = padding
        lora = peft.LoraConfig(target_modules=["c_attn"], r=4, fan_in_fan_out=True)
        adapted = peft.get_peft_model(copy.deepcopy(base), lora).eval()
        mask = torch.ones_like(ids)
        mask[:, 15:] = 0
        fanin.initialize_lora(
            adapted, "eva", seed=0, batch={"input_ids": ids, "attention_mask": mask}
        )
        starts.append(next(collect(adapted))[1])
    torch.testing.assert_close(starts[0], starts[1])


def test_several_adapters_and_ties_are_refused_where_the_weight_would_change(peft: Any) -> None:
    model = adapt(peft, True)
    model.add_adapter("other", peft.LoraConfig(target_modules=["first"], r=2))
    before = [[one.clone() for one in layer] for layer in collect(model)]
    with pytest.raises(UsageError, match="adapter="):
        fanin.initialize_lora(model, "gaussian", seed=0)
    with pytest.raises(UnknownName, match="other"):
        fanin.initialize_lora(model, "gaussian", seed=0, adapter="othr")
    with pytest.raises(FitError, match="adapters default use too"):
        fanin.initialize_lora(model, "pissa", seed=0, adapter="other")
    for old, new in zip(before, collect(model), strict=True):
        assert all(map(torch.equal, old, new))
    fanin.initialize_lora(model, "gaussian", seed=0, adapter="other")


def test_a_started_model_of_peft_is_folded_into_another_start(peft: Any) -> None:
    model = adapt(peft, "pissa")
    before = model(X).detach()
    with pytest.raises(FitError, match="existing='fold'"):
        fanin.initialize_lora(model, "kaiming", seed=0)
    fanin.initialize_lora(model, "kaiming", seed=0, existing="fold")
    torch.testing.assert_close(model(X).detach(), before, atol=5e-6, rtol=0)
    model.merge_adapter()
    with pytest.raises(FitError, match="unmerge_adapter"):
        fanin.initialize_lora(model, "kaiming", seed=0)


def test_dora_keeps_its_function(peft: Any) -> None:
    model = adapt(peft, True, use_dora=True)
    before = model(X).detach()
    for method in ("pissa", "orthogonal"):
        fanin.initialize_lora(model, method, seed=0, existing="fold")
        torch.testing.assert_close(model(X).detach(), before, atol=1e-5, rtol=0)
