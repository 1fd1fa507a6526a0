"""Names from outside are harmless in every output."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from study_cases import plan_of, result_of

from fanin.report import escaping
from fanin.report.latex_text import escape_latex
from fanin.report.results import Results
from fanin.report.tables.terminal import make_encodable, print_table

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "\x1b[2J\x1b]0;owned\x07red",
    "=cmd|' /C calc'!A0",
    "\\input{/etc/passwd} $x_1^2$ 50% & #1 ~ {",
    "a|b\n| c",
    "[link](http://x) **bold** `code`",
    "\u202egnp.exe",
    "\ud800lone",
    "日本語 😀",
)


class Elements(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.count: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.count[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def elements(path: Path) -> Elements:
    parser = Elements()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def hostile_results(initializers: int = 3) -> Results:
    """A study whose every name, label, note and message is hostile; some cells failed."""
    pairs = [(name, HOSTILE[-i]) for i, name in enumerate(HOSTILE)]
    plan = plan_of(
        pairs, HOSTILE[:initializers], study=HOSTILE[0], question=HOSTILE[1], notes=HOSTILE
    )
    results = {
        planned.cell.id: replace(
            result_of(planned.cell, "failed" if i % 7 == 3 else "ok"),
            message=HOSTILE[i % len(HOSTILE)],
            environment={HOSTILE[0]: HOSTILE[1], "device": HOSTILE[2]},
            data={"canonical": False, "fingerprint": HOSTILE[0]},
        )
        for i, planned in enumerate(plan.cells)
    }
    return Results(plan, results, command=f"fanin run {HOSTILE[0]}")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_results(2).report(tmp_path_factory.mktemp("pages") / "hostile.html")


def test_html_gains_no_element_and_no_attribute_from_names(hostile_page: Path, tmp_path: Path):
    plan = plan_of([("mlp", "digits")])
    usual = {
        p.cell.id: result_of(p.cell, "failed" if i == 3 else "ok") for i, p in enumerate(plan.cells)
    }
    plain = elements(Results(plan, usual).report(tmp_path / "plain.html"))
    hostile = elements(hostile_page)
    assert hostile.tags - plain.tags == set()
    assert hostile.attributes - plain.attributes == set()
    assert hostile.count["script"] == plain.count["script"] == 2
    assert "</script><img src=x onerror=alert(1)>" in hostile.text


def test_the_data_of_the_script_cannot_end_their_element(hostile_page: Path):
    text = hostile_page.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert not set(data) & set("<>&")
    names = json.loads(data)["figures"]["figure-1"]["names"]
    assert "</script><img src=x onerror=alert(1)>" in names


def test_the_page_allows_its_own_script_and_style_and_nothing_from_outside(hostile_page: Path):
    text = hostile_page.read_text(encoding="utf-8")
    style, script = (
        re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("style", "script")
    )
    assert len(style) == len(script) == 1
    policy = (
        f"default-src 'none'; style-src '{digest(style[0])}'; script-src '{digest(script[0])}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    known = text.replace("[link](http://x)", "").replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in known
    assert "https://" not in known


def digest(text: str) -> str:
    """What a policy calls a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_a_terminal_receives_no_control_characters():
    text = str(hostile_results())
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "\\x1b[2J" in text


def test_csv_cells_never_begin_a_formula():
    for kind in ("csv", "csv-cells"):
        rows = list(csv.reader(io.StringIO(hostile_results().export(kind))))
        cells = [cell for row in rows for cell in row]
        assert len({len(row) for row in rows}) == 1
        assert any(cell.startswith("'=cmd") for cell in cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1.5, -1.5),
        ("-1.5", "-1.5"),
        ("-x", "'-x"),
        ("@a", "'@a"),
        ("  =a", "'  =a"),
        (float("nan"), ""),
        (None, ""),
        ("a", "a"),
    ],
)
def test_csv_guards_text_but_not_numbers(value: object, cell: object):
    assert escaping.escape_csv(value) == cell


def test_latex_specials_are_escaped():
    assert escape_latex(r"\a{b}$c$&d#e%f_g^h~") == (
        r"\textbackslash{}a\{b\}\$c\$\&d\#e\%f\_g\textasciicircum{}h\textasciitilde{}"
    )
    assert "\\input" not in hostile_results().export("latex")


def test_a_latex_row_cannot_begin_with_an_optional_argument():
    assert escape_latex("[1cm]*") == "{[}1cm]{*}"


def test_every_markdown_row_has_the_columns_of_its_head():
    lines = [
        line for line in hostile_results().export("markdown").splitlines() if line.startswith("| ")
    ]
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(lines) > 30
    assert len(bars) == 1


def test_markdown_keeps_plain_names_readable():
    assert escaping.escape_markdown("he_normal") == "he_normal"
    assert escaping.escape_markdown("_x_ <b>") == "\\_x\\_ \\<b\\>"


def test_figures_take_any_name_literally(tmp_path: Path):
    for ending in ("pdf", "svg"):
        assert hostile_results(1).curves(tmp_path / f"curves.{ending}").stat().st_size > 10_000


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_that_lacks_characters_gets_others(encoding: str):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    print_table(hostile_results().table(), out)
    out.flush()
    assert b"paired" in raw.getvalue() or b"replicate" in raw.getvalue()
    assert make_encodable("0.1 ± 0.2 —", "ascii") == "0.1 +/- 0.2 -"
