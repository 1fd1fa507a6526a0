"""The glossary is held to the code: each class, function and file that it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "fanin"
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def defined() -> Iterator[str]:
    """The names of all classes, functions and module constants of the package."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name
            elif isinstance(node, ast.Assign):
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))


TORCH = {"torch.nn.Parameter", "nn.Module"}
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXT, flags=re.MULTILINE)
NOUNS = [noun for noun, meaning in ROWS if noun not in ("noun", "---")]


def test_each_class_of_the_glossary_exists() -> None:
    named = set(re.findall(r"`((?:\w+\.)*[A-Z]\w+)`", TEXT)) - TORCH
    assert named
    assert {name.rpartition(".")[2] for name in named} <= set(defined())


def test_each_file_of_the_glossary_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)`", TEXT)
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


def test_each_noun_has_one_line() -> None:
    assert len(NOUNS) == len(set(NOUNS)) > 50
