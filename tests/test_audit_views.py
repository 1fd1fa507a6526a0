"""How an audit looks: the answer comes first, everything fits, and nobody's text does harm."""

from __future__ import annotations

import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from audit_view_cases import (
    ERROR,
    HOSTILE,
    NOTE,
    STRANGE,
    WARNING,
    PlantedAudit,
    make_model,
    plant_audit,
)
from torch import nn

import fanin
from fanin import seeds
from fanin.diagnosis.codes import list_kinds
from fanin.diagnosis.views.audit_page import render_page
from fanin.diagnosis.views.audit_text import format_audit, list_lines
from fanin.diagnosis.views.conclusion import conclude
from fanin.diagnosis.views.layer_rows import (
    draw_bars,
    fold_layers,
    format_share,
    format_size,
    list_courses,
)
from fanin.diagnosis.views.plain_records import to_record
from fanin.diagnosis.views.sarif_log import to_sarif
from fanin.diagnosis.views.styled_lines import fold_names, print_styled

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def audit() -> PlantedAudit:
    return plant_audit(ERROR, WARNING, NOTE, notes=("The attention could not be looked at.",))


def test_the_answer_comes_first_and_names_the_worst_finding(audit: PlantedAudit) -> None:
    lines = format_audit(audit).splitlines()
    assert lines[0] == "Net does not start well: exploding signal in 12.up (F005)."
    assert lines[1].startswith("1 error, 1 warning, 1 note · 26 layers · 8 samples · cross-entropy")


@pytest.mark.parametrize(
    ("findings", "answer"),
    [
        ((), "Net starts well."),
        ((NOTE,), "Net starts well."),
        ((WARNING,), "Net can start better: input far from unit scale in input (F042)."),
        ((ERROR,), "Net does not start well: exploding signal in 12.up (F005)."),
    ],
)
def test_the_answer_follows_from_the_worst_finding(findings: Any, answer: str) -> None:
    assert conclude(plant_audit(*findings)) == answer


def test_a_model_that_cannot_be_run_is_not_called_sound() -> None:
    text = format_audit(PlantedAudit(notes=("The forward pass failed.",)))
    assert text.startswith("Net could not be run, so only its parameters were looked at.")
    assert "The forward pass failed." in text


def test_findings_stand_with_place_and_remedy_worst_first(audit: PlantedAudit) -> None:
    text = format_audit(audit)
    assert text.index("error F005") < text.index("warning F042") < text.index("note F036")
    assert "in *.up (12×)" in text
    assert "→ Draw the weights with he_normal." in text
    assert "in the whole model" in text


def test_layers_of_blocks_are_one_row_with_their_course(audit: PlantedAudit) -> None:
    text = format_audit(audit)
    (row,) = re.findall(r"^\*\.up \(12×\).*$", text, flags=re.MULTILINE)
    assert len(re.findall(r"[▁▂▃▄▅▆▇█]{10}", row)) == 2
    assert re.search(r"^13 .*[▁-█]", text, flags=re.MULTILINE)


def test_the_view_says_what_comes_next_and_what_was_left_out(audit: PlantedAudit) -> None:
    text = format_audit(audit)
    assert "fanin explain F005" in text
    assert "audit.fix()" in text
    assert "Not looked at\n  - The attention could not be looked at." in text
    assert "audit.fix()" not in format_audit(plant_audit(NOTE))


def test_no_line_is_wider_than_80_columns() -> None:
    long = "layer_with_a_very_long_name" * 6
    model = nn.Sequential()
    with seeds.preserve_torch_state(0):
        for number in range(30):
            model.add_module(f"{long}{'x' * number}", nn.Linear(16, 16))
    audit = plant_audit(ERROR, STRANGE, model=model, model_name="N" * 100, notes=("w" * 200,))
    lines = format_audit(audit).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert any("more rows" in line for line in lines)


def test_nobodys_text_moves_the_cursor_of_a_terminal() -> None:
    text = format_audit(plant_audit(STRANGE, model_name=HOSTILE, notes=(HOSTILE,)))
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b" in text


def test_a_file_gets_no_colours_and_a_terminal_does(
    audit: PlantedAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured = io.StringIO(), io.StringIO()
    print_styled(list_lines(audit), plain)
    assert plain.getvalue() == format_audit(audit) + "\n"
    coloured.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    print_styled(list_lines(audit), coloured)
    assert "\x1b[" in coloured.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured.getvalue()).split() == plain.getvalue().split()


def test_no_color_is_respected(audit: PlantedAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    print_styled(list_lines(audit), out)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", out.getvalue())


def test_an_encoding_without_blocks_gets_digits(audit: PlantedAudit) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    print_styled(list_lines(audit), stream)
    assert re.search(r"\*\.up \(12x\) +[1-8]{10}", raw.getvalue().decode("ascii"))


def test_numbers_are_short_and_say_what_they_are() -> None:
    numbers = (None, math.nan, math.inf, 0.0, 0.02345, 1.0, 12.345, 12345.0, 3.1e-9, 2.5e12)
    texts = ["–", "NaN", "inf", "0", "0.023", "1", "12.3", "12,345", "3.1e-9", "2.5e12"]
    assert [format_size(number) for number in numbers] == texts
    shares = (None, 0.0, 0.004, 0.5, 0.999, 1.0)
    assert [format_share(share) for share in shares] == [
        "–",
        "0 %",
        "<1 %",
        "50 %",
        "99 %",
        "100 %",
    ]


def test_bars_are_logarithmic_and_say_what_cannot_be_drawn() -> None:
    assert draw_bars([1, 10, 100, 0, None, math.nan, math.inf], 1, 100) == "▁▅█ ··█"
    assert draw_bars([], 1, 10) == ""


def test_names_that_differ_in_numbers_only_are_one() -> None:
    names = ["h.0.mlp", "head", "h.10.mlp", "h.2.mlp", ""]
    assert fold_names(names) == "h.*.mlp (3×), head, the whole model"
    assert fold_names(["10", "0", "2"]) == "0 … 10 (3×)"
    assert fold_names(list("abcdefgh"), most=2) == "a, b and 6 more"


def test_layers_of_another_width_are_another_row(audit: PlantedAudit) -> None:
    assert [row.name for row in fold_layers(audit.layers)] == ["0", "*.up", "*.down", "13"]


def test_the_record_is_json_without_numbers_that_json_has_not(audit: PlantedAudit) -> None:
    record = json.loads(json.dumps(to_record(audit), allow_nan=False))
    first = record["findings"][0]
    assert record["schema"] == 1
    assert record["counts"] == {"error": 1, "warning": 1, "note": 1}
    assert first["evidence"] == {"growth": 1.76, "rms": "inf", "layers": 12}
    assert first["patches"][1]["value"] == [0.5, -0.5, "nan"]
    assert first["title"] == "exploding signal"
    assert len(record["layers"]) == 26
    assert record["layers"][0]["name"] == "0"
    assert record["loss"]["classes"] == 3
    assert record["structure"]["streams"]
    assert {one["name"] for one in record["parameters"]} >= {"0.weight", "1.up.bias"}


def test_the_record_of_a_model_that_cannot_be_run_has_the_same_entries(
    audit: PlantedAudit,
) -> None:
    assert to_record(PlantedAudit()).keys() == to_record(audit).keys()


def test_sarif_has_the_shape_that_code_hosts_read(audit: PlantedAudit) -> None:
    log = json.loads(json.dumps(to_sarif(audit, file="src/net.py", line=7), allow_nan=False))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [kind.code for kind in list_kinds()]
    for rule in rules:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
        assert re.fullmatch(r"[A-Za-z0-9]+", rule["name"])
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        for location in result["locations"]:
            place = location["physicalLocation"]
            assert place["artifactLocation"]["uri"] == "src/net.py"
            assert place["region"]["startLine"] == 7
            assert location["logicalLocations"][0]["fullyQualifiedName"].startswith("Net")
    assert run["results"][0]["locations"][0]["logicalLocations"] == [
        {"name": "up", "fullyQualifiedName": "Net.12.up", "kind": "member"}
    ]
    assert run["invocations"] == [
        {
            "executionSuccessful": True,
            "toolExecutionNotifications": [
                {
                    "level": "note",
                    "message": {"text": "The attention could not be looked at."},
                }
            ],
        }
    ]


def test_a_fingerprint_depends_on_code_and_place_and_on_nothing_else() -> None:
    from dataclasses import replace

    def find_prints(*findings: Any) -> list[str]:
        (run,) = to_sarif(PlantedAudit(findings=findings))["runs"]
        return [one["partialFingerprints"]["faninFinding/v1"] for one in run["results"]]

    other = replace(ERROR, summary="Other numbers.", evidence={}, also=())
    (first, second, third) = find_prints(ERROR, other, replace(ERROR, where="1.up"))
    assert first == second != third
    assert len(first) == 32


class Reader(HTMLParser):
    """The elements, ids and links of a page; fails if elements do not nest."""

    EMPTY = ("meta", "circle", "line", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.tags.append(tag)
        self.ids += [one for one in [facts.get("id")] if one]
        self.links += [one for one in [facts.get("href")] if one]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def test_the_page_links_findings_and_layers(audit: PlantedAudit) -> None:
    page = Reader(render_page(audit))
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert {"#layer-0", "#finding-0"} <= set(page.links)
    assert sum(name.startswith("layer-") for name in page.ids) == 26
    assert {"svg", "table"} <= set(page.tags)


def test_the_page_takes_nothing_from_outside_and_runs_nothing(audit: PlantedAudit) -> None:
    text = render_page(audit)
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not {"script", "img", "link", "iframe", "object"} & set(Reader(text).tags)
    assert not re.search(r"""(src|href)=["']?(https?:|//)|url\(|@import""", text)


def test_nobodys_text_becomes_markup() -> None:
    text = render_page(plant_audit(STRANGE, model_name=HOSTILE, notes=(HOSTILE,)))
    assert "<b>" not in text
    assert "</script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    Reader(text)


def test_a_page_without_a_measurement_has_the_findings_and_the_reason() -> None:
    text = render_page(PlantedAudit(findings=(ERROR,), notes=("It failed.",)))
    assert "F005" in text
    assert "It failed." in text
    assert "<svg" not in text


def test_predictions_are_drawn_beside_what_was_measured() -> None:
    measured = plant_audit()
    signals = {
        layer.node: SimpleNamespace(
            predicted_rms=1.0, predicted_gradient_rms=0.01, low=0.5, high=2.0
        )
        for layer in measured.layers
    }
    page = render_page(plant_audit(theory=SimpleNamespace(signals=signals)))
    assert page.count('<path class="predicted') == page.count('<path class="measured') > 2
    assert '<path class="predicted' not in render_page(measured)


def test_a_plain_network_is_one_line_with_what_its_width_allows() -> None:
    with seeds.preserve_torch_state(0):
        layers = [nn.Linear(16, 16) for _ in range(5)]
    measured = plant_audit(model=nn.Sequential(*layers))
    signals = {
        layer.node: SimpleNamespace(
            predicted_rms=1.0, predicted_gradient_rms=None, low=0.5, high=2.0
        )
        for layer in measured.layers
    }
    theory = SimpleNamespace(signals=signals)
    page = render_page(plant_audit(model=nn.Sequential(*layers), theory=theory))
    assert page.count('<path class="measured') == 2
    assert page.count('<path class="predicted') == 1
    assert page.count('<path class="band"') == 1


def test_layers_of_one_role_in_a_residual_network_are_a_line_of_their_own(
    audit: PlantedAudit,
) -> None:
    courses = list_courses(audit.layers)
    names = [[audit.layers[place].name for place in course] for course in courses]
    assert names[1] == [f"{number}.up" for number in range(1, 13)]
    assert sorted(place for course in courses for place in course) == list(range(26))
    page = render_page(audit)
    assert "Each line joins the layers of one role." in page


def test_the_page_draws_numbers_that_are_not_finite() -> None:
    model = make_model()
    with torch.no_grad():
        model[1].up.bias[0] = float("nan")  # type: ignore[index]
    text = render_page(plant_audit(model=model))
    assert "NaN" in text
    assert 'cy="nan"' not in text
    Reader(text)


def test_both_pages_look_like_one_product() -> None:
    package = ROOT / "src" / "fanin"
    rules = {
        path.name: set(path.read_text(encoding="utf-8").split("\n"))
        for path in (
            package / "report/templates/page.css",
            package / "diagnosis/views/audit_page.css",
        )
    }
    own = (package / "diagnosis/views/audit_page.css").read_text(encoding="utf-8")
    shared = own.partition("/* The audit's own. */")[0].split("\n")[1:]
    assert set(shared) <= rules["page.css"]


def test_a_real_audit_can_be_shown_in_every_form() -> None:
    model = make_model(2)
    found = fanin.audit(model, torch.linspace(-1, 1, 128).view(8, 16), target=torch.arange(8) % 3)
    assert format_audit(found).startswith("Sequential ")
    json.dumps(to_record(found), allow_nan=False)
    json.dumps(to_sarif(found), allow_nan=False)
    Reader(render_page(found))
