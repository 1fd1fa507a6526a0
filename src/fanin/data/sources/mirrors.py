"""The loop over mirrors: each in turn, until one gives what the checksums say.

Together with `fanin.data.sources.download`, the only place in fanin that opens a connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from fanin.data.dataset import DatasetEntry, Mirror, PublishedFile
from fanin.data.sources import archives, staging
from fanin.data.sources.download import Download, DownloadFailed, DownloadLimits, DownloadTooSlow
from fanin.data.sources.published_files import difference
from fanin.errors import DataInvalid, MissingExtra

DownloadState = Literal["waiting", "started", "receiving", "failed", "done"]


@dataclass(frozen=True, kw_only=True)
class DownloadProgress:
    """How far the download of one file, or of one archive, from one mirror is."""

    dataset: str
    state: DownloadState
    """`waiting` for another process that fetches the same data set; `failed` at this mirror,
    another may follow.
    """
    url: str = ""
    received: int = 0
    total: int | None = None
    """Bytes, where they are known."""
    speed: float = 0.0
    """Mean, in bytes/s."""
    reason: str = ""
    """Why the mirror failed."""

    @property
    def mirror(self) -> str:
        """The mirror's host."""
        return urlsplit(self.url).netloc

    @property
    def file(self) -> str:
        """The file's name at the mirror."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def seconds_left(self) -> float | None:
        """At the mean speed, where the size is known."""
        return (
            (self.total - self.received) / self.speed
            if self.total is not None and self.speed > 0
            else None
        )


OnProgress = Callable[[DownloadProgress], None]


@dataclass
class MirrorFetcher:
    """Brings published files of a data set into a folder.

    Only whole files whose checksums are right ever get their names there. `failures` lists the
    mirrors that failed.
    """

    entry: DatasetEntry
    mirrors: list[Mirror]
    """Tried in this order; one that has given a file is tried first for the next."""
    limits: DownloadLimits
    on_progress: OnProgress
    failures: list[str] = field(default_factory=list)

    def fetch(self, files: Sequence[PublishedFile], target: Path, workspace: Path) -> None:
        """Get all the files; raises `DownloadFailed` at the first that no mirror gives, `OSError` of the
        disk.
        """
        wanted = list(files)
        while wanted:
            got = self._from_any(wanted, target, workspace)
            wanted = [file for file in wanted if file not in got]

    def _from_any(
        self, wanted: Sequence[PublishedFile], target: Path, workspace: Path
    ) -> Sequence[PublishedFile]:
        self.failures.clear()
        slow: list[Mirror] = []
        for mirror in tuple(self.mirrors):
            try:
                return self._from(mirror, wanted, target, workspace, self.limits.speed)
            except DownloadTooSlow:
                slow.append(mirror)
            except DownloadFailed:
                continue
        # It may be the line to the world that is slow, and not every mirror.
        for mirror in slow:
            with contextlib.suppress(DownloadFailed):
                return self._from(mirror, wanted, target, workspace, self.limits.slowest)
        raise DownloadFailed("No mirror gave it.")

    def _from(
        self,
        mirror: Mirror,
        wanted: Sequence[PublishedFile],
        target: Path,
        workspace: Path,
        speed: float,
    ) -> Sequence[PublishedFile]:
        """All files out of an archive, or the first of the wanted ones from a folder; those that
        were got.
        """
        files = self.entry.files if mirror.unpack else wanted[:1]
        url = mirror.url if mirror.unpack else mirror.url + files[0].name
        with tempfile.TemporaryDirectory(dir=workspace) as attempt:
            try:
                self._report("started", url)
                downloaded = self._download(url, mirror, files, Path(attempt), speed)
                size = downloaded.stat().st_size
                staged = (
                    _unpack_checked(mirror, downloaded, files, workspace)
                    if mirror.unpack
                    else {files[0]: downloaded}
                )
            except (DownloadFailed, DataInvalid) as error:
                self.failures.append(f"{url}: {error}")
                self._report("failed", url, reason=str(error))
                raise (
                    error if isinstance(error, DownloadFailed) else DownloadFailed(str(error))
                ) from None
            for file, path in staged.items():
                staging.publish(path, target / file.name)
        self._report("done", url, received=size, total=size)
        self.mirrors.sort(key=lambda other: other is not mirror)
        return files

    def _download(
        self, url: str, mirror: Mirror, files: Sequence[PublishedFile], folder: Path, speed: float
    ) -> Path:
        pooch = _import_pooch()
        size = mirror.bytes if mirror.unpack else files[0].bytes

        def received(count: int, total: int | None, mean: float) -> None:
            self._report(
                "receiving", url, received=count, total=size if total is None else total, speed=mean
            )

        download = Download(
            sizes=_allow_sizes(mirror, files), speed=speed, limits=self.limits, received=received
        )
        name = PurePosixPath(urlsplit(url).path).name
        with _silence(pooch.get_logger()):
            try:
                return Path(
                    pooch.retrieve(
                        url, _expect_hash(mirror, files[0]), name, folder, downloader=download
                    )
                )
            except ValueError as error:  # another checksum; the text names both
                raise DownloadFailed(str(error).partition(" Deleted download")[0]) from None

    def _report(self, state: DownloadState, url: str, **facts: Any) -> None:
        self.on_progress(DownloadProgress(dataset=self.entry.name, state=state, url=url, **facts))


def _allow_sizes(mirror: Mirror, files: Sequence[PublishedFile]) -> range:
    """The sizes that a download may have: one alone, unless any archive will do whose members are
    right.
    """
    exact = mirror.bytes if mirror.exact else None
    if not mirror.unpack:
        exact = files[0].bytes
    if exact is not None:
        return range(exact, exact + 1)
    return range(1, sum(file.bytes for file in files) + archives.SLACK)


def _expect_hash(mirror: Mirror, file: PublishedFile) -> str | None:
    """What pooch compares with; None for an archive of which the members are checked instead."""
    if not mirror.unpack:
        return f"{file.algorithm.replace('-', '').lower()}:{file.checksum}"
    return f"sha256:{mirror.sha256}" if mirror.exact else None


def _unpack_checked(
    mirror: Mirror, archive: Path, files: Sequence[PublishedFile], workspace: Path
) -> dict[PublishedFile, Path]:
    """The files written to `workspace` out of the archive, checksums matched."""
    assert mirror.unpack is not None
    staged = {}
    try:
        for file, content in mirror.unpack(archive, files):
            wrong = difference(file, len(content), content)
            if wrong:
                raise DataInvalid(f"{file.name} is {wrong}.")
            staged[file] = workspace / file.name
            staging.write(staged[file], content)
    except DataInvalid as error:
        raise DownloadFailed(f"{error}{_compare_archive(mirror, archive)}") from None
    return staged


def _compare_archive(mirror: Mirror, archive: Path) -> str:
    if mirror.sha256 is None:
        return ""
    with archive.open("rb") as stream:
        received = hashlib.file_digest(stream, "sha256").hexdigest()
    return (
        f" The archive's SHA-256 is {received}; expected {mirror.sha256}."
        if received != mirror.sha256
        else ""
    )


def _import_pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise MissingExtra("pooch", "study", "Downloading data") from None
    return pooch


@contextlib.contextmanager
def _silence(logger: logging.Logger) -> Iterator[None]:
    """No lines of pooch's own about each file: progress is reported by `DownloadProgress`."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
