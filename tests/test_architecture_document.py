"""docs/architecture.md is held to the tree: its folders, its paths, and where it says things
are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_architecture

from fanin.store.results_folder import ResultsFolder

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

QUESTIONS = dict(
    re.findall(
        r"^### (.*?)\n(.*?)(?=^##|\Z)",
        TEXT.partition("## A newcomer's questions")[2],
        flags=re.MULTILINE | re.DOTALL,
    )
)

TO_COME: set[str] = set()
"""Folders that the document announces."""


def section(heading: str) -> str:
    """The text below a heading of the second level."""
    return TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def answers(question: str) -> list[tuple[str, list[str]]]:
    """The files that answer a question, each with the names to read there."""
    rows = re.findall(r"^\| `(src/[^`]+)` \| (.*) \|$", QUESTIONS[question], flags=re.MULTILINE)
    return [(file, re.findall(r"`([\w.]+)`", read)) for file, read in rows]


def definitions(path: Path) -> Iterator[str]:
    """The functions and classes that a file defines, methods as ``Class.method``."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef)
            )


def test_the_list_of_folders_is_the_order_of_imports() -> None:
    listed = re.findall(r"^(\w+)(?:\.py|/) +\S", section("Folders"), flags=re.MULTILINE)
    assert tuple(listed) == test_architecture.ORDER


def test_what_is_listed_as_a_folder_or_a_file_is_one() -> None:
    listed = re.findall(r"^(\w+(?:\.py|/)) +\S", section("Folders"), flags=re.MULTILINE)
    paths = [test_architecture.ROOT / name for name in listed if name.strip("/") not in TO_COME]
    assert [path for path in paths if not (path.is_file() or path.is_dir())] == []
    assert [path for path in paths if path.is_file() is not (path.suffix == ".py")] == []


def test_what_is_announced_is_not_there_yet() -> None:
    assert [name for name in TO_COME if (test_architecture.ROOT / name).exists()] == []


def test_every_path_exists() -> None:
    named = re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", TEXT)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_one_or_two_files_that_define_what_they_should(
    question: str,
) -> None:
    found = answers(question)
    assert 1 <= len(found) <= 2
    for file, names in found:
        assert set(names) <= set(definitions(ROOT / file)), f"{file} does not define {names}"


def test_the_questions_that_everybody_asks_are_there() -> None:
    subjects = ("formula", "step", "initializer", "model", "data set", "factor", "optimizer")
    subjects += ("finding", "TOML file", "results written", "table")
    assert [subject for subject in subjects if subject not in " ".join(QUESTIONS)] == []


def test_the_files_of_a_results_folder_are_listed() -> None:
    folder = ResultsFolder.from_path("out")
    properties = [name for name, value in vars(type(folder)).items() if isinstance(value, property)]
    files = {getattr(folder, name).name for name in properties}
    listed = re.findall(r"`([\w.-]+)/?`", section("Files of a results folder"))
    assert files <= set(listed)
