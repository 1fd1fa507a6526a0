"""resize_embedding: new rows like the old ones, ties kept, nothing else changed."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from combinations import for_each
from torch import Tensor, nn

import fanin
from fanin import seeds
from fanin.errors import FaninError, FitError, UnknownName, UsageError

pytestmark = pytest.mark.usefixtures("draws_globally")

NEEDS_TRANSFORMERS = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason='needs the extra "peers"'
)


def make_table(rows: int = 200, width: int = 6, **options: Any) -> nn.Embedding:
    """A table whose columns are correlated and not centred."""
    with seeds.preserve_torch_state(0):
        table = nn.Embedding(rows, width, **options)
    mixing = torch.eye(width) + torch.linspace(-0.5, 0.5, width * width).reshape(width, width)
    with torch.no_grad():
        table.weight.copy_(table.weight @ mixing.to(table.weight.dtype) + 3)
        if table.padding_idx is not None:
            table.weight[table.padding_idx] = 0
    return table


class Tied(nn.Module):
    """An embedding whose weight is also the head's; the head has a bias."""

    def __init__(self, *, tie: bool = True) -> None:
        super().__init__()
        self.positions = nn.Embedding(16, 8)
        self.tokens = nn.Embedding(50, 8, padding_idx=1)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 50)
        if tie:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(N, T) → (N, T, tokens)."""
        output: Tensor = self.head(self.body(self.tokens(ids)).tanh())
        return output


def test_new_rows_have_the_mean_and_covariance_of_the_old() -> None:
    """8,000 rows: the standard error of an entry of the covariance is 1.6 % of the variances, of
    which 4 are allowed; a draw without correlations, or with 10 % more spread, fails.
    """
    table = make_table()
    old = table.weight.detach().clone()
    covariance = torch.cov(old.T, correction=0)
    for factor in (1.0, 0.01):
        grown = copy.deepcopy(table)
        fanin.resize_embedding(grown, 8_200, seed=0, covariance=factor)
        new = grown.weight.detach()[200:]
        scale = float(covariance.diagonal().max()) * factor
        found = torch.cov(new.T)
        assert float((found - factor * covariance).abs().max()) < 0.064 * scale
        assert float((found - factor * covariance.diag().diag()).abs().max()) > 0.064 * scale
        assert float((found - 1.1 * factor * covariance).abs().max()) > 0.064 * scale
        assert float((new.mean(0) - old.mean(0)).abs().max()) < 4 * (scale / 8_000) ** 0.5
        assert torch.equal(grown.weight[:200], old)


def test_a_singular_covariance_is_no_obstacle() -> None:
    """Fewer rows than columns: new rows lie in the space of the old ones, and differ."""
    table = make_table(4, 10)
    old = table.weight.detach().clone()
    fanin.resize_embedding(table, 9, seed=0, covariance=1.0)
    new = table.weight.detach()[4:]
    assert torch.linalg.matrix_rank(torch.cat([old, new]) - old.mean(0), atol=1e-4) == 3
    assert len(new.unique(dim=0)) == 5


def test_a_row_depends_on_its_number_and_the_seed_only() -> None:
    state = torch.random.get_rng_state()
    tables = [make_table() for _ in range(3)]
    state = torch.random.get_rng_state()
    for table, size, seed in zip(tables, (203, 230, 203), (0, 0, 1), strict=True):
        fanin.resize_embedding(table, size, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(tables[0].weight, tables[1].weight[:203])
    assert not torch.equal(tables[0].weight[200:], tables[2].weight[200:])


def test_padding_stays_and_is_no_row_to_learn_from() -> None:
    table = make_table(padding_idx=2)
    fanin.resize_embedding(table, 210, seed=0, covariance=0)
    known = torch.cat([table.weight.detach()[:2], table.weight.detach()[3:200]])
    torch.testing.assert_close(table.weight[205], known.mean(0))
    assert table.padding_idx == 2
    assert not bool(table.weight[2].any())
    table(torch.tensor([2, 205])).sum().backward()
    assert table.weight.grad is not None
    assert not bool(table.weight.grad[2].any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_precision_stays_and_equal_rows_are_told(dtype: torch.dtype) -> None:
    table = make_table(dtype=dtype)
    change = fanin.resize_embedding(table, 232, seed=0, covariance=1e-9)
    assert table.weight.dtype == dtype
    assert change.tables[0].distinct == len(table.weight[200:].float().unique(dim=0))
    if dtype == torch.float64:
        assert change.tables[0].distinct == 32
    else:
        assert change.tables[0].distinct < 4
        assert "a larger covariance sets them apart" in str(change)


def test_ties_objects_flags_and_all_other_parameters_stay() -> None:
    model = Tied()
    model.tokens.weight.requires_grad_(False)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    objects = dict(model.named_parameters())
    ids = torch.arange(24).reshape(3, 8)
    logits = model(ids).detach()
    change = fanin.resize_embedding(model, 55, seed=0, embedding="tokens")
    assert model.head.weight is model.tokens.weight
    assert dict(model.named_parameters()) == objects
    assert not model.tokens.weight.requires_grad
    assert model.head.bias.requires_grad
    assert (model.tokens.num_embeddings, model.head.out_features) == (55, 55)
    assert torch.equal(model(ids)[..., :50], logits)
    for name, one in model.named_parameters():
        assert torch.equal(one[: len(before[name])], before[name])
    assert sorted(name for table in change.tables for name in table.names) == [
        "head.bias",
        "head.weight",
        "tokens.weight",
    ]


def test_a_head_that_is_not_tied_is_resized_by_the_same_mixtures() -> None:
    model = Tied(tie=False)
    with torch.no_grad():
        model.head.weight.copy_(2 * model.tokens.weight)  # so the new rows must be twice as well
        model.head.bias.copy_(model.tokens.weight.sum(1))
    for head in ("head", False):
        other = copy.deepcopy(model)
        with pytest.raises(FitError, match="head='head'"):
            fanin.resize_embedding(other, 55, seed=0, embedding="tokens")
        assert other.head.out_features == 50
        fanin.resize_embedding(other, 55, seed=0, embedding="tokens", head=head, covariance=1)
        assert other.head.out_features == (55 if head else 50)
        if head:
            new = other.tokens.weight.detach()[50:]
            torch.testing.assert_close(other.head.weight.detach()[50:], 2 * new)
            torch.testing.assert_close(other.head.bias.detach()[50:], new.sum(1))


def test_probabilities_of_old_tokens_change_by_what_average_tokens_take() -> None:
    """Hewitt's bound: an average row adds at most its share, 10 of 60, to the sum of the softmax.
    Rows from N(0, 1), where a model's own rows lie elsewhere, take more.
    """
    model = Tied()
    ids = torch.arange(24).reshape(3, 8)
    kept = []
    with torch.no_grad():
        model.tokens.weight.add_(2)
        model.head.bias.zero_()
        model.body.weight.mul_(0).fill_diagonal_(-1)  # logits of all old tokens are far below 0
        fanin.resize_embedding(model, 60, seed=0, embedding="tokens")
        for _ in range(2):
            kept.append(float(model(ids).softmax(-1)[..., :50].sum(-1).mean()))
            generator = seeds.make_generator(0, "test")
            model.tokens.weight[50:] = seeds.standard_normal((10, 8), generator)
    assert kept[0] > 50 / 60 - 0.01
    assert kept[1] < 0.01


def test_shrinking_must_be_said_and_keeps_the_padding_row() -> None:
    table = make_table(padding_idx=150)
    old = table.weight.detach().clone()
    with pytest.raises(UsageError, match="shrink=True"):
        fanin.resize_embedding(table, 160, seed=0)
    with pytest.raises(FitError, match="stands for padding"):
        fanin.resize_embedding(table, 150, seed=0, shrink=True)
    assert torch.equal(table.weight, old)
    change = fanin.resize_embedding(table, 160, seed=0, shrink=True)
    assert torch.equal(table.weight, old[:160])
    assert list(change.added) == []
    assert fanin.resize_embedding(table, 160, seed=0).tables == ()


@pytest.mark.parametrize(
    ("make", "options", "error", "text"),
    [
        (Tied, {}, FitError, "several embeddings: positions, tokens"),
        (Tied, {"embedding": "token"}, UnknownName, "tokens"),
        (Tied, {"embedding": "body"}, FitError, "is a Linear"),
        (Tied, {"embedding": "tokens", "head": True}, UsageError, "path of the head"),
        (Tied, {"embedding": "tokens", "head": "positions"}, FitError, "one by one"),
        (lambda: nn.Linear(3, 3), {}, FitError, "no nn.Embedding"),
        (lambda: 3, {}, UsageError, "torch.nn.Module"),
        (make_table, {"seed": -1}, UsageError, "seed"),
        (make_table, {"new_size": 0}, UsageError, "new_size"),
        (make_table, {"new_size": 2.5}, UsageError, "new_size"),
        (make_table, {"covariance": 2}, UsageError, "covariance"),
        (lambda: nn.Embedding(5, 3, device="meta"), {}, FitError, "on meta"),
        (lambda: nn.Embedding(1, 3, padding_idx=0), {}, FitError, "no mean"),
    ],
)
def test_bad_input_is_an_error(
    make: Callable[[], Any], options: dict[str, Any], error: type[FaninError], text: str
) -> None:
    with pytest.raises(error, match=text):
        fanin.resize_embedding(make(), **{"new_size": 300, "seed": 0} | options)


def make_published(name: str) -> Any:
    """A small model of transformers with 97 tokens."""
    import transformers

    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    size |= {"num_attention_heads": 2, "vocab_size": 97}
    encoder = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 97}
    encoder |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    encoder |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    gpt2 = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=97)
    t5 = transformers.T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    t5.vocab_size = 97
    made = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(gpt2),
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**size, tie_word_embeddings=False, pad_token_id=0)
        ),
        "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**size)),
        "bart": lambda: transformers.BartForConditionalGeneration(
            transformers.BartConfig(**encoder)
        ),
        "t5": lambda: transformers.T5ForConditionalGeneration(t5),
    }
    return made[name]().eval()


@NEEDS_TRANSFORMERS
@for_each("name", ["gpt2", "llama", "bert", "bart", "t5"])
@pytest.mark.filterwarnings("ignore")
def test_models_of_transformers_are_resized_as_by_their_own_method(name: str) -> None:
    model = make_published(name)
    theirs = copy.deepcopy(model)
    theirs.resize_token_embeddings(103)
    ids = torch.arange(3, 17).reshape(2, 7)
    batch = {"input_ids": ids}
    if name in ("bart", "t5"):
        batch["decoder_input_ids"] = ids
    with torch.no_grad():
        before = model(**batch).logits
        fanin.resize_embedding(model, 103, seed=0)
        assert torch.equal(model(**batch).logits[..., :97], before)
        wide = {key: torch.where(value == 5, 102, value) for key, value in batch.items()}
        assert bool(model(**wide, labels=ids).loss.isfinite())
    ours, other = model.state_dict(), theirs.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in other.items()}
    for key, value in ours.items():
        if value.shape and value.shape[0] == 103:
            assert torch.equal(value[:97], other[key][:97])
            if name != "llama":  # its padding row counts there
                near = 0.03 * float(value[:97].std())
                torch.testing.assert_close(value[97:], other[key][97:], atol=near, rtol=0)
        else:
            assert torch.equal(value, other[key])
    assert model.config.get_text_config().vocab_size == 103
    ties = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert ties == (name != "llama")


@NEEDS_TRANSFORMERS
@pytest.mark.filterwarnings("ignore")
def test_with_the_factor_of_transformers_the_draws_have_the_same_spread() -> None:
    """4,000 rows on each side: the standard error of a ratio of two deviations is 1.6 %, and 5 of
    them are allowed for 32 ratios. A table of 97 rows and 16 columns has a covariance that is not
    singular.
    """
    model = make_published("llama")
    model.config.pad_token_id = None
    for layer in (model.model.embed_tokens,):
        layer.padding_idx = None
    theirs = copy.deepcopy(model)
    with seeds.preserve_torch_state(0):  # transformers draws from the global generator
        theirs.resize_token_embeddings(4_097)
    fanin.resize_embedding(model, 4_097, seed=0, covariance=1e-9)
    for ours, other in zip(
        (model.model.embed_tokens, model.lm_head),
        (theirs.model.embed_tokens, theirs.lm_head),
        strict=True,
    ):
        mine, their = (one.weight.detach()[97:].double() for one in (ours, other))
        torch.testing.assert_close(mine.mean(0), their.mean(0), atol=1e-7, rtol=0)
        spread = mine.std(0) / their.std(0)
        assert float((spread - 1).abs().max()) < 0.08
