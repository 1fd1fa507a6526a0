"""Spec strings: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import specs
from fanin.errors import SpecError, UnknownName

NAMES = st.from_regex(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", fullmatch=True).filter(
    lambda name: len(name) < 40
)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,15}", fullmatch=True).filter(
    lambda key: not keyword.iskeyword(key)
)
SCALARS = (
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.none()
    | st.text(max_size=10)
    | st.sampled_from(
        ["true", "None", "fan_out", "if", "lambda", "1.0", "a b", "ﬁ", "x'y\"z", "#", ")", "[1]"]
    )
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@dataclass(frozen=True)
class Options:
    """Options of every kind that a field may have."""

    size: int
    mode: Literal["fan_in", "fan_out"] = "fan_in"
    gain: float = 1.0
    bias: bool = True
    widths: tuple[int, ...] = (256, 128)
    cut: float | None = None
    label: str = ""


@given(NAMES, st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_rendered_is_parsed_back(name: str, options: dict[str, object]) -> None:
    text = specs.render(name, options)
    if len(text) <= specs.MAX_LENGTH:
        parsed_name, parsed = specs.parse(text)
        assert (parsed_name, parsed) == (name, options)
        assert repr(parsed) == repr(options)  # 1, 1.0 and True are equal, but not the same value


@given(st.text(max_size=60))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    for candidate in (text, f"he_normal({text}", f"he_normal({text})", f"he_normal(mode={text})"):
        try:
            name, options = specs.parse(candidate)
        except SpecError:
            continue
        assert specs.parse(specs.render(name, options)) == (name, options)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "he normal",
        "../he_normal",
        "he_normal(",
        "he_normal)",
        "he_normal()()",
        "he_normal(fan_out)",
        "he_normal(mode=fan_out, mode=fan_in)",
        "he_normal(**{'mode': 1})",
        "he_normal(*[1])",
        "he_normal(mode=__import__('os').system('true'))",
        "he_normal(mode=open('/etc/passwd'))",
        "he_normal(mode=().__class__)",
        "he_normal(mode=lambda: 0)",
        "he_normal(mode=f'{1}')",
        "he_normal(mode=b'x')",
        "he_normal(mode=[x for x in (1, 2)])",
        "he_normal(mode={1: 2})",
        "he_normal(a=1 + 1)",
        "he_normal(a=2 ** 99999999)",
        "he_normal(a=1j)",
        "he_normal(a=1e999)",
        "he_normal(a=-1e999)",
        "he_normal(a=...)",
        "he_normal(a:=1)",
        "he_normal(a=1) + he_normal(a=1)",
        "he_normal(a=1)\nimport os",
        "he_normal(a=" + "[" * 900 + ")",
        "he_normal(a=" + "9" * 5000 + ")",
        "he_normal(a='\0')\0",
        "he_normal(a=1; b=2)",
    ],
)
def test_code_and_malformed_text_are_spec_errors(text: str) -> None:
    with pytest.raises(SpecError):
        specs.parse(text)


@pytest.mark.parametrize("value", [None, 3, b"he_normal", ["he_normal"]])
def test_what_is_no_text_is_a_spec_error(value: object) -> None:
    with pytest.raises(SpecError, match="A spec is text"):
        specs.parse(value)  # type: ignore[arg-type]


def test_a_spec_error_shows_no_more_than_a_line_of_what_was_received() -> None:
    with pytest.raises(SpecError) as error:
        specs.parse("x(" + "a" * 900)
    assert len(str(error.value)) < 250


def test_words_numbers_and_lists_are_what_they_look_like() -> None:
    text = (
        "mlp(widths=[256, 128], activation=[sigmoid, 'my act'], bias=false, cut=none, "
        "gain=-1.5e-3, deep=[[1], []])"
    )
    assert specs.parse(text) == (
        "mlp",
        {
            "widths": (256, 128),
            "activation": ("sigmoid", "my act"),
            "bias": False,
            "cut": None,
            "gain": -0.0015,
            "deep": ((1,), ()),
        },
    )


def test_names_may_hold_a_hyphen() -> None:
    assert specs.parse("fashion-mnist (limit=5)") == ("fashion-mnist", {"limit": 5})


def test_options_are_converted_to_the_types_of_the_fields() -> None:
    made = specs.construct(
        "thing", Options, {"size": 3, "gain": 2, "widths": [1, 2], "cut": 1, "mode": "fan_out"}
    )
    assert repr(made) == repr(Options(3, "fan_out", 2.0, True, (1, 2), 1.0, ""))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1.5}, "thing(size=…) must be a whole number, not 1.5"),
        ({"size": True}, "a whole number"),
        ({"size": 1, "gain": "big"}, "a finite number"),
        ({"size": 1, "gain": float("nan")}, "a finite number"),
        ({"size": 1, "gain": 10**400}, "a finite number"),
        ({"size": 1, "gain": True}, "a finite number"),
        ({"size": 1, "bias": 1}, "true or false"),
        ({"size": 1, "mode": "fan_uot"}, "one of fan_in, fan_out"),
        ({"size": 1, "widths": 3}, "a list"),
        ({"size": 1, "widths": [1, "x"]}, "a whole number"),
        ({"size": 1, "cut": "x"}, "a finite number or none"),
        ({}, "thing needs size"),
    ],
)
def test_an_option_of_the_wrong_type_says_what_is_expected(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        specs.construct("thing", Options, options)


def test_an_unknown_option_offers_the_near_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean mode"):
        specs.construct("thing", Options, {"size": 1, "mod": "fan_in"})


def test_the_identity_leaves_out_defaults_and_sorts_the_rest() -> None:
    assert specs.render_canonical("thing", Options(3)) == "thing(size=3)"
    assert (
        specs.render_canonical("thing", Options(3, mode="fan_out", gain=0.5))
        == "thing(gain=0.5, mode=fan_out, size=3)"
    )


@given(
    st.integers(0, 99),
    st.floats(0, 1e6),
    st.lists(st.integers(0, 9), max_size=3),
    st.none() | st.floats(0, 1),
)
def test_the_identity_makes_an_equal_instance(
    size: int, gain: float, widths: list[int], cut: float | None
) -> None:
    made = specs.construct(
        "thing", Options, {"size": size, "gain": gain, "widths": widths, "cut": cut}
    )
    name, options = specs.parse(specs.render_canonical("thing", made))
    assert specs.construct(name, Options, options) == made


def test_settling_converts_what_was_built_directly() -> None:
    built = Options(3, gain=2, widths=[1, 2])  # type: ignore[arg-type]
    specs.coerce_fields("thing", built)
    assert repr(built) == repr(Options(3, gain=2.0, widths=(1, 2)))


def test_settling_refuses_what_construction_refuses() -> None:
    with pytest.raises(SpecError, match="one of fan_in, fan_out"):
        specs.coerce_fields("thing", Options(3, mode="fan_avg"))  # type: ignore[arg-type]
