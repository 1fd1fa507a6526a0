"""The grid that forecasts are fitted and judged on: labels, stored results, the constants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from combinations import for_each
from forecast_grid.fitting import fit_logistic
from forecast_grid.grids import list_groups
from forecast_grid.judging import bin_forecasts, measure_auroc, measure_calibration_error
from forecast_grid.labels import label_group
from forecast_grid.probes import take_batch
from forecast_grid.stored_cases import StoredCase, read_cases
from forecast_grid.trainings import Stepper

import fanin
from fanin.diagnosis.forecast.trainability import FITS


def test_a_label_takes_the_best_rate_and_the_majority_of_seeds() -> None:
    errors = {
        "best": [[0.9] * 5, [0.1] * 5],
        "works": [[0.2, 0.2, 0.2, 0.9, 0.9], [0.9] * 5],
        "fails": [[0.9] * 5, [0.9, 0.9, 0.9, 0.1, 0.1]],
        "between": [[0.5] * 5, [math.inf] * 5],
    }
    found = {name: label for name, (label, _) in label_group(errors, 0.9).items()}
    assert found == {"best": "trains", "works": "trains", "fails": "fails", "between": "grey"}
    hopeless = {"one": [[0.85] * 5], "other": [[0.9] * 5]}
    assert {label for label, _ in label_group(hopeless, 0.9).values()} == {"grey"}


@for_each("optimizer", ["adam", "sgd"])
def test_trainings_at_once_take_the_steps_of_torch(optimizer: str) -> None:
    """Two members with a rate of their own each, beside torch's optimizer on each alone."""
    generator = torch.Generator().manual_seed(0)
    start, goal = (torch.randn(2, 3, generator=generator) for _ in range(2))
    rates = (0.3, 0.01)
    stepper = Stepper(optimizer, torch.tensor(rates), {"weight": start.clone()})
    alone = [start[index].clone().requires_grad_() for index in range(2)]
    make = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    of_torch = [make([one], lr=rate) for one, rate in zip(alone, rates, strict=True)]
    for _ in range(5):
        stepper.step([2 * (stepper.parameters["weight"] - goal)])
        for one, wanted, each in zip(alone, goal, of_torch, strict=True):
            each.zero_grad()
            (one - wanted).square().sum().backward()
            each.step()
    expected = torch.stack([one.detach() for one in alone])
    assert torch.allclose(stepper.parameters["weight"], expected, atol=1e-5)


def read_answered(grid: str) -> list[StoredCase]:
    """The stored cases outside the grey zone."""
    return [one for one in read_cases(grid) if one.label != "grey"]


@for_each("family", FITS)
def test_the_constants_are_the_fit_of_the_development_grid(family: str) -> None:
    own = [one for one in read_answered("development") if one.optimizer == family]
    fit = fit_logistic([one.penalties for one in own], [one.label == "trains" for one in own])
    assert FITS[family].intercept == pytest.approx(fit.intercept, abs=0.006)  # type: ignore[index]
    for name, value in FITS[family].coefficients.items():  # type: ignore[index]
        assert value == pytest.approx(fit.coefficients[name], abs=0.006)
        assert value >= 0


def test_the_forecast_tells_the_held_out_grid() -> None:
    cases = read_answered("held-out")
    trains = np.array([one.label == "trains" for one in cases])
    assert len({(one.network, one.start, one.optimizer) for one in cases}) >= 200
    score = measure_auroc(np.array([one.probability for one in cases]), trains)
    assert score == pytest.approx(0.975, abs=0.002)  # as docs/audit.md says; a constant has 0.5
    for name, usual in (("gradient ratio", 0), ("depth", 0)):
        scores = np.array([one.score_baselines(usual)[name] for one in cases])
        assert measure_auroc(scores, trains) < score


def test_the_grids_share_no_data_depth_width_activation_or_gain() -> None:
    development, held = list_groups("development"), list_groups("held-out")
    for field in ("data", "activation"):
        own = {getattr(one, field) for one in development}
        assert own.isdisjoint({getattr(one, field) for one in held}), field
    plain = [{(o.depth, o.width) for o in grid} for grid in (development, held)]
    assert plain[0].isdisjoint(plain[1])
    assert {one for group in development for one in group.starts if "gain" in one}.isdisjoint(
        {one for group in held for one in group.starts}
    )


def test_a_stored_start_is_measured_the_same_again() -> None:
    stored = next(
        one
        for one in read_cases("development")
        if one.network == "wine/plain-6x24-relu" and one.start == "torch_default"
    )
    group = next(one for one in list_groups("development") if one.network == stored.network)
    x, y = take_batch(group.task)
    found = fanin.audit(group.build(stored.start, 0), x, target=y).forecast(
        optimizer=stored.optimizer, steps=stored.steps
    )
    assert found.probability == pytest.approx(stored.probability, abs=0.02)


def test_bins_count_every_case_once() -> None:
    chances = np.array([0.0, 0.1, 0.2, 0.5, 0.99, 1.0])
    trains = np.array([False, False, True, True, True, True])
    bins = bin_forecasts(chances, trains)
    assert sum(one.count for one in bins) == 6
    assert measure_calibration_error(bins) == pytest.approx(
        (2 * 0.05 + 0.8 + 0.5 + 2 * 0.005) / 6, abs=1e-9
    )
