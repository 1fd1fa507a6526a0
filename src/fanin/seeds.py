"""Seeds, streams and generators: the only module that creates a random generator.

Every random number in fanin is a pure function of (root seed, purpose, name, position):

- a weight: ``make_generator(seed, "init", qualified parameter name)``, one stream per parameter;
- the order of an epoch: ``draw_order(seed, epoch, n)``;
- a dropout mask: ``derive_dropout_key(seed, epoch, step, layer)`` and the index of the element, by
  an integer hash;
- an epoch's augmentation: ``make_generator(seed, "augment", name of the augmentation, epoch)``, one
  row per sample;
- a held-out split: ``make_generator(seed, "split")``.

So adding a layer changes no other layer's draw, a checkpoint holds no generator state, and all
initializers of a replicate see the same batches, the same masks and the same standard-normal draw.

torch's CPU generator uses only the low 32 bits of its seed, so a stream is a 32-bit number here
too, and `require_distinct` checks that no two streams of one model coincide.

torch is imported by the functions that need it: statistics of stored results draw from NumPy alone.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fanin.errors import FaninError, UsageError, quote

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_SEED = 2**63 - 1

NumpyGenerator = np.random.Generator
"""The type of NumPy's generators, for annotations elsewhere."""

# torch draws normal numbers in blocks of this size. It draws fewer numbers in another way, and the
# end of an incomplete block twice. So `standard_normal` draws whole blocks and drops the rest.
_BLOCK = 16


def derive_stream(seed: int, purpose: str, *name: str | int) -> int:
    """The 32-bit number of the stream of (seed, purpose, name, …)."""
    return _digest(seed, purpose, *name) & 0xFFFFFFFF


def make_generator(seed: int, purpose: str, *name: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream of (seed, purpose, name, …)."""
    import torch

    return torch.Generator("cpu").manual_seed(derive_stream(seed, purpose, *name))


def restart_stream(stream: int) -> torch.Generator:
    """A CPU generator at the start of a stream of that number, such as one that a record names."""
    import torch

    return torch.Generator("cpu").manual_seed(stream)


def make_numpy_generator(seed: int, purpose: str, *name: str | int) -> np.random.Generator:
    """NumPy's PCG64 generator for (seed, purpose, name, …), for statistics and planning."""
    return np.random.Generator(np.random.PCG64(_digest(seed, purpose, *name)))


def derive_seed(seed: int, purpose: str, *name: str | int) -> int:
    """A 63-bit seed for one purpose, such as a replicate's initialization, from a root seed."""
    return _digest(seed, purpose, *name) & MAX_SEED


def draw_legacy_permutation(seed: int, n: int) -> np.ndarray:
    """The order of n rows after NumPy's legacy ``RandomState(seed)`` has shuffled them.

    Keras' data loaders shuffle in this way.
    """
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)
    return order


def draw_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which an epoch visits n samples: int64, shape (n,)."""
    import torch

    return torch.randperm(n, generator=make_generator(seed, "order", epoch), device="cpu")


def standard_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The draw z ~ N(0, 1) that underlies every random weight: contiguous fp32 on the CPU.

    Differs from ``torch.randn``: a shorter draw is exactly the beginning of a longer one. With
    torch, a draw ends differently if its length is no multiple of 16, and is a different draw if it
    is shorter than 16.
    """
    n = math.prod(shape)
    blocks = max(-(-n // _BLOCK), 1)
    z = _take_memory(blocks * _BLOCK).normal_(generator=generator)
    return z[:n].view(shape)


class _DrawMemory(threading.local):
    memory: Tensor | None = None


_DRAW_MEMORY = _DrawMemory()


@contextmanager
def draw_into(place: Tensor) -> Iterator[None]:
    """Let this thread's next `standard_normal` draw use the memory of `place`.

    It does if `place` is contiguous fp32 on the CPU and has as many elements as are drawn. Fresh
    memory for a large weight costs up to half as much as the draw itself. The numbers are the same.
    """
    import torch

    is_usable = (
        type(place) in (torch.Tensor, torch.nn.Parameter)
        and place.device.type == "cpu"
        and place.dtype == torch.float32
        and place.is_contiguous()
    )
    _DRAW_MEMORY.memory = place.detach().view(-1) if is_usable else None
    try:
        yield
    finally:
        _DRAW_MEMORY.memory = None


def _take_memory(n: int) -> Tensor:
    """Memory for n numbers: what `draw_into` offers, once, or else fresh memory."""
    memory, _DRAW_MEMORY.memory = _DRAW_MEMORY.memory, None
    if memory is not None and len(memory) == n:
        return memory
    import torch

    return torch.empty(n, dtype=torch.float32, device="cpu")


def derive_dropout_key(seed: int, epoch: int, step: int, layer: str) -> int:
    """The 32-bit key of one dropout layer's mask in one step."""
    return derive_stream(seed, "dropout", epoch, step, layer)


def draw_keep_mask(key: Tensor, shape: tuple[int, ...], probability: float) -> Tensor:
    """A boolean mask that keeps each element with `probability`: a hash of (key, index).

    Args:
        key: int64 tensor of one element with the value of `derive_dropout_key`. It is a tensor so
            that a graph that was captured or mapped with ``torch.func.vmap`` can take a new key
            without being built again.
        shape: the shape of the mask.
        probability: probability of keeping an element, in [0, 1].

    The hash is a 32-bit finalizer with multiplications by odd constants (the "lowbias32"
    construction), run twice, in int64 torch operations whose values stay below 2**32 between steps.
    It is exact and the same on every device.
    """
    import torch

    index = torch.arange(math.prod(shape), device=key.device, dtype=torch.int64).view(shape)
    mixed = _mix((_mix(index) + key) & 0xFFFFFFFF)
    return mixed < round(probability * 2**32)


def check_seed(seed: object, what: str = "seed") -> int:
    """`seed` as an int; raises `UsageError` for anything but an integer from 0 to 2**63 - 1."""
    if (
        isinstance(seed, bool)
        or not isinstance(seed, (int, np.integer))
        or not 0 <= int(seed) <= MAX_SEED
    ):
        raise UsageError(f"{what} must be an integer from 0 to 2**63 - 1, not {quote(seed)}.")
    return int(seed)


def require_distinct(streams: Mapping[str, int]) -> None:
    """Raise `FaninError` if two of the named streams are the same number."""
    seen: dict[int, str] = {}
    for name, number in streams.items():
        if number in seen:
            raise FaninError(
                f"The random streams of {seen[number]} and {name} coincide with this seed (a "
                "chance of about 1 in 4 billion per pair), which would make their weights equal. "
                "Use another seed."
            )
        seen[number] = name


@contextmanager
def preserve_torch_state(seed: int | None = None) -> Iterator[None]:
    """Restore the state of torch's global generators at the end.

    For code that draws from them, such as a module's constructor or torch's own dropout. With a
    seed, they start from it.
    """
    import torch

    cuda_is_initialized: Callable[[], bool] = torch.cuda.is_initialized
    with torch.random.fork_rng(
        devices=range(torch.cuda.device_count()) if cuda_is_initialized() else []
    ):
        if seed is not None:
            torch.random.manual_seed(seed)
        yield


@contextmanager
def preserve_global_state(seed: int) -> Iterator[None]:
    """Let torch's, Python's and NumPy's global generators start from a seed, and restore them."""
    with preserve_torch_state(seed), preserve_python_state(seed):
        yield


@contextmanager
def preserve_python_state(seed: int | None = None) -> Iterator[None]:
    """Restore the state of Python's `random` and of NumPy's global generator at the end.

    For code that draws from them; rich does when it is imported. With a seed (32 bits), they start
    from it.
    """
    state, legacy = random.getstate(), np.random.get_state()
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)


def _digest(seed: int, purpose: str, *name: str | int) -> int:
    parts = [str(seed), purpose, *(f"{type(part).__name__}:{part}" for part in name)]
    # with lengths, ("a", "b") and ("ab",) differ
    text = "\x1f".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _mix(x: Tensor) -> Tensor:
    """Mix the low 32 bits of an int64 tensor, in place."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x &= 0xFFFFFFFF
    x ^= x >> 15
    x *= 0x846CA68B
    x &= 0xFFFFFFFF
    x ^= x >> 16
    return x
