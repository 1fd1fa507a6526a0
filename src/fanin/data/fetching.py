"""Data sets from the internet: fetched when asked for, or when a run needs one that is not there.

Workers load data and never fetch: a runner calls `ensure` before it starts them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fanin.data.dataset import REGISTRY, DatasetEntry, Mirror, PublishedFile
from fanin.data.datasets.families import FAMILIES
from fanin.data.loading import find
from fanin.data.sources import published_files, staging
from fanin.data.sources.data_folder import VARIABLE, resolve_folder
from fanin.data.sources.download import DownloadFailed, DownloadLimits
from fanin.data.sources.mirrors import DownloadProgress, MirrorFetcher, OnProgress
from fanin.errors import DataUnavailable, OutputError

OFFLINE = "FANIN_OFFLINE"
"""The variable that forbids all connections, unless it is empty, 0, no or false."""

_LIMITS = DownloadLimits()


def list_fetchable() -> tuple[str, ...]:
    """The registered data sets, and families with files of their own, that can be downloaded."""
    families = (family.name for family in FAMILIES if family.source and family.source.mirrors)
    return (*(entry.name for entry in REGISTRY if entry.mirrors), *families)


def ensure(name: str, *, on_progress: OnProgress | None = None) -> None:
    """Make sure that `load` finds the data set: download it where neither its files nor a user's
    own copy are there.

    For a runner, before it starts workers. Files that are there are not opened, which is left to
    `load`. Raises what `fetch` raises.
    """
    copy, entry = find(name)
    if copy or entry is None:
        return
    if entry.mirrors and published_files.missing(entry):
        fetch(name, on_progress=on_progress)
    published_files.require(entry)


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    mirrors: Sequence[Mirror] | None = None,
    limits: DownloadLimits = _LIMITS,
    on_progress: OnProgress | None = None,
) -> Path:
    """Download the published files of a data set that are missing or damaged; the folder in which
    they then lie.

    Args:
        name: a data set, or the spec of one: then the files are those that it is read from. For one
            that is embedded in a package, generated, or entirely the user's own, nothing is done.
        folder: the folder that holds data sets, in place of ``FANIN_DATA_DIR``; ``<folder>/<name>``
            comes back.
        mirrors: in place of the registered ones.
        limits: minimum speed and longest time.
        on_progress: told of each mirror tried, some ten times a second while bytes come, and of the
            end.

    Where the files are whole nothing is contacted. A user's own copy is left alone, and `load` goes
    on preferring it. A file appears under its name only when it is complete and its checksum right;
    a download that was cut off starts anew.

    Raises `UnknownName`; `DataUnavailable`, which names each mirror and why it failed, where no
    mirror gave a file, or where ``FANIN_OFFLINE`` is set; `OutputError` where the folder cannot be
    written; `MissingExtra` without pooch.
    """
    copy, entry = find(name)
    if entry is None:
        return copy.parent if copy else resolve_folder()
    target = (
        resolve_folder(entry.folder)
        if folder is None
        else Path(folder).expanduser().absolute() / entry.folder
    )
    wanted = _wanted(entry, target)
    if not wanted:
        return target
    fetcher = MirrorFetcher(
        entry, list(entry.mirrors if mirrors is None else mirrors), limits, on_progress or _ignore
    )
    if _offline() or not fetcher.mirrors:
        why = (
            f"nothing was contacted, because {OFFLINE} is set"
            if fetcher.mirrors
            else "no mirror is known"
        )
        raise _unavailable(entry, target, wanted, [why])
    try:
        with staging.open_workspace(
            target,
            lambda: fetcher.on_progress(DownloadProgress(dataset=entry.name, state="waiting")),
        ) as workspace:
            # Looked at anew: another process may have fetched them while this one waited for its
            # turn.
            fetcher.fetch(_wanted(entry, target), target, workspace)
    except DownloadFailed:
        raise _unavailable(entry, target, _wanted(entry, target), fetcher.failures) from None
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Check {VARIABLE}, or free "
            "space."
        ) from None
    return target


def _wanted(entry: DatasetEntry, target: Path) -> list[PublishedFile]:
    return [file for file in entry.files if not published_files.is_whole(target / file.name, file)]


def _offline() -> bool:
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false")


def _unavailable(
    entry: DatasetEntry, target: Path, wanted: Sequence[PublishedFile], why: Sequence[str]
) -> DataUnavailable:
    files = ", ".join(
        f"{file.name} ({file.bytes:,} bytes, {file.algorithm} {file.checksum})" for file in wanted
    )
    reasons = "".join(f"\n  {reason}" for reason in why)
    source = f" (published at {entry.mirrors[0].url})" if entry.mirrors else ""
    register = (
        f", or register a copy: fanin data add {entry.name} FILE.npz"
        if entry.name not in FAMILIES
        else ""
    )
    return DataUnavailable(
        f"{entry.name} could not be downloaded. Wanted: {files}.{reasons}\nTry again later, or put "
        f"the files into {target} "
        f"yourself{source}{register}"
    )


def _ignore(_: DownloadProgress) -> None:
    """What a caller that wants no progress is told."""
