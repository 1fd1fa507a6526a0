"""What every initializer promises, run over the whole catalogue: a new entry is tested the moment it is registered."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fanin import fans, initializers, seeds
from fanin.errors import FitError, SpecError, UnknownName, UsageError
from fanin.fans import Fans, Layout
from fanin.initializers import Initializer, InitializerEntry

ENTRIES = tuple(initializers.REGISTRY)
SPECS = [(entry, spec) for entry in ENTRIES for spec in (entry.name, *entry.examples)]

every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
every_spec = pytest.mark.parametrize("spec", [spec for _, spec in SPECS])
every_random_spec = pytest.mark.parametrize("spec", [spec for entry, spec in SPECS if not entry.deterministic])

SHAPES = [(7, 40), (40, 7), (1, 1), (3, 1), (1, 20), (6, 4, 3), (8, 4, 3, 5), (4, 2, 2, 3, 2)]
LAYOUTS = {
    "linear": Layout((12, 20), Fans(20, 12)),
    "grouped": Layout((12, 5, 3, 3), Fans(45, 27), groups=4),
    "depthwise": Layout((12, 1, 3, 3), Fans(9, 18), groups=6),
    "transposed": Layout((12, 8, 3, 3), Fans(108, 72), transposed=True),
    "transposed, grouped": Layout((12, 5, 3, 3), Fans(27, 45), groups=4, transposed=True),
    "embedding": Layout((30, 8), Fans(1, 8), transposed=True),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(spec: str, tensor: Tensor, seed: int = 0) -> Tensor:
    return initializers.get(spec)(tensor, generator=generator(seed))


# --- the catalogue -----------------------------------------------------------------------------------------------------


@every_entry
def test_an_entry_is_documented_and_cited(entry: InitializerEntry) -> None:
    for text in (entry.summary, entry.formula, entry.suited, entry.differs, entry.make.__doc__):
        assert text
        assert len(text.strip()) > 4
    assert entry.paper.authors
    assert entry.paper.title
    assert entry.paper.link.startswith("https://")
    assert 1943 <= entry.year <= 2100
    assert entry.level in ("tensor", "model")
    assert set(entry.needs) <= {"data", "loss"}
    assert entry.name in initializers.names()


@every_entry
def test_an_initializer_is_final_frozen_and_hashable(entry: InitializerEntry) -> None:
    made = initializers.get(entry.name)
    assert type(made) is entry.make
    assert entry.make.__bases__ == (Initializer,)
    assert entry.make.__final__
    assert hash(made) == hash(initializers.get(entry.name))
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)


@every_entry
def test_every_option_can_be_seen_in_an_example(entry: InitializerEntry) -> None:
    shown = " ".join(entry.examples)
    assert [field.name for field in dataclasses.fields(entry.make) if f"{field.name}=" not in shown] == []


@every_spec
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
    parameter = inspect.signature(entry.make.__call__).parameters["generator"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is inspect.Parameter.empty
    with pytest.raises(TypeError, match="generator"):
        initializers.get(entry.name)(torch.zeros(3, 3))


def test_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(UnknownName, match="he_normal"):
        initializers.get("he_nromal")


def test_options_given_twice_or_to_a_finished_initializer_are_errors() -> None:
    with pytest.raises(SpecError, match="gives mode already"):
        initializers.get("he_normal(mode=fan_out)", mode="fan_in")
    with pytest.raises(SpecError, match="has its options already"):
        initializers.get(initializers.get("zero"), value=1.0)


@pytest.mark.parametrize(
    "spec",
    [
        "normal(std=-0.1)",
        "normal(std=wide)",
        "normal(mean=none)",
        "uniform(low=1.0, high=1.0)",
        "uniform(low=2.0, high=1.0)",
        "truncated_normal(std=-1.0)",
        "truncated_normal(cut=0.0)",
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
    ],
)
def test_a_hyperparameter_out_of_range_is_a_spec_error(spec: str) -> None:
    with pytest.raises(SpecError):
        initializers.get(spec)


def test_what_is_built_directly_is_checked_and_converted_as_well() -> None:
    assert initializers.Normal(std=2).spec == "normal(std=2.0)"
    with pytest.raises(SpecError):
        initializers.Normal(std=-1.0)


# --- filling a tensor --------------------------------------------------------------------------------------------------


@every_spec
def test_tensors_of_every_shape_are_filled_in_place_and_returned(spec: str) -> None:
    for shape in SHAPES:
        tensor = torch.full(shape, torch.nan)
        address = tensor.data_ptr()
        assert filled(spec, tensor) is tensor
        assert (tensor.shape, tensor.data_ptr(), tensor.dtype) == (shape, address, torch.float32)
        assert tensor.isfinite().all()


@every_spec
def test_the_same_seed_gives_the_same_weights(spec: str) -> None:
    assert torch.equal(filled(spec, torch.empty(20, 30)), filled(spec, torch.empty(20, 30)))


@pytest.mark.parametrize(("entry", "spec"), SPECS, ids=[spec for _, spec in SPECS])
def test_another_seed_gives_other_weights_unless_nothing_is_drawn(entry: InitializerEntry, spec: str) -> None:
    same = torch.equal(filled(spec, torch.empty(20, 30), 0), filled(spec, torch.empty(20, 30), 1))
    assert same is entry.deterministic


@pytest.mark.parametrize(("entry", "spec"), SPECS, ids=[spec for _, spec in SPECS])
def test_only_what_draws_moves_the_generator(entry: InitializerEntry, spec: str) -> None:
    g = generator()
    before = g.get_state()
    initializers.get(spec)(torch.empty(4, 5), generator=g)
    assert torch.equal(before, g.get_state()) is entry.deterministic


@every_spec
def test_every_dtype_gets_the_fp32_numbers_rounded(spec: str) -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        tensor = torch.empty(9, 7, dtype=dtype)
        assert torch.equal(filled(spec, tensor), filled(spec, torch.empty(9, 7)).to(dtype))
        assert tensor.dtype is dtype


@every_spec
def test_every_memory_format_gets_the_same_numbers_and_is_kept(spec: str) -> None:
    channels_last = torch.empty(8, 4, 3, 5).to(memory_format=torch.channels_last)
    transposed, strided = torch.empty(5, 3, 4, 8).permute(3, 2, 1, 0), torch.empty(8, 4, 3, 10)[..., ::2]
    for tensor in (channels_last, transposed, strided, torch.empty(9, 4, 3, 5)[1:]):
        strides = tensor.stride()
        assert torch.equal(filled(spec, tensor), filled(spec, torch.empty(8, 4, 3, 5)))
        assert tensor.stride() == strides


@every_spec
def test_a_parameter_stays_one_and_keeps_no_history(spec: str) -> None:
    for requires_grad in (True, False):
        parameter = torch.nn.Parameter(torch.empty(6, 5), requires_grad=requires_grad)
        filled(spec, parameter)
        assert parameter.requires_grad is requires_grad
        assert parameter.is_leaf
        assert parameter.grad_fn is None


@every_spec
def test_an_empty_tensor_is_left_alone_in_silence(spec: str) -> None:
    for shape in [(0,), (0, 5), (5, 0), (4, 0, 3), (0, 0)]:
        assert filled(spec, torch.empty(shape)).shape == shape


@every_spec
def test_a_vector_is_filled_or_refused_with_nothing_changed(spec: str) -> None:
    for shape in [(), (5,)]:
        initializer, tensor = initializers.get(spec), torch.full(shape, 7.5)
        try:
            initializer.intended_std(fans.tensor_layout(tensor))
        except FitError:
            with pytest.raises(FitError, match="two dimensions"):
                filled(spec, tensor)
            assert (tensor == 7.5).all()
        else:
            assert filled(spec, tensor).isfinite().all()


@every_spec
def test_a_tensor_that_cannot_hold_weights_is_refused_and_unchanged(spec: str) -> None:
    integers, truths, complex_numbers = (torch.ones(3, 4, dtype=dtype) for dtype in (torch.int64, torch.bool, torch.complex64))
    for tensor in (integers, truths, complex_numbers, torch.ones(1, 4).expand(3, 4)):
        with pytest.raises(FitError, match="Expected a tensor"):
            filled(spec, tensor)
        assert (tensor == 1).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(3, 4, device="meta"),
        lambda: torch.nn.parameter.UninitializedParameter(),
        lambda: torch.ones(3, 4).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(3, 4), 0.1, 0, torch.quint8),
        lambda: [[1.0, 2.0]],
        lambda: None,
    ],
    ids=["meta", "lazy", "sparse", "quantized", "list", "none"],
)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_what_has_no_dense_memory_is_refused_with_a_reason(make: Callable[[], Tensor]) -> None:
    with pytest.raises(FitError, match="Expected a tensor"):
        filled("normal", make())


@pytest.mark.parametrize("bad", [None, 0, torch.manual_seed], ids=["none", "a seed", "a function"])
def test_what_is_no_generator_is_refused_and_told_how_to_make_one(bad: object) -> None:
    tensor = torch.ones(3, 4)
    with pytest.raises(UsageError, match=r"manual_seed\(0\)"):
        initializers.get("normal")(tensor, generator=bad)  # type: ignore[arg-type]
    assert (tensor == 1).all()


# --- drawing for a layout ----------------------------------------------------------------------------------------------


@every_spec
@every_layout
def test_a_sample_is_contiguous_fp32_of_the_layouts_shape(spec: str, layout: Layout) -> None:
    sample = initializers.get(spec).sample(layout, generator())
    assert (sample.shape, sample.dtype, sample.device.type) == (layout.shape, torch.float32, "cpu")
    assert sample.is_contiguous()
    assert sample.isfinite().all()


@every_spec
@every_layout
def test_the_intended_std_is_what_many_draws_have(spec: str, layout: Layout) -> None:
    """200 draws of at least 36 weights that are not zero: the standard error of the std is below 0.9 %, the tolerance 4 %."""
    initializer, g = initializers.get(spec), generator(5)
    draws = torch.stack([initializer.sample(layout, g) for _ in range(200)]).double()
    assert draws.std(correction=0).item() == pytest.approx(initializer.intended_std(layout), rel=0.04, abs=1e-6)


@every_random_spec
@every_layout
def test_every_law_starts_from_the_same_standard_normal_draw(spec: str, layout: Layout) -> None:
    """Weights (those that are not zero) go with the z that the generator gives first, and not with another one."""
    sample = initializers.get(spec).sample(layout, generator(3))
    for seed, related in ((3, True), (4, False)):
        z = seeds.standard_normal(layout.shape, generator(seed))
        r = torch.corrcoef(torch.stack([z[sample != 0], sample[sample != 0]]))[0, 1].item()
        assert (r > 0.4) is related
