"""A hook of MkDocs (`mkdocs.yml`): pages that the site takes from elsewhere in the repository.

README.md, CONTRIBUTING.md and others become pages; the files of examples/ and the help texts of all
commands become one page each. Links between documents are written for the repository, and are
rewritten here to lead to the site's pages. A link to a file that has no page becomes plain text.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
"""Document of the repository → page of the site."""

_LINK = re.compile(r"(?<!!)\[([^]]+)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")
_FENCED = re.compile(r"(^```.*?^```)", flags=re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for document, page in PAGES.items():
        text = (ROOT / document).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "examples.md", content="\n".join(examples())))
    files.append(File.generated(config, "commands.md", content="\n".join(commands())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make the links of a document lead to pages of the site."""
    uri = page.file.src_uri
    document = {site: source for source, site in PAGES.items()}.get(uri, f"docs/{uri}")
    parts = _FENCED.split(markdown)  # every second part is a code block
    parts[::2] = [relink(part, document, uri) for part in parts[::2]]
    return "".join(parts)


def relink(text: str, document: str, uri: str) -> str:
    """The text of a document with its links rewritten for the page `uri`."""

    def replace(match: re.Match[str]) -> str:
        label, target, anchor = match.groups(default="")
        source = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
        if (page := page_of(source)) is None:
            return label
        if page == "examples.md" and source != "examples":
            anchor = "#" + posixpath.basename(source).replace(".", "")
        return f"[{label}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{anchor})"

    return _LINK.sub(replace, text)


def page_of(source: str) -> str | None:
    """The page that shows a file or folder of the repository; None if none does."""
    if source in PAGES:
        return PAGES[source]
    if source == "examples" or source.startswith("examples/"):
        return "examples.md"
    if source == "docs/studies":
        return "studies/index.md"
    return source.removeprefix("docs/") if source.startswith("docs/") else None


def examples() -> Iterator[str]:
    """The page of the files in examples/."""
    yield "# Examples\n"
    for path in sorted((ROOT / "examples").iterdir()):
        if path.is_file():
            language = {".py": "python", ".toml": "toml"}.get(path.suffix, "text")
            text = path.read_text(encoding="utf-8").rstrip()
            yield f"## {path.name}\n\n```{language}\n{text}\n```\n"


def commands() -> Iterator[str]:
    """The page of all commands: what ``--help`` prints."""
    from typer.main import get_command

    from fanin.cli.app import app

    os.environ["COLUMNS"] = "80"
    yield "# Commands\n"
    yield "What `--help` prints for each command.\n"
    yield from _help(get_command(app), "fanin")


def _help(command: Any, name: str) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    yield f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    for word, inner in getattr(command, "commands", {}).items():
        yield from _help(inner, f"{name} {word}")
