"""`gpt`: causal to the last bit, equal to GPT-2 with its weights, of its published size."""

from __future__ import annotations

import importlib
import importlib.util
import math

import pytest
import torch
import torch.nn.functional as F
from model_cases import count, kinds
from torch import Tensor, nn
from transformer_cases import (
    CLASSES,
    RULES,
    STEPS,
    TRAINED_RULES,
    VOCABULARY,
    by_heart,
    labels,
    of_tokens,
    randomised,
    record_of,
    tokens,
    torch_layer,
    vectors,
)

import fanin
from fanin import models, seeds
from fanin.errors import FitError, SpecError
from fanin.models.gpt import GPT, GPTOptions
from fanin.models.transformer_blocks import TransformerBlock

# Modules made by hand draw from the global generator.
pytestmark = pytest.mark.usefixtures("draws_globally")

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)


def next_token(spec: str, **sizes: int) -> nn.Module:
    return of_tokens(spec, per_step=True, outputs=sizes.get("vocabulary", VOCABULARY), **sizes)


# What a step sees


@pytest.mark.parametrize(
    "options",
    ["", "norm=post", "norm=sub", "norm=none, residual=plain, skip_weight=deepnorm", "tied=true"],
)
@pytest.mark.parametrize("changed", range(STEPS))
def test_a_token_changes_no_output_before_it_and_every_output_from_it_on(
    options: str, changed: int
) -> None:
    module = next_token(f"gpt({options})").eval()
    fanin.initialize(module, "he_normal", seed=0)
    x = tokens()
    other = x.clone()
    other[:, changed] = (x[:, changed] + 1) % VOCABULARY
    before, after = module(x), module(other)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any(2).all()


def test_a_block_equals_the_encoder_layer_of_torch_under_a_causal_mask() -> None:
    options = GPTOptions(width=12, heads=3)
    block = randomised(TransformerBlock(options, causal=True))
    assert isinstance(block, TransformerBlock)
    layer, x = torch_layer(block, options), vectors(features=12).double()
    mask = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=torch.float64)
    torch.testing.assert_close(
        block(x), layer(x, src_mask=mask, is_causal=True), rtol=1e-10, atol=1e-10
    )


def test_one_output_for_a_sequence_is_that_of_its_last_step() -> None:
    whole, each = of_tokens("gpt", outputs=VOCABULARY), next_token("gpt")
    each.load_state_dict(whole.state_dict())
    torch.testing.assert_close(whole(tokens()), each(tokens())[:, -1])


def test_a_model_is_the_formula_of_its_docstring() -> None:
    module = randomised(next_token("gpt(width=12, heads=2, depth=2)"))
    w, x = module.state_dict(), tokens()
    h = w["embedding.weight"][x] + w["positions.weight"]
    for index in range(2):
        h = module.get_submodule(f"blocks.{index}")(h)
    h = F.layer_norm(h, (12,), w["norm.weight"], w["norm.bias"])
    torch.testing.assert_close(module(x), h @ w["output.weight"].T)


@needs_transformers
def test_it_computes_what_gpt2_computes_with_the_same_weights() -> None:
    transformers = importlib.import_module("transformers")
    sizes = {
        "vocab_size": VOCABULARY,
        "n_positions": STEPS,
        "n_embd": 12,
        "n_layer": 2,
        "n_head": 3,
    }
    config = transformers.GPT2Config(
        **sizes, activation_function="gelu", bos_token_id=0, eos_token_id=0
    )
    peer = randomised(transformers.GPT2LMHeadModel(config)).eval()
    own = next_token("gpt(width=12, depth=2, heads=3, tied=true)").eval().double()
    own.load_state_dict(renamed(peer.state_dict(), 12))
    torch.testing.assert_close(own(tokens()), peer(tokens()).logits, rtol=1e-9, atol=1e-9)


def renamed(theirs: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """GPT-2's weights by our names: its matrices are (in, out), and q, k and v are packed."""
    names = {
        "transformer.wte": "embedding",
        "transformer.wpe": "positions",
        "transformer.ln_f": "norm",
        "transformer.h": "blocks",
        "ln_": "norm",
        "attn.c_proj": "attention.output",
        "mlp.c_fc": "mlp.linear1",
        "mlp.c_proj": "mlp.linear2",
    }
    found: dict[str, Tensor] = {}
    for name, value in theirs.items():
        own = name
        for old, new in names.items():
            own = own.replace(old, new)
        if "c_attn" in name:
            for part, piece in zip(("query", "key", "value"), value.split(width, -1), strict=True):
                found[own.replace("attn.c_attn", f"attention.{part}")] = piece.t()
        elif name != "lm_head.weight":
            found[own] = value.t() if ".c_" in name else value
    return found


# Sizes and names


def test_gpt2_small_has_its_published_number_of_parameters() -> None:
    options = GPTOptions(depth=12, heads=12, width=768, tied=True)
    with torch.device("meta"):
        assert count(GPT(options, (1024,), 50257, vocabulary=50257, per_step=True)) == 124_439_808


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_number_what_the_layers_add_up_to(tied: bool) -> None:
    block = 4 * 65 * 64 + 65 * 256 + 257 * 64 + 256
    expected = (VOCABULARY + STEPS) * 64 + 4 * block + 128 + (0 if tied else 64 * VOCABULARY)
    assert count(next_token(f"gpt(tied={str(tied).lower()})")) == expected


def test_names_of_parameters_are_frozen() -> None:
    attention = [f"attention.{name}" for name in ("query", "key", "value", "output")]
    block = [
        f"blocks.0.{name}" for name in ("norm1", *attention, "norm2", "mlp.linear1", "mlp.linear2")
    ]
    assert kinds(next_token("gpt(depth=1)")) == ["embedding", "positions", *block, "norm", "output"]
    assert kinds(next_token("gpt(depth=1, tied=true)")) == [
        "embedding",
        "positions",
        *block,
        "norm",
    ]
    assert "output" not in kinds(next_token("gpt"), "bias")


# Tied outputs


def test_a_tied_output_reads_out_with_the_table_of_the_tokens() -> None:
    tied, free = next_token("gpt(tied=true)"), next_token("gpt")
    free.load_state_dict(
        {**tied.state_dict(), "output.weight": tied.state_dict()["embedding.weight"]}
    )
    torch.testing.assert_close(tied(tokens()), free(tokens()))
    assert len(set(tied.state_dict())) == len(
        {value.data_ptr() for value in tied.state_dict().values()}
    )


def test_a_tied_output_needs_as_many_outputs_as_tokens() -> None:
    says = r"as many outputs as tokens; the data has 3 outputs and 11 tokens. Use gpt\(tied=false\)"
    with pytest.raises(FitError, match=says):
        models.get("gpt(tied=true)").check(
            (STEPS,), CLASSES, "classification", vocabulary=VOCABULARY
        )


# Fitting the data


def test_a_shorter_sequence_is_taken_and_a_longer_one_is_an_error_that_says_what_to_do() -> None:
    module = next_token("gpt")
    torch.testing.assert_close(
        module(tokens()[:, :3]), module(tokens())[:, :3], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(
        FitError,
        match=r"gpt has positions for sequences of up to 7 steps; received 9\. Cut the sequences, "
        r"or build",
    ):
        module(tokens(steps=9))


@pytest.mark.parametrize("shape", [(STEPS, 5), (8,), (1, 8, 8)])
def test_what_is_not_tokens_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(FitError, match="gpt takes sequences of tokens"):
        models.get("gpt").build(shape, CLASSES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("heads=5", "The heads of gpt must share its width evenly"),
        ("tied=1", "gpt.tied=….* must be true or false"),
        ("norm=batch", "pre or post or sub or none"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_says_what_was_expected(
    options: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        models.get(f"gpt({options})")


def test_equal_models_have_one_identity() -> None:
    assert models.get("gpt(tied=false, norm=pre, depth=4)").spec == "gpt"
    assert models.get("gpt(tied=true, depth=12)").spec == "gpt(depth=12, tied=true)"


# What initializers see


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tied", ["false", "true"])
def test_an_initializer_knows_every_parameter(rule: str, tied: str) -> None:
    record = record_of(next_token(f"gpt(tied={tied})"), rule, tokens())
    assert [one.name for one in record if one.role == "unknown" or not one.changed] == []
    assert [one.name for one in record if "not known" in one.reason] == []


def test_weights_of_attention_have_their_own_fans_and_tables_the_rule_for_embeddings() -> None:
    record = record_of(next_token("gpt"), "xavier_uniform", tokens())
    for name in ("query", "key", "value", "output"):
        one = record[f"blocks.0.attention.{name}.weight"]
        assert (one.fan_in, one.fan_out, one.intended_std) == (
            64,
            64,
            pytest.approx(math.sqrt(1 / 64)),
        )
    assert (record["output.weight"].fan_in, record["output.weight"].fan_out) == (64, VOCABULARY)
    tables = {record[f"{name}.weight"].rule for name in ("embedding", "positions")}
    assert tables == {"normal(std=0.02)"}


@pytest.mark.parametrize("tied", ["false", "true"])
def test_a_model_can_be_traced_so_that_auto_needs_no_batch(tied: str) -> None:
    module = next_token(f"gpt(tied={tied})")
    traced = [(one.name, one.rule) for one in fanin.initialize(module, "auto", seed=0)]
    assert traced == [(one.name, one.rule) for one in record_of(module, "auto", tokens())]


# Training


@pytest.mark.parametrize("rule", TRAINED_RULES)
def test_it_learns_the_next_tokens_of_random_sequences_by_heart_from_every_rule(rule: str) -> None:
    # The first tokens differ, so that each sequence can be told from the others at every step.
    x = torch.cat(
        [
            torch.arange(32)[:, None],
            torch.randint(32, (32, 8), generator=seeds.make_generator(0, "t")),
        ],
        1,
    )
    assert by_heart(next_token("gpt", steps=8, vocabulary=32), x[:, :-1], x[:, 1:], rule)


@pytest.mark.parametrize(
    "options",
    ["tied=true", "norm=sub", "norm=post, skip_weight=deepnorm", "norm=none, residual=scalar"],
)
def test_every_structure_learns_random_labels_of_sequences_by_heart(options: str) -> None:
    module, y = of_tokens(f"gpt({options})", outputs=VOCABULARY), labels(32, classes=VOCABULARY)
    assert by_heart(module, tokens(32), y, "xavier_uniform")
