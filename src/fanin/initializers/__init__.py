"""Initializers: one family per file, all of them in `REGISTRY`."""

from fanin.initializers.base import REGISTRY, Initializer, InitializerEntry, Paper, get, names
from fanin.initializers.constant import Constant, Zero
from fanin.initializers.he import HeNormal, HeUniform
from fanin.initializers.lecun import LecunNormal, LecunUniform
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.plain import Normal, TruncatedNormal, Uniform
from fanin.initializers.sparse import Sparse
from fanin.initializers.variance import VarianceScaling
from fanin.initializers.xavier import XavierNormal, XavierUniform

__all__ = [
    "REGISTRY",
    "Constant",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "InitializerEntry",
    "LecunNormal",
    "LecunUniform",
    "Normal",
    "Orthogonal",
    "Paper",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "Zero",
    "get",
    "names",
]
