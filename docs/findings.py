"""Write docs/findings/: a page per code of the audit, with what the audit prints for its example.

python docs/findings.py            # writes docs/findings/*.md
python docs/findings.py --check    # writes nothing; fails if a page does not fit the package
python docs/findings.py F012 F013  # only these, to look at them
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pages import wrap, wrap_item

import fanin
from fanin import seeds
from fanin.diagnosis.codes import FindingKind, list_kinds
from fanin.diagnosis.views.audit_text import format_finding
from fanin.diagnosis.views.styled_lines import join_lines

FOLDER = Path(__file__).resolve().parent / "findings"

_HEAD = """
# Findings of the audit

What `fanin.audit` and `fanin audit` can find. Each page has an example, and what the audit prints
for it. `fanin explain F012` prints the same on a terminal.

An *error* means that parameters can never learn, or that training ends clearly worse. A *warning*
is a defect that usually costs something. A *note* is a convention, or a choice that is worth
knowing. The table has the usual one; what was measured decides.
"""


def render_pages() -> dict[str, str]:
    """The text of every page by its file name."""
    kinds = list_kinds()
    pages = {"index.md": "\n".join(_render_index(kinds)) + "\n"}
    return pages | {f"{kind.code}.md": render_page(kind) for kind in kinds}


def _render_index(kinds: tuple[FindingKind, ...]) -> Iterator[str]:
    yield wrap(_HEAD)
    yield ""
    yield "| code | title | usually |"
    yield "|---|---|---|"
    for kind in kinds:
        yield f"| [{kind.code}]({kind.code}.md) | {kind.title} | {kind.severity} |"


def render_page(kind: FindingKind) -> str:
    """The page of one code."""
    article = "An" if kind.severity == "error" else "A"
    parts = [
        f"# {kind.code}: {kind.title}",
        f"{article} {kind.severity}, usually.",
        wrap(_escape(kind.meaning)),
        "## How the audit sees it",
        wrap(_escape(kind.measured)),
        "## Usual causes",
        "\n".join(wrap_item(_escape(cause)) for cause in kind.causes),
        "## What to do",
        wrap(_escape(kind.remedy)),
        "## An example",
        f"```python\n{kind.example}\n```",
        f"What `fanin.audit` finds in it:\n\n```text\n{show_findings(kind)}\n```",
        "## Reference",
        wrap(kind.reference),
    ]
    return "\n\n".join(parts) + "\n"


def show_findings(kind: FindingKind) -> str:
    """The findings of the example that have this code, as the audit prints them."""
    found = [one for one in audit_example(kind).findings if one.code == kind.code]
    if not found:
        raise SystemExit(f"The example of {kind.code} does not have it.")
    return "\n\n".join(join_lines(format_finding(one)) for one in found)


def audit_example(kind: FindingKind) -> fanin.Audit:
    """The audit of the example, which is built from seed 0 on one thread."""
    variables: dict[str, Any] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with seeds.preserve_torch_state(0):
            exec(compile(kind.example, kind.code, "exec"), variables)
        given = {name: variables.get(name) for name in ("target", "loss", "expected")}
        return fanin.audit(variables["model"], variables["batch"], **given)
    finally:
        torch.set_num_threads(threads)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _escape(text: str) -> str:
    """Text whose words of code would be read as markup."""
    return text.replace("_", "\\_").replace("*", "\\*")


def main(words: list[str]) -> int:
    """Write or check the pages; the exit code."""
    if codes := [word for word in words if not word.startswith("-")]:
        for kind in list_kinds():
            if kind.code in codes:
                print(render_page(kind))
        return 0
    pages = render_pages()
    there = {path.name for path in FOLDER.glob("*.md")} if FOLDER.is_dir() else set()
    if "--check" in words:
        other = {name for name in there if _read(name) != pages.get(name)}
        print(*sorted(other | (set(pages) - there)))
        return 0 if not other and there == set(pages) else 1
    FOLDER.mkdir(exist_ok=True)
    for name in there - set(pages):
        (FOLDER / name).unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
