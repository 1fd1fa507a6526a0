"""Text, for the prediction of the next character: tiny Shakespeare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fanin import specs
from fanin.data.dataset import Arrays, DataInfo, Mirror, PublishedFile
from fanin.data.datasets.dataset_entry import PrimaryEntry
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import SpecError

FILE = "input.txt"

_BYTES = 1_115_394
_TRAIN = _BYTES * 9 // 10
_CHARACTERS = 65


@dataclass(frozen=True)
class Shakespeare:
    """Options of ``tiny-shakespeare``."""

    length: int = 64
    """Characters per sample; the target of each is the next one."""

    def __post_init__(self) -> None:
        specs.coerce_fields("tiny-shakespeare", self)
        longest = _BYTES - _TRAIN - 1
        if not 1 <= self.length <= longest:
            raise SpecError(
                f"tiny-shakespeare(length=…) must be a whole number from 1 to {longest:,}, so that "
                f"a window fits into the {longest + 1:,} characters of the test set; not "
                f"{self.length}."
            )


def describe_shakespeare(options: Shakespeare) -> DataInfo:
    """Tokens, and the next character as the target of each."""
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


def cut_windows(text: bytes, n_train: int, length: int) -> Arrays:
    """Inputs and targets, numbers of characters: uint8, (windows, length).

    Characters are numbered in the order of their bytes. The first `n_train` are for training, the
    others for testing. Each subset is cut into windows of ``length + 1`` characters without
    overlap, and the rest is left out. The input is all but the last character of a window, the
    target all but the first.
    """
    _, numbers = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    train, test = (
        subset[: len(subset) // (length + 1) * (length + 1)].reshape(-1, length + 1)
        for subset in np.split(numbers.astype(np.uint8), [n_train])
    )
    return Arrays(train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:])


REGISTRY.add(
    PrimaryEntry(
        name="tiny-shakespeare",
        title="the next character of Shakespeare's plays, a million characters",
        reference="Karpathy: The unreasonable effectiveness of recurrent neural networks (2015), "
        "char-rnn",
        options=Shakespeare,
        describe=describe_shakespeare,
        # 1,115,394 characters of 65 kinds; the last tenth is the test set.
        read=lambda options, contents: cut_windows(contents[FILE], _TRAIN, options.length),
        origin=PublishedFiles(
            dataset="tiny-shakespeare",
            folder="tinyshakespeare",
            replaceable=False,
            mirrors=(
                Mirror(
                    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
                ),
                Mirror(
                    url="https://cdn.jsdelivr.net/gh/karpathy/char-rnn@master/data/tinyshakespeare/"
                ),
            ),
            files=(
                PublishedFile(
                    name=FILE,
                    bytes=_BYTES,
                    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            ),
        ),
    )
)
