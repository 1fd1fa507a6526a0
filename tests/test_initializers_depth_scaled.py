"""DeepNorm, T-Fixup, Magneto and Admin: gains by depth, and what these methods require."""

from __future__ import annotations

import math
from typing import Any

import pytest
import residual_cases as cases
import torch
from residual_cases import WIDTH, get_state, is_unchanged, list_branches, make, tokens
from torch import Tensor, nn

import fanin
from fanin.errors import FitError, UsageError

XAVIER = 0.25
"""√(2/(16 + 16)) of a square matrix of width 16."""
UP = math.sqrt(2 / 80)
"""√(2/(16 + 64)) of the matrices of a perceptron."""
SCALED = {"v": XAVIER, "o": XAVIER, "up": UP, "down": UP}
KEPT = {"q": XAVIER, "k": XAVIER, "gate": UP}


def check_gains(record: Any, prefix: str, gain: float) -> None:
    """All weights below a prefix have their gain in the record, and their size in the model:
    n ≥ 256 numbers, so that the standard error is 4.4 % at most; the tolerance is 5 of them.
    """
    seen = set()
    for one in record.parameters:
        kind = one.name.split(".")[-2]
        if one.name.startswith(prefix) and one.role == "weight":
            base = {**SCALED, **KEPT}[kind]
            expected = base * (gain if kind in SCALED else 1.0)
            assert one.intended_std == pytest.approx(expected, rel=1e-5), one.name
            assert one.measured_std == pytest.approx(expected, rel=0.22), one.name
            seen.add(kind)
    assert set(SCALED) <= seen


# --- DeepNorm


@pytest.mark.parametrize("observed", [False, True], ids=["traced", "observed"])
@pytest.mark.parametrize("gated", [False, True])
def test_deep_norm_of_one_stack(observed: bool, gated: bool) -> None:
    """N = 3: α = 6^¼ = 1.5651, β = 24^-¼ = 0.45180."""
    model = make(cases.Traceable, 3, norm="post", skip=1.565, gated=gated)
    record = fanin.initialize(model, "deep_norm", seed=0, batch=tokens() if observed else None)
    check_gains(record, "blocks", 0.451801)
    assert record["head.weight"].intended_std == pytest.approx(math.sqrt(2 / 36))
    assert all(one.met for one in record.requires)


def test_deep_norm_of_an_encoder_and_a_decoder() -> None:
    """N = 2, M = 3: (N⁴M)^(1/16) = 48^(1/16) = 1.27374, so that α = 1.03173 and β = 0.68303 in the
    encoder; 9^¼ = 1.73205 and 36^-¼ = 0.40825 in the decoder.
    """
    model = make(cases.Translator, 2, 3, (1.03173, 1.73205), norm="post")
    record = fanin.initialize(
        model, "deep_norm(distribution=uniform)", seed=0, batch=(tokens(), tokens(3, 5))
    )
    check_gains(record, "encoder", 0.683029)
    check_gains(record, "decoder", 0.408248)
    rules = {str(one.rule).partition("(")[0] for one in record.parameters if one.role == "weight"}
    assert rules == {"xavier_uniform"}


def test_deep_norm_sets_a_learnable_weight_of_the_shortcut() -> None:
    model: Any = make(cases.Traceable, 3, norm="post", skip="omega")
    fanin.initialize(model, "deep_norm", seed=0)
    for block in model.blocks:
        for branch in block:
            assert branch.skip.detach() == pytest.approx(torch.full((WIDTH,), 6**0.25))


def test_deep_norm_of_parallel_branches() -> None:
    """Two blocks, four branches: α = 4^¼, β = 16^-¼ = 0.5."""
    model = make(cases.Parallel, 2, 4**0.25, "post")
    record = fanin.initialize(model, "deep_norm", seed=0)
    assert record["attentions.1.o.weight"].intended_std == pytest.approx(XAVIER / 2)
    assert record["attentions.1.q.weight"].intended_std == pytest.approx(XAVIER)
    assert record["perceptrons.0.down.weight"].intended_std == pytest.approx(UP / 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "post"}, ["x = norm(1.565 * x + f(x))", "(2·3)^¼", "the model has x + f(x)"]),
        (
            {"norm": "post", "skip": 2.0},
            ["x = norm(1.565 * x + f(x))", "the model has 2 * x + f(x)"],
        ),
        ({"norm": "pre", "skip": 1.565}, ["normalization after the sum", "x = norm(1.565 * x"]),
        ({"norm": "none"}, ["normalization after the sum", "blocks.0.0.inner.o"]),
    ],
)
def test_deep_norm_refuses_another_skip_weight_or_normalization(
    options: dict[str, Any], words: list[str]
) -> None:
    model = make(cases.Traceable, 3, **options)
    before = get_state(model)
    with pytest.raises(FitError) as refused:
        fanin.initialize(model, "deep_norm", seed=0, batch=tokens())
    assert [word for word in words if word not in str(refused.value)] == []
    assert is_unchanged(model, before)


def test_the_weight_of_a_shortcut_is_relative_to_that_of_the_branch() -> None:
    """norm(x + f(x)/α) is norm(α·x + f(x)); norm(x + α·f(x)) is another model."""

    def scale(factor: float) -> Any:
        model: Any = make(cases.Traceable, 3, norm="post")
        for branch in list_branches(model.blocks):
            branch.forward = lambda x, m=branch: m.norm(x + factor * m.inner(x))
        return model

    record = fanin.initialize(scale(1 / 1.5651), "deep_norm", seed=0)
    assert all(one.met for one in record.requires)
    with pytest.raises(FitError, match=r"the model has x \+ 1\.565 \* f\(x\)"):
        fanin.initialize(scale(1.5651), "deep_norm", seed=0)


def test_one_wrong_skip_weight_is_named() -> None:
    model: Any = make(cases.Traceable, 3, norm="post", skip=1.5651)
    model.blocks[1][1].skip = 1.1
    with pytest.raises(FitError) as refused:
        fanin.initialize(model, "deep_norm", seed=0)
    assert "skip weight (blocks.1.1.inner.down)" in str(refused.value)


def test_a_weight_that_cannot_be_seen_is_recorded_as_such() -> None:
    model: Any = make(cases.Traceable, 3, norm="post", skip="omega")
    for branch in list_branches(model.blocks):
        branch.skip = None
        branch.register_buffer("vector", torch.full((WIDTH,), 1.5651))
        branch.forward = lambda x, m=branch: m.norm(m.vector * x + m.inner(x))
    record = fanin.initialize(model, "deep_norm", seed=0)
    (weight,) = [one for one in record.requires if one.what == "skip weight"]
    assert weight.met is None
    observed = fanin.initialize(model, "deep_norm", seed=0, batch=tokens())
    (weight,) = [one for one in observed.requires if one.what == "skip weight"]
    assert weight.met is True


# --- packed q, k and v


def test_of_a_packed_layer_only_the_values_are_scaled() -> None:
    model: Any = make(cases.Traceable, 3, norm="post", skip=1.5651, packed=True)
    record = fanin.initialize(model, "deep_norm", seed=0, batch=tokens())
    for block in model.blocks:
        q, k, v = block[0].inner.qkv.weight.detach().double().chunk(3)
        for rows, expected in ((q, XAVIER), (k, XAVIER), (v, XAVIER * 0.451801)):
            assert rows.std(correction=0).item() == pytest.approx(expected, rel=0.22)
    parts = record["blocks.0.0.inner.qkv.weight"].parts
    stds = {part.name: part.intended_std for part in parts}
    assert stds == pytest.approx({"q": XAVIER, "k": XAVIER, "v": XAVIER * 0.451801}, rel=1e-5)


def test_packed_rows_that_nobody_knows_are_asked_for() -> None:
    model = make(cases.Traceable, 3, norm="post", skip=1.5651, packed=True)
    before = get_state(model)
    with pytest.raises(FitError, match=r"give batch=.*split=\{'blocks\.0\.0\.inner\.qkv\.weight'"):
        fanin.initialize(model, "deep_norm", seed=0)
    assert is_unchanged(model, before)
    split = {"*.qkv.*": {"q": WIDTH, "k": WIDTH, "v": WIDTH}}
    record = fanin.initialize(model, "deep_norm", seed=0, split=split)
    assert len(record["blocks.0.0.inner.qkv.weight"].parts) == 3


def test_torchs_attention_is_packed_and_known() -> None:
    """nn.TransformerEncoder is post-norm, and has no place for α."""
    layer = make(nn.TransformerEncoderLayer, WIDTH, 2, 64, 0.0, batch_first=True)
    model = make(nn.TransformerEncoder, layer, 2, enable_nested_tensor=False)
    batch = torch.sin(torch.arange(3 * 5 * WIDTH, dtype=torch.float32)).view(3, 5, WIDTH)
    with pytest.raises(FitError, match=r"x = norm\(1\.414 \* x \+ f\(x\)\)"):
        fanin.initialize(model, "deep_norm", seed=0, batch=batch)


# --- T-Fixup


def test_t_fixup_of_one_stack() -> None:
    """N = 3: 0.67·3^-¼ = 0.509090; (9·3)^-¼/√16 = 0.109673."""
    model = make(cases.Transformer, 3, norm="none")
    record = fanin.initialize(model, "t_fixup", seed=0, batch=tokens())
    check_gains(record, "blocks", 0.509090)
    assert record["embed.weight"].intended_std == pytest.approx(0.109673, rel=1e-5)
    assert record["positions.weight"].intended_std == pytest.approx(0.25)


def test_t_fixup_of_an_encoder_and_a_decoder() -> None:
    """N = 3, M = 2: (9·2)^-¼ = 0.485492 in the decoder, cross-attention included."""
    model = make(cases.Translator, 3, 2, norm="none")
    record = fanin.initialize(model, "t_fixup", seed=0, batch=(tokens(), tokens(3, 5)))
    check_gains(record, "encoder", 0.509090)
    check_gains(record, "decoder", 0.485492)
    assert record["source.weight"].intended_std == pytest.approx(0.25 * 27**-0.25)
    assert record["target.weight"].intended_std == pytest.approx(0.25 * 18**-0.25)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_t_fixup_refuses_normalization(norm: str) -> None:
    model = make(cases.Traceable, 2, norm=norm)
    before = get_state(model)
    with pytest.raises(FitError, match=r"no normalization \(blocks\.0\.0\.norm, .*x = x \+ f\(x\)"):
        fanin.initialize(model, "t_fixup", seed=0)
    assert is_unchanged(model, before)


# --- Magneto


def test_magneto_of_one_stack() -> None:
    """N = 3: √log 6 = 1.338566."""
    model = make(cases.Traceable, 3, norm="pre", sub=True)
    record = fanin.initialize(model, "magneto", seed=0)
    check_gains(record, "blocks", 1.338566)


def test_magneto_of_an_encoder_and_a_decoder() -> None:
    """N = 2, M = 3: √(log 9·log 4/3) = 1.007637 in the encoder; √log 9 = 1.482304 in the decoder,
    but for its attention to the encoder, which has the gain 1.
    """
    model = make(cases.Translator, 2, 3, norm="pre", sub=True)
    record = fanin.initialize(model, "magneto", seed=0, batch=(tokens(), tokens(3, 5)))
    check_gains(record, "encoder", 1.007637)
    for block in range(3):
        for branch, gain in ((0, 1.482304), (1, 1.0)):
            for name in "vo":
                found = record[f"decoder.{block}.{branch}.inner.{name}.weight"]
                assert found.intended_std == pytest.approx(XAVIER * gain, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "pre"}, ["sub-LayerNorm (blocks.0.0.inner.o", "down(norm(act(up(x))))"]),
        ({"norm": "none", "sub": True}, ["normalization before the branch", "x + f(norm(x))"]),
    ],
)
def test_magneto_refuses_a_missing_normalization(options: dict[str, Any], words: list[str]) -> None:
    model = make(cases.Traceable, 2, **options)
    before = get_state(model)
    with pytest.raises(FitError) as refused:
        fanin.initialize(model, "magneto", seed=0)
    assert [word for word in words if word not in str(refused.value)] == []
    assert is_unchanged(model, before)


# --- Admin


@torch.no_grad()
def compute_weights(x: Tensor, branches: list[Any], memory: Tensor | None = None) -> list[float]:
    """ω of each branch, by a forward pass that is written out."""
    found: list[float] = []
    weight = 1.0
    for branch in branches:
        f = branch.inner(x) if memory is None or len(found) % 3 != 1 else branch.inner(x, memory)
        found.append(weight)
        shortcut = weight * x
        weight = math.sqrt(shortcut.var(correction=0).item() + f.var(correction=0).item())
        x = branch.norm(shortcut + f)
    return found


def test_admin_measures_the_branches_before_each_shortcut() -> None:
    model: Any = make(cases.Traceable, 3, norm="post", skip="omega")
    record = fanin.initialize(model, "admin", seed=0, batch=tokens())
    branches = list_branches(model.blocks)
    expected = compute_weights(model.embed(tokens()), branches)
    for branch, weight in zip(branches, expected, strict=True):
        assert branch.skip.detach() == pytest.approx(torch.full((WIDTH,), weight), rel=1e-4)
    assert expected[0] == 1.0
    assert sorted(expected[1:]) == expected[1:]  # each branch adds variance
    assert record["blocks.0.0.inner.q.weight"].rule == "xavier_uniform"


def test_admin_begins_anew_in_a_decoder() -> None:
    model: Any = make(cases.Translator, 2, 2, ("omega", "omega"), norm="post")
    source, target = tokens(), tokens(3, 5)
    fanin.initialize(model, "admin", seed=0, batch={"source": source, "target": target})
    encoder, decoder = list_branches(model.encoder), list_branches(model.decoder)
    with torch.no_grad():
        memory = model.source(source)
        for branch in encoder:
            memory = branch(memory)
    expected = [
        *compute_weights(model.source(source), encoder),
        *compute_weights(model.target(target), decoder, memory),
    ]
    found = [branch.skip.mean().item() for branch in (*encoder, *decoder)]
    assert found == pytest.approx(expected, rel=1e-4)


def test_admin_leaves_flags_buffers_and_random_state_alone() -> None:
    model: Any = make(cases.Traceable, 2, norm="post", skip="omega")
    model.train()
    model.blocks[0][0].inner.eval()
    state = torch.get_rng_state()
    fanin.initialize(model, "admin", seed=0, batch=tokens())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.blocks[0][0].inner.training
    assert all(one.grad is None for one in model.parameters())


def test_admin_refuses_a_model_without_weights_or_a_batch() -> None:
    model = make(cases.Traceable, 2, norm="post")
    before = get_state(model)
    with pytest.raises(FitError, match=r"nn\.Parameter\(torch\.ones\(width\)\)"):
        fanin.initialize(model, "admin", seed=0, batch=tokens())
    weighted = make(cases.Traceable, 2, norm="post", skip="omega")
    with pytest.raises(UsageError, match="batch=x"):
        fanin.initialize(weighted, "admin", seed=0)
    pre = make(cases.Traceable, 2, norm="pre", skip="omega")
    with pytest.raises(FitError, match="normalization after the sum"):
        fanin.initialize(pre, "admin", seed=0, batch=tokens())
    assert is_unchanged(model, before)


@pytest.mark.parametrize("fault", ["shared", "frozen"])
def test_admin_refuses_a_weight_that_is_shared_or_frozen(fault: str) -> None:
    model: Any = make(cases.Traceable, 2, norm="post", skip="omega")
    first, second = model.blocks[0].children()
    if fault == "shared":
        second.skip = first.skip
    else:
        second.skip.requires_grad_(False)
    with pytest.raises(FitError, match=r"weight of its own .*blocks\.0\.1\.inner\.down"):
        fanin.initialize(model, "admin", seed=0, batch=tokens())


def test_admin_of_parallel_branches_weighs_the_shortcut_once() -> None:
    """Two branches from one point: ω²_2 = Var(ω_1·x) + Var(f + g), which are added up first."""

    class Parallel(cases.Parallel):
        def __init__(self) -> None:
            super().__init__(2, norm="post")
            self.omegas = nn.ParameterList(torch.ones(WIDTH) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            for index, norm in enumerate(self.norms):
                both = self.attentions[index](x) + self.perceptrons[index](x)
                x = norm(self.omegas[index] * x + both)
            result: Tensor = self.head(x)
            return result

    model: Any = make(Parallel)
    fanin.initialize(model, "admin", seed=0, batch=tokens())
    with torch.no_grad():
        x = model.embed(tokens())
        f, g = model.attentions[0](x), model.perceptrons[0](x)
    expected = math.sqrt(sum(one.var(correction=0).item() for one in (x, f, g)))
    assert model.omegas[0].detach() == pytest.approx(torch.ones(WIDTH))
    assert model.omegas[1].mean().item() == pytest.approx(expected, rel=1e-4)


def test_admin_undoes_everything_if_the_batch_shows_no_variance() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0

    model: Any = make(cases.Traceable, 2, norm="post", skip="omega")
    model.embed = nn.Sequential(model.embed, Constant())
    before = get_state(model)
    with pytest.raises(FitError, match="variance 0"):
        fanin.initialize(model, "admin", seed=0, batch=tokens())
    assert is_unchanged(model, before)


# --- all of them


METHODS: dict[str, dict[str, Any]] = {
    "deep_norm": {"norm": "post", "skip": 1.4142},
    "t_fixup": {"norm": "none"},
    "magneto": {"norm": "pre", "sub": True},
    "admin": {"norm": "post", "skip": "omega"},
}


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_and_no_memory(method: str) -> None:
    options = METHODS[method]
    batch = tokens() if method == "admin" else None
    model = make(cases.Traceable, 2, **options)
    fanin.initialize(model, method, seed=3, batch=batch)
    half = make(cases.Traceable, 2, **options).bfloat16()
    fanin.initialize(half, method, seed=3, batch=batch)
    for name, value in model.named_parameters():
        close = half.get_parameter(name).float() if "skip" in name else None
        if close is None:
            assert torch.equal(half.get_parameter(name), value.bfloat16())
        else:
            assert close.detach() == pytest.approx(value.detach(), rel=0.02)
    if method == "admin":
        return
    with torch.device("meta"):
        empty = cases.Traceable(2, **options)
    fanin.initialize(empty, method, seed=3, device="cpu")
    for name, value in model.named_parameters():
        assert torch.equal(empty.get_parameter(name), value)
