"""What every initializer promises, run over the whole catalogue: a new entry is tested the moment
it is registered.

Here what can be said of an entry and of a tensor that is filled; `test_initializers_layouts.py`
draws for layers.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import pytest
import torch
from combinations import for_each
from initializer_cases import (
    ENTRIES,
    MODEL_ENTRIES,
    SHAPES,
    SPECS,
    TENSOR_ENTRIES,
    at_home,
    filled,
    generator,
    home,
    refusal,
    specs_of,
)
from torch import Tensor

from fanin import fans, initializers
from fanin.errors import FitError, SpecError, UnknownName, UsageError
from fanin.initializers import Initializer, InitializerEntry
from fanin.initializers.model_level import ModelInitializer

every_entry = for_each("entry", ENTRIES, ids=lambda entry: entry.name)
every_tensor_entry = for_each("entry", TENSOR_ENTRIES, ids=lambda entry: entry.name)
every_model_entry = for_each("entry", MODEL_ENTRIES, ids=lambda entry: entry.name)
every_spec = for_each("spec", SPECS)

COMPLEX = [spec for spec in SPECS if (law := initializers.get(spec)).gaussian or law.deterministic]


# --- the catalogue
# -----------------------------------------------------------------------------


@every_entry
def test_an_entry_is_documented_and_cited(entry: InitializerEntry) -> None:
    for text in (
        entry.summary,
        entry.formula,
        entry.suited,
        entry.avoid,
        entry.cost,
        entry.differs,
        entry.component.__doc__,
    ):
        assert text
        assert len(text.strip()) > 4
    assert entry.paper.authors
    assert entry.paper.title
    assert entry.paper.link.startswith("https://")
    assert 1943 <= entry.year <= 2100
    assert entry.level in ("tensor", "model")
    assert set(entry.needs) <= {"data", "loss", "followers", "structure"}
    assert entry.name in initializers.names()


@every_tensor_entry
def test_the_cost_of_an_entry_says_how_it_grows(entry: InitializerEntry) -> None:
    assert "O(" in entry.cost


@every_entry
def test_an_initializer_is_final_frozen_and_hashable(entry: InitializerEntry) -> None:
    made = initializers.get(entry.example)
    assert type(made) is entry.component
    assert entry.component.__bases__ == (
        ModelInitializer if entry.level == "model" else Initializer,
    )
    assert entry.component.__final__
    assert hash(made) == hash(initializers.get(entry.example))
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)


@every_entry
def test_every_option_can_be_seen_in_an_example(entry: InitializerEntry) -> None:
    shown = " ".join(entry.examples)
    assert [
        field.name for field in dataclasses.fields(entry.component) if f"{field.name}=" not in shown
    ] == []


@for_each("spec", specs_of(*ENTRIES))
def test_a_spec_makes_an_equal_initializer_again(spec: str) -> None:
    made = initializers.get(spec)
    assert str(made) == made.spec
    assert initializers.get(made.spec) == made
    assert initializers.get(made.name, **dataclasses.asdict(made)) == made
    assert initializers.get(made) is made


@every_entry
def test_an_unknown_option_is_an_error(entry: InitializerEntry) -> None:
    with pytest.raises((UnknownName, SpecError), match="gaim"):
        initializers.get(entry.name, gaim=1.0)


@every_entry
def test_the_generator_is_keyword_only_and_required(entry: InitializerEntry) -> None:
    parameter = inspect.signature(entry.component.__call__).parameters["generator"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is inspect.Parameter.empty
    with pytest.raises(TypeError, match="generator"):
        initializers.get(entry.example)(torch.zeros(3, 3))


def test_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(UnknownName, match="he_normal"):
        initializers.get("he_nromal")


@pytest.mark.parametrize(("name", "option"), [("wang_init", "layers"), ("chrono", "t_max")])
def test_an_option_without_a_default_is_asked_for_by_name(name: str, option: str) -> None:
    with pytest.raises(SpecError, match=rf"{name} needs {option}, such as {name}\({option}=…\)"):
        initializers.get(name)
    assert f"{option}=" in initializers.REGISTRY.get(name).example


def test_options_given_twice_or_to_a_finished_initializer_are_errors() -> None:
    with pytest.raises(SpecError, match="gives mode already"):
        initializers.get("he_normal(mode=fan_out)", mode="fan_in")
    with pytest.raises(SpecError, match="has its options already"):
        initializers.get(initializers.get("zero"), value=1.0)


@for_each(
    "spec",
    [
        "normal(std=-0.1)",
        "normal(std=wide)",
        "normal(mean=none)",
        "uniform(low=2.0, high=1.0)",
        "truncated_normal(std=-1.0)",
        "truncated_normal(cut=0.0)",
        "truncated_normal(low=1.0, high=0.0)",
        "truncated_normal(cut=1.0, low=0.0)",
        "variance_scaling(scale=0.0)",
        "variance_scaling(mode=fan_uot)",
        "variance_scaling(distribution=gauss)",
        "xavier_uniform(gain=-1.0)",
        "xavier_normal(gain=-1.0)",
        "he_normal(mode=fan_uot)",
        "he_normal(a=1e999)",
        "he_normal(truncated=1)",
        "orthogonal(gain=-1.0)",
        "sparse(connections=0)",
        "sparse(connections=1.5)",
        "sparse(sparsity=1.0)",
        "sparse(sparsity=-0.1)",
        "sparse(sparsity=0.5, connections=3)",
        "sparse(std=-1.0)",
        "block_orthogonal(gain=-1.0)",
        "block_orthogonal(blocks=0)",
        "block_orthogonal(blocks=2.5)",
        "scaled_uniform_orthogonal(gain=-1.0)",
        "scaled_uniform_orthogonal(delta=1)",
        "delta_orthogonal(gain=-1.0)",
        "identity(gain=-1.0)",
        "identity(even=middle)",
        "dirac(gain=-1.0)",
        "random_walk(activation=tanh)",
        "padded_identity(tau=-1.0)",
        "padded_identity(noise=-1.0)",
        "hadamard(gain=-1.0)",
        "sinusoidal(gain=-1.0)",
        "spectral(gain=-1.0)",
        "spectral(exact=1)",
        "siren(omega=0.0)",
        "siren(omega=-30.0)",
        "part:xavier(gain=-1.0)",
        "part:xavier(others=-1.0)",
        "part:xavier(distribution=truncated)",
        "skip_init(weights=auto)",
        "skip_init(alpha=1e999)",
        "fixup(mode=fan_avg)",
        "deep_norm(distribution=truncated)",
        "small_init(dim=0)",
        "small_init(dim=0.5)",
        "wang_init(layers=0)",
        "wang_init(layers=12, dim=0)",
        "wang_init(dim=512)",
        "forget_gate(value=1e999)",
        "chrono(t_max=2.0)",
        "chrono(t_max=-5.0)",
    ],
)
def test_a_hyperparameter_out_of_range_is_a_spec_error(spec: str) -> None:
    with pytest.raises(SpecError):
        initializers.get(spec)


def test_what_is_built_directly_is_checked_and_converted_as_well() -> None:
    assert initializers.Normal(std=2).spec == "normal(std=2.0)"
    assert initializers.Chrono(t_max=100).spec == "chrono(t_max=100.0)"
    with pytest.raises(SpecError):
        initializers.Normal(std=-1.0)


# --- filling a tensor
# -----------------------------------------------------------------------------


@every_spec
def test_a_tensor_is_filled_in_place_and_returned_or_refused_unchanged(spec: str) -> None:
    initializer = initializers.get(spec)
    for shape in SHAPES:
        tensor = torch.full(shape, 7.5)
        address = tensor.data_ptr()
        reason = refusal(initializer, fans.get_tensor_layout(tensor))
        if reason is None:
            assert filled(spec, tensor.fill_(torch.nan)) is tensor
            assert (tensor.shape, tensor.data_ptr(), tensor.dtype) == (
                shape,
                address,
                torch.float32,
            )
            assert tensor.isfinite().all()
        else:
            with pytest.raises(FitError) as refused:
                filled(spec, tensor)
            assert str(refused.value) == reason
            assert (tensor == 7.5).all()


@every_spec
def test_a_law_fits_at_least_half_of_the_shapes(spec: str) -> None:
    initializer = initializers.get(spec)
    fits = [
        refusal(initializer, fans.get_tensor_layout(torch.empty(shape))) is None for shape in SHAPES
    ]
    assert sum(fits) * 2 >= len(SHAPES)


@every_spec
def test_the_same_seed_gives_the_same_weights(spec: str) -> None:
    assert torch.equal(at_home(spec), at_home(spec))


@every_tensor_entry
def test_another_seed_gives_other_weights_unless_nothing_is_drawn(entry: InitializerEntry) -> None:
    for spec in specs_of(entry):
        assert torch.equal(at_home(spec, 0), at_home(spec, 1)) is entry.deterministic


@every_tensor_entry
def test_only_what_draws_moves_the_generator(entry: InitializerEntry) -> None:
    for spec in specs_of(entry):
        initializer, g = initializers.get(spec), generator()
        before, layout = g.get_state(), home(initializer)
        initializer.fill(torch.empty(layout.shape), layout, generator=g)
        assert torch.equal(before, g.get_state()) is entry.deterministic


@every_spec
def test_every_dtype_gets_the_fp32_numbers_rounded(spec: str) -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(at_home(spec, dtype=dtype), at_home(spec).to(dtype))
        assert at_home(spec, dtype=dtype).dtype is dtype


@every_spec
def test_every_memory_format_gets_the_same_numbers_and_is_kept(spec: str) -> None:
    channels_last = torch.empty(8, 4, 3, 5).to(memory_format=torch.channels_last)
    transposed, strided = (
        torch.empty(5, 3, 4, 8).permute(3, 2, 1, 0),
        torch.empty(8, 4, 3, 10)[..., ::2],
    )
    for tensor in (channels_last, transposed, strided, torch.empty(9, 4, 3, 5)[1:]):
        strides = tensor.stride()
        assert torch.equal(filled(spec, tensor), filled(spec, torch.empty(8, 4, 3, 5)))
        assert tensor.stride() == strides


@every_spec
def test_a_parameter_stays_one_and_keeps_no_history(spec: str) -> None:
    for requires_grad in (True, False):
        parameter = torch.nn.Parameter(torch.empty(12, 8), requires_grad=requires_grad)
        filled(spec, parameter)
        assert parameter.requires_grad is requires_grad
        assert parameter.is_leaf
        assert parameter.grad_fn is None


@every_spec
def test_an_empty_tensor_is_left_alone_in_silence(spec: str) -> None:
    """torch warns in some of its functions; the tests here make an error of any warning."""
    initializer = initializers.get(spec)
    for shape in [(0,), (0, 5), (5, 0), (4, 0, 3), (4, 3, 0), (0, 0)]:
        tensor, g = torch.empty(shape), generator()
        before = g.get_state()
        assert filled(spec, tensor).shape == shape
        initializer.fill(tensor, fans.get_tensor_layout(tensor), generator=g)
        assert torch.equal(g.get_state(), before)
        if refusal(initializer, fans.get_tensor_layout(tensor)) is None:
            std = initializer.intended_std(fans.get_tensor_layout(tensor))
            assert std is None or std >= 0


@every_spec
def test_a_vector_is_filled_or_refused_with_nothing_changed(spec: str) -> None:
    for shape in [(), (5,)]:
        initializer, tensor = initializers.get(spec), torch.full(shape, 7.5)
        if refusal(initializer, fans.get_tensor_layout(tensor)) is None:
            assert filled(spec, tensor).isfinite().all()
        else:
            with pytest.raises(FitError, match="two dimensions"):
                filled(spec, tensor)
            assert (tensor == 7.5).all()


# --- what cannot be filled
# -----------------------------------------------------------------------------


@every_spec
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_a_tensor_that_cannot_hold_weights_is_refused_and_unchanged(spec: str) -> None:
    integers, truths = (torch.ones(12, 8, dtype=dtype) for dtype in (torch.int64, torch.bool))
    quantized = torch.quantize_per_tensor(torch.ones(12, 8), 0.5, 0, torch.quint8)
    for tensor in (integers, truths, quantized, torch.ones(1, 8).expand(12, 8)):
        with pytest.raises(FitError, match="Expected a tensor"):
            filled(spec, tensor)
        values = tensor.dequantize() if tensor.is_quantized else tensor
        assert (values == 1).all()


@for_each("spec", COMPLEX)
def test_an_expanded_or_sparse_complex_tensor_is_refused_as_a_real_one_is(spec: str) -> None:
    expanded = torch.ones(1, 8, dtype=torch.complex64).expand(12, 8)
    for tensor in (expanded, torch.ones(12, 8, dtype=torch.complex64).to_sparse()):
        with pytest.raises(FitError, match="Expected a tensor"):
            filled(spec, tensor)
    assert (expanded == 1).all()


@for_each("spec", [spec for spec in SPECS if spec not in COMPLEX])
def test_a_law_that_is_not_defined_for_complex_numbers_says_so(spec: str) -> None:
    tensor = torch.ones(12, 8, dtype=torch.complex64)
    with pytest.raises(FitError, match="use a normal distribution, such as he_normal"):
        filled(spec, tensor)
    assert (tensor == 1).all()


def test_every_normal_law_of_mean_zero_is_defined_for_complex_numbers() -> None:
    normal = [
        "normal",
        "xavier_normal",
        "he_normal",
        "lecun_normal",
        "variance_scaling(distribution=normal)",
        "small_init",
    ]
    normal += ["random_walk", "random_walk(activation=relu)", "wang_init(layers=12)"]
    assert [spec for spec in normal if not initializers.get(spec).gaussian] == []


@for_each("spec", COMPLEX)
def test_a_complex_tensor_gets_the_variance_of_a_real_one_in_two_independent_parts(
    spec: str,
) -> None:
    """n = 64,000: the standard error of the root mean square is 0.2 %, of the correlation 0.004, of
    the fourth moment 0.04.

    Tolerances are 5 of them. The fourth moment of a normal law is 3, of a truncated one below 2.4.
    """
    initializer, tensor = initializers.get(spec), torch.empty(400, 160, dtype=torch.complex64)
    filled(spec, tensor)
    if initializer.deterministic:
        assert torch.equal(tensor, filled(spec, torch.empty(400, 160)).to(torch.complex64))
        return
    std = initializer.intended_std(fans.get_tensor_layout(tensor))
    assert tensor.abs().double().square().mean().sqrt().item() == pytest.approx(std, rel=0.01)
    assert tensor.real.double().std().item() == pytest.approx(
        tensor.imag.double().std().item(), rel=0.02
    )
    for part in (tensor.real.double(), tensor.imag.double()):
        assert (part / part.std()).pow(4).mean().item() == pytest.approx(3, abs=0.2)
    assert (
        abs(
            torch.corrcoef(torch.stack([tensor.real.flatten(), tensor.imag.flatten()]))[0, 1].item()
        )
        < 0.02
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(3, 4, device="meta"),
        lambda: torch.nn.parameter.UninitializedParameter(),
        lambda: torch.ones(3, 4).to_sparse(),
        lambda: [[1.0, 2.0]],
        lambda: None,
    ],
    ids=["meta", "lazy", "sparse", "list", "none"],
)
def test_what_has_no_dense_memory_is_refused_with_a_reason(make: Callable[[], Tensor]) -> None:
    with pytest.raises(FitError, match="Expected a tensor"):
        filled("normal", make())


@pytest.mark.parametrize("bad", [None, 0, torch.manual_seed], ids=["none", "a seed", "a function"])
def test_what_is_no_generator_is_refused_and_told_how_to_make_one(bad: object) -> None:
    tensor = torch.ones(3, 4)
    with pytest.raises(UsageError, match=r"manual_seed\(0\)"):
        initializers.get("normal")(tensor, generator=bad)  # type: ignore[arg-type]
    assert (tensor == 1).all()


# --- initializers of whole models
# -----------------------------------------------------------------------------


@every_model_entry
def test_an_initializer_of_models_sends_one_tensor_to_initialize(entry: InitializerEntry) -> None:
    for spec in specs_of(entry):
        tensor = torch.ones(12, 8)
        with pytest.raises(FitError, match=r"fanin\.initialize\(model"):
            filled(spec, tensor)
        assert (tensor == 1).all()
        with pytest.raises(FitError, match=r"fanin\.initialize\(model"):
            initializers.get(spec).intended_std(fans.get_tensor_layout(tensor))


def test_there_are_initializers_of_tensors_and_of_models() -> None:
    assert len(TENSOR_ENTRIES) > 20
    assert len(MODEL_ENTRIES) > 2
