"""A contract that is tried in a loop names what failed as precisely as a test of each would."""

from __future__ import annotations

import pytest
import torch
from combinations import for_each

from fanin import seeds


@for_each("number", [1, 2, 3])
@for_each(("letter", "even"), [("x", True), ("y", False)], ids=["first", "second"])
def planted(number: int, letter: str, even: bool) -> None:
    assert (number, letter, even) != (2, "y", False), "planted"


def test_a_failure_is_named_with_its_combination_and_its_place(
    request: pytest.FixtureRequest,
) -> None:
    with pytest.raises(AssertionError, match="1 of 6 combinations failed") as failed:
        planted(request=request)
    assert "\n\n2 | second\n  AssertionError at test_combinations.py:" in str(failed.value)
    assert "\n    planted\n" in str(failed.value)
    assert isinstance(failed.value.__cause__, AssertionError)


def test_all_failures_are_named_even_if_many_are_not_shown(
    request: pytest.FixtureRequest,
) -> None:
    @for_each("number", range(100))
    def fails(number: int) -> None:
        assert number < 50

    with pytest.raises(AssertionError, match="50 of 100 combinations failed") as failed:
        fails(request=request)
    assert "and 30 more: 70; 71; 72" in str(failed.value)


def test_a_combination_that_moves_the_global_random_state_is_named(
    request: pytest.FixtureRequest,
) -> None:
    @for_each("number", [1, 2, 3])
    def moves(number: int) -> None:
        if number == 2:
            torch.rand(1)

    with seeds.preserve_torch_state(0), pytest.raises(AssertionError, match="1 of 3 ") as failed:
        moves(request=request)
    assert "\n\n2\n  Failed" in str(failed.value)
    assert "global random state of torch was moved" in str(failed.value)


def test_a_combination_that_is_skipped_fails(request: pytest.FixtureRequest) -> None:
    @for_each("number", [1, 2])
    def skips(number: int) -> None:
        if number == 1:
            pytest.skip("not today")

    with pytest.raises(AssertionError, match="cannot be skipped: not today"):
        skips(request=request)


def test_nothing_to_try_is_a_failure(request: pytest.FixtureRequest) -> None:
    @for_each("number", [])
    def empty(number: int) -> None: ...

    with pytest.raises(AssertionError, match="nothing to try"):
        empty(request=request)


@pytest.fixture
def three() -> int:
    return 3


@for_each("number", [1, 2])
@pytest.mark.parametrize("factor", [3])
def test_fixtures_and_parameters_of_pytest_reach_every_combination(
    number: int, factor: int, three: int, request: pytest.FixtureRequest
) -> None:
    assert number * factor == number * three
    assert "three" in request.fixturenames
