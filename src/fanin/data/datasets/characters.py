"""Text as the prediction of the next character: tiny Shakespeare."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fanin import specs
from fanin.data.dataset import Arrays, DataInfo, Dataset, DatasetEntry, Mirror, PublishedFile
from fanin.data.datasets.families import FAMILIES, Family
from fanin.data.formats.tensors import compute_fingerprint, to_tensors
from fanin.data.sources import published_files
from fanin.errors import SpecError

FILE = "input.txt"

_BYTES = 1_115_394
_TRAIN = _BYTES * 9 // 10
_CHARACTERS = 65


@dataclass(frozen=True)
class Shakespeare:
    """Options of ``tiny-shakespeare``."""

    length: int = 64
    """Characters that are read, each with the next one for a target."""

    def __post_init__(self) -> None:
        specs.coerce_fields("tiny-shakespeare", self)
        longest = _BYTES - _TRAIN - 1
        if not 1 <= self.length <= longest:
            raise SpecError(
                f"tiny-shakespeare(length=…) must be a whole number from 1 to {longest:,}, so that "
                "a window fits into the "
                f"{longest + 1:,} characters of the test set; not {self.length}."
            )


def describe_shakespeare(options: Shakespeare) -> DataInfo:
    """Tokens, and a character for each step."""
    window = options.length + 1
    return DataInfo(
        name="tiny-shakespeare",
        task="token_classification",
        input_shape=(options.length,),
        outputs=_CHARACTERS,
        n_train=_TRAIN // window,
        n_test=(_BYTES - _TRAIN) // window,
        vocabulary=_CHARACTERS,
    )


def load_shakespeare(options: Shakespeare) -> Dataset:
    """The published text, 1,115,394 characters of 65 kinds, numbered in the order of their bytes.

    The last tenth is the test set. Each part is cut into windows of ``length + 1`` characters, one
    after the other and without overlap, the rest left out: all but a window's last character are
    the input, all but its first the targets.
    """
    info = describe_shakespeare(options)
    arrays = cut_windows(published_files.contents(_SOURCE)[FILE], _TRAIN, options.length)
    parts = to_tensors(info, arrays, FILE)
    return Dataset(
        info,
        *parts,
        divisor=1.0,
        standardise=False,
        fingerprint=compute_fingerprint(parts),
        published=True,
        source=published_files.source(_SOURCE),
        units="",
    )


def cut_windows(text: bytes, n_train: int, length: int) -> Arrays:
    """Inputs and targets (windows, length) of the first `n_train` bytes and of those behind:
    numbers of characters, uint8.
    """
    _, numbers = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    cut = [
        part[: len(part) // (length + 1) * (length + 1)].reshape(-1, length + 1)
        for part in np.split(numbers.astype(np.uint8), [n_train])
    ]
    (train, test) = cut
    return Arrays(train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:])


_SOURCE = DatasetEntry(
    info=replace(describe_shakespeare(Shakespeare()), name="tiny-shakespeare"),
    title="the plays of Shakespeare, in part, as one text",
    reference="Karpathy: The unreasonable effectiveness of recurrent neural networks (2015)",
    read=lambda contents: cut_windows(contents[FILE], _TRAIN, Shakespeare.length),
    stored_in="tinyshakespeare",
    files=(
        PublishedFile(
            name=FILE,
            bytes=_BYTES,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
    mirrors=(
        Mirror(
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
        ),
        Mirror(url="https://cdn.jsdelivr.net/gh/karpathy/char-rnn@master/data/tinyshakespeare/"),
    ),
)

FAMILIES.add(
    Family(
        name="tiny-shakespeare",
        title="the next character of Shakespeare's plays, a million characters",
        reference="Karpathy: The unreasonable effectiveness of recurrent neural networks (2015), "
        "char-rnn",
        options=Shakespeare,
        describe=describe_shakespeare,
        load=load_shakespeare,
        source=_SOURCE,
    )
)
