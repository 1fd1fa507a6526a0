"""What people from torch, Keras and JAX type: names and options are translated, and told."""

from __future__ import annotations

import inspect

import pytest
import torch
from cli_session import TINY
from cli_session import fanin as command
from combinations import for_each
from torch import nn
from torch.nn import init

import fanin
from fanin import catalogue, initializers, seeds
from fanin.errors import FaninError, SpecError, UnknownName
from fanin.initializers import InitializerEntry
from fanin.initializers.foreign_words import WORDS
from fanin.registry import Registry
from fanin.study.study import Study

MEANINGS = {
    "kaiming_normal": "he_normal",
    "kaiming_normal_": "he_normal",
    "kaiming_uniform_(a=0.3, mode=fan_out)": "he_uniform(a=0.3, mode=fan_out)",
    "kaiming_normal_(nonlinearity=relu, a=2.0)": "he_normal",
    "kaiming_normal_(nonlinearity=leaky_relu, a=0.5)": "he_normal(a=0.5)",
    "kaiming_uniform(nonlinearity=linear)": "variance_scaling(distribution=uniform)",
    "kaiming_normal(nonlinearity=selu, mode=fan_avg)": (
        "variance_scaling(distribution=normal, mode=fan_avg, scale=0.5625)"
    ),
    "xavier_normal_(gain=2)": "xavier_normal(gain=2.0)",
    "xavier_uniform_": "xavier_uniform",
    "glorot_uniform": "xavier_uniform",
    "glorot_normal_": "xavier_normal(truncated=true)",
    "trunc_normal": "truncated_normal",
    "trunc_normal_(std=0.02)": "truncated_normal(high=2.0, low=-2.0, std=0.02)",
    "trunc_normal_(std=0.02, a=-0.04, b=0.1)": "truncated_normal(high=0.1, low=-0.04, std=0.02)",
    "trunc_normal(cut=3)": "truncated_normal(cut=3.0)",
    "normal_(std=2)": "normal(std=2.0)",
    "uniform_(a=-1, b=2)": "uniform(high=2.0, low=-1.0)",
    "constant_(val=3)": "constant(value=3.0)",
    "zeros": "zero",
    "zeros_": "zero",
    "ones": "constant",
    "ones_": "constant",
    "eye": "identity",
    "eye_": "identity",
    "dirac_": "dirac",
    "orthogonal_(gain=2)": "orthogonal(gain=2.0)",
    "sparse_(sparsity=0.5)": "sparse(sparsity=0.5, std=0.01)",
    "he_normal_": "he_normal",
    "delta_orthogonal_": "delta_orthogonal",
    "variance_scaling_": "variance_scaling",
    "HeNormal": "he_normal(truncated=true)",
    "HeNormal(truncated=false)": "he_normal",
    "HeUniform": "he_uniform",
    "GlorotNormal": "xavier_normal(truncated=true)",
    "GlorotUniform": "xavier_uniform",
    "LecunNormal": "lecun_normal(truncated=true)",
    "LecunUniform": "lecun_uniform",
    "RandomNormal": "normal(std=0.05)",
    "RandomNormal(stddev=0.1, mean=1)": "normal(mean=1.0, std=0.1)",
    "random_uniform": "uniform(high=0.05, low=-0.05)",
    "RandomUniform(minval=-1, maxval=1)": "uniform(low=-1.0)",
    "TruncatedNormal": "truncated_normal(std=0.05)",
    "VarianceScaling(scale=2, distribution=untruncated_normal)": (
        "variance_scaling(distribution=normal, scale=2.0)"
    ),
    "Orthogonal": "orthogonal",
    "Identity(gain=2)": "identity(gain=2.0)",
    "Zeros": "zero",
    "Ones": "constant",
    "Constant": "constant(value=0.0)",
    "variance_scaling(distribution=truncated_normal)": "variance_scaling",
    "variance_scaling(mode=fan_geo_avg)": "variance_scaling(mode=fan_geo_avg)",
    "orthogonal(scale=2.0)": "orthogonal(gain=2.0)",
    "delta_orthogonal(scale=2.0)": "delta_orthogonal(gain=2.0)",
    "normal(stddev=0.1)": "normal(std=0.1)",
    "uniform(a=-1.0, b=1.0)": "uniform(low=-1.0)",
}
"""What is typed, and the canonical spec."""

MISTAKES = {
    "he_normal(nonlinearity=relu)": r"kaiming_normal\(nonlinearity=…\)",
    "HeUniform(nonlinearity=relu)": r"kaiming_uniform\(nonlinearity=…\)",
    "kaiming_normal_(nonlinearity=gelu)": "fanin.gains.gain",
    "kaiming_normal_(fan=fan_out)": "No option of he_normal is called 'fan'",
    "dirac_(groups=2)": "The groups come from the layer",
    "sparse_": r"sparse_\(sparsity=0.9\)",
    "ones(value=3)": r"constant\(value=…\)",
    "normal(stddev=1, std=2)": "gives std twice",
    "uniform(scale=0.1)": r"uniform\(low=0, high=s\)",
    "truncated_normal(lower=-1)": "counts lower and upper in std",
    "TruncatedNormal(upper=1)": "counts lower and upper in std",
    "HeNormal(seed=3)": "A seed goes to the call",
    "normal_(generator=none)": "A generator goes to the call",
    "zeros(dtype=float32)": "whatever its dtype",
    "RandomNormal(stdev=3)": "Did you mean std",
    "kaiming_nromal": "Did you mean kaiming_normal",
    "GlorotNorm": "Did you mean GlorotNormal",
    "xavier": "Did you mean xavier_normal or xavier_uniform",
}
"""What cannot be meant, and what the error leads to."""


@for_each("typed", MEANINGS)
def test_a_foreign_spec_becomes_the_canonical_one(typed: str) -> None:
    made = fanin.get(typed)
    assert made.spec == MEANINGS[typed]
    assert fanin.get(made.spec) == made
    assert repr(made).startswith(type(made).__name__)
    assert typed.partition("(")[0] not in fanin.names("initializers") or "(" in typed


@for_each("typed", MISTAKES)
def test_what_cannot_be_translated_leads_to_what_can(typed: str) -> None:
    with pytest.raises((UnknownName, SpecError), match=MISTAKES[typed]):
        fanin.get(typed)


def test_options_may_be_keywords() -> None:
    assert fanin.get("kaiming_normal_", nonlinearity="tanh").spec.startswith("variance_scaling")
    with pytest.raises(SpecError, match="gives a already"):
        fanin.get("kaiming_normal_(a=1.0)", a=2.0)


def test_fanins_own_repr_is_a_spec_of_the_same() -> None:
    """A class of fanin and one of Keras may have one name: the repr has every option in it."""
    for name in ("he_normal", "lecun_normal", "truncated_normal", "constant", "orthogonal"):
        for made in (fanin.get(name), fanin.get(initializers.REGISTRY.get(name).examples[0])):
            assert fanin.get(repr(made).replace("'", "")) == made


# --- every name of the frameworks
# -----------------------------------------------------------------------------


def test_every_function_of_torch_is_understood_with_and_without_its_underscore() -> None:
    functions = [name for name in dir(init) if name.endswith("_") and not name.startswith("_")]
    assert len(functions) > 13
    for name in functions:
        known = initializers.REGISTRY.get(name)
        assert initializers.REGISTRY.get(name.removesuffix("_")) is known


def test_every_option_of_torch_is_understood_or_explained() -> None:
    """Each option of each function, at a value that torch takes."""
    values = {"val": 2.0, "a": -0.5, "b": 0.5, "sparsity": 0.5, "mode": "fan_out"}
    values |= {"nonlinearity": "tanh", "mean": 0.1, "std": 0.3, "gain": 2.0}
    unexplained = []
    for name in (name for name in dir(init) if name.endswith("_") and name[0] != "_"):
        for option in list(inspect.signature(getattr(init, name)).parameters)[1:]:
            needed = {"sparsity": 0.5} if name == "sparse_" else {}
            try:
                fanin.get(name, **(needed | {option: values.get(option, 1)}))
            except UnknownName as error:
                if "has no option" not in str(error):
                    unexplained.append(f"{name}({option}=…): {error}")
    assert unexplained == []


@pytest.mark.usefixtures("draws_globally")
def test_every_class_and_function_of_keras_is_understood() -> None:
    keras = pytest.importorskip("keras", reason='needs keras: pip install "fanin[peers]"')
    own = {"Initializer", "STFT", "STFTInitializer", "stft"}
    own |= {"get", "serialize", "deserialize"}
    listed = {name for name in dir(keras.initializers) if not name.startswith("_")}
    unknown = []
    for name in sorted(listed - own):
        if callable(getattr(keras.initializers, name)):
            try:
                initializers.REGISTRY.get(name)
            except UnknownName:
                unknown.append(name)
    assert unknown == []


def test_every_initializer_of_jax_is_understood() -> None:
    jax = pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')
    listed = [name for name in dir(jax.nn.initializers) if name[0].islower()]
    assert len(listed) > 15
    for name in listed:
        initializers.REGISTRY.get(name)


# --- told, and never part of an identity
# -----------------------------------------------------------------------------


def test_the_record_tells_the_canonical_name() -> None:
    with seeds.preserve_torch_state(0):
        one, other = nn.Linear(3, 4), nn.Linear(3, 4)
    record = fanin.initialize(one, "kaiming_normal_", seed=0, biases="zeros_")
    fanin.initialize(other, "he_normal", seed=0)
    assert (record["weight"].rule, record["bias"].rule) == ("he_normal", "zero")
    assert torch.equal(one.weight, other.weight)


def test_a_cell_has_the_same_id_whatever_word_was_typed() -> None:
    def plan(*typed: str) -> list[tuple[str, str]]:
        text = TINY.replace('["zero", "he_normal"]', str(list(typed)))
        cells = [planned.cell for planned in Study.from_toml(text, "mine").plan().cells]
        return [(cell.id, cell.initializer) for cell in cells]

    assert plan("kaiming_normal_", "zeros") == plan("he_normal", "zero")
    assert plan("HeNormal") == plan("he_normal(truncated=true)")


def test_names_lists_canonical_names_only() -> None:
    assert set(WORDS.names.values()) <= set(fanin.names("initializers"))
    assert not set(WORDS.names) & set(fanin.names("initializers"))
    assert {"kaiming_normal_", "HeNormal"} <= set(catalogue.words("initializers"))


def test_show_takes_a_foreign_name_and_says_what_it_stands_for() -> None:
    done = command("show", "kaiming_normal_")
    assert done.code == 0
    assert done.out.startswith("he_normal (initializer)")
    assert "kaiming_normal_ is torch's he_normal" in done.out
    assert "HeNormal = he_normal(truncated=true)" in done.out
    assert "Keras' he_normal(truncated=true)" in command("show", "HeNormal").out
    assert "you asked" not in command("show", "he_normal").out
    assert "Did you mean kaiming_normal" in command("show", "kaimin_normal").err


def test_a_registered_entry_goes_before_a_foreign_name() -> None:
    entry = initializers.REGISTRY.get("zero")
    registry: Registry[InitializerEntry, object] = Registry("initializer", InitializerEntry)
    registry.understand(WORDS)
    registry.add(entry)
    assert registry.make("zeros").spec == "zero"  # type: ignore[attr-defined]
    own = type("Ones", (entry.component,), {"name": "ones"})
    registry.add(
        InitializerEntry(
            **{
                field: getattr(entry, field)
                for field in ("summary", "formula", "paper", "suited", "avoid", "cost", "differs")
            },
            component=own,
        )
    )
    assert registry.make("ones").spec == "ones"  # type: ignore[attr-defined]
    assert "ones" not in registry.foreign_names


def test_a_foreign_name_of_an_entry_that_is_not_there_is_unknown() -> None:
    registry: Registry[InitializerEntry, object] = Registry("initializer", InitializerEntry)
    registry.understand(WORDS)
    with pytest.raises(FaninError, match="kaiming_normal_"):
        registry.get("kaiming_normal_")
