"""Registering a user copy of a data set."""

from __future__ import annotations

import filecmp
from pathlib import Path

from fanin import atomic
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.sources import data_folder
from fanin.errors import DataUnavailable, OutputError
from fanin.registry import NoOptions


def add(name: str, npz: Path, *, replace: bool = False) -> Path:
    """Check an NPZ file and copy it to where `load` finds it under `name`; returns the new path.

    The copy appears whole or not at all.

    Args:
        name: the name of the copy, a new one or that of a registered data set without options.
        npz: the file.
        replace: overwrite another copy of that name.

    Raises `UsageError` for an impossible name, `DataUnavailable` if `npz` does not exist,
    `DataInvalid` if it does not hold the data set, `OutputError` if the copy cannot be written, or
    if there is another one and `replace` is not set.
    """
    source = Path(npz)
    data_folder.require_name(name)
    entry = REGISTRY.make_copy_entry(name, source)
    target = data_folder.resolve_folder(name) / f"{name}.npz"
    if not data_folder.is_file(source):
        raise DataUnavailable(
            f"{source} is not a file. Expected an NPZ file with x_train, y_train, x_test, y_test."
        )
    entry.make(NoOptions()).load()
    try:
        if target.exists() and filecmp.cmp(source, target, shallow=False):
            return target
        if target.exists() and not replace:
            raise OutputError(
                f"{target} exists and differs. To overwrite it, use --replace (replace=True)."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        # A private mode would hide the data from other users of a shared folder.
        atomic.copy(source, target, mode=0o644)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Check {data_folder.VARIABLE}."
        ) from None
    return target
