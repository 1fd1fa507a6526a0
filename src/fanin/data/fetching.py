"""Data sets from the internet: fetched when a user asks, or when a run needs a missing one.

Workers load data and never fetch: a runner calls `ensure` before it starts them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fanin.data.dataset import Mirror, PublishedFile
from fanin.data.datasets.dataset_registry import REGISTRY
from fanin.data.sources import staging
from fanin.data.sources.data_folder import VARIABLE, resolve_folder
from fanin.data.sources.download import DownloadFailed, DownloadLimits
from fanin.data.sources.file_check import is_complete
from fanin.data.sources.mirrors import DownloadProgress, MirrorFetcher, OnProgress
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import DataUnavailable, OutputError

OFFLINE = "FANIN_OFFLINE"
"""The environment variable that forbids all connections, unless it is empty, 0, no or false."""

_LIMITS = DownloadLimits()


def list_fetchable() -> tuple[str, ...]:
    """The registered data sets that can be downloaded."""
    return tuple(
        entry.name for entry in REGISTRY if entry.published is not None and entry.published.mirrors
    )


def ensure(spec: str, *, on_progress: OnProgress | None = None) -> None:
    """Download a data set if its files are missing and there is no user copy.

    For a runner, before it starts workers. Existing files are not opened; `load` checks them.
    Raises what `fetch` raises.
    """
    origin = REGISTRY.make(spec).origin
    if origin.find_missing() and origin.published is not None and origin.published.mirrors:
        fetch(spec, on_progress=on_progress)
    origin.require()


def fetch(
    spec: str,
    *,
    folder: Path | None = None,
    mirrors: Sequence[Mirror] | None = None,
    limits: DownloadLimits = _LIMITS,
    on_progress: OnProgress | None = None,
) -> Path:
    """Download the published files of a data set that are missing or damaged; returns their folder.

    Nothing is contacted if the files are complete. A user copy is left alone, and `load` still
    prefers it. A file appears under its name only when it is complete and its checksum right; an
    interrupted download starts anew.

    Args:
        spec: a data set; the files are those that it is read from.
        folder: the folder that holds data sets, instead of ``FANIN_DATA_DIR``. The result is the
            data set's folder inside it.
        mirrors: instead of the registered ones.
        limits: minimum speed and longest time.
        on_progress: told of each mirror tried, some ten times a second during a download, and of
            its end.

    Raises `UnknownName`; `DataUnavailable`, which names each mirror and why it failed, if no mirror
    sent a file or ``FANIN_OFFLINE`` is set; `OutputError` if the folder cannot be written;
    `MissingExtra` without pooch.
    """
    published = REGISTRY.make(spec).origin.published
    if published is None:
        return resolve_folder()
    target = published.path
    if folder is not None:
        target = Path(folder).expanduser().absolute() / published.folder
    wanted = _find_wanted(published, target)
    if wanted:
        fetcher = MirrorFetcher(
            published,
            list(published.mirrors if mirrors is None else mirrors),
            limits,
            on_progress or _ignore_progress,
        )
        _require_connection(fetcher, target, wanted)
        _fetch_into(target, fetcher)
    return target


def _require_connection(
    fetcher: MirrorFetcher, target: Path, wanted: Sequence[PublishedFile]
) -> None:
    if not fetcher.mirrors:
        raise _make_error(fetcher.published, target, wanted, ["no mirror is known"])
    if os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "no", "false"):
        reason = f"nothing was contacted, because {OFFLINE} is set"
        raise _make_error(fetcher.published, target, wanted, [reason])


def _fetch_into(target: Path, fetcher: MirrorFetcher) -> None:
    published = fetcher.published

    def report_waiting() -> None:
        fetcher.on_progress(DownloadProgress(dataset=published.dataset, state="waiting"))

    try:
        with staging.open_workspace(target, report_waiting) as workspace:
            # Checked again: another process may have fetched the files during the wait.
            fetcher.fetch(_find_wanted(published, target), target, workspace)
    except DownloadFailed:
        wanted = _find_wanted(published, target)
        raise _make_error(published, target, wanted, fetcher.failures) from None
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Check {VARIABLE}, or free "
            "space."
        ) from None


def _find_wanted(published: PublishedFiles, target: Path) -> list[PublishedFile]:
    return [file for file in published.files if not is_complete(target / file.name, file)]


def _make_error(
    published: PublishedFiles,
    target: Path,
    wanted: Sequence[PublishedFile],
    reasons: Sequence[str],
) -> DataUnavailable:
    files = ", ".join(
        f"{file.name} ({file.bytes:,} bytes, {file.algorithm} {file.checksum})" for file in wanted
    )
    lines = "".join(f"\n  {reason}" for reason in reasons)
    source = f" (published at {published.mirrors[0].url})" if published.mirrors else ""
    return DataUnavailable(
        f"{published.dataset} could not be downloaded. Wanted: {files}.{lines}\n"
        f"Try again later, or put the files into {target} yourself{source}{published.advise()}"
    )


def _ignore_progress(_: DownloadProgress) -> None:
    pass
