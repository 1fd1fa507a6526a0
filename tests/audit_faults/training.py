"""How mutants are trained: one by one, or many that differ in their weights alone at once.

Both take the same minibatches of a seed and the same optimizer, and come to the same loss but for
rounding. Nothing but the arguments decides the result; the global random state stays as it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from sound_models.entry import Case, call, compute_loss
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fanin import seeds

STEPS, BATCH, RATE = 200, 32, 2e-3


def draw_steps(samples: int, seed: int, steps: int = STEPS) -> Tensor:
    """The samples of each step's minibatch."""
    generator = seeds.make_generator(seed, "order")
    return torch.randint(samples, (steps, BATCH), generator=generator)


def train(case: Case, seed: int, steps: int = STEPS) -> float:
    """The loss of the whole data after some steps of Adam; infinite if it is no number."""
    trainable = [one for one in case.model.parameters() if one.requires_grad]
    if not trainable:
        return measure(case)
    optimizer = torch.optim.Adam(trainable, lr=RATE)
    case.model.train()
    with seeds.preserve_torch_state(seed):
        for chosen in draw_steps(count_samples(case.batch), seed, steps):
            part = replace(case, batch=take(case.batch, chosen), target=take(case.target, chosen))
            output = call(part.model, part.batch)
            if not output.isfinite().all():
                return math.inf
            loss = compute_loss(part, output)
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return measure(case)


def measure(case: Case) -> float:
    """The loss of the whole data, without dropout, with each batch's own statistics; infinite if
    it is no number.
    """
    case.model.train()
    for module in case.model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        output = call(case.model, case.batch)
        loss = float(compute_loss(case, output)) if output.isfinite().all() else math.inf
    return loss if math.isfinite(loss) else math.inf


def take(value: Any, chosen: Tensor) -> Any:
    """These samples of a tensor, or of each in a tuple."""
    return tuple(one[chosen] for one in value) if isinstance(value, tuple) else value[chosen]


def count_samples(batch: Any) -> int:
    """Of the first input."""
    return len(batch[0] if isinstance(batch, tuple) else batch)


# --- many at once


def can_train_together(model: nn.Module) -> bool:
    """Whether `vmap` can run it: torch's recurrent layers and dropout it cannot."""
    return not any(isinstance(one, nn.RNNBase | nn.Dropout) for one in model.modules())


def train_together(
    cases: Sequence[Case], of_seeds: Sequence[int], steps: int = STEPS
) -> list[float]:
    """As `train`, for cases that differ in parameters alone: those are stacked, and each step of
    Adam, which works entry by entry, is one for all.
    """
    frozen = [{n for n, p in one.model.named_parameters() if not p.requires_grad} for one in cases]
    stacked = {
        name: torch.stack([one.model.get_parameter(name).detach() for one in cases])
        for name, _ in cases[0].model.named_parameters()
    }
    optimizer = torch.optim.Adam([one.requires_grad_() for one in stacked.values()], lr=RATE)
    together = Together(cases[0])
    samples = count_samples(cases[0].batch)
    for chosen in torch.stack([draw_steps(samples, seed, steps) for seed in of_seeds], 1):
        optimizer.zero_grad()
        together.compute_losses(stacked, chosen).sum().backward()
        for index, names in enumerate(frozen):
            for name in names:
                stacked[name].grad[index] = 0  # type: ignore[index]
        optimizer.step()
    with torch.no_grad():
        whole = torch.arange(samples).expand(len(cases), -1)
        values = together.compute_losses(stacked, whole).tolist()
    return [value if math.isfinite(value) else math.inf for value in values]


class Together:
    """One architecture and its data, for many sets of parameters."""

    def __init__(self, case: Case) -> None:
        loss = take_likelihood if isinstance(case.loss, nn.BCELoss) else case.loss
        # In train mode no running statistics are needed, and vmap could not write them.
        model = replace_all_batch_norm_modules_(copy.deepcopy(case.model).train())
        self.case = replace(case, loss=loss, model=model)

    def compute_losses(self, stacked: dict[str, Tensor], chosen: Tensor) -> Tensor:
        """The loss of each set of parameters on its samples."""
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel would run once for each
            return vmap(self._compute_loss)(stacked, chosen)

    def _compute_loss(self, parameters: dict[str, Tensor], chosen: Tensor) -> Tensor:
        batch = take(self.case.batch, chosen)
        inputs = batch if isinstance(batch, tuple) else (batch,)
        output = functional_call(self.case.model, parameters, inputs)
        return compute_loss(replace(self.case, target=take(self.case.target, chosen)), output)


def take_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """nn.BCELoss, which refuses what is no probability: logarithms of at least -100, and next to no
    gradient where a probability is below 1e-12.
    """
    yes, no = take_logarithm(output), take_logarithm(1 - output)
    return -(target * yes + (1 - target) * no).mean()


def take_logarithm(share: Tensor) -> Tensor:
    """The value of one, and the gradient of the other."""
    exact = share.detach().log().clamp(min=-100)
    smooth = share.clamp(min=1e-12).log()
    return smooth + (exact - smooth.detach())
