"""Time: how long the weights of a layer take to compute."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from fanin import initializers, seeds

METHODS = {
    "zero": "zero",
    "random": "normal(std=0.05)",
    "xavier": "xavier_normal",
    "he": "he_normal",
    "lecun": "lecun_normal",
    "orthogonal": "orthogonal",
}
SIZES = (256, 1024)
_LEAST = 2e-3
"""Seconds that one timing lasts at least; a fast method is called several times."""


def observe_times(replicates: int) -> list[dict[str, Any]]:
    """A record per size, method and round: ``log_seconds``, ln of the processor time of one fill of
    a square float32 weight, on one thread.

    The methods take turns within a round, and start with another one in each, so that what else the
    machine does hits all alike. All draw from normal distributions.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            {"size": size, "method": method, "replicate": turn, "log_seconds": seconds}
            for size in SIZES
            for turn, times in enumerate(_time_rounds(size, replicates))
            for method, seconds in times.items()
        ]
    finally:
        torch.set_num_threads(threads)


def _time_rounds(size: int, rounds: int) -> list[dict[str, float]]:
    weight = torch.zeros(size, size)
    fills = {name: initializers.get(spec) for name, spec in METHODS.items()}
    calls = {
        name: max(1, math.ceil(_LEAST / _time(fill, weight, 2))) for name, fill in fills.items()
    }
    names = list(fills)
    found = []
    for turn in range(rounds):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        seconds = {name: _time(fills[name], weight, calls[name]) for name in order}
        found.append({name: round(math.log(seconds[name]), 5) for name in names})
    return found


def _time(fill: initializers.Initializer, weight: torch.Tensor, calls: int) -> float:
    """Processor seconds of one call."""
    generator = seeds.make_generator(0, "time of initialization")
    started = time.process_time()
    for _ in range(calls):
        fill(weight, generator=generator)
    return (time.process_time() - started) / calls
