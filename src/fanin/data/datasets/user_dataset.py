"""The user's own data set from a function: a target in the place of a name (`fanin.user_code`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from fanin import specs, user_code
from fanin.data.dataset import Arrays, Dataset
from fanin.data.datasets import user_copy
from fanin.data.datasets.families import Family, Member


def member(target: str, options: Mapping[str, Any]) -> Member:
    """The data set that a target and its options make, as a family of its own.

    Its arrays are checked as those of a user's NPZ file are (`fanin.data.datasets.user_copy`). They
    are made once in a process, and kept until another one is made.
    """
    part = user_code.load_component(target, user_code.DATASET)
    family = Family(
        name=part.name,
        title=f"made by {part.name}",
        reference="",
        options=part.options,
        describe=lambda chosen: _made(part, chosen).info,
        load=lambda chosen: _made(part, chosen),
    )
    return Member(family, specs.construct(part.name, part.options, options))


@lru_cache(maxsize=1)
def _made(part: user_code.UserComponent, options: Any) -> Dataset:
    came = part.call(options)
    if isinstance(came, tuple) and len(came) == len(Arrays._fields):
        came = dict(zip(Arrays._fields, came, strict=True))
    if not isinstance(came, dict) or not all(
        isinstance(array, np.ndarray) for array in came.values()
    ):
        raise part.make_return_error(came)
    dataset = user_copy.from_arrays(came, part.name)
    return replace(dataset, source=f"made by {part.name}, SHA-256 {part.loaded.sha256[:12]}")
