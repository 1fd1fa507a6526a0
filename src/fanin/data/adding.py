"""Registering a user's own copy of a data set."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from fanin.data.dataset import REGISTRY
from fanin.data.datasets import user_copy
from fanin.data.datasets.families import FAMILIES
from fanin.data.sources import data_folder
from fanin.errors import DataUnavailable, OutputError, UsageError


def add(name: str, npz: Path, *, replace: bool = False) -> Path:
    """Check the NPZ file and copy it to where `load` finds it under `name`; the new path.

    The copy appears whole or not at all. Raises `UsageError` for an impossible name or that of a
    family, `DataUnavailable` where `npz` is not there, `DataInvalid` where it cannot be the data
    set, `OutputError` where the folder cannot be written, or where another file stands there
    already and `replace` is not given.
    """
    source = Path(npz)
    data_folder.require_name(name)
    if name in FAMILIES:
        raise UsageError(
            f"{name} is the name of a family of data sets, which comes with fanin. Give the copy "
            "another name."
        )
    target = data_folder.resolve_folder(name) / f"{name}.npz"
    if not data_folder.is_file(source):
        raise DataUnavailable(
            f"{source} is not a file. Expected an NPZ file with x_train, y_train, x_test, y_test."
        )
    user_copy.read(source, name, REGISTRY.get(name) if name in REGISTRY else None)
    try:
        if target.exists() and filecmp.cmp(source, target, shallow=False):
            return target
        if target.exists() and not replace:
            raise OutputError(
                f"{target} is there already and differs. To overwrite it, say so: --replace "
                "(replace=True)."
            )
        _copy_whole(source, target)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Check {data_folder.VARIABLE}."
        ) from None
    return target


def _copy_whole(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".adding-", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream, source.open("rb") as original:
            shutil.copyfileobj(original, stream, 1 << 20)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(
            0o644
        )  # mkstemp's 0600 would hide a shared folder's data from its other readers
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
