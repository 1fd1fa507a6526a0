"""A cell's fields say what they are: a new factor is one line in `fanin.cell.cell`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

import fanin
from fanin.cell.cell import FIELDS, Cell
from fanin.cell.fields import Factor, Seed, describe_fields
from fanin.study import feasibility

PACKAGE = Path(fanin.__file__).parent

NEW_FACTOR = '    sharpness: Annotated[float, Factor(form="share")] = 0.0\n'

USE_NEW_FACTOR = """
import json
from fanin.analysis.analysis import Analysis
from fanin.analysis.factors import format_title
from fanin.cell.cell import Cell
from fanin.errors import FaninError
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study

BASE = '[base]\\ndata = "digits"\\nmodel = "mlp"\\ninitializer = "zero"\\n'
AXES = '[axes]\\nsharpness = [0.0, 0.5, { label = "much", use = 0.75 }]\\n'
study = Study.from_toml(BASE + AXES, "s")
plan = study.plan()
cells = [planned.cell for planned in plan.cells]
try:
    make_cell({**study.base, "sharpness": 2})
except FaninError as error:
    refused, about = str(error), error.about
frame = Analysis(plan, {}).frame
print(json.dumps({
    "values": [cell.sharpness for cell in cells],
    "json": [cell.to_json() for cell in cells],
    "ids": [cell.id for cell in cells],
    "default": Cell(data="digits", model="mlp", initializer="zero").id,
    "copy": Study.from_toml(plan.study_toml, "s") == study,
    "selected": len(study.plan(only={"sharpness": ["much"]}).cells),
    "refused": refused,
    "about": about,
    "columns": list(frame.columns),
    "shown": [str(value) for value in frame["sharpness"]],
    "title": format_title("sharpness"),
}))
"""


@pytest.fixture(scope="module")
def sharpness(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What fanin does with a factor of which only `fanin.cell.cell` knows."""
    folder = tmp_path_factory.mktemp("new_factor") / "fanin"
    folder.mkdir()
    for path in PACKAGE.iterdir():
        if path.name not in ("cell", "__pycache__"):
            (folder / path.name).symlink_to(path)
    (folder / "cell").mkdir()
    for path in (PACKAGE / "cell").glob("*.py"):
        (folder / "cell" / path.name).write_text(path.read_text(encoding="utf-8"))
    code = (folder / "cell" / "cell.py").read_text(encoding="utf-8")
    before = "    batch_size: Annotated"
    assert before in code
    (folder / "cell" / "cell.py").write_text(code.replace(before, NEW_FACTOR + before))
    ran = subprocess.run(
        [sys.executable, "-c", USE_NEW_FACTOR],
        env={"PYTHONPATH": str(folder.parent), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict = json.loads(ran.stdout)
    return found


def test_a_new_factor_is_planned_written_and_selected(sharpness: dict) -> None:
    assert sharpness["values"] == [0.0, 0.5, 0.75]
    assert [cell.get("sharpness") for cell in sharpness["json"]] == [None, 0.5, 0.75]
    assert sharpness["copy"]
    assert sharpness["selected"] == 1


def test_a_new_factor_changes_no_id_but_its_own(sharpness: dict) -> None:
    old = Cell(data="digits", model="mlp", initializer="zero").id
    assert sharpness["default"] == sharpness["ids"][0] == old
    assert len(set(sharpness["ids"])) == 3


def test_a_new_factor_is_checked_as_its_form_says(sharpness: dict) -> None:
    assert sharpness["refused"] == ("sharpness must be a number of at least 0 and below 1, not 2.")
    assert sharpness["about"] == ["sharpness"]


def test_a_new_factor_has_a_column_and_a_title(sharpness: dict) -> None:
    assert sharpness["columns"].index("sharpness") > sharpness["columns"].index("message")
    assert sharpness["shown"] == ["0.0", "0.5", "much"]
    assert sharpness["title"] == "sharpness"


def test_a_field_must_say_what_it_is() -> None:
    @dataclass(frozen=True)
    class Undeclared:
        data: Annotated[str, Factor()]
        colour: str = "red"

    with pytest.raises(TypeError, match="colour is no factor, seed or bookkeeping"):
        describe_fields(Undeclared)


def test_every_form_is_checked_by_a_study() -> None:
    from fanin.study.field_forms import _FORMS

    assert {field.form for field in FIELDS.values()} - {None} <= set(_FORMS)


def test_what_fits_all_data_is_not_read_where_the_fit_is_checked() -> None:
    code = ast.parse(Path(feasibility.__file__).read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(code)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cell"
    }
    assert {"label_smoothing", "batch_size"} <= read  # so the names are found
    fits = {name for name, f in FIELDS.items() if not isinstance(f, Factor) or f.fits_all_data}
    assert not read & fits


def test_every_seed_but_the_root_is_named_after_its_purpose() -> None:
    seeds = [name for name, field in FIELDS.items() if isinstance(field, Seed)]
    assert seeds[0] == "seed"
    cell = Cell(data="digits", model="mlp", initializer="zero")
    derived = [cell.derive_seed(name.removesuffix("_seed")) for name in seeds[1:]]
    assert len(set(derived)) == len(derived)
