"""Initializers: one family per file, all of them in `REGISTRY`."""

from fanin.initializers.auto import Auto
from fanin.initializers.constant import Constant, Zero
from fanin.initializers.delta_orthogonal import DeltaOrthogonal, ScaledUniformOrthogonal
from fanin.initializers.fixed_scale import Normal, TruncatedNormal, Uniform
from fanin.initializers.framework_defaults import IRNN, KerasDefault, TorchDefault
from fanin.initializers.gate_biases import Chrono, ForgetGate
from fanin.initializers.he import HeNormal, HeUniform
from fanin.initializers.identity import Dirac, Identity
from fanin.initializers.initializer import REGISTRY, Initializer, InitializerEntry, Paper, names
from fanin.initializers.lecun import LecunNormal, LecunUniform
from fanin.initializers.lookup import get
from fanin.initializers.orthogonal import BlockOrthogonal, Orthogonal
from fanin.initializers.random_walk import RandomWalk
from fanin.initializers.siren import Siren
from fanin.initializers.small_init import SmallInit, WangInit
from fanin.initializers.sparse import Sparse
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.initializers.xavier import XavierNormal, XavierUniform

__all__ = [
    "IRNN",
    "REGISTRY",
    "Auto",
    "BlockOrthogonal",
    "Chrono",
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "ForgetGate",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "InitializerEntry",
    "KerasDefault",
    "LecunNormal",
    "LecunUniform",
    "Normal",
    "Orthogonal",
    "Paper",
    "RandomWalk",
    "ScaledUniformOrthogonal",
    "Siren",
    "SmallInit",
    "Sparse",
    "TorchDefault",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "WangInit",
    "XavierNormal",
    "XavierUniform",
    "Zero",
    "get",
    "names",
]
