"""docs/added.md: its code runs, in the order in which it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fanin import seeds

PAGE = (Path(__file__).parent.parent / "docs" / "added.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs_and_prints_what_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    with seeds.preserve_torch_state(0):
        for number, example in enumerate(examples):
            exec(compile(example, f"docs/added.md, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    promised = re.findall(r"print\(.*\)  # (.*)", "\n".join(examples))
    assert promised
    assert [text for text in promised if text not in printed] == []
