"""Protocols: what is held out, when training stops, what is reported."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.registry import PlainEntry, Registry


@dataclass(frozen=True)
class Protocol(PlainEntry):
    """How a cell is trained and judged, apart from its model, data and optimizer.

    Training stops after `patience` epochs without a strictly lower validation loss. Before the test
    set is evaluated, the weights of the epoch with the lowest validation loss are restored, also
    if all epochs ran.
    """

    name: str
    summary: str
    holdout: float
    """Share of the training set held out for validation; 0 validates on the test set."""
    standardise_target: bool
    """Whether a regression target is standardised with the mean and standard deviation of the
    training subset. Errors are reported in its own units.
    """
    patience: int = 5
    flaw: str = ""
    """What every table and report must say about it."""


REGISTRY: Registry[Protocol, Protocol] = Registry("protocol", Protocol)

REGISTRY.add(
    Protocol(
        name="sound",
        summary="10 % of the training set is held out for validation; the test set is touched "
        "once, at the end",
        holdout=0.1,
        standardise_target=True,
    )
)
REGISTRY.add(
    Protocol(
        name="case-study",
        summary="the published case study: the test set serves as validation set, and the target "
        "stays in raw units",
        holdout=0.0,
        standardise_target=False,
        flaw="early stopping and the choice of weights look at the test set, as in the published "
        "study: scores are optimistic",
    )
)
REGISTRY.add(
    Protocol(
        name="full-length",
        summary="as sound, but no training stops early: all epochs run, so that epochs to a target "
        "and what long training reaches can be told",
        holdout=0.1,
        standardise_target=True,
        patience=10**9,
    )
)
