"""Studies of any factors: their columns, what is compared, and which way a metric is better."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factor_cases import KINDS, kind_of_study, scored, study_plan
from study_cases import plan_of, results_of

from fanin.analysis.analysis import Analysis
from fanin.analysis.conditions import estimate_condition
from fanin.analysis.design import split_sections
from fanin.analysis.factors import LEADING, format_title, format_value
from fanin.analysis.summary import is_higher_better
from fanin.cell.plan import Plan
from fanin.study.builtin_studies import list_builtin_studies
from fanin.study.study import Study

MLP = {"model": "mlp", "data": "digits"}


def analysis_of(plan: Plan, **fields: object) -> Analysis:
    return Analysis(
        plan, {planned.cell.id: scored(planned.cell, **fields) for planned in plan.cells}
    )


def frame_of(plan: Plan, **fields: object):
    return analysis_of(plan, **fields).frame


def test_an_option_that_is_an_axis_is_a_column_of_numbers_and_leaves_its_spec():
    frame = Analysis(*kind_of_study("depth", 1)).frame
    assert set(frame["model"]) == {"mlp(widths=[64])"}
    assert list(dict.fromkeys(frame["model.depth"])) == [2, 4, 8, 16, 32, 64]
    assert set(Analysis(*kind_of_study("phase-diagram", 1)).frame["initializer"]) == {
        "lecun_normal"
    }


def test_an_option_that_its_spec_leaves_out_as_a_default_is_still_shown():
    plan = study_plan({**MLP, "initializer": "zero"}, {"model.depth": (3, 4)}, 1)
    folded = replace(plan.cells[0], cell=replace(plan.cells[0].cell, model="mlp"))
    frame = frame_of(replace(plan, cells=(folded, plan.cells[1])))
    assert frame["model.depth"].tolist() == [3, 4]
    assert frame["model"].tolist() == ["mlp", "mlp"]


def test_a_cell_without_the_option_has_none():
    deep = study_plan({**MLP, "initializer": "zero"}, {"model.depth": (3, 4)}, 1)
    other = study_plan({"model": "cnn", "data": "digits"}, {"initializer": ("zero",)}, 1)
    assert frame_of(replace(deep, cells=deep.cells + other.cells))["model.depth"].tolist() == [
        3,
        4,
        "",
    ]


def test_a_label_that_is_a_number_written_otherwise_gives_way_to_the_number():
    plan = study_plan({**MLP, "initializer": "zero"}, {"learning_rate": (1.0, 0.1)}, 1)
    cells = tuple(
        replace(p, labels={"learning_rate": text})
        for p, text in zip(plan.cells, ("1", "1e-1"), strict=True)
    )
    assert frame_of(replace(plan, cells=cells))["learning_rate"].tolist() == [1.0, 0.1]


def test_new_columns_come_after_those_that_exports_already_have():
    columns = list(Analysis(*kind_of_study("depth", 1)).frame.columns)
    assert columns[:12] == [*LEADING, "replicate", "outcome"]
    assert (
        columns.index("message")
        < columns.index("normalization")
        < columns.index("model.depth")
        < columns.index("seed")
    )
    summary = list(Analysis(*kind_of_study("depth", 1)).summary.columns)
    assert summary[:11] == [*LEADING, "planned"]
    assert summary[-1] == "model.depth"


def test_cells_that_differ_in_any_factor_are_no_replicates_of_one_another():
    for field, values in {
        "normalization": ("none", "batch"),
        "schedule": ("constant", "cosine"),
        "clip_norm": (None, 1.0),
        "label_smoothing": (0.0, 0.1),
        "augmentation": ((), ("flip",)),
        "shared_stream": (False, True),
        "metrics": ((), ("top_k(k=5)",)),
    }.items():
        plan = study_plan({**MLP, "initializer": "zero"}, {field: values}, 3)
        assert analysis_of(plan).summary["planned"].tolist() == [3, 3], field


def test_a_models_own_activation_is_called_what_its_axis_calls_it():
    plan = study_plan({**MLP, "initializer": "zero"}, {"activation": (None, "tanh")}, 1)
    cells = tuple(
        replace(p, labels={"activation": p.labels["activation"].replace("None", "relu")})
        for p in plan.cells
    )
    other = study_plan(
        {"model": "lstm", "data": "digits", "initializer": "zero"}, {"batch_size": (64,)}, 1
    )
    assert frame_of(replace(plan, cells=cells + other.cells))["activation"].tolist() == [
        "relu",
        "tanh",
        "",
    ]


def test_labels_of_an_option_that_are_numbers_are_numbers():
    plan = study_plan({**MLP, "initializer": "he"}, {"initializer.gain": (1.0, 2**0.5)}, 1)
    cells = (plan.cells[0], replace(plan.cells[1], labels={"initializer.gain": "1.41"}))
    assert frame_of(replace(plan, cells=cells))["initializer.gain"].tolist() == [1.0, 1.41]


@pytest.mark.parametrize("name", list_builtin_studies())
def test_every_section_of_every_built_in_study_has_each_condition_once(name: str):
    plan = Study.load(name).plan(replicates=2)
    summary = Analysis(plan, {}).summary
    runs = 2 * 5**4 if name == "variance" else 2  # four crossed seeds
    assert set(summary["planned"]) == {runs}
    assert len(summary) * runs == len(plan.cells)


def test_history_has_the_factors_too():
    plan, results = kind_of_study("depth", 1)
    assert set(Analysis(plan, results).history["model.depth"]) == {2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize(
    ("kind", "compared", "further"),
    [
        ("depth", "initializer", ("model.depth", "activation")),
        ("phase-diagram", "activation", ("model.depth", "initializer.gain")),
        ("normalization", "initializer", ("normalization",)),
        ("optimizers", "initializer", ("optimizer",)),
        ("learning-rate", "initializer", ("learning_rate",)),
        ("recurrent", "initializer", ()),
        ("combined", "initializer", ("normalization", "optimizer")),
    ],
)
def test_what_is_compared_follows_from_what_varies(
    kind: str, compared: str, further: tuple[str, ...]
):
    design = Analysis(*kind_of_study(kind, 1)).design
    assert (design.compared, design.further) == (compared, further)


def test_without_initializers_the_words_with_most_values_are_compared():
    plan = study_plan(
        {**MLP, "initializer": "zero"},
        {"optimizer": ("sgd", "adam"), "activation": ("relu", "tanh", "elu")},
        1,
    )
    assert analysis_of(plan).design.compared == "activation"
    numbers = study_plan(
        {**MLP, "initializer": "zero"},
        {"batch_size": (16, 32, 64), "optimizer": ("sgd", "adam")},
        1,
    )
    assert analysis_of(numbers).design.compared == "optimizer"
    assert (
        analysis_of(
            study_plan({**MLP, "initializer": "zero"}, {"batch_size": (16, 32)}, 1)
        ).design.compared
        == "batch_size"
    )


def test_results_on_different_data_are_never_compared():
    plan = study_plan({"model": "mlp", "initializer": "zero"}, {"data": ("digits", "mnist")}, 10)
    assert len(list(split_sections(frame_of(plan), analysis_of(plan).design))) == 2
    assert analysis_of(plan).comparisons == ()


def test_initializers_that_never_stand_side_by_side_are_not_compared():
    plan = study_plan(
        MLP, {"activation": ("relu", "tanh"), "initializer": ("he_normal", "xavier_uniform")}, 1
    )
    tied = replace(plan, cells=(plan.cells[0], plan.cells[3]))
    assert len(analysis_of(tied).summary) == 2
    assert analysis_of(tied).comparisons == ()


def test_a_learning_rate_tuned_for_each_initializer_keeps_them_comparable():
    plan = study_plan(MLP, {"initializer": ("zero", "he_normal", "orthogonal")}, 10)
    rates = {"zero": 0.1, "he_normal": 0.01, "orthogonal": 0.01}
    cells = tuple(
        replace(p, cell=replace(p.cell, learning_rate=rates[p.cell.initializer]))
        for p in plan.cells
    )
    design = analysis_of(replace(plan, cells=cells)).design
    assert design.tuned
    assert "learning_rate" not in design.section
    [verdict] = analysis_of(replace(plan, cells=cells)).comparisons
    assert verdict.pairs <= 10


def test_a_comparison_of_other_factors_pairs_replicates():
    plan = study_plan({**MLP, "initializer": "he_normal"}, {"optimizer": ("sgd", "adam")}, 12)
    [verdict] = analysis_of(plan).comparisons
    assert (verdict.pairs, verdict.best) == (12, "adam")


def test_a_shared_stream_of_true_and_false_can_be_compared():
    plan = study_plan({**MLP, "initializer": "he_normal"}, {"shared_stream": (False, True)}, 10)
    assert analysis_of(plan).comparisons[0].pairs == 10
    assert analysis_of(plan).summary["mean_rank"].notna().all()


@pytest.mark.parametrize(
    ("metric", "high"),
    [
        ("test_accuracy", True),
        ("val_token_accuracy", True),
        ("test_psnr", True),
        ("test_loss", False),
        ("test_mae", False),
        ("mse", False),
        ("test_squared_error", False),
        ("test_bits_per_character", False),
        ("test_perplexity", False),
    ],
)
def test_which_way_a_metric_is_better(metric: str, high: bool):
    assert is_higher_better(metric) == high


def test_a_users_metric_is_better_the_way_its_results_say():
    plan = study_plan(MLP, {"initializer": ("zero", "he_normal")}, 12)
    results = {}
    for planned in plan.cells:
        value = 5.0 * (planned.cell.initializer == "he_normal") + planned.cell.replicate / 100
        results[planned.cell.id] = scored(
            planned.cell,
            outcome="ok",
            metrics={"test_fit": value},
            data={"metrics": {"fit": "max"}},
        )
    analysis = Analysis(plan, results)
    assert analysis.comparisons[0].best == "he_normal"
    assert analysis.summary["mean_rank"].tolist() == [2.0, 1.0]
    assert is_higher_better("val_fit", {"fit": "max"})
    assert not is_higher_better("test_accuracy", {"accuracy": "min"})


def test_a_condition_with_a_diverged_replicate_has_a_median_and_no_interval():
    plan = plan_of([("mlp", "digits")], ("he_normal",), replicates=6)
    frame = Analysis(plan, results_of(plan)).frame
    whole = estimate_condition(frame, "test_accuracy", higher_is_better=True)
    assert whole.is_mean
    assert whole.half_width > 0
    frame.loc[0, "outcome"] = "diverged"
    part = estimate_condition(frame, "test_accuracy", higher_is_better=True)
    assert (part.is_mean, part.diverged, part.diverged_share) == (False, 1, 1 / 6)
    assert part.half_width != part.half_width
    assert part.centre < sorted(part.values)[3]
    frame["outcome"] = "diverged"
    assert estimate_condition(frame, "test_accuracy", higher_is_better=True).centre != part.centre


def test_titles_and_values_are_words():
    assert format_title("model.depth") == "depth"
    assert format_title("model.depth", ("model.depth", "data.depth")) == "model.depth"
    assert format_title("learning_rate") == "learning rate"
    assert [format_value(value) for value in (True, 1e-4, 0.1 + 0.2, "", 64)] == [
        "true",
        "0.0001",
        "0.3",
        "default",
        "64",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_of_every_kind_of_study_has_each_condition_once(kind: str):
    analysis = Analysis(*kind_of_study(kind, 2))
    frame, summary = analysis.frame, analysis.summary
    assert set(summary["planned"]) == {2}
    assert len(summary) * 2 == len(frame)
