"""Autoencoding: the target of each input is the input itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fanin import specs
from fanin.data.dataset import DataInfo, Dataset
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.datasets.derived_dataset import DerivedEntry
from fanin.data.formats.tensors import compute_fingerprint
from fanin.errors import SpecError


@dataclass(frozen=True)
class Autoencoding:
    """Options of ``autoencoding``."""

    of: str = "mnist"

    def __post_init__(self) -> None:
        specs.coerce_fields("autoencoding", self)


def describe_autoencoding(options: Autoencoding, info: DataInfo) -> DataInfo:
    """As many outputs as an input has numbers; raises `SpecError` unless `info` fits.

    Images and tables fit.
    """
    if info.kind not in ("image", "table") or info.task == "autoencoding":
        raise SpecError(
            f"autoencoding takes images or tables with a label or target; {options.of} is a data "
            f"set for {info.task} whose inputs are of kind {info.kind}. Use for example "
            "autoencoding(of=digits) or autoencoding(of=mnist)."
        )
    return replace(info, task="autoencoding", outputs=math.prod(info.input_shape))


def derive_autoencoding(options: Autoencoding, dataset: Dataset) -> Dataset:
    """The data set without labels: the targets are the tensors of the inputs and need no memory.

    The target is what the model sees, ``x / divisor`` or the standardised row, in those units.

    Source: Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks, Science
    313, 2006.
    """
    train, test = dataset.x_train, dataset.x_test
    return replace(
        dataset,
        y_train=train,
        y_test=test,
        units="",
        fingerprint=compute_fingerprint((train, train, test, test)),
    )


REGISTRY.add(
    DerivedEntry(
        name="autoencoding",
        title="images or tables whose target is the input itself",
        reference="Hinton, Salakhutdinov: Reducing the dimensionality of data with neural "
        "networks. Science 313 (2006)",
        options=Autoencoding,
        describe=describe_autoencoding,
        derive=derive_autoencoding,
    )
)
