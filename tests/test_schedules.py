"""Schedules: equal to torch's in every step, and functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from combinations import for_each
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from fanin.errors import SpecError, UnknownName
from fanin.training import schedules

PER_EPOCH, EPOCHS, LR = 7, 12, 0.3
TOTAL = PER_EPOCH * EPOCHS

Make = Callable[[torch.optim.Optimizer], LRScheduler]


def _theirs(make: Make) -> list[float]:
    """The rate of each step under one of torch's schedulers, stepped after every batch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make(optimizer)
    rates = []
    for step in range(TOTAL):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step < TOTAL - 1:  # OneCycleLR refuses a step more, or divides by zero
            scheduler.step()
    return rates


def _ours(spec: str) -> list[float]:
    schedule = schedules.REGISTRY.make(spec)
    return [LR * schedule.compute_factor(step, PER_EPOCH, EPOCHS) for step in range(TOTAL)]


def _warm(optimizer: torch.optim.Optimizer, steps: int, start: float = 0.01) -> LinearLR:
    return LinearLR(optimizer, start_factor=start, total_iters=steps)


def _warm_cosine(optimizer: torch.optim.Optimizer) -> LRScheduler:
    after = CosineAnnealingLR(optimizer, T_max=TOTAL - 14, eta_min=0.1 * LR)
    return SequentialLR(optimizer, [_warm(optimizer, 14), after], milestones=[14])


def _warm_steps(optimizer: torch.optim.Optimizer) -> LRScheduler:
    # 1.5 epochs of 7 steps are 10.5, rounded up.
    return ChainedScheduler(
        [StepLR(optimizer, 5 * PER_EPOCH, gamma=0.2), _warm(optimizer, 11, 0.5)], optimizer
    )


def _warm_milestones(optimizer: torch.optim.Optimizer) -> LRScheduler:
    drops = MultiStepLR(optimizer, [PER_EPOCH, 9 * PER_EPOCH], gamma=0.5)
    return ChainedScheduler([drops, _warm(optimizer, 14)], optimizer)


CASES: dict[str, Make] = {
    "constant": lambda o: LinearLR(o, start_factor=1.0),
    "constant(warmup=2)": lambda o: _warm(o, 14),
    "constant(warmup=0.5, warmup_start=0.25)": lambda o: _warm(o, 4, 0.25),
    "cosine": lambda o: CosineAnnealingLR(o, T_max=TOTAL),
    "cosine(final=0.1)": lambda o: CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1 * LR),
    "cosine(final=0.1, warmup=2)": _warm_cosine,
    "step(every=5)": lambda o: StepLR(o, 5 * PER_EPOCH),
    "step(every=5, gamma=0.2, warmup=1.5, warmup_start=0.5)": _warm_steps,
    "milestones(at=[3, 9])": lambda o: MultiStepLR(o, [3 * PER_EPOCH, 9 * PER_EPOCH]),
    "milestones(at=[1, 9], gamma=0.5, warmup=2)": _warm_milestones,
    "one_cycle": lambda o: OneCycleLR(o, LR, total_steps=TOTAL, cycle_momentum=False),
    "one_cycle(pct_start=0.5, div_factor=10, final_div_factor=100, anneal=linear)": lambda o: (
        OneCycleLR(
            o,
            LR,
            TOTAL,
            pct_start=0.5,
            div_factor=10,
            final_div_factor=100,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
    ),
    "one_cycle(pct_start=0)": lambda o: OneCycleLR(
        o, LR, TOTAL, pct_start=0.0, cycle_momentum=False
    ),
    "one_cycle(pct_start=1)": lambda o: OneCycleLR(
        o, LR, TOTAL, pct_start=1.0, cycle_momentum=False
    ),
}
"""Spec → torch's scheduler of the same rates."""


# torch says that SequentialLR steps its parts in a way that it warns of elsewhere.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@for_each("spec", CASES)
def test_a_schedule_equals_torchs_in_every_step(spec: str) -> None:
    assert _ours(spec) == pytest.approx(_theirs(CASES[spec]), rel=1e-9, abs=1e-12)


def test_every_schedule_is_compared_with_torchs() -> None:
    assert {spec.partition("(")[0] for spec in CASES} == set(schedules.REGISTRY.names())


def test_the_comparison_would_notice_a_wave_that_ends_one_step_too_early() -> None:
    theirs = _theirs(lambda o: CosineAnnealingLR(o, T_max=TOTAL - 1))
    assert _ours("cosine") != pytest.approx(theirs, rel=1e-9, abs=1e-12)


@for_each("spec", CASES)
def test_no_rate_exceeds_the_learning_rate_or_is_negative(spec: str) -> None:
    factors = [rate / LR for rate in _ours(spec)]
    assert max(factors) <= 1 + 1e-12
    assert min(factors) >= 0


@for_each("spec", CASES)
@for_each(("per_epoch", "epochs"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_the_shortest_trainings_have_finite_rates(spec: str, per_epoch: int, epochs: int) -> None:
    schedule = schedules.REGISTRY.make(spec)
    factors = [
        schedule.compute_factor(step, per_epoch, epochs) for step in range(per_epoch * epochs)
    ]
    assert all(math.isfinite(factor) and 0 <= factor <= 1 for factor in factors)


def test_a_cycle_whose_rise_is_one_step_long_begins_at_its_top() -> None:
    assert (
        schedules.REGISTRY.make("one_cycle(pct_start=0.25)").compute_factor(0, 4, 1) == 1.0
    )  # torch divides by zero


def test_a_warm_up_longer_than_the_training_is_all_that_there_is() -> None:
    schedule = schedules.REGISTRY.make("cosine(warmup=4)")
    factors = [schedule.compute_factor(step, 5, 2) for step in range(10)]
    assert factors == pytest.approx([0.01 + 0.99 * step / 20 for step in range(10)])


def test_step_drops_at_the_first_step_of_an_epoch() -> None:
    schedule = schedules.REGISTRY.make("step(every=2)")
    assert [schedule.compute_factor(step, 3, 9) for step in (5, 6, 11, 12)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("constant(warmup=0)", "constant"),
        ("cosine(final=0)", "cosine"),
        ("cosine(warmup=5, warmup_start=0.01)", "cosine(warmup=5.0)"),
        ("step(every=30, gamma=0.1)", "step(every=30)"),
        ("milestones(at=[30, 60])", "milestones(at=[30, 60])"),
        ("one_cycle(pct_start=0.3, anneal=cos)", "one_cycle"),
    ],
)
def test_one_schedule_has_one_spec(spec: str, canonical: str) -> None:
    assert schedules.REGISTRY.make(spec).spec == canonical
    assert schedules.REGISTRY.make(canonical) == schedules.REGISTRY.make(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "constant(warmup=-1)",
        "constant(warmup=1, warmup_start=0)",
        "constant(warmup=1, warmup_start=1)",
        "cosine(final=1)",
        "cosine(final=-0.1)",
        "step(every=0)",
        "step(every=2.5)",
        "step(every=2, gamma=1)",
        "step(every=2, gamma=0)",
        "milestones(at=[])",
        "milestones(at=[0, 3])",
        "milestones(at=[5, 3])",
        "milestones(at=[3, 3])",
        "milestones(at=[3], gamma=1)",
        "one_cycle(pct_start=1.5)",
        "one_cycle(div_factor=0.5)",
        "one_cycle(final_div_factor=0)",
        "one_cycle(anneal=step)",
    ],
)
def test_options_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"=…\).* must be "):
        schedules.REGISTRY.make(spec)


def test_a_start_of_no_warm_up_is_refused() -> None:
    with pytest.raises(SpecError, match="changes nothing without a warm-up"):
        schedules.REGISTRY.make("cosine(warmup_start=0.5)")


@pytest.mark.parametrize("spec", ["step", "milestones"])
def test_a_drop_needs_to_know_when(spec: str) -> None:
    with pytest.raises(SpecError, match="needs"):
        schedules.REGISTRY.make(spec)


@pytest.mark.parametrize("spec", ["cosinus", "cosine(t_max=3)", "one_cycle(warmup=3)"])
def test_unknown_names_are_refused(spec: str) -> None:
    with pytest.raises(UnknownName):
        schedules.REGISTRY.make(spec)
