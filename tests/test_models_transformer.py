"""`transformer`: its blocks against torch's and against their formula, its positions, and what
initializers see of it.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from combinations import for_each
from model_cases import count, kinds
from torch import Tensor
from transformer_cases import (
    CLASSES,
    FEATURES,
    RULES,
    STEPS,
    TRAINED_RULES,
    VOCABULARY,
    by_heart,
    labels,
    of_tokens,
    of_vectors,
    randomised,
    record_of,
    tokens,
    torch_layer,
    vectors,
)

import fanin
from fanin import models
from fanin.errors import FitError, SpecError
from fanin.models.position_encoding import Sinusoids
from fanin.models.transformer import Transformer, TransformerOptions
from fanin.models.transformer_blocks import StackOptions, TransformerBlock

# Modules made by hand and torch's own dropout draw from the global generator.
pytestmark = pytest.mark.usefixtures("draws_globally")

LINEAR = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "mlp.linear1",
    "mlp.linear2",
)


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(x: Tensor, w: dict[str, Tensor], heads: int) -> Tensor:
    size = x.shape[2] // heads
    q, k, v = (
        linear(x, w, f"attention.{part}").split(size, 2) for part in ("query", "key", "value")
    )
    mixed = torch.cat(
        [torch.softmax(q[h] @ k[h].mT / math.sqrt(size), 2) @ v[h] for h in range(heads)], 2
    )
    return linear(
        norm(mixed, w, "attention.norm") if "attention.norm.weight" in w else mixed,
        w,
        "attention.output",
    )


def two_layers(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    hidden = F.gelu(linear(x, w, "mlp.linear1"))
    return linear(
        norm(hidden, w, "mlp.norm") if "mlp.norm.weight" in w else hidden, w, "mlp.linear2"
    )


def slow_block(
    x: Tensor, w: dict[str, Tensor], options: StackOptions, scale: float, skip: float
) -> Tensor:
    """The formula of the blocks, each sum by itself."""
    for number, branch in (
        (1, lambda y: attention(y, w, options.heads)),
        (2, lambda y: two_layers(y, w)),
    ):
        factor = w.get(f"alpha{number}", torch.ones(1).double()) * scale
        kept = x * w.get(f"skip{number}", torch.ones(1).double()) * skip
        if options.norm == "post":
            x = norm(kept + factor * branch(x), w, f"norm{number}")
        else:
            x = kept + factor * branch(norm(x, w, f"norm{number}") if options.norm else x)
    return x


def block_of(options: StackOptions) -> TransformerBlock:
    block = randomised(TransformerBlock(options))
    assert isinstance(block, TransformerBlock)
    return block


# Blocks


@pytest.mark.parametrize("place", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_block_equals_the_encoder_layer_of_torch_with_its_weights(
    place: str, activation: str
) -> None:
    options = StackOptions(width=12, heads=3, norm=place, activation=activation)  # type: ignore[arg-type]
    block, x = block_of(options), vectors(features=12).double()
    torch.testing.assert_close(block(x), torch_layer(block, options)(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("place", ["pre", "post", "sub", None])
@pytest.mark.parametrize(
    ("option", "scale", "skip"),
    [
        ({}, 1.0, 1.0),
        ({"residual": "scalar"}, 1.0, 1.0),
        ({"residual_scale": 0.25}, 0.25, 1.0),
        ({"residual_scale": "depth"}, 1 / math.sqrt(2 * 3), 1.0),
        ({"skip_weight": 1.5}, 1.0, 1.5),
        ({"skip_weight": "deepnorm"}, 1.0, (2 * 3) ** 0.25),
        ({"skip_weight": "learned"}, 1.0, 1.0),
        ({"skip_weight": "learned", "residual": "scalar", "residual_scale": 0.5}, 0.5, 1.0),
    ],
    ids=str,
)
def test_a_block_is_the_formula_of_its_options(
    place: str | None, option: dict[str, str], scale: float, skip: float
) -> None:
    options = StackOptions(width=12, heads=2, depth=3, norm=place, **option)  # type: ignore[arg-type]
    block, x = block_of(options), vectors(features=12).double()
    expected = slow_block(x, block.state_dict(), options, scale, skip)
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-9)


def test_learned_weights_of_the_sums_start_neutral_and_only_their_options_have_them() -> None:
    def own(spec: str) -> dict[str, tuple[int, float]]:
        block = of_vectors(spec).get_submodule("blocks.0")
        return {
            name: (p.numel(), float(p.detach().mean()))
            for name, p in block.named_parameters(recurse=False)
        }

    assert (
        own("transformer") == own("transformer(residual_scale=depth, skip_weight=deepnorm)") == {}
    )
    assert own("transformer(residual=scalar)") == {"alpha1": (1, 0.0), "alpha2": (1, 0.0)}
    assert own("transformer(skip_weight=learned)") == {"skip1": (64, 1.0), "skip2": (64, 1.0)}


def test_with_scalars_a_model_is_blind_to_its_branches_at_first() -> None:
    module = of_vectors("transformer(residual=scalar, norm=none)")
    expected = module(vectors())
    with torch.no_grad():
        for name in kinds(module):
            if name.startswith("blocks."):
                module.get_parameter(f"{name}.weight").mul_(100)
    assert torch.equal(module(vectors()), expected)


# The whole


@for_each("kind", ["vectors", "tokens"])
@for_each("per_step", [False, True])
@for_each("place", ["pre", "post", "sub", "none"])
@for_each("positions", ["sinusoidal", "learned", "none"])
def test_a_model_is_the_formula_of_its_docstring(
    kind: str, per_step: bool, place: str, positions: str
) -> None:
    spec = f"transformer(width=12, depth=2, heads=2, norm={place}, positions={positions})"
    module = randomised(
        of_vectors(spec, per_step=per_step)
        if kind == "vectors"
        else of_tokens(spec, per_step=per_step)
    )
    w = module.state_dict()
    x = vectors().double() if kind == "vectors" else tokens()
    h = linear(x, w, "embedding") if kind == "vectors" else w["embedding.weight"][x]
    if positions == "sinusoidal":
        h = (h * math.sqrt(12) if kind == "tokens" else h) + waves(STEPS, 12)
    elif positions == "learned":
        h = h + w["positions.weight"]
    for index in range(2):
        h = module.get_submodule(f"blocks.{index}")(h)
    h = norm(h, w, "norm") if place in ("pre", "sub") else h
    expected = linear(h if per_step else h.mean(1), w, "output")
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.shape == ((4, STEPS, CLASSES) if per_step else (4, CLASSES))


@for_each("place", ["pre", "post", "sub", "none"])
def test_parameters_number_what_the_layers_add_up_to(place: str) -> None:
    block = (
        4 * 65 * 64
        + 65 * 256
        + 257 * 64
        + {"none": 0, "pre": 256, "post": 256, "sub": 256 + 128 + 512}[place]
    )
    rest = 4 * block + (128 if place in ("pre", "sub") else 0) + 65 * CLASSES
    assert count(of_vectors(f"transformer(norm={place})")) == 6 * 64 + rest
    assert count(of_tokens(f"transformer(norm={place})")) == VOCABULARY * 64 + rest
    assert (
        count(of_tokens(f"transformer(norm={place}, positions=learned)"))
        == (VOCABULARY + STEPS) * 64 + rest
    )


def test_names_of_parameters_are_frozen() -> None:
    block = ["norm1", *LINEAR[:4], "norm2", *LINEAR[4:]]
    assert kinds(of_vectors("transformer(depth=1)")) == [
        "embedding",
        *(f"blocks.0.{n}" for n in block),
        "norm",
        "output",
    ]
    block = ["norm1", *LINEAR[:3], "attention.norm", LINEAR[3], "norm2", *LINEAR[4:], "mlp.norm"]
    found = kinds(of_tokens("transformer(depth=1, norm=sub, positions=learned)"))
    assert found == ["embedding", "positions", *(f"blocks.0.{n}" for n in block), "norm", "output"]
    assert kinds(of_tokens("transformer(bias=false, norm=none, depth=1)"), "bias") == ["output"]


def test_a_model_can_be_built_without_memory_and_by_hand() -> None:
    with torch.device("meta"):
        skeleton = Transformer(
            TransformerOptions(norm="sub", residual="scalar", skip_weight="learned"),
            (9,),
            2,
            vocabulary=5,
        )
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())
    assert Transformer(TransformerOptions(width=6, heads=2, dropout=0.1), (STEPS, FEATURES), 2)(
        vectors()
    ).shape == (4, 2)


def test_dropout_stands_behind_the_embedding_and_every_layer_of_a_block_and_is_keyed() -> None:
    module = of_tokens("transformer(depth=1, dropout=0.5, norm=sub)")
    keys = models.DropoutKeys(module, 0)
    assert set(keys.layers) == {
        "dropout",
        *(f"blocks.0.{n}" for n in ("attention.dropout", "mlp.dropout1", "mlp.dropout2")),
    }
    first = module(tokens())
    assert torch.equal(first, module(tokens()))
    keys.set(0, 1)
    assert not torch.allclose(first, module(tokens()))


# Positions


def waves(steps: int, width: int) -> Tensor:
    """Element by element, as the paper writes it."""
    table = torch.empty(steps, width, dtype=torch.float64)
    for t in range(steps):
        for i in range(width):
            angle = t / 10_000 ** ((i - i % 2) / width)
            table[t, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


@pytest.mark.parametrize("width", [1, 5, 8])
def test_sinusoids_are_those_of_the_paper_for_any_width_and_length(width: int) -> None:
    added = Sinusoids(width)(torch.zeros(2, 300, width))
    torch.testing.assert_close(
        added, waves(300, width).float().expand(2, -1, -1), rtol=0, atol=1e-4
    )
    assert list(Sinusoids(width).state_dict()) == []


@for_each("kind", ["vectors", "tokens"])
@pytest.mark.parametrize(
    ("positions", "blind"), [("none", True), ("sinusoidal", False), ("learned", False)]
)
def test_positions_are_what_tells_the_order_of_the_steps(
    kind: str, positions: str, blind: bool
) -> None:
    spec = f"transformer(positions={positions})"
    module, x = (of_vectors(spec), vectors()) if kind == "vectors" else (of_tokens(spec), tokens())
    fanin.initialize(module, "he_normal", seed=0)
    assert torch.allclose(module(x), module(x.flip(1)), rtol=1e-4, atol=1e-5) == blind


def test_a_sequence_of_another_length_is_taken_up_to_the_last_of_the_learned_positions() -> None:
    fixed, learned = of_tokens("transformer"), of_tokens("transformer(positions=learned)")
    longer = tokens(steps=STEPS + 1)
    assert fixed(longer).shape == learned(tokens(steps=STEPS - 1)).shape == (4, CLASSES)
    with pytest.raises(FitError, match="positions for sequences of up to 7 steps; received 8"):
        learned(longer)


# What initializers see


@pytest.mark.parametrize("rule", RULES)
@for_each("kind", ["vectors", "tokens"])
def test_an_initializer_knows_every_parameter(rule: str, kind: str) -> None:
    module, x = (
        (of_vectors("transformer"), vectors())
        if kind == "vectors"
        else (of_tokens("transformer"), tokens())
    )
    record = record_of(module, rule, x)
    assert [one.name for one in record if one.role == "unknown" or not one.changed] == []
    assert [one.name for one in record if "not known" in one.reason] == []


@pytest.mark.parametrize("rule", RULES)
def test_only_the_learned_weights_of_the_sums_are_unknown_and_they_stay_neutral(rule: str) -> None:
    module = of_tokens("transformer(residual=scalar, skip_weight=learned, norm=sub, depth=2)")
    record = record_of(module, rule, tokens())
    unknown = {one.name for one in record if one.role == "unknown"}
    assert unknown == {
        f"blocks.{block}.{name}{n}"
        for block in range(2)
        for name in ("alpha", "skip")
        for n in (1, 2)
    }
    assert all(
        bool((module.get_parameter(name) == float("skip" in name)).all()) for name in unknown
    )


def test_every_matrix_of_a_block_has_the_fans_of_its_own_map() -> None:
    record = record_of(of_tokens("transformer(width=8, heads=2)"), "xavier_uniform", tokens())
    for name in LINEAR:
        one = record[f"blocks.3.{name}.weight"]
        assert (one.fan_in, one.fan_out) == {"mlp.linear1": (8, 32), "mlp.linear2": (32, 8)}.get(
            name, (8, 8)
        )
        assert one.intended_std == pytest.approx(math.sqrt(2 / (one.fan_in + one.fan_out)))
        assert one.parts == ()


@pytest.mark.parametrize(
    ("rule", "filled"),
    [("he_normal", "normal(std=0.02)"), ("torch_default", "normal"), ("keras_default", "uniform")],
)
def test_tables_of_tokens_and_positions_get_the_same_rule_for_embeddings(
    rule: str, filled: str
) -> None:
    record = record_of(of_tokens("transformer(positions=learned)"), rule, tokens())
    tables = [record["embedding.weight"], record["positions.weight"]]
    assert [one.role for one in tables] == ["embedding", "embedding"]
    assert tables[0].rule == tables[1].rule
    assert str(tables[0].rule).startswith(filled)


@pytest.mark.parametrize(
    "spec", ["transformer", "transformer(positions=learned)", "transformer(norm=none)"]
)
def test_a_model_can_be_traced_so_that_auto_needs_no_batch(spec: str) -> None:
    module = of_tokens(spec)
    traced = [(one.name, one.rule) for one in fanin.initialize(module, "auto", seed=0)]
    assert traced == [(one.name, one.rule) for one in record_of(module, "auto", tokens())]


# Training


@pytest.mark.parametrize("rule", TRAINED_RULES)
@pytest.mark.parametrize("kind", ["vectors", "tokens"])
def test_it_learns_random_labels_of_sequences_by_heart_from_every_rule(
    kind: str, rule: str
) -> None:
    module, x = (
        (of_vectors("transformer"), vectors(32))
        if kind == "vectors"
        else (of_tokens("transformer"), tokens(32))
    )
    assert by_heart(module, x, labels(32), rule)


@pytest.mark.parametrize(
    "options", ["norm=post", "norm=sub", "norm=none", "residual=scalar, norm=none", "bias=false"]
)
def test_every_structure_learns_random_labels_of_all_steps_by_heart(options: str) -> None:
    module = of_vectors(f"transformer({options}, depth=2)", per_step=True)
    assert by_heart(module, vectors(32), labels(32, STEPS), "xavier_uniform", lr=3e-3)


@pytest.mark.parametrize(
    "options",
    ["skip_weight=deepnorm", "skip_weight=learned", "residual_scale=depth, skip_weight=0.9"],
)
def test_every_weight_of_the_sums_learns_random_labels_by_heart(options: str) -> None:
    module = of_tokens(f"transformer({options}, norm=post, depth=2)")
    assert by_heart(module, tokens(32), labels(32), "xavier_uniform")


def test_one_step_of_training_changes_every_parameter() -> None:
    module = of_tokens(
        "transformer(skip_weight=learned, residual=scalar, norm=sub, positions=learned)",
        per_step=True,
    )
    fanin.initialize(module, {"*alpha*": "constant(value=1.0)"}, default="he_normal", seed=0)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    F.cross_entropy(module(tokens(32)).flatten(0, 1), labels(32 * STEPS)).backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert [
        name
        for name, parameter in module.named_parameters()
        if torch.equal(parameter, before[name])
    ] == []


# Options


def test_equal_models_have_one_identity() -> None:
    assert (
        models.get(
            "transformer(norm=pre, residual_scale=1, skip_weight=1.0, positions=sinusoidal)"
        ).spec
        == "transformer"
    )
    spec = "transformer(positions=none, residual_scale=depth, skip_weight=deepnorm)"
    assert models.get(spec).spec == spec
    assert models.get("transformer(activation=swish)").spec == "transformer(activation=silu)"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            "heads=5",
            "The heads of transformer must share .* received width=64, heads=5. "
            "Use a number of heads that divides",
        ),
        ("heads=0", "heads is a whole number from 1"),
        ("width=0", "width is a whole number from 1"),
        ("depth=10001", "depth is a whole number from 1 to 10,000"),
        ("norm=layer", "pre or post or sub or none"),
        ("residual=fixup", "one of plain, scalar"),
        ("residual_scale=0", "residual_scale is a number above 0, or a word; received 0.0"),
        ("residual_scale=deep", "residual_scale=….* must be a finite number or depth"),
        ("skip_weight=-1", "skip_weight is a number above 0, or a word; received -1.0"),
        ("skip_weight=admin", "must be a finite number or deepnorm or learned"),
        ("positions=rotary", "sinusoidal or learned or none"),
        ("dropout=1", "at least 0 and below 1"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    options: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(f"transformer({options})")


@pytest.mark.parametrize("shape", [(8,), (1, 8, 8)])
def test_tables_and_images_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(FitError, match="transformer takes sequences"):
        models.get("transformer").build(shape, CLASSES)
