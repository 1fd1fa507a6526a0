"""Benchmark models: what the case study says they are, for every data set that they fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import CASES, case_of, cases_of, default, every_fit, fits, inputs
from torch import Tensor, nn

from fanin import models, seeds, specs
from fanin.data import DataInfo
from fanin.errors import FitError
from fanin.models import activations, benchmark_model
from fanin.models.cnn import CNN, CNNOptions

# Modules made by hand and torch's own dropout draw from the global generator.
pytestmark = pytest.mark.usefixtures("draws_globally")

ENTRIES = tuple(models.REGISTRY)

every_model = for_each("entry", ENTRIES, ids=lambda entry: entry.name)
every_case = for_each("case", CASES.values(), ids=CASES.keys())
every_pair = for_each(("entry", "case"), every_fit(), ids=lambda either: either.name)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# The contract of every entry


@every_pair
def test_a_model_maps_a_batch_to_one_row_of_outputs_per_sample_or_step(
    entry: models.ModelEntry, case: DataInfo
) -> None:
    module = default(entry).build_for(case)
    output = module(inputs(case, 5))
    steps = case.input_shape[:1] if case.per_step else ()
    assert output.shape == (5, *steps, case.outputs)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@every_model
@every_case
def test_a_model_that_does_not_fit_cannot_be_built_unless_the_task_alone_is_another(
    entry: models.ModelEntry, case: DataInfo
) -> None:
    if not fits(default(entry), case) and entry.task in ("any", case.task):
        with pytest.raises(FitError):
            default(entry).build_for(case)


@every_model
def test_a_model_fits_at_least_one_kind_of_data(entry: models.ModelEntry) -> None:
    assert cases_of(entry)


@every_model
def test_an_entry_says_what_it_is_and_its_options_are_frozen_and_have_defaults(
    entry: models.ModelEntry,
) -> None:
    assert entry.summary.endswith(".")
    assert entry.paper
    options = entry.options()
    assert hash(options) == hash(entry.options())
    assert dataclasses.is_dataclass(options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, dataclasses.fields(options)[0].name, None)
    assert "activation" in {field.name for field in dataclasses.fields(options)}


@every_pair
def test_building_moves_no_global_state_and_gives_fp32_on_the_cpu_every_time(
    entry: models.ModelEntry, case: DataInfo
) -> None:
    model = default(entry)
    before = torch.get_rng_state()
    first = model.build_for(case)
    torch.rand(1)
    torch.set_default_dtype(torch.float64)
    try:
        other = model.build_for(case)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_rng_state(before)
    again = model.build_for(case)
    assert torch.equal(torch.get_rng_state(), before)
    assert {p.dtype for p in (*first.parameters(), *other.parameters())} == {torch.float32}
    assert {str(p.device) for p in first.parameters()} == {"cpu"}
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


@every_model
def test_random_streams_of_the_parameters_are_distinct(entry: models.ModelEntry) -> None:
    names = [name for name, _ in default(entry).build_for(case_of(entry)).named_parameters()]
    seeds.require_distinct({name: seeds.derive_stream(0, "init", name) for name in names})


@for_each(
    "entry",
    [e for e in ENTRIES if e.accepts("image")],
    ids=lambda entry: entry.name,
)
def test_memory_format_does_not_change_the_outputs(entry: models.ModelEntry) -> None:
    case = [case for case in cases_of(entry) if case.kind == "image"][-1]
    x = inputs(case)
    module = default(entry).build_for(case).eval()
    expected = module(x)
    if entry.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(
        module(x.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5
    )


# The case study's networks


@pytest.mark.parametrize(
    ("spec", "shape", "outputs", "count"),
    [
        ("mlp", (1, 28, 28), 10, (784 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 10),
        ("mlp", (3, 32, 32), 100, (3072 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 100),
        (
            "cnn",
            (1, 28, 28),
            10,
            (9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 5 * 5 + 1) * 128 + (128 + 1) * 10,
        ),
        (
            "cnn",
            (3, 32, 32),
            100,
            (27 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 6 * 6 + 1) * 128 + (128 + 1) * 100,
        ),
        ("regression", (8,), 1, (8 + 1) * 64 + (64 + 1) * 32 + (32 + 1) * 1),
    ],
)
def test_parameters_number_what_the_layers_of_the_case_study_add_up_to(
    spec: str, shape: tuple[int, ...], outputs: int, count: int
) -> None:
    assert parameter_count(models.get(spec).build(shape, outputs)) == count


def test_the_published_parameter_counts_are_met() -> None:
    assert parameter_count(models.get("mlp").build((1, 28, 28), 10)) == 235_146
    assert parameter_count(models.get("cnn").build((1, 28, 28), 10)) == 225_034
    assert parameter_count(models.get("regression").build((8,), 1)) == 2_689


def test_names_of_parameters_are_the_frozen_names_of_their_streams() -> None:
    def weights(spec: str, shape: tuple[int, ...]) -> list[str]:
        names = [name for name, _ in models.get(spec).build(shape, 2).named_parameters()]
        return [name.removesuffix(".weight") for name in names if name.endswith(".weight")]

    assert weights("mlp", (4,)) == ["hidden.0", "hidden.1", "output"]
    assert weights("regression", (4,)) == ["hidden.0", "hidden.1", "output"]
    assert weights("cnn", (1, 28, 28)) == ["conv.0", "conv.1", "hidden.0", "output"]


def test_mlp_is_a_sigmoid_layer_then_a_tanh_layer_then_the_outputs() -> None:
    module = models.get("mlp").build((2, 3), 4)
    w = module.state_dict()
    x = torch.randn(5, 2, 3, generator=seeds.make_generator(0, "x"))
    hidden = torch.sigmoid(x.reshape(5, 6) @ w["hidden.0.weight"].T + w["hidden.0.bias"])
    hidden = torch.tanh(hidden @ w["hidden.1.weight"].T + w["hidden.1.bias"])
    torch.testing.assert_close(module(x), hidden @ w["output.weight"].T + w["output.bias"])


def test_regression_is_two_relu_layers_then_the_output() -> None:
    module = models.get("regression").build((8,), 1)
    w = module.state_dict()
    x = torch.randn(5, 8, generator=seeds.make_generator(0, "x"))
    hidden = (x @ w["hidden.0.weight"].T + w["hidden.0.bias"]).clamp(min=0)
    hidden = (hidden @ w["hidden.1.weight"].T + w["hidden.1.bias"]).clamp(min=0)
    torch.testing.assert_close(module(x), hidden @ w["output.weight"].T + w["output.bias"])


def slow_cnn(module: CNN, x: Tensor, names: tuple[str, ...]) -> Tensor:
    """The network as the case study writes it: activation first, then pooling; no dropout."""
    functions = [activations.get(name).build() for name in names]
    for convolution, function in zip(module.conv, functions, strict=False):
        x = F.max_pool2d(function(convolution(x)), 2)
    x = x.reshape(len(x), -1)
    for layer, function in zip(module.hidden, functions[len(module.conv) :], strict=True):
        x = function(layer(x))
    output: Tensor = module.output(x)
    return output


@for_each("name", activations.REGISTRY.names())
def test_pooling_before_the_activation_gives_the_value_and_gradient_of_pooling_after_it(
    name: str,
) -> None:
    module = CNN(
        CNNOptions(channels=(4, 5), widths=(6,), activation=name, dropout=0.0), (2, 12, 13), 3
    ).double()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.normal_(0, 0.5, generator=seeds.make_generator(0, "w", index))
    x = torch.randn(
        6, 2, 12, 13, dtype=torch.float64, generator=seeds.make_generator(0, "x")
    ).requires_grad_()
    results = []
    for output in (module(x), slow_cnn(module, x, (name,) * 3)):
        gradients = torch.autograd.grad(
            output.square().sum(), [x, *module.parameters()], materialize_grads=True
        )
        results.append([output, *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spec", ["mlp(widths=[7])", "cnn(channels=[4], widths=[7])"])
def test_images_are_flattened_in_the_order_channels_height_width(spec: str) -> None:
    model = models.get(spec, activation="identity")
    module = model.build((2, 6, 5), 3).eval()
    if model.entry.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen: list[Tensor] = []
    hidden = module.get_submodule("hidden.0")
    hidden.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(4, 2, 6, 5, generator=seeds.make_generator(0, "x")).contiguous(
        memory_format=torch.channels_last
    )
    with torch.no_grad():
        module(x)
        maps = (
            F.max_pool2d(module.get_submodule("conv.0")(x), 2) if model.entry.channels_last else x
        )
    loops = [[float(maps[n, c, i, j]) for c, i, j in positions(maps)] for n in range(4)]
    torch.testing.assert_close(seen[0], torch.tensor(loops))


def positions(maps: Tensor) -> list[tuple[int, int, int]]:
    channels, height, width = maps.shape[1:]
    return [(c, i, j) for c in range(channels) for i in range(height) for j in range(width)]


def test_the_cnn_drops_half_of_its_last_hidden_layer_in_training_only() -> None:
    module = models.get("cnn").build((1, 10, 10), 4)
    seen: list[Tensor] = []
    module.get_submodule("output").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    x = torch.randn(32, 1, 10, 10, generator=seeds.make_generator(0, "x"))
    with seeds.preserve_torch_state(0):
        module(x)
    module.eval()(x)
    trained, evaluated = seen
    kept = trained != 0
    torch.testing.assert_close(trained[kept], 2 * evaluated[kept])
    assert 0.4 < float(kept[evaluated != 0].float().mean()) < 0.6


# Fitting the data


@pytest.mark.parametrize(
    ("spec", "shape", "task", "says"),
    [
        ("cnn", (1, 8, 8), "classification", "at least 10×10; the data has 1×8×8. Use mlp"),
        ("cnn", (3, 32, 9), "classification", "at least 10×10; the data has 3×32×9"),
        (
            "cnn(channels=[4, 4, 4])",
            (3, 21, 40),
            "classification",
            "at least 22×22; the data has 3×21×40",
        ),
        (
            "cnn",
            (8,),
            "regression",
            "takes images .* has shape 8. Models for such inputs: .*mlp, regression",
        ),
        (
            "regression",
            (8,),
            "classification",
            "a model for regression; .* is classification. Models for such data: mlp, siren",
        ),
        (
            "regression",
            (1, 8, 8),
            "regression",
            "takes tables .* has shape 1×8×8. Models for such inputs: ",
        ),
        ("mlp(widths=[1000000, 1000000])", (8,), "regression", "1,000,011,000,001 parameters"),
        ("cnn(channels=[1000000, 1000000])", (3, 32, 32), "classification", "Use smaller widths"),
    ],
)
def test_a_model_that_does_not_fit_says_what_it_needs_what_it_got_and_what_to_do(
    spec: str, shape: tuple[int, ...], task: str, says: str
) -> None:
    with pytest.raises(FitError, match=says):
        models.get(spec).check(shape, 1, task)


def test_no_outputs_are_an_error() -> None:
    with pytest.raises(FitError, match="at least one output"):
        models.get("mlp").check((8,), 0, "classification")


@pytest.mark.parametrize("size", [10, 22])
def test_the_smallest_image_that_an_error_names_is_big_enough(size: int) -> None:
    layers = {10: 2, 22: 3}[size]
    model = models.get(specs.render("cnn", {"channels": (2,) * layers}))
    assert model.build((1, size, size), 2)(torch.zeros(1, 1, size, size)).shape == (1, 2)
    with pytest.raises(FitError):
        model.build((1, size - 1, size), 2)


@every_model
def test_a_check_allocates_no_parameters(entry: models.ModelEntry) -> None:
    devices: list[str] = []

    def watched(*sizes: object, **sequence: object) -> nn.Module:
        module = entry.build(*sizes, **sequence)
        devices.extend(parameter.device.type for parameter in module.parameters())
        return module

    model = models.Model(dataclasses.replace(entry, build=watched), entry.options())
    assert fits(model, case_of(entry))
    assert set(devices) == {"meta"}


@settings(max_examples=60, deadline=None)
@given(
    entry=st.sampled_from(ENTRIES),
    kind=st.one_of(
        st.tuples(st.tuples(st.integers(1, 20)), st.none()),
        st.tuples(st.tuples(st.integers(1, 20)), st.integers(1, 9)),
        st.tuples(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.none()),
        st.tuples(st.tuples(st.integers(1, 3), st.integers(1, 26), st.integers(1, 26)), st.none()),
    ),
    outputs=st.integers(0, 5),
    per_step=st.booleans(),
)
def test_what_passes_the_check_can_be_built_and_run_and_what_fails_it_cannot_be_built(
    entry: models.ModelEntry, kind: tuple[tuple[int, ...], int | None], outputs: int, per_step: bool
) -> None:
    model, (shape, vocabulary) = default(entry), kind
    usual = "regression" if entry.task == "any" else entry.task
    per_step = per_step and entry.task == "any"
    try:
        model.check(
            shape, outputs, "token_classification" if per_step else usual, vocabulary=vocabulary
        )
    except FitError:
        with pytest.raises(FitError):
            model.build(shape, outputs, vocabulary=vocabulary, per_step=per_step)
        return
    x = torch.zeros(2, *shape, dtype=torch.int64 if vocabulary else torch.float32)
    steps = shape[:1] if per_step else ()
    assert model.build(shape, outputs, vocabulary=vocabulary, per_step=per_step)(x).shape == (
        2,
        *steps,
        outputs,
    )


def test_a_third_party_model_goes_through_the_same_door() -> None:
    @dataclasses.dataclass(frozen=True)
    class Options:
        activation: str = "relu"

    entry = models.ModelEntry(
        "linear",
        "A linear map.",
        Options,
        lambda _, shape, k: nn.Linear(shape[0], k),
        "table",
        "any",
        False,
        "folklore",
    )
    model = benchmark_model.Model(entry, Options())
    assert model.spec == "linear"
    assert model.build((3,), 2)(torch.zeros(4, 3)).shape == (4, 2)
    with pytest.raises(FitError, match="takes tables"):
        model.check((1, 8, 8), 2, "classification")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 29, 30), (2, 22, 23)])
def test_cutting_off_what_reaches_no_output_changes_neither_function_nor_gradient(
    shape: tuple[int, ...],
) -> None:
    cut = models.get("cnn(dropout=0)").build(shape, 3).double()
    whole = models.get("cnn(dropout=0)").build(shape, 3).double()
    whole.reach = shape[1], shape[2]
    x = torch.rand((4, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = [model(x) for model in (cut, whole)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(o.square().sum(), list(m.parameters()))
        for o, m in zip(outputs, (cut, whole), strict=True)
    ]
    for ours, twins in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, twins, rtol=1e-9, atol=1e-12)


def test_the_case_studys_images_lose_their_last_two_rows_and_columns_and_no_more() -> None:
    assert models.get("cnn").build((1, 28, 28), 10).reach == (26, 26)
    assert models.get("cnn").build((3, 32, 32), 10).reach == (30, 30)
    assert models.get("cnn").build((1, 26, 26), 10).reach == (26, 26)


def test_an_image_of_another_size_is_not_cut_to_fit() -> None:
    model = models.get("cnn").build((1, 28, 28), 10)
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 1, 40, 40))
