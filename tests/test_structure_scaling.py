"""What multiplies the summands of residual sums, and which normalizations a branch has."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import structure_cases as cases
import torch
import torch.nn.functional as F
from structure_cases import WIDTH, linear, norm, sequence, write
from torch import Tensor, nn

from fanin import seeds
from fanin.structure import BranchNorms, ResidualBranch, describe_structure, measure_branches

both_ways = pytest.mark.parametrize("batch", [None, sequence()], ids=["traced", "observed"])


def get_branches(model: nn.Module, batch: Any) -> tuple[ResidualBranch, ...]:
    return describe_structure(model, batch).branches


def make_block(code: Any, **parameters: Tensor) -> nn.Module:
    """embed, one branch of `a` and `b`, norm, head; and parameters."""
    layers = dict.fromkeys(["embed", "a", "b", "head"], linear())
    model = write(code, **layers, norm=norm)
    for name, value in parameters.items():
        setattr(model, name, nn.Parameter(value))
    return model


def branch(m: Any, x: Tensor) -> Tensor:
    result: Tensor = m.b(F.relu(m.a(x)))
    return result


SCALED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "scalar": (lambda m, x: x + m.scale * branch(m, x), ("scale",)),
    "scalar behind": (lambda m, x: x + branch(m, x) * m.scale, ("scale",)),
    "in place": (lambda m, x: branch(m, x).mul_(m.scale) + x, ("scale",)),
    "dropout between": (lambda m, x: x + F.dropout(branch(m, x), 0.1, False) * m.scale, ("scale",)),
    "dropout after": (lambda m, x: x + F.dropout(branch(m, x) * m.scale, 0.1, False), ("scale",)),
    "view": (lambda m, x: x + branch(m, x) * m.vector.view(1, 1, -1), ("vector",)),
    "dtype": (lambda m, x: x + branch(m, x) * m.scale.to(torch.float32), ("scale",)),
    "two": (lambda m, x: x + m.scale * (m.vector * branch(m, x)), ("scale", "vector")),
    "one of many": (lambda m, x: x + m.vector[3] * branch(m, x), ("vector",)),
    "computed": (lambda m, x: x + m.scale.sigmoid() * branch(m, x), ()),
    "one plus": (lambda m, x: x + (1 + m.scale) * branch(m, x), ()),
    "before the last layer": (lambda m, x: x + m.b(m.scale * F.relu(m.a(x))), ()),
    "before a normalization": (lambda m, x: x + m.norm(m.scale * branch(m, x)), ()),
    "after a normalization": (lambda m, x: x + m.scale * m.norm(branch(m, x)), ("scale",)),
}


@both_ways
@pytest.mark.parametrize("name", SCALED)
def test_the_parameters_that_multiply_a_branch_are_named(name: str, batch: Tensor | None) -> None:
    code, expected = SCALED[name]
    model = make_block(
        lambda m, x: m.head(code(m, m.embed(x))),
        scale=torch.tensor(0.3),
        vector=torch.full((WIDTH,), 0.1),
    )
    (found,) = get_branches(model, batch)
    assert sorted(found.scales) == sorted(expected)
    assert found.writers == ("b",)
    assert found.shortcut_scales == ()
    computed = name in ("computed", "one plus")
    assert (found.factor, found.shortcut_factor) == (None if computed else 1.0, 1.0)


def test_a_layer_scale_with_three_axes_and_one_in_a_module_are_named() -> None:
    class LayerScale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.full((WIDTH,), 1e-5))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gamma

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        x = x + m.ls(branch(m, x))
        result: Tensor = m.head(x + m.wide * m.d(F.relu(m.c(x))))
        return result

    for batch in (None, sequence()):
        model = write(run, **dict.fromkeys(["embed", "a", "b", "c", "d", "head"], linear()))
        model.ls, model.wide = LayerScale(), nn.Parameter(torch.ones(1, 1, WIDTH))
        found = get_branches(model, batch)
        assert [one.scales for one in found] == [("ls.gamma",), ("wide",)]


FACTORS: dict[str, tuple[Any, float | None, float | None]] = {
    "none": (lambda m, x: x + branch(m, x), 1, 1),
    "DeepNorm": (lambda m, x: m.norm(2.213 * x + branch(m, x)), 2.213, 1),
    "attribute": (lambda m, x: x * m.alpha + branch(m, x), 1.5, 1),
    "buffer": (lambda m, x: x * m.kept + branch(m, x), 1.25, 1),
    "keyword": (lambda m, x: torch.add(branch(m, x), x, alpha=3), 3, 1),
    "keyword of the branch": (lambda m, x: x.add(branch(m, x), alpha=0.25), 1, 0.25),
    "divided": (lambda m, x: x + branch(m, x) / 4, 1, 0.25),
    "both": (lambda m, x: 0.6 * x + 0.8 * branch(m, x), 0.6, 0.8),
    "difference": (lambda m, x: x - branch(m, x), 1, -1),
    "negated": (lambda m, x: x + -branch(m, x) * 2, 1, -2),
    "twice": (lambda m, x: 2 * (x * 0.75) + branch(m, x), 1.5, 1),
    "gate": (lambda m, x: x + torch.sigmoid(m.head(x)) * branch(m, x), 1, None),
}


@both_ways
@pytest.mark.parametrize("name", FACTORS)
def test_the_constants_of_a_sum_are_read(name: str, batch: Tensor | None) -> None:
    code, shortcut, factor = FACTORS[name]
    model: Any = make_block(lambda m, x: m.head(code(m, m.embed(x))))
    model.alpha = 1.5
    model.register_buffer("kept", torch.tensor(1.25))
    (found,) = get_branches(model, batch)
    assert found.shortcut_factor == pytest.approx(shortcut)
    assert found.factor == (None if factor is None else pytest.approx(factor))


@both_ways
def test_the_parameters_of_a_shortcut_are_named(batch: Tensor | None) -> None:
    model = make_block(
        lambda m, x: m.head(m.norm((y := m.embed(x)) * m.omega + branch(m, y))),
        omega=torch.ones(WIDTH),
    )
    (found,) = get_branches(model, batch)
    assert (found.shortcut_scales, found.scales, found.shortcut_factor) == (("omega",), (), 1.0)


def test_what_the_graph_does_not_show_is_read_off_the_numbers_if_it_is_a_constant() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.embed(x)
        result: Tensor = m.head(y * m.vector + branch(m, y))
        return result

    for constant, expected in ((True, 1.75), (False, None)):
        model: Any = make_block(run)
        values = torch.full((WIDTH,), 1.75) if constant else torch.linspace(1, 2, WIDTH)
        model.register_buffer("vector", values)
        assert get_branches(model, None)[0].shortcut_factor is None
        assert get_branches(model, sequence())[0].shortcut_factor == (
            None if expected is None else pytest.approx(expected)
        )
        observed = get_branches(model.bfloat16(), sequence().bfloat16())[0].shortcut_factor
        assert observed == (None if expected is None else pytest.approx(expected, rel=1e-3))


def test_a_vector_of_equal_numbers_on_a_branch_is_read_off_too_but_not_in_place() -> None:
    def run(m: Any, x: Tensor, *, in_place: bool) -> Tensor:
        y = m.embed(x)
        out = branch(m, y)
        out = out.mul_(m.vector) if in_place else (out * m.vector).view_as(y)
        result: Tensor = m.head(y + out)
        return result

    for in_place in (False, True):
        model: Any = make_block(partial(run, in_place=in_place))
        model.register_buffer("vector", torch.full((WIDTH,), 0.375))
        assert get_branches(model, None)[0].factor is None
        expected = None if in_place else pytest.approx(0.375)
        assert get_branches(model, sequence())[0].factor == expected


@both_ways
def test_the_biases_of_a_branch_are_named(batch: Tensor | None) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.embed(x) + m.outside
        out = m.b(F.relu(m.a(y + m.before) + m.between) - m.subtracted)
        result: Tensor = m.head(y + (out * m.scale + m.after))
        return result

    names = ["outside", "before", "between", "subtracted", "scale", "after"]
    model = make_block(run, **{name: torch.zeros(1) for name in names})
    (found,) = get_branches(model, batch)
    assert found.shifts == ("before", "between", "subtracted", "after")
    assert found.scales == ("scale",)


@both_ways
def test_normalizations_are_named_by_their_place(batch: Tensor | None) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        x = x + m.end(m.b(m.inner(F.relu(m.a(m.pre(x))))))
        x = m.post(x + m.d(F.relu(m.c(x))))
        result: Tensor = m.head(m.last(x + F.layer_norm(m.f(m.e(x)), (WIDTH,), m.gamma)))
        return result

    layers = dict.fromkeys(["embed", *"abcdef", "head"], linear())
    norms = dict.fromkeys(["pre", "inner", "end", "post", "last"], norm)
    model = write(run, **layers, **norms)
    model.gamma = nn.Parameter(torch.ones(WIDTH))
    assert [one.norm_layers for one in get_branches(model, batch)] == [
        BranchNorms(("pre",), ("inner",), ("inner",), ("end",)),
        BranchNorms(post=("post",)),
        BranchNorms(end=("gamma",), post=("last",)),
    ]


def test_parallel_branches_have_scales_of_their_own() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        x = 1.5 * x + 0.5 * (m.s * m.b(F.relu(m.a(x))) + m.t * m.d(F.relu(m.c(x))))
        result: Tensor = m.head(x)
        return result

    model = write(run, **dict.fromkeys(["embed", *"abcd", "head"], linear()))
    model.s, model.t = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
    for batch in (None, sequence()):
        found = get_branches(model, batch)
        assert [one.scales for one in found] == [("s",), ("t",)]
        assert [(one.shortcut_factor, one.factor) for one in found] == [(1.5, 0.5)] * 2


def test_attention_to_an_encoder_crosses_and_other_attention_does_not() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Transformer(8, 2, 2, 2, 16, batch_first=True)
    found = describe_structure(model, (sequence(2, 5, 8), sequence(2, 4, 8)))
    encoder, decoder = found.streams
    assert [one.crosses for one in encoder.branches] == [False] * 4
    assert [one.crosses for one in decoder.branches] == [False, True, False] * 2


def test_a_condition_and_a_table_of_positions_are_no_other_stream() -> None:
    model = write(
        cases.run_conditioned,
        adapt=linear(8, 32),
        embed=linear(),
        norm1=norm,
        norm2=norm,
        qkv=linear(8, 24),
        proj=linear(),
        first=linear(),
        second=linear(),
        head=linear(),
    )
    found = get_branches(model, sequence())
    assert [one.crosses for one in found] == [False, False]
    assert [one.factor for one in found] == [None, None]


def test_a_wrapped_model_names_its_scales_as_the_bare_one() -> None:
    model = make_block(lambda m, x: m.head((y := m.embed(x)) + m.scale * branch(m, y)))
    model.scale = nn.Parameter(torch.ones(1))
    (found,) = get_branches(nn.DataParallel(model), sequence())
    assert found.scales == ("scale",)


def test_a_factor_of_zero_or_one_that_is_not_finite_is_what_it_is() -> None:
    model = make_block(lambda m, x: m.head((y := m.embed(x)) * 0 + branch(m, y) * math.inf))
    (found,) = get_branches(model, None)
    assert (found.shortcut_factor, found.factor) == (0.0, None)


def test_a_normalization_of_queries_is_inner_and_one_before_the_last_layer_is_last() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        q, k, v = m.qk_norm(m.a(x)), m.qk_norm(m.b(x)), m.c(x)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        result: Tensor = m.head(x + m.d(m.sub(mixed)))
        return result

    layers = dict.fromkeys(["embed", *"abcd", "head"], linear())
    model = write(run, **layers, qk_norm=norm, sub=norm)
    (found,) = get_branches(model, sequence())
    assert found.norm_layers == BranchNorms(inner=("qk_norm", "sub"), last=("sub",))


def test_the_variances_of_summands_are_those_when_they_are_added() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        out = m.b(F.relu(m.a(x))) * m.scale
        m.seen = [(2 * x).var(correction=0).item(), out.var(correction=0).item()]
        out += 2 * x  # in place: `out` is the sum afterwards
        result: Tensor = m.head(out)
        return result

    model: Any = make_block(run, scale=torch.tensor(0.5))
    ((branch_found,),) = [one.branches for one in measure_branches(model, sequence())]
    model(sequence())
    assert branch_found.variances == pytest.approx(tuple(model.seen), rel=1e-5)
    assert get_branches(model, sequence())[0].variances is None


def test_the_shifts_of_a_model_are_all_that_is_added() -> None:
    model = make_block(
        lambda m, x: m.head((y := m.embed(x) + m.first) + branch(m, y + m.second)),
        first=torch.zeros(1),
        second=torch.zeros(WIDTH),
    )
    assert describe_structure(model).shifts == ("first", "second")
