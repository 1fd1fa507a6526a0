"""Examples: every file in examples/ runs, and each part of the user's own is what its kind must
be.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from cli_session import fanin as run_command
from torch import nn

import fanin
from fanin import fans, models, seeds, specs, user_code
from fanin.report.stored_results import load_results
from fanin.study.canonical_cell import make_cell
from fanin.training.own_training import train_by_own_code
from fanin.user_code import DATASET, LOSS, METRIC, OPTIMIZER, Contract

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

SCRIPTS = {"initialize_a_model.py": (), "compare_initializers.py": ("1",)}
PARTS = (
    "my_model.py",
    "my_initializer.py",
    "my_dataset.py",
    "my_optimizer.py",
    "my_metric.py",
    "my_loss.py",
)
STUDY = "my_study.toml"
TRAININGS: dict[str, tuple[tuple[str, ...], tuple[object, ...]]] = {
    "my_training": ((), ("initializer=he_normal,trainer.width=16",)),
    "lightning_training": (("lightning",), ("initializer=gain 1,trainer.depth=2",)),
    "gpt_training": (("transformers", "accelerate"), ("initializer=std 0.01,std 0.02",)),
}
"""Users' own trainings: the packages that each needs, and a part of its study."""
NEWCOMER = "my_init.py"


def part(name: str, contract: Contract, **options: object) -> object:
    """The part of a file in examples/ and its options."""
    found = user_code.load_component(f"{EXAMPLES / name}:make", contract)
    return found, specs.construct(found.name, found.options, options)


def test_every_file_is_run_by_a_test() -> None:
    there = {file.name for file in EXAMPLES.iterdir() if file.is_file() and file.suffix != ".pyc"}
    trainings = {f"{name}.{ending}" for name in TRAININGS for ending in ("py", "toml")}
    assert there == {*SCRIPTS, *PARTS, STUDY, NEWCOMER, *trainings}


@pytest.mark.usefixtures("preloaded_workers", "draws_globally")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_ends_well(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *SCRIPTS[name]])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.usefixtures("preloaded_workers")
def test_the_study_of_own_parts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a study finds its files from everywhere
    less = ("--max-epochs", 1, "--replicates", 1, "--workers", 1)
    done = run_command("run", EXAMPLES / STUDY, *less, "--out", tmp_path / "runs")
    assert done.code == 0, done.err
    assert "laplace" in done.out


@pytest.mark.usefixtures("preloaded_workers", "draws_globally")
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_of_ones_own_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, only = TRAININGS[name]
    if missing := [package for package in packages if find_spec(package) is None]:
        pytest.skip(f"{' and '.join(missing)} is not installed; make test-all installs it")
    monkeypatch.chdir(tmp_path)
    less = ("--max-epochs", 1, "--replicates", 1, "--workers", 1, "--only", *only)
    done = run_command(
        "run", EXAMPLES / f"{name}.toml", *less, "--out", tmp_path / "runs", "--json"
    )
    assert done.code == 0, done.err
    assert set(done.record["outcomes"]) == {"ok"}
    first, *_ = load_results(tmp_path / "runs").results.values()
    assert first.cell.trainer is not None
    assert first.history["val_loss"]
    assert any(metric.startswith("test_") for metric in first.metrics)


def test_the_plain_loop_learns_digits() -> None:
    reference = f"{EXAMPLES / 'my_training.py'}:train(width=16)"
    chosen = make_cell({"trainer": reference, "initializer": "he_normal", "epochs": 3})
    result = train_by_own_code(chosen, environment={})
    assert result.outcome == "ok"
    assert result.metrics["test_accuracy"] > 0.8
    assert len(result.history["val_accuracy"]) == 3


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_shows_its_line_of_a_study(name: str) -> None:
    reference = f"examples/{name}.py:train"
    assert f'trainer = "{reference}' in (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    assert f'trainer = "{name}.py:train"' in (EXAMPLES / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", PARTS)
def test_a_part_shows_its_line_of_a_study_and_the_study_uses_it(name: str) -> None:
    assert f"examples/{name}:make(" in (EXAMPLES / name).read_text(encoding="utf-8").split('"""')[1]
    assert f'"{name}:make' in (EXAMPLES / STUDY).read_text(encoding="utf-8")


def test_the_model_fits_images_and_tables() -> None:
    model = models.get(f"{EXAMPLES / 'my_model.py'}:make(depth=2)")
    for shape in ((2,), (1, 8, 8)):
        model.check(shape, 3, "classification")
    module = model.build((2,), 3)
    assert module(torch.zeros(5, 2)).shape == (5, 3)


def test_the_initializer_has_the_variance_that_it_says() -> None:
    # n = 160,000 numbers with kurtosis 6: the standard error of their std is √(5/(4n)) = 0.28 % of
    # it; five of them.
    initializer = fanin.get(f"{EXAMPLES / 'my_initializer.py'}:make(gain=1.5)")
    layout = fans.get_tensor_layout(torch.empty(400, 400))
    weight = initializer.sample(layout, seeds.make_generator(0, "init", "w"))
    assert weight.std().item() == pytest.approx(1.5 / 20, rel=0.014)


def test_the_data_set_is_the_same_at_every_call() -> None:
    found, options = part("my_dataset.py", DATASET, arms=4)
    one, two = found.call(options), found.call(options)  # type: ignore[attr-defined]
    assert one["x_train"].shape == (600, 2)
    assert one["x_test"].shape == (300, 2)
    assert set(one["y_train"]) == set(one["y_test"]) == {0, 1, 2, 3}
    assert all((one[name] == two[name]).all() for name in one)


def test_the_optimizer_moves_each_weight_by_the_learning_rate_against_its_gradient() -> None:
    found, options = part("my_optimizer.py", OPTIMIZER)
    weight = nn.Parameter(torch.tensor([1.0, -1.0]))
    weight.grad = torch.tensor([0.5, -3.0])
    found.call(options, [weight], 0.1).step()  # type: ignore[attr-defined]
    assert weight.tolist() == pytest.approx([0.9, -0.9])


def test_the_metric_counts_the_true_class_among_the_best() -> None:
    found, options = part("my_metric.py", METRIC, k=2)
    outputs = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert found.call(options)(outputs, torch.tensor([0, 2, 1])).tolist() == [1, 0, 1]  # type: ignore[attr-defined]


def test_the_loss_is_cross_entropy_that_hard_samples_and_rare_classes_weigh_in() -> None:
    outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    found, options = part("my_loss.py", LOSS, gamma=0.0)
    plain = found.call(options, outputs=2, class_counts=(10, 10))  # type: ignore[attr-defined]
    assert float(plain(outputs, targets)) == pytest.approx(
        float(nn.functional.cross_entropy(outputs, targets))
    )
    found, options = part("my_loss.py", LOSS, gamma=2.0)
    focal = found.call(options, outputs=2, class_counts=(30, 10))  # type: ignore[attr-defined]
    p = outputs.softmax(1)[range(2), targets]
    expected = ((1 - p) ** 2 * -p.log() * torch.tensor([40 / 60, 40 / 20])).mean()
    assert float(focal(outputs, targets)) == pytest.approx(float(expected))


def test_the_newcomer_has_he_s_variance_and_zeros() -> None:
    init = fanin.get(f"{EXAMPLES / NEWCOMER}:MyInit", keep=0.25)
    weight = init(torch.empty(400, 500), generator=seeds.make_generator(0, "example"))
    assert weight.var().item() == pytest.approx(2 / 500, rel=0.05)
    assert (weight == 0).float().mean().item() == pytest.approx(0.75, abs=0.01)


def test_the_newcomer_is_compared_with_a_built_in_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_command(
        *("compare", f"{EXAMPLES / NEWCOMER}:MyInit", "--against", "quick"),
        *("--only", "data=diabetes", "--dry-run", "--json"),
    )
    assert done.code == 0, done.err
    assert (done.record["to_train"], done.record["baselines"]) == (10, 60)
