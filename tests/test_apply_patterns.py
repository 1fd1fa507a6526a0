"""Patterns: by layer class, by regular expression, and names that hold characters of patterns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from apply_cases import built, equal, mlp, state, unchanged
from combinations import for_each
from torch import nn

from fanin.apply import Record, Rules, initialize
from fanin.errors import UnknownName, UsageError


class Strided(nn.Conv2d):
    """A subclass, as user code has them."""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.down = Strided(3, 3, 3, stride=2)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.attn = nn.MultiheadAttention(8, 2)
        self.table = nn.Embedding(5, 8)
        self.head = nn.Linear(8, 4)


def net() -> Net:
    return built(Net)


def filled_by(rules: dict[object, str], model: nn.Module | None = None) -> set[str]:
    """The names that rules by pattern fill with 0.25."""
    record = initialize(
        net() if model is None else model,
        rules,
        default="keep",
        seed=0,
        biases="keep",
        norms="keep",
        embeddings="keep",
    )
    return {item.name for item in record if item.rule == "constant(value=0.25)"}


QUARTER = "constant(value=0.25)"
BLOCKS = {"blocks.0.conv.weight", "blocks.1.conv.weight"}
CONVOLUTIONS = {"stem.weight", "down.weight", *BLOCKS}

CLASSES: dict[str, tuple[object, set[str]]] = {
    "a class": (nn.Conv2d, CONVOLUTIONS),
    "its name": ("class:Conv2d", CONVOLUTIONS),
    "its qualified name": ("class:torch.nn.Conv2d", CONVOLUTIONS),
    "where it is defined": ("class:torch.nn.modules.conv.Conv2d", CONVOLUTIONS),
    "a subclass": (Strided, {"down.weight"}),
    "a subclass by name": ("class:Strided", {"down.weight"}),
    "a subclass by qualified name": (f"class:{__name__}.Strided", {"down.weight"}),
    "a base class": ("class:_ConvNd", CONVOLUTIONS),
    "a block of layers": (Block, BLOCKS),
    "attention with its output": (
        nn.MultiheadAttention,
        {"attn.in_proj_weight", "attn.out_proj.weight"},
    ),
    "linear layers, that of attention too": (nn.Linear, {"head.weight", "attn.out_proj.weight"}),
    "norms": (
        nn.BatchNorm2d,
        {f"blocks.{n}.norm.{end}" for n in (0, 1) for end in ("weight", "bias")},
    ),
    "a star in a class": (
        "class:*Norm*",
        {f"blocks.{n}.norm.{end}" for n in (0, 1) for end in ("weight", "bias")},
    ),
    "embeddings": ("class:Embedding", {"table.weight"}),
    "everything": (
        nn.Module,
        CONVOLUTIONS | {"attn.in_proj_weight", "attn.out_proj.weight", "head.weight"},
    ),
}

EXPRESSIONS: dict[str, tuple[object, set[str]]] = {
    "text": ("re:blocks[.][01][.]conv[.]weight", BLOCKS),
    "compiled": (re.compile(r"blocks\.\d+\.conv\..*"), BLOCKS),
    "alternatives": ("re:(stem|down)[.]weight", {"stem.weight", "down.weight"}),
    "flags": (re.compile("STEM.*", re.IGNORECASE), {"stem.weight"}),
    "flags in it": (re.compile("(?i)STEM.*"), {"stem.weight"}),
    "verbose": (re.compile("stem [.] weight  # the first", re.VERBOSE), {"stem.weight"}),
    "biases only": ("re:(?!blocks|attn).*bias", {"stem.bias", "down.bias", "head.bias"}),
}


@for_each("what", CLASSES)
def test_a_rule_by_class_decides_about_the_layers_of_the_class(what: str) -> None:
    pattern, expected = CLASSES[what]
    assert filled_by({pattern: QUARTER}) == expected


@for_each("what", EXPRESSIONS)
def test_a_regular_expression_must_match_the_whole_name(what: str) -> None:
    pattern, expected = EXPRESSIONS[what]
    assert filled_by({pattern: QUARTER}) == expected


def test_the_last_pattern_counts_of_whatever_kind() -> None:
    rules = {nn.Conv2d: "zero", "re:stem.*": "constant(value=2.0)", Strided: QUARTER}
    record = initialize(net(), rules, default="keep", seed=0)
    assert record["stem.weight"].rule == "constant(value=2.0)"
    assert record["down.weight"].rule == QUARTER
    assert record["blocks.0.conv.weight"].rule == "zero"
    assert record["down.weight"].reason == f"pattern 'class:{__name__}.Strided'"
    told = {overlap.name: overlap.over for overlap in record.overlaps}
    assert told["down.weight"] == ("class:torch.nn.Conv2d",)


def test_include_exclude_and_split_take_classes_and_expressions() -> None:
    model = net()
    record = initialize(
        model,
        "zero",
        seed=0,
        only=[nn.Conv2d, re.compile("head.*")],
        exclude="class:Strided",
        split={"re:head[.]weight": 2},
    )
    changed = {item.name for item in record if item.changed}
    assert changed == {
        f"{path}.{end}"
        for path in ("stem", "blocks.0.conv", "blocks.1.conv", "head")
        for end in ("weight", "bias")
    }
    assert len(record["head.weight"].parts) == 2
    assert record["down.weight"].reason == "excluded"
    only = initialize(net(), "zero", seed=0, only=nn.Linear)
    assert {item.name for item in only if item.changed} == {
        "head.weight",
        "head.bias",
        "attn.out_proj.weight",
        "attn.out_proj.bias",
    }


def test_a_file_says_the_same_as_python(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(
        'default = "he_normal"\n[patterns]\n"class:torch.nn.Conv2d" = "zero"\n'
        '"re:(?i)HEAD.*" = "xavier_normal"\n"class:Strided" = "orthogonal"\n'
    )
    one, other = net(), net()
    from_file = initialize(one, Rules.load(file), seed=3)
    rules = {
        nn.Conv2d: "zero",
        re.compile("HEAD.*", re.IGNORECASE): "xavier_normal",
        "class:Strided": "orthogonal",
    }
    from_python = initialize(other, rules, default="he_normal", seed=3)
    assert equal(one, other)
    assert from_file.to_json() == from_python.to_json()
    assert list(from_python.rules["patterns"]) == [
        "class:torch.nn.Conv2d",
        "re:(?i)HEAD.*",
        "class:Strided",
    ]


def test_a_pattern_that_is_given_twice_counts_at_its_later_place() -> None:
    rules = {nn.Conv2d: "zero", "stem.weight": "constant", "class:torch.nn.Conv2d": QUARTER}
    record = initialize(net(), rules, default="keep", seed=0)
    assert record["stem.weight"].rule == QUARTER


def test_a_class_of_a_reparametrized_layer_is_its_own() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Conv1d(4, 4, 1)
        )

    assert filled_by({nn.Linear: QUARTER}, built(make)) == {"0.weight"}


# --- names with characters of patterns
# -----------------------------------------------------------------------------


def brackets() -> nn.ModuleDict:
    return built(lambda: nn.ModuleDict({name: nn.Linear(3, 4) for name in NAMES}))


NAMES = ("a[0]", "a0", "a[1]", "b*", "bb", "c?", "re:x", "class:Linear")


@for_each("name", NAMES)
def test_a_pattern_that_is_a_name_means_it_alone(name: str) -> None:
    assert filled_by({f"{name}.weight": QUARTER}, brackets()) == {f"{name}.weight"}


@for_each(
    "pattern, expected",
    [
        ("a[0].*", {"a0.weight"}),
        ("a[1].*", {"a[1].weight"}),
        ("a[[]0].*", {"a[0].weight"}),
        ("b*.weight", {"b*.weight"}),
        ("b?.weight", {"b*.weight", "bb.weight"}),
    ],
)
def test_otherwise_stars_and_brackets_are_those_of_patterns(
    pattern: str, expected: set[str]
) -> None:
    assert filled_by({pattern: QUARTER}, brackets()) == expected


def test_a_name_with_brackets_matches() -> None:
    model = built(lambda: nn.ModuleDict({"a[0]": nn.Linear(3, 4)}))
    assert filled_by({"a[0].weight": QUARTER}, model) == {"a[0].weight"}


# --- mistakes
# -----------------------------------------------------------------------------

MISTAKES: dict[str, tuple[object, type[Exception], str]] = {
    "no such class": ("class:Conv3d", UnknownName, "class of a layer .* Did you mean Conv2d"),
    "a class without layers": (nn.LSTM, UnknownName, "'torch.nn.LSTM'"),
    "no module": (dict, UsageError, "a layer class such as nn.Conv2d"),
    "an instance": (nn.ReLU(), UsageError, "a layer class such as nn.Conv2d"),
    "bytes": (re.compile(b"stem"), UsageError, "or a regular expression"),
    "a broken expression": ("re:stem[", UsageError, r"no regular expression of Python"),
    "part of a name": ("re:stem", UnknownName, "must match the whole name, such as 'stem.weight'"),
    "nothing like it": ("re:zzz", UnknownName, "No parameter that rules could mean"),
    "an empty class": ("class:", UnknownName, "class of a layer"),
}


@for_each("what", MISTAKES)
def test_a_mistake_in_a_pattern_leads_to_what_is_meant(what: str) -> None:
    pattern, error, says = MISTAKES[what]
    model = net()
    before = state(model)
    with pytest.raises(error, match=says):
        initialize(model, {pattern: "zero"}, default="zero", seed=0)
    assert unchanged(model, before)


@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_what_is_no_pattern_is_named_with_its_argument(argument: str) -> None:
    for wrong in (3, dict, [3], nn.ReLU()):
        with pytest.raises(UsageError, match=argument):
            initialize(mlp(), "zero", seed=0, **{argument: wrong})  # type: ignore[arg-type]


# --- a model that is one layer
# -----------------------------------------------------------------------------

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(3, 4, 2),
    "GRU": lambda: nn.GRU(3, 4),
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "GRUCell": lambda: nn.GRUCell(3, 4),
    "LSTMCell": lambda: nn.LSTMCell(3, 4),
    "MultiheadAttention": lambda: nn.MultiheadAttention(8, 2),
    "MultiheadAttention, apart": lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
    "Linear": lambda: nn.Linear(3, 4),
    "Conv2d": lambda: nn.Conv2d(3, 4, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(3, 4, 3),
    "Bilinear": lambda: nn.Bilinear(2, 3, 4),
    "Embedding": lambda: nn.Embedding(5, 4),
    "BatchNorm1d": lambda: nn.BatchNorm1d(4),
    "LayerNorm": lambda: nn.LayerNorm(4),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, affine=True),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "PReLU": lambda: nn.PReLU(),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
}

BATCHES = {
    "LSTM": torch.zeros(2, 5, 3),
    "RNN": torch.zeros(2, 5, 3),
    "MultiheadAttention": [torch.zeros(5, 2, 8)] * 3,
    "Linear": torch.zeros(2, 3),
    "BatchNorm1d": torch.zeros(2, 4),
    "weight_norm": torch.zeros(2, 3),
}


@for_each("name", LAYERS)
def test_auto_fills_a_model_that_is_one_layer_without_a_batch(name: str) -> None:
    record = initialize(built(LAYERS[name]), "auto", seed=0)
    weights = [item for item in record if item.role in ("weight", "recurrent weight")]
    assert all(item.rule for item in record if item.role != "unknown")
    for item in weights:
        if item.role == "weight" and "relu" not in item.reason:
            assert item.gain == pytest.approx(1.0)
        assert "not reach" not in item.reason


@for_each("name", BATCHES)
def test_a_batch_tells_no_more_of_one_layer(name: str) -> None:
    def run(batch: object) -> Record:
        return initialize(built(LAYERS[name]), "auto", seed=0, batch=batch)

    assert run(None) == run(BATCHES[name])


def test_the_activation_of_a_bare_rnn_is_its_own() -> None:
    record = initialize(built(LAYERS["RNN"]), "auto", seed=0)
    assert record["weight_ih_l0"].gain == pytest.approx(2**0.5)
    assert "its own activation is relu" in record["weight_ih_l0"].reason
