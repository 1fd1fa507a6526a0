"""The number of threads changes no weight: factorizations run on one, and restore what was."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch
from apply_cases import built, equal, generator
from initializer_cases import SPECS
from torch import Tensor, nn

from fanin import initializers
from fanin.apply import initialize
from fanin.errors import FaninError
from fanin.initializers import Initializer
from fanin.initializers.single_thread import join_block, use_one_thread

SHAPES = ((33, 70), (70, 70), (257, 128), (129, 65, 3, 3))


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawn(initializer: Initializer, shape: tuple[int, ...], threads: int) -> Tensor | None:
    """A weight, or None if the initializer does not fit it."""
    torch.set_num_threads(threads)
    try:
        return initializer(torch.empty(shape), generator=generator(0))
    except FaninError:
        return None


def test_every_initializer_draws_the_same_bits_with_one_and_with_two_threads() -> None:
    differ = []
    for spec in SPECS:
        for shape in SHAPES:
            one, two = (drawn(initializers.get(spec), shape, threads) for threads in (1, 2))
            if one is not None and two is not None and not torch.equal(one, two):
                differ.append((spec, shape))
    assert not differ


@pytest.mark.parametrize("size", [1024, 2048])
def test_orthogonal_draws_the_same_bits_at_every_size(size: int) -> None:
    one, two = (drawn(initializers.get("orthogonal"), (size, size), n) for n in (1, 2))
    assert one is not None
    assert two is not None
    assert torch.equal(one, two)


def test_what_factorizes_is_said_to() -> None:
    """Of a model, several such weights are filled at a time, each on one thread."""
    found = {initializers.get(spec).name for spec in SPECS if initializers.get(spec).factorizes}
    assert found == {
        "orthogonal",
        "block_orthogonal",
        "scaled_uniform_orthogonal",
        "delta_orthogonal",
    }


def test_a_model_that_is_filled_on_threads_has_the_same_bits() -> None:
    def make() -> nn.Module:
        return nn.Sequential(*(nn.Linear(600, 601) for _ in range(4)), nn.LSTM(90, 100))

    models = [built(make), built(make)]
    for model, threads in zip(models, (1, 2), strict=True):
        torch.set_num_threads(threads)
        initialize(model, "orthogonal", seed=0)
        assert torch.get_num_threads() == threads
    assert equal(*models)


def test_the_number_of_threads_is_put_back_also_after_an_error() -> None:
    torch.set_num_threads(2)
    with contextlib.suppress(KeyError), use_one_thread():
        with use_one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


def test_blocks_of_other_threads_wait_unless_they_have_joined() -> None:
    done: list[str] = []

    def run(name: str, *, joins: bool) -> None:
        if joins:
            join_block()
        with use_one_thread():
            done.append(name)

    with use_one_thread():
        threads = [
            threading.Thread(target=run, args=(name,), kwargs={"joins": name == "joined"})
            for name in ("waits", "joined")
        ]
        for thread in threads:
            thread.start()
        threads[1].join(timeout=60)
        done.append("end of the block")
    threads[0].join(timeout=60)
    assert done == ["joined", "end of the block", "waits"]
