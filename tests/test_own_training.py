"""Own training: a user's function trains in place of fanin's loop, with the same guarantees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_session import fanin as run_command
from own_training_files import TRAINERS, make_study, write_trainers
from torch import nn

import fanin
from fanin import seeds
from fanin.analysis.summary import find_main_metric
from fanin.cell.cell import FIELDS, Cell
from fanin.cell.record_check import require_plausible
from fanin.cell.result import Result
from fanin.errors import FaninError
from fanin.report.stored_results import load_results
from fanin.study import own_training_fields
from fanin.study.canonical_cell import make_cell
from fanin.study.learning_rate_tuning import LearningRateTuning
from fanin.study.study import Study
from fanin.training.own_training import train_by_own_code
from fanin.training.train import TrainingInterrupted

pytestmark = pytest.mark.usefixtures("preloaded_workers")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_trainers(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINER_LOG", str(tmp_path / "log"))
    return tmp_path


def cell(function: str, **changes: Any) -> Cell:
    return make_cell({"trainer": f"mine.py:{function}", "initializer": "he_normal", **changes})


def train(function: str, *, fields: dict[str, Any] | None = None, **options: Any) -> Result:
    return train_by_own_code(cell(function, **(fields or {})), environment={}, **options)


def run(study: Study, **options: Any) -> fanin.Results:
    return fanin.run(study, Path("out"), **{"workers": 1, "progress": False, **options})


def read_log() -> list[list[str]]:
    file = Path("log")
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


# What the function receives


def test_the_function_receives_seeds_settings_and_names() -> None:
    chosen = cell("told", model="gpt(depth=2)", data="poems", batch_size=9)
    train_by_own_code(chosen, environment={}, device="cpu")
    (line,) = read_log()
    purposes = ("init", "order", "dropout", "split")
    plain = seeds.derive_stream(
        *(chosen.derive_seed("order"), "trainer"),
        *(chosen.derive_seed("dropout"), chosen.derive_seed("split")),
    )
    expected = [plain, *map(chosen.derive_seed, purposes), 0, "gpt(depth=2)", "poems", "cpu"]
    assert line == list(map(str, [*expected, 9, 0.5, "none"]))


def test_the_plain_seed_fits_numpy_and_follows_each_seed_but_that_of_initialization() -> None:
    def read_seed(**given: int) -> int:
        Path("log").unlink(missing_ok=True)
        train("told", fields=given)
        return int(read_log()[0][0])

    plain = read_seed()
    assert 0 <= plain < 2**32
    assert read_seed(init_seed=5) == plain
    others = [read_seed(**{f"{name}_seed": 5}) for name in ("order", "dropout", "split")]
    assert len({plain, *others}) == 4


def test_settings_that_the_study_leaves_out_are_the_functions_own_defaults() -> None:
    chosen = cell("told")
    assert (chosen.batch_size, chosen.learning_rate) == (7, 0.5)
    assert cell("told", batch_size=64).batch_size == 64


def test_initialize_draws_what_fanin_initialize_draws() -> None:
    chosen = cell("fit")
    train_by_own_code(chosen, environment={})
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    fanin.initialize(model, "he_normal", seed=chosen.derive_seed("init"))
    assert read_log()[0][3] == str(model[0].weight[0, 0].item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("initialize(model, seed=3)", "initialize takes seed from the study's cell"),
        ("initialize(model, shared_stream=True, seed=1)", "takes seed and shared_stream"),
        ("initialize(3)", r"initialize takes a torch.nn.Module, not 3"),
    ],
)
def test_a_wrong_call_of_initialize_says_where_it_is(call: str, message: str, home: Path) -> None:
    head = "from torch import nn\ndef train(initialize, *, seed):\n    model = nn.Linear(2, 2)\n"
    code = f"{head}    {call}\n"
    (home / "wrong.py").write_text(code)
    chosen = make_cell({"trainer": "wrong.py:train", "initializer": "zero"})
    with pytest.raises(FaninError, match=rf"wrong.py:train \(wrong.py, line 4\): .*{message}"):
        train_by_own_code(chosen, environment={})


def test_a_second_model_gets_other_numbers_and_the_same_model_the_same(home: Path) -> None:
    code = (
        "from torch import nn\n"
        "def train(initialize, *, seed):\n"
        "    one, two = nn.Linear(4, 4), nn.Linear(4, 4)\n"
        "    initialize(one); initialize(two)\n"
        "    first, second = one.weight.clone(), two.weight.clone()\n"
        "    initialize(one)\n"
        "    return {'test_same': float((one.weight == first).all()),\n"
        "            'test_equal': float((first == second).any())}\n"
    )
    (home / "two.py").write_text(code)
    chosen = make_cell({"trainer": "two.py:train", "initializer": "he_normal"})
    metrics = train_by_own_code(chosen, environment={}).metrics
    assert metrics == {"test_same": 1.0, "test_equal": 0.0}


def test_initialize_passes_options_on_and_applies_the_rule_of_biases(home: Path) -> None:
    code = (
        "from torch import nn\n"
        "def train(initialize, *, seed):\n"
        "    model = nn.ModuleDict({'table': nn.Embedding(500, 20), 'out': nn.Linear(20, 4)})\n"
        "    initialize(model, embeddings=initialize.initializer)\n"
        "    return {'test_std': model['table'].weight.std(), 'test_bias': model['out'].bias[0]}\n"
    )
    (home / "rules.py").write_text(code)
    chosen = make_cell(
        {
            "trainer": "rules.py:train",
            "initializer": "normal(std=0.5)",
            "biases": "constant(value=2)",
        }
    )
    metrics = train_by_own_code(chosen, environment={}).metrics
    # n = 10,000 numbers: the standard error of their std is 0.7 % of it; six of them.
    assert metrics["test_std"] == pytest.approx(0.5, rel=0.042)
    assert metrics["test_bias"] == 2


# What it gives


def test_yielded_metrics_become_the_history_and_the_last_ones_with_the_returned_the_metrics() -> (
    None
):
    rows = list[dict[str, float]]()
    result = train("fit", on_epoch=rows.append)
    assert result.outcome == "ok"
    assert {name: len(values) for name, values in result.history.items()} == {
        "loss": 3,
        "val_loss": 3,
        "seconds": 3,
    }
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert result.metrics["epochs"] == 3
    assert result.metrics["val_loss"] == result.history["val_loss"][-1]
    assert math.isfinite(result.metrics["test_loss"])
    require_plausible(result.to_json())


def test_returned_metrics_alone_are_enough_and_the_function_says_which_way_is_better() -> None:
    result = train("once")
    assert result.history == {}
    assert result.metrics.keys() == {"test_reward"}
    assert result.data["metrics"] == {"reward": "max"}
    assert "doubts" not in result.data
    require_plausible(result.to_json())


def test_a_column_that_an_epoch_leaves_out_has_a_gap_and_a_metric_that_is_nan_is_missing() -> None:
    result = train("half_measured")
    assert result.outcome == "ok"
    assert math.isnan(result.history["val_accuracy"][0])
    assert result.history["val_accuracy"][1] == 0.9
    assert result.metrics == {"epochs": 2, "val_loss": 0.5, "val_accuracy": 0.9}
    assert result.data["missing_metrics"] == ["energy"]
    require_plausible(result.to_json())


def test_a_metric_of_which_nothing_says_the_direction_is_doubted() -> None:
    (doubt,) = train("half_measured").data["doubts"]
    assert "a higher energy counts as better, since nothing says which way is" in doubt
    assert 'half_measured.better = {"energy": "min"}' in doubt


def test_a_loss_that_is_not_finite_is_a_divergence_in_its_epoch() -> None:
    result = train("yields_nan")
    assert (result.outcome, result.message) == ("diverged", "loss nan after epoch 3")
    assert result.metrics == {"epochs": 3}
    assert len(result.history["loss"]) == 3
    require_plausible(result.to_json())
    returned = train("returns_nan")
    assert (returned.outcome, returned.message) == ("diverged", "test_loss nan at the end")
    assert returned.metrics == {}
    require_plausible(returned.to_json())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("yields_nothing", "it returned nothing, and yielded nothing"),
        ("returns_text", r"it returned 'done' \(str\)"),
        ("forgets", r"has not called initialize\(model\), so all initializers would train alike"),
    ],
)
def test_what_is_no_metric_is_refused_in_words(function: str, message: str) -> None:
    with pytest.raises(FaninError, match=message):
        train(function)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "a mapping without any metric"),
        ("{'epoch': 3}", "a mapping without any metric"),
        ("{'loss': 'low'}", "gives loss = 'low'. Expected one number"),
        ("{'loss': None}", "gives loss = None. Expected one number"),
        ("{'loss': True}", "gives loss = True. Expected one number"),
        ("{'loss': torch.ones(3)}", r"gives loss = an array of shape \(3,\). Expected one number"),
        ("{'Val Loss': 1.0}", "a metric called 'Val Loss'. Use lower-case letters"),
        ("{3: 1.0}", "a metric called 3. Use lower-case letters"),
        ("{'seconds': 1.0}", "called seconds, which is the name of another column"),
        ("{'initializer': 1.0}", "called initializer, which is the name of another column"),
        ("{'loss_sd': 1.0}", "called loss_sd, which is the name of another column"),
        ("[{'loss': 1.0}]", "it returned .*list"),
    ],
)
def test_each_metric_is_a_number_with_a_name(given: str, message: str, home: Path) -> None:
    head = "import torch\nfrom torch import nn\ndef train(initialize, *, seed):\n"
    code = f"{head}    initialize(nn.Linear(2, 2))\n    return {given}\n"
    (home / "one.py").write_text(code)
    chosen = make_cell({"trainer": "one.py:train", "initializer": "zero"})
    with pytest.raises(FaninError, match=message):
        train_by_own_code(chosen, environment={})


def test_numbers_of_numpy_and_torch_are_numbers(home: Path) -> None:
    code = (
        "import numpy as np, torch\nfrom torch import nn\n"
        "def train(initialize, *, seed):\n"
        "    model = nn.Linear(2, 2)\n"
        "    initialize(model)\n"
        "    return {'test_a': np.float32(0.5), 'test_b': model.weight.sum() * 0 + 2,\n"
        "            'test_c': torch.tensor([3]), 'test_d': np.array([4]), 'test_e': 5}\n"
    )
    (home / "kinds.py").write_text(code)
    chosen = make_cell({"trainer": "kinds.py:train", "initializer": "zero"})
    metrics = train_by_own_code(chosen, environment={}).metrics
    assert list(metrics.values()) == [0.5, 2, 3, 4, 5]
    assert all(type(value) is float for value in metrics.values())


def test_an_error_says_file_line_and_epoch_and_shows_the_last_lines() -> None:
    with pytest.raises(FaninError) as caught:
        train("raises_late")
    first, *rest = str(caught.value).splitlines()
    line = TRAINERS.splitlines().index(
        '            raise ZeroDivisionError("nothing to divide by")'
    )
    assert first == (
        "mine.py:raises_late raised ZeroDivisionError: nothing to divide by (mine.py, line "
        f"{line + 1}) in epoch 3."
    )
    assert 'raise ZeroDivisionError("nothing to divide by")' in "\n".join(rest)


def test_ending_the_process_costs_one_cell() -> None:
    with pytest.raises(FaninError, match=r"mine.py:exits raised SystemExit: 3"):
        train("exits")


def test_a_stop_ends_a_training_after_the_epoch_and_closes_the_function() -> None:
    with pytest.raises(TrainingInterrupted, match="stopped after 1 epochs"):
        train("fit", stop=lambda: True)


def test_the_callers_random_state_is_not_moved() -> None:
    before = torch.get_rng_state()
    train("fit")
    assert torch.equal(before, torch.get_rng_state())


def test_a_framework_that_has_the_loop_reports_from_a_callback() -> None:
    rows = list[dict[str, float]]()
    result = train("called_back", on_epoch=rows.append)
    assert result.history["val_loss"] == [1.0, 0.5]
    assert result.metrics == {"epochs": 2, "val_loss": 0.5, "test_loss": 0.7}
    assert [row["epoch"] for row in rows] == [1, 2]
    require_plausible(result.to_json())


def test_a_report_of_a_divergence_or_of_a_stop_ends_the_framework() -> None:
    with pytest.raises(TrainingInterrupted):
        train("called_back", stop=lambda: True)
    infinite = """callback({"val_loss": loss if loss == 1 else float("inf")})"""
    Path("mine.py").write_text(TRAINERS.replace('callback({"val_loss": loss})', infinite))
    result = train("called_back")
    assert (result.outcome, result.message) == ("diverged", "val_loss inf after epoch 2")
    assert read_log() == []  # neither was fitted to its end


# Runs


def test_two_initializers_of_a_replicate_get_the_same_seeds_and_the_same_draws() -> None:
    results = run(make_study("fit", replicates=2))
    assert results.outcomes == {"ok": 4}
    he, xavier = (
        {seed: (noise, weight) for spec, seed, noise, weight in read_log() if spec == name}
        for name in ("he_normal", "xavier_uniform")
    )
    assert len(he) == 2  # a seed for each replicate
    assert he.keys() == xavier.keys()
    for seed, (noise, weight) in he.items():
        assert xavier[seed][0] == noise
        # The same draw z behind both: erf(z/√2)·√(6/11) and z·√(2/3).
        z = float(weight) / math.sqrt(2 / 3)
        expected = math.erf(z / math.sqrt(2)) * math.sqrt(6 / 11)
        assert float(xavier[seed][1]) == pytest.approx(expected, rel=1e-5)
    assert len({noise for noise, _ in he.values()}) == 2


def test_one_worker_and_two_give_the_same_results(home: Path) -> None:
    def read(results: fanin.Results) -> dict[str, Any]:
        return {
            name: (result.metrics, {k: v for k, v in result.history.items() if k != "seconds"})
            for name, result in results.results.items()
        }

    study = make_study("fit", replicates=2)
    one = read(run(study))
    two = read(fanin.run(study, home / "two", workers=2, progress=False))
    assert one == two
    assert len(one) == 4


def test_finished_cells_are_not_trained_again_and_a_changed_file_makes_other_cells(
    home: Path,
) -> None:
    run(make_study("fit"))
    assert len(read_log()) == 2
    again = run(make_study("fit", replicates=2))
    assert len(read_log()) == 4  # the second replicate alone
    assert again.outcomes == {"ok": 4}
    (home / "mine.py").write_text(TRAINERS + "\n# changed\n")
    run(make_study("fit"))
    assert len(read_log()) == 6


def test_a_trainer_that_hangs_is_ended_and_tried_once_more() -> None:
    results = run(make_study("hangs", axes={"initializer": ["zero"]}), timeout=1.5)
    assert results.outcomes == {"killed": 1}
    (result,) = results.results.values()
    assert result.message.startswith("no epoch ended for 1.5 s (2 times)")
    assert read_log() == [["begun"], ["begun"]]


def test_a_trainer_that_raises_fails_its_cells_and_they_are_tried_again_by_the_next_command() -> (
    None
):
    study = make_study("raises_late")
    results = run(study)
    assert results.outcomes == {"failed": 2}
    assert all("in epoch 3." in result.reason for result in results.results.values())
    assert run(study).run_summary.trained == 2


def test_options_of_the_function_are_axes_and_tables_show_them() -> None:
    study = make_study("fit", axes={"initializer": ["he_normal"], "trainer.width": [4, 8]})
    results = run(study)
    frame = results.frame()
    assert list(frame["trainer.width"]) == [4, 8]
    assert results.outcomes == {"ok": 2}
    assert list(results.summary()["trainer.width"]) == [4, 8]
    assert [planned.cell.trainer for planned in results.plan.cells] == [
        "mine.py:fit(width=4)",
        "mine.py:fit",  # 8 is the function's default
    ]


def test_the_table_ranks_by_what_the_function_tests_and_hides_names_that_nobody_gave() -> None:
    done = write_and_run(
        """
        replicates = 2
        [base]
        trainer = "mine.py:once"
        [axes]
        initializer = ["he_normal", "zero"]
        """
    )
    assert done.code == 0, done.err
    assert "test reward" in done.out
    assert " own " not in done.out
    named = write_and_run(
        """
        [base]
        trainer = "mine.py:told"
        data = "poems"
        [axes]
        initializer = ["he_normal", "zero"]
        """,
        "named",
    )
    assert "poems" in named.out
    assert "val loss" in named.out


def test_without_a_test_set_validation_ranks_and_a_failure_is_told_in_one_line() -> None:
    done = write_and_run(
        """
        [base]
        trainer = "mine.py:half_measured"
        [axes]
        initializer = ["he_normal", "zero"]
        """
    )
    assert done.code == 0, done.err
    header = next(line for line in done.out.splitlines() if "epochs" in line)
    assert header.split() == ["initializer", "val", "accuracy", "val", "loss", "epochs"]
    assert "A higher energy counts as better" in done.out
    assert find_main_metric(load_results(Path("runs/mine")).frame()) == "val_accuracy"
    failed = write_and_run(
        """
        [base]
        trainer = "mine.py:raises_late"
        [axes]
        initializer = ["zero"]
        """,
        "failing",
    )
    assert failed.code == 1
    text = " ".join(failed.out.split())
    assert "1 failed" in text
    assert "Traceback" not in text
    assert "in epoch 3." in " ".join(run_command("status", "runs/failing").out.split())


def write_and_run(toml: str, name: str = "mine", *more: str) -> Any:
    lines = [line.strip() for line in toml.strip().splitlines()]
    Path(f"{name}.toml").write_text("\n".join(lines))
    return run_command("run", f"{name}.toml", "--workers", 1, *more)


def test_a_study_may_train_with_its_own_loop_in_one_grid_and_a_users_in_another() -> None:
    study = Study(
        "both",
        base={"initializer": "he_normal", "epochs": 1},
        grids=(
            {"data": ["digits"], "model": ["mlp(widths=[4], activation=relu)"]},
            {"trainer": ["mine.py:fit"], "trainer.width": [4]},
        ),
    )
    results = run(study)
    assert results.outcomes == {"ok": 2}
    assert [c.cell.protocol for c in results.plan.cells] == ["sound", "own"]
    assert results.plan.protocol == "sound + own"


# Planning


def test_planning_checks_the_signature_and_calls_nothing() -> None:
    done = write_and_run(
        """
        replicates = 3
        [base]
        trainer = "mine.py:fit"
        [axes]
        initializer = ["he_normal", "zero"]
        """,
        "mine",
        "--dry-run",
    )
    assert done.code == 0, done.err
    assert not Path("log").exists()
    assert "6 trainings by your own function take is not known" in " ".join(done.out.split())
    assert "he_normal · replicate 0" in done.out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trainer": "mine.py:fti"}, r"No callable in mine.py is called 'fti'. Did you mean fit"),
        ({"trainer": "there.py:fit"}, "There is no file there.py"),
        ({"trainer": "fit"}, r"No trainer is called 'fit'.*my_file.py:make"),
        ({"trainer": 3}, "trainer must be a name or a spec"),
        ({"trainer": "mine.py:fit(depth=3)"}, "depth"),
        ({"trainer": "mine.py:fit(width=wide)"}, "width"),
        ({"batch_size": 8}, "mine.py:fit has no parameter batch_size, so batch_size = 8 would"),
        ({"optimizer": "sgd"}, r"optimizer is for fanin's own loop.*trainer.optimizer"),
        ({"activation": "relu"}, "activation is for fanin's own loop"),
        ({"metrics": ["perplexity"]}, "metrics is for fanin's own loop"),
        ({"augment_seed": 3}, "augment_seed is for fanin's own loop"),
        ({"protocol": "case-study"}, "protocol = 'case-study' is one of fanin's own loop"),
        ({"model": "GPT 2"}, "'GPT 2' is not a spec"),
        ({"learning_rate": -1}, "learning_rate must be a positive number"),
        ({"initializer": "he_norml"}, "Did you mean he_normal"),
        ({"initializer": None}, "A cell needs initializer"),
    ],
)
def test_what_a_trainer_cannot_use_is_refused_when_it_is_planned(
    fields: dict[str, Any], message: str
) -> None:
    base = {"trainer": "mine.py:fit", "initializer": "zero", **fields}
    given = {name: value for name, value in base.items() if value is not None}
    with pytest.raises(FaninError, match=message) as caught:
        make_cell(given)
    if given.keys() == base.keys():  # a study adds the lines of these fields
        assert {*fields, "trainer"} & set(caught.value.about)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("def train():", "it has no parameter for initialize"),
        ("def train(initialize, other):", "nothing is passed for other"),
        ("def train(initialize, *, many=[1]):", r"many=…\) is \[1\], which a spec cannot write"),
    ],
)
def test_a_signature_that_cannot_be_called_is_refused_in_words(
    head: str, message: str, home: Path
) -> None:
    (home / "odd.py").write_text(f"{head}\n    return {{}}\n")
    with pytest.raises(FaninError, match=message):
        make_cell({"trainer": "odd.py:train", "initializer": "zero"})


def test_an_attribute_better_that_says_something_else_is_refused(home: Path) -> None:
    (home / "odd.py").write_text(
        "def train(initialize): ...\ntrain.better = {'reward': 'highest'}\n"
    )
    with pytest.raises(FaninError, match=r'Expected metrics and which way is better.*"reward"'):
        make_cell({"trainer": "odd.py:train", "initializer": "zero"})


def test_cells_with_a_trainer_keep_their_ids_apart_and_others_keep_theirs() -> None:
    plain = Cell(data="digits", model="mlp", initializer="zero")
    assert plain.to_json() == {"data": "digits", "model": "mlp", "initializer": "zero"}
    own = cell("fit")
    assert own.to_json()["model"] == own.to_json()["data"] == "own"
    assert Cell.from_json(own.to_json()).id == own.id
    assert own.sources[0][0] == "mine.py:fit"
    passed = (*own_training_fields._PASSED, *own_training_fields._SEEDS)
    assert {*passed, *own_training_fields._FREE} <= FIELDS.keys()


# Tuning


def test_the_rate_is_tuned_by_the_metric_that_the_study_names() -> None:
    study = make_study(
        "scored",
        axes={"initializer": ["zero"]},
        tuning=LearningRateTuning(
            (0.03, 0.1, 0.3, 1.0), replicates=1, metric="val_energy", better="max"
        ),
    )
    results = run(study)
    (planned,) = results.plan.cells
    assert planned.cell.learning_rate == 0.3
    assert any("by val_energy: zero 0.3" in note for note in results.plan.notes)


def test_tuning_by_a_metric_that_was_not_measured_says_which_there_are() -> None:
    tuning = LearningRateTuning((0.1, 0.3), replicates=1)
    study = make_study("scored", axes={"initializer": ["zero"]}, tuning=tuning)
    with pytest.raises(FaninError, match=r"by val_loss, which the trainings have not measured.*"):
        run(study)


def test_tuning_a_function_that_takes_no_rate_is_refused_when_it_is_planned() -> None:
    study = make_study("raises_late", tuning=LearningRateTuning((0.1, 0.3)))
    with pytest.raises(FaninError, match="has no parameter learning_rate"):
        study.plan()


def test_no_rate_is_chosen_on_the_test_set() -> None:
    with pytest.raises(FaninError, match="would choose learning rates on the test set"):
        LearningRateTuning((0.1, 0.3), metric="test_accuracy")
