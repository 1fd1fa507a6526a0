"""auto: the gain of each layer from what really follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import nn

from fanin import gains
from fanin.errors import UsageError
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.structure import Follower
from fanin.structure.followers import Activation

DEEP = 10
"""Weighted layers in a row, without normalization and without a residual sum, from which on the
critical gain is taken.
"""


@final
@dataclass(frozen=True)
class Auto(ModelInitializer):
    """Weights of variance gain² / fan-in, the gain of each layer from what really follows it.

    | what follows | gain |
    |---|---|
    | an activation φ | 1/√E φ(z)², which keeps the second moment (`fanin.gains.gain`) |
    | the same, in a deep chain | the critical gain: 1/\\|φ'(0)\\| for odd φ, else 1/√E φ'(z)² |
    | normalization | 1: the scale is undone, and only sets the size of updates |
    | another layer, the output, … | 1: the variance of a linear layer |

    A deep chain is at least ten weighted layers in a row, without normalization and without a
    residual sum. Its gain is taken at unit variance (`fanin.gains.critical_gain`, which also says
    for how many layers it holds).

    Fans are effective ones: a transposed convolution of stride s has fan-in kernel/s. Recurrent
    matrices are orthogonal, one per gate, so that the state keeps its norm over time.

    Args:
        distribution: normal, uniform or truncated, as in `variance_scaling`.
    """

    name: ClassVar[str] = "auto"
    follows: ClassVar[bool] = True
    distribution: Literal["normal", "truncated", "uniform"] = "normal"

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """A choice for every weight; biases, normalization and embeddings keep their own rules."""
        weights = (site for site in sites if site.role in ("weight", "recurrent weight"))
        return {site.name: self._choose(site) for site in weights}

    def _choose(self, site: ModelParameter) -> Assignment:
        if site.role == "recurrent weight":
            return Assignment(
                Orthogonal(), "recurrent: orthogonal keeps the state's norm over time"
            )
        gain, reason = _choose_gain(site.follower)
        scale = VarianceScaling(scale=gain * gain, distribution=self.distribution)
        return Assignment(scale, f"{reason}: gain {gain:.4g}", site.effective)


def _choose_gain(follower: Follower | None) -> tuple[float, str]:
    """The gain that suits what follows, and why."""
    if follower is None:
        return 1.0, "what follows is not known"
    if follower.kind != "activation" or follower.activation is None:
        return 1.0, follower.reason
    activation = _replace_meta_prelu(follower.activation)
    try:
        if follower.plain_depth < DEEP:
            return gains.gain(activation), follower.reason
        critical = gains.critical_gain(activation)
    except UsageError as error:
        return 1.0, f"{follower.reason}, which has no gain ({error})"
    where = f"{follower.reason} in a plain chain of {follower.plain_depth} layers, {critical.rule}"
    if critical.depth is not None and critical.depth < follower.plain_depth:
        where += (
            f"; that keeps the signal for about {critical.depth} layers only: normalize, or choose "
            "an odd activation"
        )
    return critical.gain, where


def _replace_meta_prelu(activation: Activation) -> Activation:
    """The activation; a PReLU on the device meta has no slope yet, but will start with this one."""
    if isinstance(activation, nn.PReLU) and activation.weight.is_meta:
        return f"prelu(weight={float(activation.init)})"
    return activation


REGISTRY.add(
    InitializerEntry(
        component=Auto,
        level="model",
        needs=("followers",),
        summary=(
            "The gain of each layer from the activation that follows it in the model; critical "
            "gains in deep plain networks."
        ),
        formula=(
            "w ~ N(0, g²/fan_in), g = 1/√E φ(z)²; deep and plain: 1/|φ'(0)| (odd φ) or 1/√E φ'(z)²"
        ),
        paper=Paper(
            authors="Schoenholz, Gilmer, Ganguli, Sohl-Dickstein",
            title="Deep information propagation",
            year=2017,
            link="https://arxiv.org/abs/1611.01232",
        ),
        suited=(
            "A first choice for feed-forward and convolutional networks, above all with several "
            "activations or with GELU, SiLU or Mish, for which torch has no gain."
        ),
        avoid=(
            "Deep residual networks without normalization: it does not scale branches with depth. "
            "Models that cannot be traced need a batch."
        ),
        cost=(
            "A trace of the model or one forward pass, then one draw per weight; QR for recurrent "
            "matrices."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent: the caller must know the gain. torch's "
            "calculate_gain has the empirical values 5/3 for tanh and 3/4 for selu; here tanh has "
            "1.5925, or 1 in deep plain chains, and selu 1."
        ),
        examples=("auto", "auto(distribution=uniform)"),
    )
)
