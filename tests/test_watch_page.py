"""docs/watch.md: its code runs, and it names every statistic."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fanin
from fanin import seeds
from fanin.report.results import Results
from fanin.watching.layer_reading import STATISTICS

PAGE = (Path(__file__).parent.parent / "docs" / "watch.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(
    tmp_path: Path, preloaded_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)):
        with seeds.preserve_torch_state(0):
            exec(compile(example, f"docs/watch.md, block {number + 1}", "exec"), names)
    watch, results = names["watch"], names["results"]
    assert isinstance(watch, fanin.Watch)
    steps = [reading.step for reading in watch.log.readings]
    assert steps == [1, 51, 101, 151, 201, 251, 301, 351]
    assert (tmp_path / "signals.html").is_file()
    assert isinstance(results, Results)
    assert set(results.signals()["epoch"]) == {0, 2}


def test_the_page_explains_every_statistic() -> None:
    assert [name for name in STATISTICS if f"`{name}`" not in PAGE] == []


def test_the_page_names_every_argument_of_watch() -> None:
    names = fanin.watch.__code__.co_varnames[: fanin.watch.__code__.co_argcount]
    keywords = fanin.watch.__kwdefaults__ or {}
    assert [name for name in (*names, *keywords) if f"`{name}" not in PAGE] == []
