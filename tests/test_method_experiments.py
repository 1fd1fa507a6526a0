"""The experiments of benchmarks/methods/: each states its criterion, its page fits its results, and
shortened it points where its paper says.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fanin import seeds

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "benchmarks" / "methods"
sys.path.append(str(SCRIPTS))

from experiment import Effect, Experiment, Record, Records, decide, run  # noqa: E402
from experiment.effects import compare_at_best_rates, read_at_best_rate  # noqa: E402
from experiment.loop import FIRST_SEED, RESULTS  # noqa: E402
from experiment.rate_sweep import find_best_rate, sweep_rates  # noqa: E402
from experiment.records import append_record, read_records  # noqa: E402
from experiment.training import train  # noqa: E402

NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))

every_experiment = pytest.mark.parametrize("name", NAMES)


@functools.cache
def run_file(name: str) -> dict[str, Any]:
    """The variables of an experiment's file."""
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def load(name: str) -> Experiment:
    return run_file(name)["EXPERIMENT"]


@every_experiment
def test_an_experiment_states_question_claim_protocol_and_criterion(name: str) -> None:
    text = run_file(name)["__doc__"]
    heads = re.findall(r"^(\w+)\. ", text, flags=re.MULTILINE)
    assert [head for head in heads if head[0].isupper()][:4] == [
        "Question",
        "Claim",
        "Protocol",
        "Criterion",
    ]
    assert load(name).name == name
    assert any(effect.counts for effect in load(name).effects)


@every_experiment
def test_the_committed_results_are_complete(name: str) -> None:
    experiment = load(name)
    records = read_records(RESULTS / f"{name}.jsonl")
    assert experiment.find_missing(records) == []
    assert len(records) == len(experiment.list_runs(fast=False))


def test_the_pages_fit_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["methods.py", "--check"])
    monkeypatch.syspath_prepend(ROOT / "docs")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "methods.py"), run_name="__main__")
    assert ended.value.code == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.realdata] * bool(load(name).data)) for name in NAMES],
)
def test_a_shortened_experiment_points_where_its_results_do(name: str, tmp_path: Path) -> None:
    """Where the full run does not show an effect, the shortened one need not point there."""
    experiment = load(name)
    if experiment.data:
        assert "FANIN_DATA_DIR" in os.environ
    full = read_records(RESULTS / f"{name}.jsonl")
    records = run(experiment, tmp_path / "fast.jsonl", fast=True)
    wrong = []
    for effect in experiment.effects:
        if effect.counts and decide(effect, full).is_shown:
            found = decide(effect, records)
            if not found.points_there:
                wrong.append((effect.says, found.value))
    assert wrong == []


def make_records(values: dict[float, list[float]]) -> Records:
    """Records of a start "a" by learning rate."""
    return Records(
        Record({"start": "a", "learning_rate": rate}, replicate, {"loss": loss}, 0.0, "", "")
        for rate, losses in values.items()
        for replicate, loss in enumerate(losses)
    )


def test_an_effect_is_shown_only_if_its_whole_interval_lies_in_the_range() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    numbers = list(rng.normal(1.0, 1.0, 10))
    records = Records()

    def judge(above: float) -> bool:
        return decide(Effect("", "", lambda _: numbers, above=above), records).is_shown

    low = decide(Effect("", "", lambda _: numbers), records).low
    assert judge(low - 1e-6)
    assert not judge(low + 1e-6)
    few = decide(Effect("", "", lambda _: numbers[:4], above=-100.0), records)
    assert not few.is_shown
    assert few.points_there


def test_a_median_takes_diverged_runs_and_a_mean_then_shows_nothing() -> None:
    numbers = [math.inf] * 7 + [1.0] * 3
    median = decide(Effect("", "", lambda _: numbers, above=5.0, of="median"), Records())
    assert median.value == math.inf
    assert not decide(Effect("", "", lambda _: numbers, below=5.0), Records()).is_shown
    assert decide(Effect("", "", lambda _: numbers, above=0.5, of="median"), Records()).is_shown
    assert not decide(Effect("", "", lambda _: numbers, above=1.5, of="median"), Records()).is_shown
    worse = Effect("", "", lambda _: [-number for number in numbers], below=-0.5, of="median")
    assert decide(worse, Records()).is_shown
    with pytest.raises(ValueError, match="number per replicate"):
        decide(Effect("says", "", lambda _: [math.nan]), Records())


def test_no_run_takes_part_in_the_choice_of_its_own_rate() -> None:
    """Of two rates without a difference, choosing by the run itself would find the smaller loss."""
    rng = np.random.Generator(np.random.PCG64(1))
    n = 2000
    records = make_records({0.1: list(rng.normal(0, 1, n)), 0.2: list(rng.normal(0, 1, n))})
    chosen = np.array(list(read_at_best_rate(records, "loss", higher=False, start="a").values()))
    assert abs(chosen.mean()) < 4 / math.sqrt(n)  # 4 σ; the smaller of two has mean −0.56
    worse = make_records({0.1: [5.0, 6.0, 5.5], 0.2: [1.0, 2.0, math.inf]})
    best = read_at_best_rate(worse, "loss", higher=False, start="a")
    assert best == {0: 5.0, 1: 6.0, 2: math.inf}  # only replicate 2 does not know that 0.2 diverges
    same = compare_at_best_rates(worse, "loss", {"start": "a"}, {"start": "a"}, higher=False)
    assert same[:2] == [0.0, 0.0]


def test_a_sweep_takes_the_steps_that_torch_s_adam_takes_at_each_rate() -> None:
    with seeds.preserve_torch_state(0):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        x, y = torch.randn(60, 4), torch.randint(3, (60,))
    before = copy.deepcopy(model.state_dict())
    rates, factors = (0.001, 0.1), {"2.weight": 0.25}
    curves = sweep_rates(model, rates, x, y, steps=7, batch_size=25, seed=3, factors=factors)
    for rate, curve in zip(rates, curves, strict=True):
        alone = copy.deepcopy(model)
        groups = [
            {"params": [parameter], "lr": rate * factors.get(name, 1.0)}
            for name, parameter in alone.named_parameters()
        ]
        optimizer = torch.optim.Adam(groups)
        wanted = train(alone, optimizer, x, y, steps=7, batch_size=25, seed=3)
        np.testing.assert_allclose(curve, wanted, rtol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_sweep_s_losses_are_inf_from_the_first_that_is_not_finite_on() -> None:
    x = torch.full((8, 1), 1e30)

    def overflow(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs * 1e30 - targets).square().mean()

    with seeds.preserve_torch_state(0):
        curves = sweep_rates(
            nn.Linear(1, 1, bias=False),
            (1.0,),
            x,
            torch.zeros(8, 1),
            steps=3,
            batch_size=4,
            seed=0,
            loss=overflow,
        )
    assert curves == [[math.inf] * 3]


def test_the_best_rate_is_the_vertex_of_a_parabola() -> None:
    rates = [2.0**-power for power in range(9, 2, -1)]
    losses = [(math.log2(rate) + 5.3) ** 2 for rate in rates]
    assert find_best_rate(rates, losses) == pytest.approx(-5.3)
    assert find_best_rate(rates, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == -9.0
    assert find_best_rate(rates, [3.0, 2.0, 1.0, math.inf, 5.0, 6.0, 7.0]) == -7.0


def test_a_run_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    measured = []

    def measure(condition: object, seed: int, fast: bool) -> dict[str, float]:
        measured.append(seed - FIRST_SEED)
        return {"loss": 1.0}

    experiment = Experiment(
        name="a", title="", methods=(), source="", conditions=({"start": "a"},), measure=measure,
        effects=(), draw=lambda records: None, columns={}, replicates=3,
    )  # fmt: skip
    path = tmp_path / "a.jsonl"
    first = run(experiment, path, replicates=2)
    with path.open("a") as stream:
        stream.write('{"condition": {"start"')
    assert read_records(path) == first
    assert [record.replicate for record in run(experiment, path)] == [0, 1, 2]
    assert measured == [0, 1, 2]
    assert len(read_records(path)) == 3
    append_record(path, Record({"start": "b"}, 0, {"loss": math.inf}, 0.0, "", ""))
    assert read_records(path).pick(start="b")[0].values["loss"] == math.inf
