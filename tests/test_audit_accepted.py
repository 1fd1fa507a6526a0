"""Findings that are known: patterns, baseline files, and the assertion for a team's tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from audit_view_cases import ERROR, NOTE, WARNING
from torch import nn

import fanin
from fanin import seeds
from fanin.diagnosis import UnhealthyStart
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.ignoring import (
    drop_accepted,
    drop_ignored,
    read_baseline,
    write_baseline,
)
from fanin.errors import UnknownName, UsageError

ALL = (ERROR, WARNING, NOTE)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("F036", (ERROR, WARNING)),
        ("f036", (ERROR, WARNING)),
        ("F042:input", (ERROR, NOTE)),
        ("F042:output", ALL),
        ("*:input", (ERROR, NOTE)),
        ("F005:*.up", (WARNING, NOTE)),
        ("*", ()),
    ],
)
def test_a_pattern_is_a_code_and_perhaps_a_place(pattern: str, left: tuple[Finding, ...]) -> None:
    assert drop_ignored(ALL, [pattern]) == left


def test_of_several_places_those_that_are_not_ignored_stay_with_their_patches() -> None:
    (left,) = drop_ignored([ERROR], ["F005:12.up", "F005:1.up"])
    assert left.where == "2.up"
    assert "12.up" not in left.places
    assert len(left.places) == 10
    assert [patch.parameters for patch in left.patches] == [("13.bias",)]


@pytest.mark.parametrize("pattern", ["", ":head", "F005:", "  "])
def test_a_pattern_that_is_none_is_an_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="CODE:PLACE"):
        drop_ignored(ALL, [pattern])


def test_an_unknown_code_is_an_error_with_near_ones() -> None:
    with pytest.raises(UnknownName, match="F05"):
        drop_ignored(ALL, ["F05"])
    with pytest.raises(UsageError, match="list"):
        drop_ignored(ALL, "F005")


def test_a_baseline_keeps_what_it_was_given(tmp_path: Path) -> None:
    path = write_baseline(tmp_path / "ci" / "audit.json", ALL)
    assert drop_accepted(ALL, read_baseline(path)) == ()
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {"code": "F036", "where": ""} in record["accepted"]
    assert path.read_text(encoding="utf-8").count("\n") == len(record["accepted"]) + 5


def test_a_new_place_of_an_accepted_finding_counts(tmp_path: Path) -> None:
    path = write_baseline(tmp_path / "audit.json", [ERROR])
    new = Finding(
        code="F005", severity="error", where="12.up", also=("99.up",), summary="s", remedy="r"
    )
    (left,) = drop_accepted([new], read_baseline(path))
    assert left.places == ("99.up",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "There is no baseline file"),
        ("{", "cannot be read"),
        ("[]", "is no baseline file"),
        ('{"schema": 1, "accepted": [{"code": "F001"}]}', "is no baseline file"),
        ('{"schema": 9, "accepted": []}', "has the schema 9"),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error(
    content: str | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "audit.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        read_baseline(path)


def make_dead() -> nn.Module:
    """A layer whose units are all dead."""
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(model[0].bias, -100.0)  # type: ignore[arg-type]
    return model


BATCH, TARGET = torch.linspace(-1, 1, 256).view(32, 8), torch.arange(32) % 3


def test_an_unhealthy_model_fails_with_the_findings_and_how_to_go_on() -> None:
    with pytest.raises(AssertionError) as failure:
        fanin.assert_healthy(make_dead(), BATCH, target=TARGET)
    text = str(failure.value)
    assert isinstance(failure.value, UnhealthyStart)
    assert text.startswith("Sequential does not start well: ")
    assert f"error {failure.value.findings[0].code}" in text
    assert "fanin explain F" in text
    assert "ignore=['F" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_what_is_ignored_or_accepted_does_not_fail(tmp_path: Path) -> None:
    found = fanin.audit(make_dead(), BATCH, target=TARGET)
    path = write_baseline(tmp_path / "audit.json", found.findings)
    fanin.assert_healthy(make_dead(), BATCH, target=TARGET, baseline=path)
    fanin.assert_healthy(make_dead(), BATCH, target=TARGET, ignore=["*"])


def test_a_model_that_cannot_be_run_is_not_healthy() -> None:
    with pytest.raises(AssertionError, match="could not be run"):
        fanin.assert_healthy(make_dead(), torch.zeros(4, 5), ignore=["*"])


def test_a_severity_that_is_none_is_an_error() -> None:
    with pytest.raises(UnknownName, match="warning"):
        fanin.assert_healthy(make_dead(), BATCH, at_least="warnings")  # type: ignore[arg-type]
