"""Autoencoding: the target of each input is the input itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fanin import specs
from fanin.data.dataset import DataInfo, Dataset
from fanin.data.datasets.families import FAMILIES, Family
from fanin.data.formats.tensors import compute_fingerprint
from fanin.data.loading import describe, load
from fanin.errors import SpecError


@dataclass(frozen=True)
class Autoencoding:
    """Options of ``autoencoding``."""

    of: str = "mnist"

    def __post_init__(self) -> None:
        specs.coerce_fields("autoencoding", self)


def describe_autoencoding(options: Autoencoding) -> DataInfo:
    """As many outputs as an input has numbers; raises `SpecError` for anything but images and
    tables.
    """
    info = describe(options.of)
    if info.kind not in ("image", "table") or info.task == "autoencoding":
        raise SpecError(
            f"autoencoding takes images or tables that are not reconstructed already; {options.of} "
            "is a data set for "
            f"{info.task} whose inputs are of kind {info.kind}. Use autoencoding(of=…) with digits "
            "or mnist, say."
        )
    return replace(info, task="autoencoding", outputs=math.prod(info.input_shape))


def load_autoencoding(options: Autoencoding) -> Dataset:
    """The data set without its labels: targets are the very tensors of the inputs, and take no
    memory of their own.

    The target is what the model sees, so ``x / divisor`` or the standardised row; its units are
    those.

    Source: Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks, Science
    313, 2006.
    """
    info, dataset = describe_autoencoding(options), load(options.of)
    train, test = dataset.x_train, dataset.x_test
    return replace(
        dataset,
        info=info,
        y_train=train,
        y_test=test,
        units="",
        fingerprint=compute_fingerprint((train, train, test, test)),
    )


FAMILIES.add(
    Family(
        name="autoencoding",
        title="images or tables whose target is the input itself",
        reference="Hinton, Salakhutdinov: Reducing the dimensionality of data with neural "
        "networks. Science 313 (2006)",
        options=Autoencoding,
        describe=describe_autoencoding,
        load=load_autoencoding,
    )
)
