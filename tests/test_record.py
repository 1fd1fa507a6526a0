"""The record: of every parameter rule, reason, fans, gain, spread and stream; as a table of 80
columns, as JSON, as a frame.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from apply_cases import (
    RULES,
    Everything,
    Recurrent,
    built,
    everything,
    mlp,
    stack,
    state,
    unchanged,
)
from combinations import for_each
from torch import nn
from torch.nn.utils import parametrizations

from fanin import initializers, seeds
from fanin.apply import Record, initialize
from fanin.errors import FaninError, MissingExtra, UnknownName, UsageError

every_rule = pytest.mark.parametrize("rule", RULES)


# --- facts
# -----------------------------------------------------------------------------


def test_the_record_has_true_fans_in_both_conventions() -> None:
    kernel = initialize(everything(), "he_normal", seed=0, preview=True)
    effective = initialize(everything(), "he_normal", seed=0, preview=True, convention="effective")
    assert (kernel["conv.weight"].fan_in, kernel["conv.weight"].fan_out) == (18, 36)
    assert (kernel["up.weight"].fan_in, kernel["up.weight"].fan_out) == (72, 36)
    assert effective["up.weight"].fan_in == 18
    assert effective["up.weight"].intended_std == pytest.approx(math.sqrt(2 / 18))
    assert (kernel["table.weight"].fan_in, kernel["conv.bias"].fan_in) == (1, None)
    assert (kernel.convention, effective.convention) == ("kernel", "effective")


@every_rule
def test_the_measured_std_is_near_the_intended_one(rule: str) -> None:
    """n = 60,000 weights (15 of 300 in each row for sparse): standard error below 1.3 %, tolerance
    6 %.
    """
    weight = initialize(stack(lambda: nn.Linear(300, 200)), rule, seed=0)["0.weight"]
    if weight.stream is None:
        assert weight.measured_std is None
    else:
        assert weight.measured_std == pytest.approx(weight.intended_std, rel=0.06)


@pytest.mark.parametrize(
    ("rule", "gain"),
    [
        ("he_normal", math.sqrt(2)),
        ("lecun_uniform", 1.0),
        ("zero", 0.0),
        ("normal(std=0.1)", math.sqrt(2)),
        ("orthogonal", 1.0),
    ],
)
def test_the_gain_is_the_intended_std_times_the_root_of_fan_in(rule: str, gain: float) -> None:
    weight = initialize(stack(lambda: nn.Linear(200, 50)), rule, seed=0)["0.weight"]
    assert weight.gain == pytest.approx(gain)


def test_a_bias_has_no_fans_and_no_gain_of_its_own() -> None:
    record = initialize(built(Recurrent), "he_normal", seed=0, biases="normal(std=0.1)")
    for parameter in record:
        if "bias" in parameter.role:
            assert (parameter.fan_in, parameter.fan_out, parameter.gain) == (None, None, None)
            assert all(
                (part.fan_in, part.fan_out, part.gain) == (None, None, None)
                for part in parameter.parts
            )
            assert parameter.measured_std == pytest.approx(0.1, rel=0.9)


def test_every_random_parameter_and_part_has_a_stream_of_its_own() -> None:
    record = initialize(built(Recurrent), "normal", seed=0, biases="uniform", norms="keep")
    streams = [part.stream for parameter in record for part in (parameter.parts or (parameter,))]
    assert None not in streams
    assert len(set(streams)) == len(streams) > 60
    assert record["rnn.weight_ih_l0"].stream == seeds.derive_stream(0, "init", "rnn.weight_ih_l0")
    assert record["gru.weight_ih_l0"].parts[1].stream == seeds.derive_stream(
        0, "init", "gru.weight_ih_l0[z]"
    )


def test_what_is_not_random_has_no_stream_and_no_measured_std() -> None:
    record = initialize(everything(), "dirac", seed=0)
    for name in ("conv.weight", "conv.bias", "norms.0.weight", "attention.in_proj_weight"):
        assert (record[name].stream, record[name].measured_std) == (None, None)


def test_no_two_streams_may_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    before = state(model)
    monkeypatch.setattr(seeds, "derive_stream", lambda *place: 1)
    with pytest.raises(FaninError, match=r"0\.weight and 2\.weight coincide"):
        initialize(model, "he_normal", seed=0)
    with pytest.raises(FaninError, match=r"in_proj_weight\[q\] and in_proj_weight\[k\] coincide"):
        initialize(built(lambda: nn.MultiheadAttention(4, 2)), "he_normal", seed=0)
    assert unchanged(model, before)
    assert initialize(model, "zero", seed=0)[0].changed  # what draws nothing has no stream


def test_untouched_parameters_are_there_with_their_reason() -> None:
    record = initialize(
        everything(),
        "he_normal",
        seed=0,
        exclude="up.*",
        only=["conv.*", "up.*", "frozen.*", "slope.*"],
    )
    untouched = {parameter.name: parameter.reason for parameter in record if not parameter.changed}
    assert untouched["up.weight"] == "excluded"
    assert untouched["norms.0.weight"] == "outside of only"
    assert untouched["frozen.weight"].startswith("frozen")
    assert untouched["slope.weight"] == "PReLU: no rule is about its weight"
    assert set(untouched) == {
        name for name, _ in everything().named_parameters(remove_duplicate=False)
    } - {
        "conv.weight",
        "conv.bias",
    }


def test_the_record_is_found_by_name_and_by_position() -> None:
    record = initialize(mlp(), "he_normal", seed=0)
    assert len(record) == 4
    assert record[0] is record["0.weight"]
    assert list(record)[-1].name == "2.bias"
    with pytest.raises(UnknownName, match=r"0\.weight"):
        record["0.wieght"]


# --- JSON and frames
# -----------------------------------------------------------------------------


def full() -> Record:
    """A record with everything that a record can have."""
    model = nn.ModuleDict(
        {
            "a": everything(),
            "b": built(Recurrent),
            "c": built(lambda: parametrizations.weight_norm(nn.Linear(6, 4))),
        }
    )
    return initialize(
        model,
        {"a.conv.*": "xavier_normal", "*.weight": "lecun_normal", "b.lstm.*": "orthogonal"},
        default="he_normal",
        seed=5,
        biases="forget_gate",
        split={"a.head.weight": {"first": 20, "rest": 30}},
    )


def test_the_record_goes_through_json() -> None:
    record = initialize(everything(), "he_normal(mode=fan_out)", seed=5)
    loaded = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert (loaded["schema"], loaded["seed"], loaded["rule"]) == (4, 5, "he_normal(mode=fan_out)")
    assert loaded["parameters"][1]["shape"] == list(record[1].shape)
    assert len(loaded["parameters"]) == len(record)


@pytest.mark.parametrize("make", [lambda: full(), lambda: initialize(mlp(), "auto", seed=1)])
def test_a_record_that_was_saved_is_read_back(make: Callable[[], Record]) -> None:
    record = make()
    again = Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))
    assert again == record
    assert str(again) == str(record)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda plain: None, r"Expected a record.*not None"),
        (lambda plain: plain | {"schema": 2}, r"schema 2; this fanin reads 4"),
        (lambda plain: {"schema": 4}, r"record: rule, seed, .* missing"),
        (lambda plain: plain | {"sede": 1}, r"record: 'sede' is no field"),
        (lambda plain: plain | {"seed": "1"}, r"record\.seed: expected a value of type int"),
        (lambda plain: plain | {"convention": "true"}, r"record\.convention: expected 'kernel'"),
        (
            lambda plain: plain | {"parameters": [3]},
            r"record\.parameters\[0\]: expected a JSON obj",
        ),
    ],
)
def test_what_is_no_record_is_told(change: Callable[[Any], Any], match: str) -> None:
    plain = json.loads(json.dumps(initialize(mlp(), "he_normal", seed=0).to_json()))
    with pytest.raises(UsageError, match=match):
        Record.from_json(change(plain))


def test_a_saved_record_names_views_only() -> None:
    """A record is not trusted: the steps to a part are methods that copy nothing, and no others."""
    attention = built(lambda: nn.MultiheadAttention(8, 2))
    plain = json.loads(json.dumps(initialize(attention, "he_normal", seed=0).to_json()))
    plain["parameters"][0]["layout"]["parts"][0]["steps"][0]["method"] = "zero_"
    with pytest.raises(UsageError, match=r"steps\[0\]\.method: expected 'narrow' or .*'zero_'"):
        Record.from_json(plain)


def test_json_has_parts_overlaps_and_rules_and_says_what_to_repeat() -> None:
    record = full()
    loaded = json.loads(json.dumps(record.to_json(), allow_nan=False))
    by_name = {parameter["name"]: parameter for parameter in loaded["parameters"]}
    assert [part["name"] for part in by_name["b.lstm.weight_hh_l1_reverse"]["parts"]] == [
        "i",
        "f",
        "g",
        "o",
    ]
    assert by_name["a.head.weight"]["tied_to"] == "a.table.weight"
    assert {"name": "a.conv.weight", "pattern": "*.weight", "over": ["a.conv.*"]} in loaded[
        "overlaps"
    ]
    assert loaded["rules"]["default"] == "he_normal"
    assert loaded["rules"]["biases"] == "forget_gate"
    assert loaded["rules"]["split"] == {"a.head.weight": {"first": 20, "rest": 30}}
    assert json.loads(json.dumps(full().to_json())) == loaded


def test_a_frame_has_a_row_for_each_parameter_and_each_part() -> None:
    pytest.importorskip("pandas", reason='needs the extra "study"')
    record = full()
    frame = record.to_frame()
    assert len(frame) == len(record) + sum(len(parameter.parts) for parameter in record)
    assert list(frame.columns[:2]) == ["name", "part"]
    whole = frame[frame["part"] == ""].set_index("name")
    assert list(whole.index) == [parameter.name for parameter in record]
    assert whole.loc["a.conv.weight", "rule"] == "lecun_normal"
    gates = frame[(frame["name"] == "b.gru.weight_hh_l0") & (frame["part"] != "")]
    assert list(gates["part"]) == ["r", "z", "n"]
    assert gates["stream"].nunique() == 3
    assert list(gates["shape"]) == [(6, 6)] * 3


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pandas.*\[study\]"):
        initialize(mlp(), "zero", seed=0).to_frame()


# --- the table
# -----------------------------------------------------------------------------

MODELS: dict[str, Callable[[], nn.Module]] = {
    "everything": Everything,
    "recurrent": Recurrent,
    "attention": lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=10, add_bias_kv=True),
    "transformer": lambda: nn.ModuleList(
        [nn.TransformerEncoderLayer(16, 2, 32), nn.TransformerDecoderLayer(16, 2, 32)]
    ),
    "bilinear and tables": lambda: nn.ModuleList(
        [nn.Bilinear(1000, 2000, 3), nn.EmbeddingBag(100_000, 16)]
    ),
    "parametrized": lambda: nn.ModuleDict(
        {
            "some": parametrizations.weight_norm(
                parametrizations.spectral_norm(nn.Linear(6, 4)), "bias", None
            )
        }
    ),
    "large": lambda: nn.Conv3d(2048, 4096, (3, 5, 7), device="meta"),
}


@pytest.mark.parametrize("preview", [True, False])
def test_the_printed_record_fits_80_columns_and_names_every_parameter(preview: bool) -> None:
    model = nn.ModuleDict({"a_rather_long_name_for_a_part_of_a_model": everything()})
    lines = str(
        initialize(model, "he_normal(mode=fan_out, a=0.125)", seed=2**63 - 1, preview=preview)
    ).splitlines()
    assert max(map(len, lines)) <= 80
    rows = lines[1 : 1 + len(list(model.named_parameters(remove_duplicate=False)))]
    for row, (name, _) in zip(rows, model.named_parameters(remove_duplicate=False), strict=True):
        assert row.split()[0].endswith(name.rpartition(".")[2])
    assert ["filled" in line or "to fill" in line for line in lines].index(True) == len(rows) + 1
    assert ("nothing was changed" in lines[-1]) is preview


@for_each("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "rule",
    ["variance_scaling(scale=0.123456789, mode=fan_avg)", "torch_default", "keras_default", "keep"],
)
def test_every_line_of_every_table_fits_80_columns(
    rule: str, make: Callable[[], nn.Module]
) -> None:
    model = nn.ModuleDict({"encoder_of_the_model": built(make)})
    rules = {"*": rule, "*.*": rule}
    record = initialize(
        model, rules, default="lecun_normal", seed=0, preview=True, biases="chrono(t_max=1234.5)"
    )
    lines = str(record).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [
        "parameter",
        "shape",
        "rule",
        "fan",
        "in/out",
        "gain",
        "std",
        "meas.",
    ]


def test_parts_that_differ_have_rows_of_their_own_and_equal_ones_are_counted() -> None:
    model = nn.ModuleDict(
        {
            "qkv": built(lambda: nn.Linear(64, 96)),
            "attn": built(lambda: nn.MultiheadAttention(8, 2)),
        }
    )
    text = str(initialize(model, "xavier_normal", seed=0, split={"qkv.weight": [64, 16, 16]}))
    rows = [line.split() for line in text.splitlines()]
    (whole,) = [row for row in rows if row[0] == "qkv.weight"]
    assert (whole[1], whole[2][:8], whole[3]) == ("96×64", "xavier_n", "×3")
    assert [row[1:4] for row in rows if row[0] == "part"] == [
        ["q", "64×64", "64/64"],
        ["k", "16×64", "64/16"],
        ["v", "16×64", "64/16"],
    ]
    (packed,) = [row for row in rows if row[0] == "attn.in_proj_weight"]
    assert "×3" in packed


def test_one_parameter_prints_all_there_is_to_know_about_it() -> None:
    text = str(full()["b.lstm.weight_ih_l1"])
    assert text.splitlines()[0] == "b.lstm.weight_ih_l1"
    for word in (
        "24×8, float32",
        "weight",
        "orthogonal",
        "pattern 'b.lstm.*'",
        "part f",
        "fans 8/6",
        "intended",
        "measured",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_says_how_many_were_filled_and_under_which_seed() -> None:
    text = str(initialize(everything(), "he_normal", seed=12))
    distinct = len(list(everything().parameters()))
    told = f"{distinct - 3} of {distinct} parameters filled, 99.4 % of the numbers; seed 12"
    assert f"{told}; kernel fans" in text


def test_the_rule_of_the_record_makes_the_same_initializer_again() -> None:
    record = initialize(everything(), "keras_default", seed=0)
    for parameter in record:
        if parameter.rule is not None:
            assert initializers.get(parameter.rule).spec == parameter.rule
