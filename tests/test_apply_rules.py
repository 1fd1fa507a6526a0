"""Rules by pattern: the last one counts, what overlaps is told, what matches nothing is an error;
from Python and from TOML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from apply_cases import Everything, built, equal, everything, mlp, state, unchanged
from torch import nn

import fanin
from fanin.apply import Record, Rules, initialize
from fanin.errors import FitError, SpecError, UnknownName, UsageError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.scale = nn.Parameter(torch.ones(3, 4))
        self.head = nn.Linear(8, 11, bias=False)


def transformer() -> nn.Module:
    return built(Transformer)


def rules_of(record: Record) -> dict[str, str | None]:
    return {parameter.name: parameter.rule for parameter in record}


# --- which rule
# -----------------------------------------------------------------------------


def test_a_pattern_decides_about_the_weights_it_matches_and_the_default_about_the_others() -> None:
    found = rules_of(
        initialize(
            transformer(),
            {"*.attn.*": "xavier_uniform", "head.weight": "zero"},
            default="he_normal",
            seed=0,
        )
    )
    assert {name for name, rule in found.items() if rule == "xavier_uniform"} == {
        f"blocks.{block}.attn.{name}"
        for block in (0, 1)
        for name in ("in_proj_weight", "out_proj.weight")
    }
    assert found["head.weight"] == "zero"
    assert found["blocks.1.mlp.2.weight"] == "he_normal"


def test_a_pattern_gives_the_same_numbers_as_the_rule_alone_would() -> None:
    one, other = transformer(), transformer()
    initialize(one, {"*.attn.*": "xavier_uniform"}, default="he_normal", seed=0)
    initialize(other, "xavier_uniform", seed=0)
    assert torch.equal(one.blocks[1].attn.in_proj_weight, other.blocks[1].attn.in_proj_weight)
    initialize(other, "he_normal", seed=0)
    assert torch.equal(one.head.weight, other.head.weight)


def test_the_last_pattern_that_matches_counts_and_the_record_tells_what_it_overrode() -> None:
    rules = {"*": "xavier_uniform", "*.attn.*": "orthogonal", "*.1.attn.out_proj.weight": "zero"}
    record = initialize(transformer(), rules, default="keep", seed=0)
    found = rules_of(record)
    assert found["head.weight"] == "xavier_uniform"
    assert found["blocks.0.attn.out_proj.weight"] == "orthogonal"
    assert found["blocks.1.attn.out_proj.weight"] == "zero"
    told = {overlap.name: (overlap.pattern, overlap.over) for overlap in record.overlaps}
    assert told == {
        "blocks.0.attn.in_proj_weight": ("*.attn.*", ("*",)),
        "blocks.0.attn.out_proj.weight": ("*.attn.*", ("*",)),
        "blocks.1.attn.in_proj_weight": ("*.attn.*", ("*",)),
        "blocks.1.attn.out_proj.weight": ("*.1.attn.out_proj.weight", ("*", "*.attn.*")),
    }
    lines = str(record).splitlines()
    assert "4 parameters match several patterns; the last one counts:" in lines
    assert max(map(len, lines)) <= 80
    assert "pattern '*.attn.*'" in record["blocks.0.attn.out_proj.weight"].reason


def test_without_overlaps_the_record_is_silent_about_them() -> None:
    record = initialize(transformer(), {"head.weight": "zero"}, default="he_normal", seed=0)
    assert record.overlaps == ()
    assert "several patterns" not in str(record)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (
            "blocks.0.*",
            {
                "blocks.0.attn.in_proj_weight",
                "blocks.0.attn.out_proj.weight",
                "blocks.0.mlp.0.weight",
                "blocks.0.mlp.2.weight",
            },
        ),
        (
            "*.0.*.bias",
            {"blocks.0.attn.out_proj.bias", "blocks.0.mlp.0.bias", "blocks.0.mlp.2.bias"},
        ),
        ("*.0.norm.*", {"blocks.0.norm.weight", "blocks.0.norm.bias"}),
        (
            "*bias",
            {
                f"blocks.{n}.{name}"
                for n in (0, 1)
                for name in ("attn.in_proj_bias", "attn.out_proj.bias", "mlp.0.bias", "mlp.2.bias")
            },
        ),
        ("table.*", {"table.weight"}),
        ("scale", {"scale"}),
        ("[ts]*", {"table.weight"}),
    ],
    ids=[
        "weights before all",
        "biases before norms",
        "norms",
        "biases of everything",
        "embeddings",
        "unknown",
        "embeddings before unknown",
    ],
)
def test_a_pattern_is_about_one_class_of_parameters(pattern: str, expected: set[str]) -> None:
    record = initialize(
        transformer(),
        {pattern: "constant(value=0.25)"},
        default="keep",
        seed=0,
        biases="keep",
        norms="keep",
        embeddings="keep",
    )
    assert {name for name, rule in rules_of(record).items() if rule} == expected


def test_a_parameter_of_unknown_role_is_filled_where_a_pattern_names_it_as_torch_would_see_it() -> (
    None
):
    model = transformer()
    record = initialize(model, {"scale": "he_normal"}, default="zero", seed=0)
    assert record["scale"].intended_std == pytest.approx((2 / 4) ** 0.5)
    assert (record["scale"].role, record["scale"].changed) == ("unknown", True)


def test_keep_means_everything_that_its_pattern_matches() -> None:
    model = transformer()
    before = state(model)
    record = initialize(model, {"blocks.0.*": "keep"}, default="he_normal", seed=0)
    kept = [parameter for parameter in record if parameter.name.startswith("blocks.0.")]
    assert len(kept) == 10
    assert not any(parameter.changed for parameter in kept)
    assert kept[0].reason == "kept by pattern 'blocks.0.*'"
    assert torch.equal(model.blocks[0].norm.weight, before["blocks.0.norm.weight"])


def test_a_later_pattern_fills_what_an_earlier_one_keeps() -> None:
    record = initialize(
        transformer(), {"blocks.*": "keep", "*.attn.*": "zero"}, default="keep", seed=0
    )
    assert record["blocks.0.attn.in_proj_weight"].rule == "zero"
    assert record["blocks.0.attn.in_proj_bias"].rule is None


def test_excluded_and_frozen_parameters_stay_whatever_a_pattern_says() -> None:
    model = everything()
    record = initialize(
        model,
        {"frozen.weight": "zero", "conv.weight": "zero"},
        default="zero",
        seed=0,
        exclude="conv.*",
    )
    assert record["frozen.weight"].reason.startswith("frozen")
    assert record["conv.weight"].reason == "excluded"


# --- ties
# -----------------------------------------------------------------------------


def test_a_pattern_at_the_second_name_of_a_tied_parameter_decides() -> None:
    model = everything()
    record = initialize(model, {"head.weight": "xavier_normal"}, default="zero", seed=0)
    weight = record["table.weight"]
    assert (weight.rule, weight.role) == ("xavier_normal", "weight")
    assert (weight.fan_in, weight.fan_out) == (16, 50)
    assert record["head.weight"].tied_to == "table.weight"
    assert not model.head.weight[3].any()  # padding stays zero


@pytest.mark.parametrize(
    "names", [("table.weight", "head.weight"), ("head.weight", "table.weight")]
)
def test_of_patterns_at_both_names_of_a_tied_parameter_the_last_counts_and_the_other_is_told(
    names: tuple[str, str],
) -> None:
    first, last = names
    record = initialize(
        everything(), {first: "normal", last: "constant(value=0.5)"}, default="zero", seed=0
    )
    assert record["table.weight"].rule == "constant(value=0.5)"
    (overlap,) = record.overlaps
    assert (overlap.name, overlap.pattern, overlap.over) == (last, last, (first,))


def test_one_pattern_at_both_names_is_no_overlap() -> None:
    model = nn.ModuleList([built(lambda: nn.Linear(4, 4, bias=False)) for _ in range(2)])
    model[1].weight = model[0].weight
    assert initialize(model, {"*.weight": "zero"}, default="keep", seed=0).overlaps == ()


# --- mistakes
# -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "arguments", "error", "text"),
    [
        ({"0.wieght": "zero"}, {"default": "zero"}, UnknownName, r"0\.weight"),
        ({"2.*": "zero", "encoder.*": "zero"}, {"default": "zero"}, UnknownName, r"encoder\.\*"),
        ({"": "zero"}, {"default": "zero"}, UsageError, "rules: expected a pattern"),
        ({3: "zero"}, {"default": "zero"}, UsageError, "rules: expected a pattern"),
        ({"0.*": "zeroo"}, {"default": "zero"}, UnknownName, r"pattern '0\.\*': .*zero"),
        (
            {"0.*": "he_normal(mode=up)"},
            {"default": "zero"},
            SpecError,
            r"pattern '0\.\*': he_normal",
        ),
        ({"0.*": 3}, {"default": "zero"}, SpecError, r"pattern '0\.\*': A rule is a spec"),
        ({"0.*": None}, {"default": "zero"}, SpecError, "A rule is a spec"),
        ({"0.*": "zero"}, {}, UsageError, "need a default"),
        ({}, {}, UsageError, "need a default"),
        ("zero", {"default": "zero"}, UsageError, "default belongs to rules by pattern"),
        (Rules(default="zero"), {"default": "zero"}, UsageError, "default cannot be given besides"),
        (
            Rules(default="zero"),
            {"biases": "zero", "split": {}},
            UsageError,
            "biases, split cannot be given besides",
        ),
        ("zero", {"biases": "zeroo"}, UnknownName, "biases: .*zero"),
        ("zero", {"recurrent": 3}, SpecError, "recurrent: A rule is a spec"),
        ({"0.bias": "he_normal"}, {"default": "zero"}, FitError, r"0\.bias"),
    ],
    ids=str,
)
def test_a_mistake_in_rules_is_found_before_anything_is_written(
    rules: object, arguments: dict[str, object], error: type[Exception], text: str
) -> None:
    model = mlp()
    before = state(model)
    with pytest.raises(error, match=text):
        initialize(model, rules, seed=0, **arguments)  # type: ignore[arg-type]
    assert unchanged(model, before)


# --- from a file
# -----------------------------------------------------------------------------

FILE = """
default = "he_normal"
biases = "constant(value=0.1)"
norms = "keep"
embeddings = "normal(std=0.5)"
recurrent = "orthogonal"

[patterns]
"*.attn.*" = "xavier_uniform"
"head.weight" = "zero"

[split]
"blocks.0.mlp.0.*" = { gate = 10, up = 6 }
"""


def file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rules_from_a_file_are_the_rules_from_python(tmp_path: Path) -> None:
    rules = Rules.load(file(tmp_path, FILE))
    from_file, from_python = transformer(), transformer()
    record = initialize(from_file, rules, seed=3)
    same = initialize(
        from_python,
        {"*.attn.*": "xavier_uniform", "head.weight": "zero"},
        default="he_normal",
        biases="constant(value=0.1)",
        norms="keep",
        embeddings="normal(std=0.5)",
        recurrent="orthogonal",
        split={"blocks.0.mlp.0.*": {"gate": 10, "up": 6}},
        seed=3,
    )
    assert equal(from_file, from_python)
    assert record.to_json() == same.to_json()
    assert record.rules["patterns"] == {"*.attn.*": "xavier_uniform", "head.weight": "zero"}
    assert [part.name for part in record["blocks.0.mlp.0.bias"].parts] == ["gate", "up"]


def test_rules_are_changed_by_making_new_ones(tmp_path: Path) -> None:
    rules = Rules.load(str(file(tmp_path, FILE)))
    assert (
        initialize(transformer(), dataclasses.replace(rules, default="zero"), seed=3)[
            "blocks.0.mlp.0.weight"
        ].rule
        == "zero"
    )
    assert fanin.Rules is Rules


def test_initializers_are_rules_as_their_specs_are() -> None:
    one, other = mlp(), mlp()
    initialize(
        one, {"0.*": fanin.get("xavier_normal", gain=2.0)}, default=fanin.get("he_normal"), seed=0
    )
    record = initialize(other, {"0.*": "xavier_normal(gain=2.0)"}, default="he_normal", seed=0)
    assert equal(one, other)
    assert record.rules["patterns"] == {"0.*": "xavier_normal(gain=2.0)"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("default = ", "is not TOML"),
        (b"default = '\xff'", "is not UTF-8 text"),
        ('biases = "zero"', "needs a default"),
        ('default = "zero"\nbaises = "zero"', "biases"),
        ('default = "zeroo"', "zero"),
        ("default = 3", "A rule is a spec"),
        ('default = "zero"\nbiases = true', "biases: A rule is a spec"),
        ('default = "zero"\npatterns = "zero"', "patterns maps patterns"),
        ('default = "zero"\nsplit = 3', "split maps patterns"),
        (
            'default = "zero"\n[patterns]\n"*.attn.*" = "xavier"',
            r"pattern '\*\.attn\.\*': .*xavier_normal",
        ),
        (
            'default = "zero"\n[patterns]\n"*.attn.*" = 3',
            r"pattern '\*\.attn\.\*': A rule is a spec",
        ),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tmp_path: Path, text: str | bytes, error: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)rules\.toml.*{error}"):
        Rules.load(file(tmp_path, text))


@pytest.mark.parametrize(
    "make",
    [lambda folder: folder / "absent.toml", lambda folder: folder],
    ids=["absent", "a folder"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Rules.load(make(tmp_path))


def test_rules_need_a_default_and_take_keywords_only() -> None:
    with pytest.raises(TypeError, match="default"):
        Rules()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Rules("zero")  # type: ignore[misc]


def test_the_catalogue_of_classes_covers_every_role() -> None:
    """A pattern over a whole model of every role still means its weights only."""
    record = initialize(built(Everything), {"*": "zero"}, default="he_normal", seed=0)
    assert {parameter.role for parameter in record if parameter.reason.startswith("pattern")} == {
        "weight"
    }
