"""Factors of a study: options as axes, exclusions, resolved copies, errors that name the line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fanin.cell.cell import Cell
from fanin.errors import FaninError, FitError, SpecError, StudyError, UnknownName
from fanin.study import builtin_studies
from fanin.study.axes import AxisValue
from fanin.study.canonical_cell import KEYS, make_cell
from fanin.study.study import Study
from fanin.training.cell_model import make_model

DEPTH = """
question = "How deep?"
replicates = 2

[base]
data = "digits"
model = "mlp(widths=[16], activation=relu)"
batch_size = 100
epochs = 2
"model.norm" = "layer"

[axes]
model.depth = [2, 8]
initializer = [
    "he_normal",
    { label = "wide", use = "lecun_normal(gain=2.0)" },
]
"""


def cell(**changes: object) -> Cell:
    return make_cell({"data": "digits", "model": "mlp", "initializer": "he_normal", **changes})


def study(text: str) -> Study:
    return Study.from_toml(text, "mine")


def message(text: str) -> str:
    with pytest.raises(FaninError) as caught:
        study(text).plan()
    return str(caught.value)


# Options as axes


def test_an_option_is_an_axis_and_is_folded_into_its_spec() -> None:
    cells = study(DEPTH).plan().cells
    assert [p.cell.model for p in cells[:4]] == [
        f"mlp(depth={depth}, widths=[16])" for depth in (2, 2, 8, 8)
    ]
    assert [p.labels["model.depth"] for p in cells[:4]] == ["2", "2", "8", "8"]
    assert {p.cell.normalization for p in cells} == {"layer"}


def test_an_option_as_an_axis_and_in_the_spec_mean_the_same_cell() -> None:
    assert cell(**{"model.widths": [8], "model.activation": "relu"}) == cell(
        model="mlp(widths=[8], activation=relu)"
    )
    assert cell(**{"initializer.mode": "fan_out"}) == cell(initializer="he_normal(mode=fan_out)")
    assert cell(**{"optimizer.epsilon": "keras"}) == cell(optimizer="adam(epsilon=keras)")
    assert cell(**{"schedule.warmup": 0.0}) == cell()


def test_an_option_beside_its_spec_that_is_not_quoted_says_how_to_write_it() -> None:
    assert '"model.depth" = …' in message('[base]\nmodel = "mlp"\nmodel.depth = 3\n')


def test_a_quoted_key_is_an_option_beside_an_axis_of_the_same_head() -> None:
    text = (
        '[base]\ndata = "digits"\ninitializer = "zero"\n'
        '[[grid]]\nmodel = ["mlp"]\n"model.bias" = [true, false]\n'
    )
    assert [p.cell.model for p in study(text).plan().cells] == ["mlp", "mlp(bias=false)"]


@pytest.mark.parametrize("axis", ["model.depth", '"model.depth"'])
def test_only_takes_an_option(axis: str) -> None:
    plan = study(DEPTH.replace("model.depth", axis)).plan(only={"model.depth": ["8"]})
    assert len(plan.cells) == 4


def test_the_normalization_is_the_models_option_norm() -> None:
    assert cell(model="mlp(norm=batch)") == cell(normalization="batch")
    assert cell(model="mlp(norm=none)") == cell(normalization="none") == cell()
    assert make_model(cell(normalization="group")).spec == "mlp(norm=group)"
    assert cell(data="cifar10", model="resnet20", normalization="none").normalization == "none"
    assert cell(data="cifar10", model="resnet20", normalization="batch").normalization is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"schedule": "constant"}, {}),
        ({"clip_norm": "none"}, {}),
        ({"clip_norm": 1}, {"clip_norm": 1.0}),
        ({"label_smoothing": 0}, {}),
        ({"augmentation": []}, {}),
        ({"augmentation": "none"}, {}),
        ({"augmentation": "flip"}, {"augmentation": ["flip"]}),
        ({"metrics": "perplexity"}, {"metrics": ["perplexity"]}),
        ({"biases": "zero()"}, {"biases": "zero"}),
    ],
)
def test_two_ways_to_write_a_factor_give_one_id(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert cell(**one) == cell(**other)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"model.depht": 3}, UnknownName, "Did you mean depth"),
        ({"model": "mlp(depth=2)", "model.depth": 3}, SpecError, "Give one of them"),
        ({"model": "mlp(norm=batch)", "normalization": "layer"}, SpecError, "Give one of them"),
        ({"model": "cnn", "normalization": "batch"}, SpecError, "does not apply to cnn"),
        ({"normalization": "bacth"}, SpecError, "batch"),
        ({"normalization": 3}, SpecError, "a word such as batch"),
        ({"clip_norm": 0}, StudyError, "positive number"),
        ({"clip_norm": float("inf")}, StudyError, "positive number"),
        ({"label_smoothing": 1}, StudyError, "below 1"),
        ({"label_smoothing": True}, StudyError, "below 1"),
        ({"augmentation": 3}, SpecError, "list of specs"),
        ({"augmentation": ["flip", "flip"]}, SpecError, "twice"),
        ({"augmentation": "flipp"}, UnknownName, "Did you mean flip"),
        ({"metrics": ["acuracy"]}, UnknownName, "Did you mean accuracy"),
        ({"metrics": "accuracy(k=3)"}, SpecError, "no options"),
        ({"schedule": "cosin"}, UnknownName, "Did you mean cosine"),
        ({"biases": "zerro"}, UnknownName, "Did you mean zero"),
        ({"data.length": 3}, FaninError, "digits"),
    ],
)
def test_an_impossible_factor_is_refused_with_the_reason(
    changes: dict[str, object], error: type[FaninError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        cell(**changes)
    assert caught.value.about


# Exclusions


def test_an_exclusion_leaves_out_the_cells_that_have_all_of_its_values() -> None:
    text = DEPTH + '\n[[exclude]]\nmodel.depth = 8\ninitializer = "wide"\n'
    labels = [
        (p.labels["model.depth"], p.labels["initializer"])
        for p in study(text).plan(replicates=1).cells
    ]
    assert labels == [("2", "he_normal"), ("2", "wide"), ("8", "he_normal")]


def test_an_exclusion_takes_several_values_names_and_specs() -> None:
    text = DEPTH + '\n[[exclude]]\ninitializer = ["lecun_normal", "no_such"]\n'
    assert {p.labels["initializer"] for p in study(text).plan().cells} == {"he_normal"}


def test_an_exclusion_that_leaves_nothing_out_is_an_error_with_its_line() -> None:
    text = DEPTH + '\n[[exclude]]\ninitializer = "orthogonal"\n'
    assert re.search(
        r"Study mine, line 19: exclude initializer = orthogonal matches no cell", message(text)
    )


def test_excluding_everything_is_an_error() -> None:
    assert "excludes all" in message(DEPTH + '\n[[exclude]]\ndata = "digits"\n')


# Errors name study, key and line


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "model.depth = [2, 8]",
            "model.depht = [2, 8]",
            r"Study mine, line 13 \(model.depht = 2\).*Did you mean depth",
        ),
        (
            '"he_normal",',
            '"he_nromal",',
            r"line 15 \(initializer = he_nromal\).*Did you mean he_normal",
        ),
        ("gain=2.0", "gain=-2.0", r"line 16 \(initializer = wide\): .*gain"),
        (
            "batch_size = 100",
            "batch_size = 100000",
            r"line 8 \(batch_size\) and line 6 \(data\): digits trains on",
        ),
        (
            "mlp(widths=[16], activation=relu)",
            "cnn",
            r"line 10 \(model.norm\) and line 7 \(model\)|line 13",
        ),
        ("epochs = 2", "label_smothing = 2", r"line 9: No key.*Did you mean label_smoothing"),
        (
            "epochs = 2",
            "label_smoothing = 2",
            r"line 9 \(label_smoothing\): label_smoothing must be",
        ),
        ("replicates = 2", "replicates = 0", r"line 3: replicates"),
        ("replicates = 2", "protocol = 'soudn'", r"Study mine, line 3: .*Did you mean sound"),
        ("[2, 8]", "[]", r"Study mine, line 13: axis model.depth is empty"),
        ("[2, 8]", "2", r"Study mine, line 13: axes.model.depth must be a list"),
    ],
)
def test_a_mistake_is_reported_with_study_line_and_key(old: str, new: str, says: str) -> None:
    assert old in DEPTH
    assert re.search(says, message(DEPTH.replace(old, new)), re.DOTALL)


def test_an_axis_that_does_not_apply_to_the_model_is_refused_with_its_line() -> None:
    base = '[base]\ndata = "mnist"\ninitializer = "zero"\nmodel = "lenet5"\n[axes]\n'
    text = base + "model.depth = [1, 2]\n"
    assert re.search(r"line 6 \(model.depth = 1\) and line 4 \(model\)", message(text))
    text = base + 'normalization = ["batch"]\n'
    assert re.search(
        r"line 6 \(normalization = batch\): A normalization does not apply to lenet5", message(text)
    )


def test_an_image_model_on_a_table_is_refused_with_the_lines_of_both() -> None:
    text = '[base]\ndata = "diabetes"\ninitializer = "zero"\n[[grid]]\nmodel = ["mlp", "lenet5"]\n'
    assert re.search(
        r"line 5 \(model = lenet5\) and line 2 \(data\): lenet5 on diabetes", message(text)
    )


def test_a_last_batch_of_one_sample_is_refused_with_batch_normalization() -> None:
    text = DEPTH.replace('"layer"', '"batch"')
    study(text).plan()
    # digits: 1,438 samples, 1,294 of them for training after the tenth that is held out: 3 · 431 +
    # 1.
    assert "a batch of one sample" in message(text.replace("batch_size = 100", "batch_size = 431"))
    study(DEPTH.replace("batch_size = 100", "batch_size = 431")).plan()


def test_smoothing_needs_classes_and_augmentation_needs_images() -> None:
    text = '[base]\ndata = "diabetes"\nmodel = "regression"\ninitializer = "zero"\n'
    assert "line 5 (label_smoothing)" in message(text + "label_smoothing = 0.1\n")
    assert "line 5 (augmentation)" in message(text + 'augmentation = ["flip"]\n')


# The resolved copy


@pytest.mark.parametrize("name", builtin_studies.list_builtin_studies())
def test_the_resolved_copy_of_a_built_in_study_reads_back_as_the_same_study(name: str) -> None:
    original = Study.load(name)
    assert Study.from_toml(original.to_toml(), name) == original


def test_the_resolved_copy_holds_exclusions_tuning_and_what_toml_must_escape() -> None:
    text = DEPTH.replace('"How deep?"', '"A \\"quote\\", a \\\\ and a\\u0007 bell\\u007f?"')
    text += "\n[[exclude]]\nmodel.depth = 8\n[tune]\nlearning_rate = [0.1, 1e-5]\n"
    text += 'per = ["initializer"]\nat.initializer = "wide"\n'
    original = study(text)
    assert Study.from_toml(original.to_toml(), "mine") == original


def test_the_resolved_copy_keeps_the_order_of_axes_lists_and_any_label() -> None:
    long_spec = f"mlp(widths=[{', '.join(['16'] * 30)}])"
    text = f"""
question = '''A "quote", a \\ and
two lines?'''
notes = ["\\u0001 \\u007f \\t \\\\ ' \\" # ]"]
[base]
data = "digits"
initializer = "zero"
"optimizer.momentum" = 0.5
optimizer = "sgd"
[axes]
activation = [
    {{ label = "both \\" \\\\ ' # = ]", use = ["relu", "tanh"] }}, "relu", ["tanh", "tanh"],
]
"model.bias" = [true, false]
learning_rate = [1e-5, {{ label = "1", use = 1 }}]
model = [{{ label = "long", use = "{long_spec}" }}, "mlp(widths=[8, 8])"]
[[grid]]
[[grid]]
epochs = [3]
"""
    original = study(text)
    copy = Study.from_toml(original.to_toml(), "mine")
    assert copy == original
    assert [list(grid) for grid in copy.grids] == [list(grid) for grid in original.grids]


def test_a_value_that_toml_cannot_hold_is_refused_with_its_axis() -> None:
    none = AxisValue(None, "own")
    planned = Study("s", "?", {"data": "digits"}, ({"activation": (none,)},))
    with pytest.raises(StudyError, match="None of axis activation"):
        planned.to_toml()
    assert (
        Study("s", "?", {"clip_norm": None}, ())
        .to_toml()
        .endswith('replicates = 1\nseed = 0\ntime = ""\n')
    )


def test_the_plan_carries_the_resolved_copy_with_what_was_overridden() -> None:
    plan = study(DEPTH).plan(replicates=1, max_epochs=5, only={"initializer": ["wide"]})
    assert plan.study_toml.startswith("# Run with --only initializer=wide\n")
    again = Study.from_toml(plan.study_toml, "mine")
    assert (again.replicates, again.base["epochs"]) == (1, 5)
    assert {p.cell.id for p in plan.cells} <= {p.cell.id for p in again.plan().cells}


def test_the_document_of_study_files_names_every_key() -> None:
    text = (Path(__file__).parent.parent / "docs" / "study-files.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in text] == []


def test_every_field_of_a_cell_is_an_axis_or_set_by_the_studys_head() -> None:
    head = {"protocol", "precision", "replicate", "seed", "tuned", "sources"}
    assert set(KEYS) | head == set(Cell.__dataclass_fields__)


def test_fit_errors_keep_their_type() -> None:
    with pytest.raises(FitError):
        study('[base]\ndata = "diabetes"\ninitializer = "zero"\nmodel = "lenet5"\n').plan()
