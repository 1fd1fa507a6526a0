"""What torch and Keras call the initializers, and the spec that each name stands for.

A foreign name keeps the defaults that it has at home (`fanin.initializers.foreign_words`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fanin import specs

_NAMES: dict[str, dict[str, str]] = {
    "torch": {
        "kaiming_normal_": "he_normal",
        "kaiming_uniform_": "he_uniform",
        "xavier_normal_": "xavier_normal",
        "xavier_uniform_": "xavier_uniform",
        "trunc_normal_": "truncated_normal",
        "normal_": "normal",
        "uniform_": "uniform",
        "constant_": "constant",
        "zeros_": "zero",
        "ones_": "constant",
        "eye_": "identity",
        "dirac_": "dirac",
        "orthogonal_": "orthogonal",
        "sparse_": "sparse(std=0.01)",
    },
    "Keras": {
        "GlorotNormal": "xavier_normal(truncated=true)",
        "glorot_normal": "xavier_normal(truncated=true)",
        "GlorotUniform": "xavier_uniform",
        "glorot_uniform": "xavier_uniform",
        "HeNormal": "he_normal(truncated=true)",
        "HeUniform": "he_uniform",
        "LecunNormal": "lecun_normal(truncated=true)",
        "LecunUniform": "lecun_uniform",
        "RandomNormal": "normal(std=0.05)",
        "random_normal": "normal(std=0.05)",
        "RandomUniform": "uniform(low=-0.05, high=0.05)",
        "random_uniform": "uniform(low=-0.05, high=0.05)",
        "TruncatedNormal": "truncated_normal(std=0.05)",
        "VarianceScaling": "variance_scaling",
        "Orthogonal": "orthogonal",
        "OrthogonalInitializer": "orthogonal",
        "Identity": "identity",
        "IdentityInitializer": "identity",
        "Constant": "constant(value=0.0)",
        "Zeros": "zero",
        "Ones": "constant",
    },
    "fanin": {
        f"{name}_": name
        for name in (
            "he_normal",
            "he_uniform",
            "lecun_normal",
            "lecun_uniform",
            "truncated_normal",
            "variance_scaling",
            "delta_orthogonal",
            "identity",
            "zero",
        )
    },
}
"""Names by their home. JAX has those of torch or of Keras, or fanin's own."""


@dataclass(frozen=True)
class ForeignName:
    """A name that another framework uses."""

    name: str
    home: str
    """The framework."""
    meant: str
    """The spec that it stands for, with the defaults that it has at home."""

    @property
    def entry(self) -> str:
        """The name of the entry that it stands for."""
        return specs.parse(self.meant)[0]

    def __str__(self) -> str:
        return f"{self.name} is {self.home}'{'' if self.home.endswith('s') else 's'} {self.meant}"


FOREIGN_NAMES = tuple(
    ForeignName(name, home, meant)
    for home, names in _NAMES.items()
    for name, meant in names.items()
)
"""The foreign names as they are written at home."""
