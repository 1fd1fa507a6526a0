"""The codes of the audit: each is explained in full, and its example runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from combinations import for_each
from torch import nn

import fanin
from fanin import catalogue, seeds
from fanin.diagnosis.codes import FindingKind, get_kind, list_kinds
from fanin.errors import UnknownName

CODES = [kind.code for kind in list_kinds()]


def test_the_codes_have_no_gap() -> None:
    assert [f"F{number:03}" for number in range(1, len(CODES) + 1)] == CODES


@for_each("code", CODES)
def test_a_code_is_explained_in_whole_sentences(code: str) -> None:
    kind = get_kind(code)
    for text in (kind.meaning, kind.measured, kind.remedy, *kind.causes):
        assert text.endswith("."), text
        assert "  " not in text
        assert "\n" not in text
    assert kind.title == kind.title.strip(".")
    assert 30 <= len(kind.meaning.split()) <= 100
    assert re.search(r"https?://\S+", kind.reference)
    assert kind.severity in ("error", "warning", "note")
    assert [line for line in kind.example.splitlines() if len(line) > 78] == []


@for_each("code", CODES)
def test_the_codes_that_a_text_names_exist(code: str) -> None:
    kind = get_kind(code)
    named = re.findall(r"\bF\d{3}\b", f"{kind.meaning} {kind.measured} {kind.remedy} {kind.causes}")
    assert set(named) <= set(CODES) - {code}


@for_each("code", CODES)
def test_an_example_defines_a_model_and_a_batch_that_it_takes(code: str) -> None:
    with seeds.preserve_torch_state(0):
        found = run_example(get_kind(code))
        model, batch = found["model"], found["batch"]
        assert isinstance(model, nn.Module)
        with torch.no_grad():
            assert isinstance(model(batch), torch.Tensor)
    assert set(found) >= {"model", "batch"}


def run_example(kind: FindingKind) -> dict[str, object]:
    """The variables of an example."""
    variables: dict[str, object] = {}
    exec(compile(kind.example, kind.code, "exec"), variables)
    return variables


def test_a_code_in_small_letters_is_understood() -> None:
    assert get_kind("f012") is get_kind("F012")


@pytest.mark.parametrize("code", ["F999", "F12", "dead units", ""])
def test_an_unknown_code_is_an_error_that_says_where_the_codes_are(code: str) -> None:
    with pytest.raises(UnknownName, match="fanin list findings"):
        get_kind(code)


def test_a_near_code_is_offered() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean F0\d1 or"):
        get_kind("F01")


def test_the_catalogue_names_and_describes_findings() -> None:
    assert fanin.names("findings") == fanin.names("finding") == tuple(CODES)
    found = catalogue.find("F012")
    assert found.summary == "The residual stream grows (usually a warning)."
    assert found.facts["what to do"] == get_kind("F012").remedy
    assert "fanin explain F012" in found.examples


def test_codes_are_read_without_torch() -> None:
    code = "import sys; from fanin.diagnosis.codes import get_kind; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_record_of_a_kind_is_plain() -> None:
    record = get_kind("F001").to_json()
    assert record["code"] == "F001"
    assert isinstance(record["causes"], list)
