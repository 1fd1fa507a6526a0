"""Studies: files, labels, canonical cells, expansion, and the mistakes that a user can make."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanin.cell.plan import Plan
from fanin.errors import FaninError, FitError, SpecError, StudyError, UnknownName
from fanin.study import builtin_studies
from fanin.study.canonical_cell import make_cell
from fanin.study.study import Study
from fanin.training.cell_model import make_model

SMALL = """
question = "Which?"
replicates = 2
[base]
optimizer = "adam(lr=0.01)"
epochs = 3
[axes]
initializer = [{ label = "zero", use = "zero" }, { label = "wide", use = "normal(std=0.5)" }]
[[grid]]
model = ["mlp", "mlp(widths=[8, 8])"]
data = ["digits"]
[[grid]]
model = ["regression"]
data = ["diabetes"]
"""


def small() -> Study:
    return Study.from_toml(SMALL, "small")


def cell(**changes: object) -> object:
    return make_cell({"data": "digits", "model": "mlp", "initializer": "he_normal", **changes})


def test_the_case_study_has_its_54_cells() -> None:
    plan = Study.load("case-study").plan()
    cells = [planned.cell for planned in plan.cells]
    assert len(cells) == 54
    assert {(c.data, c.model) for c in cells if c.model == "regression"} == {
        ("california-housing", "regression")
    }
    assert len({(c.data, c.model) for c in cells}) == 9
    assert {c.optimizer for c in cells} == {"adam(epsilon=keras)"}
    assert {(c.learning_rate, c.batch_size, c.epochs, c.protocol) for c in cells} == {
        (0.001, 64, 50, "case-study")
    }
    assert {c.initializer for c in cells} == {
        "zero",
        "normal(std=0.05)",
        "xavier_uniform",
        "he_normal(truncated=true)",
        "lecun_normal(truncated=true)",
        "orthogonal",
    }
    labels = [planned.labels["initializer"] for planned in plan.cells[:6]]
    assert labels == [
        "zero",
        "random_normal",
        "xavier_uniform",
        "he_normal",
        "lecun_normal",
        "orthogonal",
    ]
    assert any("test set" in note for note in plan.notes)


def test_quick_has_60_cells_and_says_that_its_learning_rate_is_not_tuned() -> None:
    plan = Study.load("quick").plan()
    assert len(plan.cells) == 60
    assert {planned.cell.protocol for planned in plan.cells} == {"sound"}
    assert any("learning rate is fixed" in note for note in plan.notes)


@pytest.mark.parametrize("name", builtin_studies.list_builtin_studies())
def test_every_built_in_study_states_its_question_and_plans(name: str) -> None:
    study = Study.load(name)
    assert study.question.endswith("?")
    assert study.plan().cells


def test_a_plan_goes_replicate_by_replicate_and_block_by_block() -> None:
    cells = [planned.cell for planned in small().plan().cells]
    assert len(cells) == 12
    assert [c.replicate for c in cells] == [0] * 6 + [1] * 6
    blocks = [c.block for c in cells]
    assert blocks == [block for block in dict.fromkeys(blocks) for _ in range(2)]


def test_labels_are_for_people_and_change_no_id() -> None:
    relabelled = Study.from_toml(SMALL.replace('label = "wide"', 'label = "broad"'), "other name")
    assert [p.cell.id for p in relabelled.plan().cells] == [p.cell.id for p in small().plan().cells]
    assert {p.labels["initializer"] for p in relabelled.plan().cells} == {"zero", "broad"}


def test_a_plan_survives_json() -> None:
    plan = small().plan()
    assert Plan.from_json(plan.to_json()) == plan


def test_overrides_make_other_cells() -> None:
    shortened = small().plan(max_epochs=1, replicates=1)
    assert len(shortened.cells) == 6
    assert {planned.cell.epochs for planned in shortened.cells} == {1}
    assert not {p.cell.id for p in shortened.cells} & {p.cell.id for p in small().plan().cells}


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ({"data": ["diabetes"]}, 4),
        ({"initializer": ["wide"]}, 6),
        ({"initializer": ["normal"]}, 6),
        ({"model": ["mlp"]}, 8),
        ({"model": ["mlp(widths=[8, 8])"], "initializer": ["zero"]}, 2),
        ({"data": ["digits", "diabetes"]}, 12),
    ],
)
def test_only_keeps_cells_by_label_value_or_name(only: dict[str, list[str]], count: int) -> None:
    assert len(small().plan(only=only).cells) == count


@pytest.mark.parametrize(
    "only",
    [{"data": ["mnist"]}, {"dataset": ["digits"]}, {"data": ["digits"], "model": ["regression"]}],
)
def test_an_only_that_keeps_nothing_is_an_error(only: dict[str, list[str]]) -> None:
    with pytest.raises(UnknownName):
        small().plan(only=only)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"optimizer": "adam(lr=0.01)"}, {"learning_rate": 0.01}),
        ({"model": "mlp(activation=relu)"}, {"activation": "relu"}),
        ({"activation": ["relu", "relu"]}, {"activation": "relu"}),
        ({"activation": ["sigmoid", "tanh"]}, {}),
        ({"model": "mlp(widths=[256, 128])"}, {}),
        ({"initializer": "he_normal( mode = fan_in )"}, {}),
        ({"initializer": "xavier_uniform(gain=2)"}, {"initializer": "xavier_uniform(gain=2.0)"}),
        ({"learning_rate": 0.001}, {}),
        ({"optimizer": "adam(epsilon='keras', beta1=0.9)"}, {"optimizer": "adam(epsilon=keras)"}),
    ],
)
def test_two_ways_to_write_a_cell_give_one_id(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert cell(**one) == cell(**other)


def test_an_activation_reaches_the_model() -> None:
    assert make_model(cell(activation=["relu", "gelu"])).spec == "mlp(activation=[relu, gelu])"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"initializer": "he_nromal"}, UnknownName),
        ({"initializer": "he_normal(mode=fan_ni)"}, FaninError),
        ({"initializer": 3}, SpecError),
        ({"model": "mpl"}, UnknownName),
        ({"model": "mlp(widths=[0])"}, SpecError),
        ({"model": "mlp(layers=3)"}, UnknownName),
        ({"activation": "rellu"}, UnknownName),
        ({"activation": ["relu", "relu", "tanh"]}, SpecError),
        ({"activation": 7}, SpecError),
        ({"model": "mlp(activation=relu)", "activation": "tanh"}, SpecError),
        ({"optimizer": "adam(lr=0.1)", "learning_rate": 0.2}, SpecError),
        ({"optimizer": "adam(lr=0)"}, SpecError),
        ({"learning_rate": -1}, SpecError),
        ({"learning_rate": float("nan")}, SpecError),
        ({"learning_rate": float("inf")}, SpecError),
        ({"learning_rate": "fast"}, SpecError),
        ({"batch_size": 0}, StudyError),
        ({"batch_size": 2.5}, StudyError),
        ({"epochs": 10**12}, StudyError),
        ({"epochs": True}, StudyError),
        ({"init_seed": -1}, FaninError),
        ({"data": "../../etc/passwd"}, FaninError),
        ({"data": "no-such-set"}, FaninError),
        ({"data": 5}, SpecError),
        ({"data": "x\0y"}, FaninError),
        ({"data": "d" * 300}, FaninError),
    ],
)
def test_an_impossible_cell_is_refused_with_the_reason(
    changes: dict[str, object], error: type[FaninError]
) -> None:
    with pytest.raises(error) as caught:
        cell(**changes)
    assert "\0" not in str(caught.value)


def test_a_model_that_does_not_fit_its_data_is_refused_before_any_work() -> None:
    text = SMALL.replace('["mlp", "mlp(widths=[8, 8])"]', '["cnn"]')
    with pytest.raises(FitError, match="cnn on digits"):
        Study.from_toml(text, "s").plan()


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(StudyError, match="fewer than one batch"):
        Study.from_toml(SMALL.replace("epochs = 3", "batch_size = 5000"), "s").plan()


def test_a_grid_of_a_billion_cells_is_refused_at_once() -> None:
    seeds = ", ".join(map(str, range(1000)))
    text = SMALL + f"init_seed = [{seeds}]\norder_seed = [{seeds}]\nsplit_seed = [{seeds}]\n"
    with pytest.raises(StudyError, match=r"has 4,000,0\d\d,\d\d\d cells; at most 100,000"):
        Study.from_toml(text, "huge").plan()


def test_the_same_cell_twice_is_refused() -> None:
    with pytest.raises(StudyError, match="same cell twice"):
        Study.from_toml(
            SMALL.replace('"mlp(widths=[8, 8])"', '"mlp(widths=[256, 128])"'), "s"
        ).plan()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question = ", "not valid TOML"),
        ("qestion = 'x'", "Did you mean question"),
        ("replicates = 0\nprotocl = 'sound'", "Did you mean protocol"),
        ("replicates = 0", "replicates"),
        ("replicates = '5'", "replicates"),
        ("seed = -1", "seed"),
        ("protocol = 'soudn'", "Did you mean sound"),
        ("[axes]\ninitialiser = ['zero']", "Did you mean initializer"),
        ("[base]\nlearning_rat = 1", "Did you mean learning_rate"),
        ("[base]\nreplicate = 1", "No key"),
        ("[axes]\ninitializer = []", "is empty"),
        ("[axes]\ninitializer = 'zero'", "axes.initializer"),
        ("[axes]\ninitializer = [{ label = 'a' }]", "label"),
        ('[axes]\ninitializer = [{ label = "a\\u0000b", use = "zero" }]', "printable"),
        ("[axes]\ninitializer = [{ label = 'a', use = { b = 1 } }]", "label"),
    ],
)
def test_a_study_file_with_a_mistake_says_which(text: str, says: str) -> None:
    with pytest.raises(FaninError, match=says) as caught:
        Study.from_toml(text, "mine")
    assert caught.value.exit_code == 2


def test_all_mistakes_of_a_head_are_reported_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        Study.from_toml("replicates = 0\nseed = -1\nqestion = ''", "mine")
    assert all(word in str(caught.value) for word in ("replicates", "seed", "qestion"))


def test_a_cell_without_a_model_says_what_is_missing() -> None:
    with pytest.raises(StudyError, match="needs model and initializer"):
        Study.from_toml("[[grid]]\ndata = ['digits']", "s").plan()


def test_files_that_are_no_studies_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    large = tmp_path / "large.toml"
    large.write_text("#" * 1_000_001)
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    for path in (binary, large, folder, tmp_path / "missing.toml"):
        with pytest.raises(StudyError):
            Study.load(str(path))
    with pytest.raises(StudyError):
        Study.load("nul\0.toml")
    with pytest.raises(UnknownName, match="case-study"):
        Study.load("case_study")


def test_a_users_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine ü.toml"
    path.write_text(SMALL, encoding="utf-8")
    assert Study.load(str(path)).name == "mine ü"


def test_planning_a_large_study_is_quick() -> None:
    """20,000 cells in a few seconds: planning must not construct a network per cell."""
    import time

    started = time.process_time()
    small().plan(replicates=3000)
    assert time.process_time() - started < 10
