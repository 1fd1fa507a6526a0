"""The documentation site: its navigation is complete, its guides run, its decisions are of one
form.

`make docs` builds the site itself, with warnings as errors.
"""

from __future__ import annotations

import pydoc
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

INCLUDED = {"case-study-reading.md", "claims-reading.md"}
"""Text that is part of another page, as is all that lies in a folder readings/."""

DOCUMENTS = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")})

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


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda p: p.stem)
def test_what_the_reference_shows_exists(page: Path) -> None:
    blocks = re.split(r"^::: ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for block in blocks:
        shown = pydoc.locate(block.split()[0])
        assert shown is not None, block.split()[0]
        names = re.findall(r"^        - (\w+)$", block, flags=re.MULTILINE)
        names += re.findall(r"\w+", "".join(re.findall(r"members: \[(.*?)\]", block)))
        assert [name for name in names if not hasattr(shown, name)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_document_links_to_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(r"`((?:src|docs|tests|benchmarks|examples|results)/[\w/.-]+)`", text)
    base = document.parent.parent if "readings" in document.parts else document.parent
    generated = {DOCS / page for page in FROM_ELSEWHERE}
    paths = [(base / link).resolve() for link in linked] + [ROOT / name for name in named]
    assert [path for path in paths if not path.exists() and path not in generated] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_document_has_at_most_100_columns_outside_tables(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert long == []


def test_the_index_of_decisions_is_complete() -> None:
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\S+\.md)\)", index)) == {page.name for page in DECISIONS}


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.MULTILINE) == [__version__]
