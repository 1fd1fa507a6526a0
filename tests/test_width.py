"""Lists, descriptions, tables and records are as wide as the output; a user's own data are not said
to be unlike published ones.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from cli_session import fanin as run_command
from combinations import for_each
from study_cases import plan_of, result_of
from torch import nn

import fanin
from fanin import seeds
from fanin.report.results import Results
from fanin.report.sections.provenance import describe_bytes
from fanin.screen import count_columns


def measure(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_the_width_is_that_of_columns_or_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert count_columns() == 80
    for text, columns in (("120", 120), ("3", 40), ("0", 80), ("wide", 80), ("", 80), ("-5", 80)):
        monkeypatch.setenv("COLUMNS", text)
        assert count_columns() == columns
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: type("Size", (), {"columns": 133}))
    assert count_columns() == 133


def test_list_and_show_use_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["list", "initializers"], ["show", "he_normal"]):
        widths = []
        for columns in ("60", "80", "130"):
            monkeypatch.setenv("COLUMNS", columns)
            widths.append(measure(run_command(*words).out))
            assert words[0] == "show" or widths[-1] <= int(columns)
        assert widths[0] < widths[1] < widths[2]
        assert widths[2] > 100


def test_a_printed_record_uses_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with seeds.preserve_torch_state(0):
        inner = nn.Sequential(nn.Linear(3, 4))
        model = nn.ModuleDict({f"a_rather_long_name_of_a_module_{i}": inner for i in range(2)})
    record = fanin.initialize(model, "normal(std=0.0123)", seed=0)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "a_rather_long_name_of_a_module_0.0.weight" not in str(record)
    assert measure(str(record)) <= 80
    monkeypatch.setenv("COLUMNS", "130")
    assert "a_rather_long_name_of_a_module_0.0.weight" in str(record)
    assert "normal(std=0.0123)" in str(record)
    assert 110 < measure(str(record)) <= 130
    assert torch.is_tensor(next(model.parameters()))


@for_each(
    "data, is_told",
    [
        ("mnist", True),
        ("rows(of=mnist)", True),
        ("my-measurements", False),
        ("rows(of=my-measurements)", False),
        ("my_data.py:make(n=3)", False),
    ],
)
def test_other_bytes_are_told_only_of_data_that_are_published(data: str, is_told: bool) -> None:
    plan = plan_of([("mlp", data)], ("zero",))
    results = {
        p.cell.id: replace(result_of(p.cell), data={"canonical": False, "fingerprint": "f" * 16})
        for p in plan.cells
    }
    notes = " ".join(Results(plan, results).table().notes)
    assert ("ot the published bytes" in notes) is is_told
    assert describe_bytes(data, False) == ("no" if is_told else "own data")
    assert describe_bytes(data, True) == "yes"
