"""Who writes a results folder now, and what that process is doing."""

from __future__ import annotations

from typing import NamedTuple

from fanin.errors import StoreError
from fanin.store.lock import LockHolder, find_holder
from fanin.store.progress_file import RunProgress, read_progress
from fanin.store.results_folder import ResultsFolder


class Writer(NamedTuple):
    """The process that writes a results folder, if there is one."""

    holder: LockHolder | None
    """The process that writes the store now; None if none does."""
    progress: RunProgress | None
    """What that process is doing, if it is a runner and has said so."""
    without_lock: str
    """Why it cannot be told who writes the store, if it cannot."""


def find_writer(folder: ResultsFolder) -> Writer:
    """The process that writes a folder now. A folder without locks can be read all the same."""
    try:
        holder = find_holder(folder.lock)
    except StoreError as error:
        return Writer(None, None, str(error))
    return Writer(holder, read_progress(folder.progress) if holder else None, "")
