"""The documentation site: its navigation is complete, its guides run, its decisions are of one form.

`make docs` builds the site itself, with warnings as errors.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fanin import __version__, seeds

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]

FROM_ELSEWHERE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
    "examples.md": "examples",
    "commands.md": "src/fanin/cli",
}
"""Page of the site → what `docs/site_pages.py` makes it of."""

INCLUDED = {"case-study-reading.md"}
"""Text that is part of another page, as is all of docs/studies/readings/."""

DECISIONS = sorted(set((DOCS / "decisions").glob("*.md")) - {DOCS / "decisions" / "index.md"})


def test_the_navigation_names_every_page_once() -> None:
    written = {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if "readings" not in path.parts
    }
    named = re.findall(r"(\S+\.md)$", NAVIGATION, flags=re.MULTILINE)
    assert sorted(named) == sorted((written - INCLUDED) | FROM_ELSEWHERE.keys())


def test_what_pages_are_made_of_is_there() -> None:
    assert [name for name in FROM_ELSEWHERE.values() if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("number", range((DOCS / "use.md").read_text("utf-8").count("```python")))
def test_the_code_of_the_guide_runs(number: int) -> None:
    text = (DOCS / "use.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[number]
    with seeds.preserve_torch_state(0):
        exec(compile(example, f"use.md example {number + 1}", "exec"), {})


def test_the_code_that_compares_is_that_of_the_readme() -> None:
    text = (DOCS / "compare.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert example in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_why_what_and_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Measured"]
    assert re.search(r"^Code: `src/", text, flags=re.MULTILINE)


def test_the_index_of_decisions_is_complete() -> None:
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\S+\.md)\)", index)) == {page.name for page in DECISIONS}


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [__version__]
