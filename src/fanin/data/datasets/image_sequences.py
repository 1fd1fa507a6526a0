"""Images read as sequences: row by row, or pixel by pixel.

The label is that of the image. Bytes stay bytes, so a sequence needs no more memory than its image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fanin import seeds, specs
from fanin.data.dataset import DataInfo, Dataset
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.datasets.derived_dataset import DerivedEntry
from fanin.data.formats.tensors import compute_fingerprint
from fanin.errors import SpecError

_SEED = 0


@dataclass(frozen=True)
class Rows:
    """Options of ``rows``."""

    of: str = "mnist"

    def __post_init__(self) -> None:
        specs.coerce_fields("rows", self)


@dataclass(frozen=True)
class Pixels:
    """Options of ``pixels``."""

    of: str = "mnist"
    size: int | None = None
    """Height after averaging, the image's height divided by an integer; None: no averaging."""
    permuted: bool = False
    """Read the pixels in one random order, the same for all samples of that many pixels."""

    def __post_init__(self) -> None:
        specs.coerce_fields("pixels", self)


def draw_permutation(steps: int) -> Tensor:
    """The frozen order in which permuted pixels are read: int64, shape (steps,)."""
    return torch.randperm(steps, generator=seeds.make_generator(_SEED, "pixels", steps))


def describe_rows(options: Rows, info: DataInfo) -> DataInfo:
    """An image (C, H, W) becomes H steps of W·C features."""
    _require_images("rows", options.of, info)
    channels, height, width = info.input_shape
    return replace(info, input_shape=(height, width * channels))


def derive_rows(options: Rows, dataset: Dataset) -> Dataset:
    """The rows from top to bottom: in each, the pixels from left to right with their channels."""
    steps, features = describe_rows(options, dataset.info).input_shape
    return _change_inputs(dataset, lambda x: x.permute(0, 2, 3, 1).reshape(len(x), steps, features))


def describe_pixels(options: Pixels, info: DataInfo) -> DataInfo:
    """An image (C, H, W) becomes H·W steps of C features.

    Raises `SpecError` if `size` does not divide the image.
    """
    _require_images("pixels", options.of, info)
    channels, height, width = info.input_shape
    factor = _find_factor(options, height, width)
    return replace(info, input_shape=((height // factor) * (width // factor), channels))


def derive_pixels(options: Pixels, dataset: Dataset) -> Dataset:
    """The pixels row by row, after averaging over squares if `size` is set.

    Averages are exact means in the model's units, float32; they are not rounded to bytes.

    Source: Le, Jaitly, Hinton: A simple way to initialize recurrent networks of rectified linear
    units, 2015, arXiv:1504.00941, which reads MNIST in this way, also permuted.
    """
    channels, height, width = dataset.info.input_shape
    factor = _find_factor(options, height, width)
    order = draw_permutation((height // factor) * (width // factor)) if options.permuted else None

    def to_steps(x: Tensor) -> Tensor:
        pixels = _average(x, factor, dataset.divisor) if factor > 1 else x
        steps = pixels.permute(0, 2, 3, 1).reshape(len(x), -1, channels)
        return steps if order is None else steps[:, order]

    return _change_inputs(dataset, to_steps, divisor=1.0 if factor > 1 else dataset.divisor)


def _require_images(name: str, of: str, info: DataInfo) -> None:
    if info.kind != "image" or info.task not in ("classification", "regression"):
        raise SpecError(
            f"{name} reads images with a label or target of their own; {of} is a data set for "
            f"{info.task} whose inputs are of kind {info.kind}. Use {name}(of=…) with images, such "
            "as digits or mnist."
        )


def _find_factor(options: Pixels, height: int, width: int) -> int:
    size = height if options.size is None else options.size
    if size < 1 or height % size or width % (height // size):
        sizes = [height // n for n in range(height, 0, -1) if height % n == 0 and width % n == 0]
        raise SpecError(
            f"pixels(size={size}) must divide the {height} × {width} pixels of {options.of} by a "
            f"whole factor. Use {', '.join(map(str, sizes))} or none."
        )
    return height // size


def _average(x: Tensor, factor: int, divisor: float) -> Tensor:
    n, channels, height, width = x.shape
    squares = x.reshape(n, channels, height // factor, factor, width // factor, factor)
    total = squares.sum(dim=(3, 5), dtype=torch.int32 if x.dtype == torch.uint8 else torch.float64)
    return total.double().div_(factor * factor * divisor).float()


def _change_inputs(
    dataset: Dataset, change: Callable[[Tensor], Tensor], divisor: float | None = None
) -> Dataset:
    """The data set with changed inputs; still mapped if they are views of the old ones."""
    train, test = change(dataset.x_train), change(dataset.x_test)
    are_views = all(
        new.data_ptr() == old.data_ptr()
        for new, old in ((train, dataset.x_train), (test, dataset.x_test))
    )
    mapped = dataset.mapped and are_views
    if not mapped:
        train, test = train.contiguous(), test.contiguous()
    return replace(
        dataset,
        info=replace(dataset.info, input_shape=tuple(train.shape[1:])),
        x_train=train,
        x_test=test,
        divisor=dataset.divisor if divisor is None else divisor,
        fingerprint=compute_fingerprint((train, dataset.y_train, test, dataset.y_test)),
        mapped=mapped,
    )


REGISTRY.add(
    DerivedEntry(
        name="rows",
        title="images read row by row: one step for each row, its pixels the features",
        reference="Le, Jaitly, Hinton: A simple way to initialize recurrent networks of rectified "
        "linear units (2015), arXiv:1504.00941, reads pixel by pixel; row by row is the shorter "
        "form in common use",
        options=Rows,
        describe=describe_rows,
        derive=derive_rows,
    )
)

REGISTRY.add(
    DerivedEntry(
        name="pixels",
        title="images read pixel by pixel, also permuted: sequential MNIST",
        reference="Le, Jaitly, Hinton: A simple way to initialize recurrent networks of rectified "
        "linear units (2015), arXiv:1504.00941",
        options=Pixels,
        describe=describe_pixels,
        derive=derive_pixels,
    )
)
