"""How LoRA's pairs can start: the methods by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin import seeds
from fanin.errors import FitError, SpecError, quote
from fanin.initializers import distributions
from fanin.initializers.orthogonal import haar
from fanin.initializers.single_thread import use_one_thread
from fanin.registry import Component, ComponentEntry, Registry


@dataclass(frozen=True)
class LoraTask:
    """What a method may know of one pair. Matrices are (outputs, inputs), the kernel among the
    inputs.
    """

    name: str
    rank: int
    outputs: int
    inputs: int
    scaling: float
    table: bool
    """Whether the inputs are rows of an embedding: one of them is 1."""
    seed: int
    read_weight: Callable[[], Tensor]
    """The weight that the pair adds to, (outputs, inputs), fp32 or fp64, on the CPU."""
    signals: Tensor | None = None
    """What the layer receives, (samples, inputs): only for methods that need data."""

    def draw(self, part: str, *shape: int) -> Tensor:
        """Standard-normal numbers of this pair's own stream."""
        return seeds.standard_normal(shape, self.make_generator(part))

    def make_generator(self, part: str) -> torch.Generator:
        """The stream of one part of this pair."""
        return seeds.make_generator(self.seed, "lora", self.name, part)


class LoraMethod(Component, ABC):
    """A frozen dataclass of options, from which A (rank, inputs) and B (outputs, rank) follow."""

    needs_data: ClassVar[bool] = False
    subtracts: ClassVar[bool] = False
    """Whether B·A is not 0, so that the weight must give up what the pair adds."""

    @abstractmethod
    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """A and B."""


@dataclass(frozen=True)
class Kaiming(LoraMethod):
    """A ~ U(−1/√inputs, 1/√inputs), B = 0, as in LoRA's code and by default in peft; of an
    embedding A = 0, B ~ N(0, 1).
    """

    name: ClassVar[str] = "kaiming"

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Uniform numbers and zeros."""
        if task.table:
            return _start_table(task)
        bound = 1 / math.sqrt(task.inputs)
        shape = (task.rank, task.inputs)
        a = distributions.uniform(shape, task.make_generator("A"), low=-bound, high=bound)
        return a, torch.zeros(task.outputs, task.rank)


@dataclass(frozen=True)
class Gaussian(LoraMethod):
    """A ~ N(0, 1/rank²), B = 0, as peft's "gaussian"; of an embedding A = 0, B ~ N(0, 1).

    The paper (Hu et al. 2021) draws A from a normal distribution and does not say its deviation.
    """

    name: ClassVar[str] = "gaussian"

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Normal numbers and zeros."""
        if task.table:
            return _start_table(task)
        a = task.draw("A", task.rank, task.inputs).div_(task.rank)
        return a, torch.zeros(task.outputs, task.rank)


@dataclass(frozen=True)
class OrthogonalPair(LoraMethod):
    """A and B not 0 and B·A = 0: with an orthogonal Q (rank, rank), A = (X·Q_odd)ᵀ/10 and
    B = Yᵀ·Q_even/10, X and Y standard normal, as peft's "orthogonal". The rank must be even.
    """

    name: ClassVar[str] = "orthogonal"

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Mixtures of different rows of one rotation."""
        half, odd = divmod(task.rank, 2)
        if odd:
            raise FitError(f"orthogonal needs an even rank; that of {task.name} is {task.rank}.")
        q = haar(task.draw("Q", 1, task.rank, task.rank).double())[0]
        a = (task.draw("A", task.inputs, half).double() @ q[0::2]).T / 10
        b = task.draw("B", half, task.outputs).double().T @ q[1::2] / 10
        return a, b


@dataclass(frozen=True)
class Pissa(LoraMethod):
    """The largest singular values of W: A = √(S_r/s)·V_rᵀ, B = U_r·√(S_r/s), with W = U·S·Vᵀ and
    the scaling s; W gives up s·B·A (Meng et al. 2024, https://arxiv.org/abs/2404.02948).

    Args:
        niter: subspace iterations of a randomized decomposition; none means an exact one.
    """

    name: ClassVar[str] = "pissa"
    subtracts: ClassVar[bool] = True
    niter: int | None = None

    def check(self) -> None:
        """The number of iterations must not be negative."""
        if self.niter is not None and self.niter < 0:
            raise SpecError(f"pissa(niter=…) must be at least 0, not {quote(self.niter)}.")

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Half of each singular value goes to A, half to B."""
        weight = _read_matrix(task, self.name)
        with use_one_thread():
            if self.niter is None:
                u, s, vt = torch.linalg.svd(weight, full_matrices=False)
            else:
                with seeds.preserve_torch_state(seeds.derive_stream(task.seed, "svd", task.name)):
                    u, s, v = torch.svd_lowrank(weight, q=task.rank, niter=self.niter)
                vt = v.T
        root = (s[: task.rank] / task.scaling).sqrt()
        return root[:, None] * vt[: task.rank], u[:, : task.rank] * root


@dataclass(frozen=True)
class Olora(LoraMethod):
    """W = Q·R: B = Q's first columns, A = R's first rows; W gives up s·B·A (Büyükakyüz 2024,
    https://arxiv.org/abs/2406.01775).
    """

    name: ClassVar[str] = "olora"
    subtracts: ClassVar[bool] = True

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Orthonormal columns, and what they are multiplied with."""
        with use_one_thread():
            q, r = torch.linalg.qr(_read_matrix(task, self.name))
        return r[: task.rank], q[:, : task.rank]


@dataclass(frozen=True)
class Eva(LoraMethod):
    """A = the first principal directions of what the layer receives, B = 0 (Paischer et al. 2024,
    https://arxiv.org/abs/2410.07170). Ranks stay as they are: peft's with rho = 1.
    """

    name: ClassVar[str] = "eva"
    needs_data: ClassVar[bool] = True

    def make_pair(self, task: LoraTask) -> tuple[Tensor, Tensor]:
        """Right singular vectors of the centred signals, the largest entry of each positive."""
        assert task.signals is not None
        if task.table:
            raise FitError(f"eva needs signals, and {task.name} looks rows up in a table.")
        signals = task.signals.double()
        centred = signals - signals.mean(0)
        with use_one_thread():
            _, s, vt = torch.linalg.svd(
                centred if len(centred) <= task.inputs else torch.linalg.qr(centred).R,
                full_matrices=False,
            )
        found = int((s > s[:1] * max(centred.shape) * torch.finfo(torch.float32).eps).sum())
        if found < task.rank:
            raise FitError(
                f"The batch moves {task.name} in {found} directions, and its rank is {task.rank}. "
                "Give a larger batch (eva needs more samples than ranks)."
            )
        a = vt[: task.rank]
        top = a.gather(1, a.abs().argmax(1, keepdim=True)).sign()
        return a * top, torch.zeros(task.outputs, task.rank)


def _start_table(task: LoraTask) -> tuple[Tensor, Tensor]:
    return torch.zeros(task.rank, task.inputs), task.draw("B", task.outputs, task.rank)


def _read_matrix(task: LoraTask, method: str) -> Tensor:
    least = min(task.outputs, task.inputs)
    if task.rank > least:
        raise FitError(
            f"{method} takes {task.rank} directions of the weight of {task.name}, which has "
            f"{least}. Use a rank of at most {least}."
        )
    return task.read_weight()


REGISTRY: Registry[ComponentEntry, LoraMethod] = Registry("LoRA method", ComponentEntry)
for _method, _summary in (
    (Kaiming, "A uniform, B zero: the default of LoRA's code and of peft."),
    (Gaussian, "A normal, B zero."),
    (OrthogonalPair, "A and B random, their product zero."),
    (Pissa, "The largest singular values of the weight, which gives them up."),
    (Olora, "The QR decomposition of the weight, which gives it up."),
    (Eva, "The principal directions of the layer's inputs, B zero."),
):
    REGISTRY.add(ComponentEntry(component=_method, summary=_summary))
