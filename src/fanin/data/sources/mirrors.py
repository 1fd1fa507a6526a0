"""Downloads from a list of mirrors: each is tried until one sends what the checksums expect.

With `fanin.data.sources.download`, this is the only place in fanin that opens a connection.
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

from fanin import atomic
from fanin.data.dataset import Mirror, PublishedFile
from fanin.data.sources import archives
from fanin.data.sources.download import Download, DownloadFailed, DownloadLimits, DownloadTooSlow
from fanin.data.sources.file_check import describe_difference
from fanin.data.sources.published_files import PublishedFiles
from fanin.errors import DataInvalid, MissingExtra

DownloadState = Literal["waiting", "started", "receiving", "failed", "done"]


@dataclass(frozen=True, kw_only=True)
class DownloadProgress:
    """The progress of one download: one file, or one archive, from one mirror."""

    dataset: str
    state: DownloadState
    """`waiting` for another process that fetches the same data set; `failed` at this mirror, after
    which another one may be tried.
    """
    url: str = ""
    received: int = 0
    total: int | None = None
    """Bytes; None if unknown."""
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
        """At the mean speed; None if the size is unknown."""
        if self.total is None or self.speed <= 0:
            return None
        return (self.total - self.received) / self.speed


OnProgress = Callable[[DownloadProgress], None]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What to download from a mirror: an archive with all files, or one file."""

    url: str
    files: Sequence[PublishedFile]
    sizes: range
    """How many bytes may come."""
    expected_bytes: int | None
    known_hash: str | None
    """What pooch compares with; None for an archive whose members are checked instead."""


@dataclass
class MirrorFetcher:
    """Downloads published files of a data set into a folder.

    A file gets its name only when it is complete and its checksum right.
    """

    published: PublishedFiles
    mirrors: list[Mirror]
    """Tried in this order; a mirror that has sent a file is tried first for the next."""
    limits: DownloadLimits
    on_progress: OnProgress
    failures: list[str] = field(default_factory=list)
    """Why each mirror failed, for the last file tried."""

    def fetch(self, files: Sequence[PublishedFile], target: Path, workspace: Path) -> None:
        """Download the files.

        Raises `DownloadFailed` for the first file that no mirror sends, and OSError if a file
        cannot be written.
        """
        wanted = list(files)
        while wanted:
            fetched = self._fetch_from_any(wanted, target, workspace)
            wanted = [file for file in wanted if file not in fetched]

    def _fetch_from_any(
        self, wanted: Sequence[PublishedFile], target: Path, workspace: Path
    ) -> Sequence[PublishedFile]:
        self.failures.clear()
        slow: list[Mirror] = []
        for mirror in tuple(self.mirrors):
            try:
                return self._fetch_from(mirror, wanted, target, workspace, self.limits.speed)
            except DownloadTooSlow:
                slow.append(mirror)
            except DownloadFailed:
                continue
        # The connection of this machine may be slow, rather than every mirror.
        for mirror in slow:
            with contextlib.suppress(DownloadFailed):
                return self._fetch_from(mirror, wanted, target, workspace, self.limits.slowest)
        raise DownloadFailed("No mirror sent it.")

    def _fetch_from(
        self,
        mirror: Mirror,
        wanted: Sequence[PublishedFile],
        target: Path,
        workspace: Path,
        speed: float,
    ) -> Sequence[PublishedFile]:
        """Fetch all files out of an archive, or the first wanted one; returns what was fetched."""
        request = _make_request(mirror, self.published.files, wanted)
        with tempfile.TemporaryDirectory(dir=workspace) as attempt:
            try:
                self._report("started", request.url)
                download = self._download(request, Path(attempt), speed)
                size = download.stat().st_size
                staged = _stage(mirror, download, request.files, workspace)
            except DownloadFailed as error:
                self.failures.append(f"{request.url}: {error}")
                self._report("failed", request.url, reason=str(error))
                raise
            for file, path in staged.items():
                # A private mode would hide the data from other users of a shared folder.
                atomic.publish(path, target / file.name, mode=0o644)
        self._report("done", request.url, received=size, total=size)
        self.mirrors.sort(key=lambda other: other is not mirror)
        return request.files

    def _download(self, request: _Request, folder: Path, speed: float) -> Path:
        pooch = _import_pooch()

        def report(received: int, total: int | None, mean_speed: float) -> None:
            self._report(
                "receiving",
                request.url,
                received=received,
                total=request.expected_bytes if total is None else total,
                speed=mean_speed,
            )

        download = Download(
            sizes=request.sizes, speed=speed, limits=self.limits, on_received=report
        )
        name = PurePosixPath(urlsplit(request.url).path).name
        with _silence(pooch.get_logger()):
            try:
                return Path(
                    pooch.retrieve(
                        request.url, request.known_hash, name, folder, downloader=download
                    )
                )
            except ValueError as error:  # another checksum; the text names both
                raise DownloadFailed(str(error).partition(" Deleted download")[0]) from None

    def _report(self, state: DownloadState, url: str, **facts: Any) -> None:
        self.on_progress(
            DownloadProgress(dataset=self.published.dataset, state=state, url=url, **facts)
        )


def _make_request(
    mirror: Mirror, files: Sequence[PublishedFile], wanted: Sequence[PublishedFile]
) -> _Request:
    if mirror.unpack is None:
        file = wanted[0]
        return _Request(
            url=mirror.url + file.name,
            files=[file],
            sizes=range(file.bytes, file.bytes + 1),
            expected_bytes=file.bytes,
            known_hash=f"{file.algorithm.replace('-', '').lower()}:{file.checksum}",
        )
    most = sum(file.bytes for file in files) + archives.SLACK
    return _Request(
        url=mirror.url,
        files=files,
        sizes=range(mirror.bytes, mirror.bytes + 1)
        if mirror.exact and mirror.bytes is not None
        else range(1, most),
        expected_bytes=mirror.bytes,
        known_hash=f"sha256:{mirror.sha256}" if mirror.exact else None,
    )


def _stage(
    mirror: Mirror, download: Path, files: Sequence[PublishedFile], workspace: Path
) -> dict[PublishedFile, Path]:
    """The files in the workspace: unpacked from an archive and checked, or the download itself."""
    if mirror.unpack is None:
        return {files[0]: download}
    staged = {}
    try:
        for file, content in mirror.unpack(download, files):
            difference = describe_difference(file, len(content), content)
            if difference:
                raise DataInvalid(f"{file.name} is {difference}.")
            staged[file] = workspace / file.name
            atomic.write_synced(staged[file], content)
    except DataInvalid as error:
        raise DownloadFailed(f"{error}{_compare_checksum(mirror, download)}") from None
    return staged


def _compare_checksum(mirror: Mirror, archive: Path) -> str:
    """A sentence on the archive's checksum; empty if it is right or none was published."""
    if mirror.sha256 is None:
        return ""
    with archive.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    if checksum == mirror.sha256:
        return ""
    return f" The archive's SHA-256 is {checksum}; expected {mirror.sha256}."


def _import_pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError:
        raise MissingExtra("pooch", "study", "Downloading data") from None
    return pooch


@contextlib.contextmanager
def _silence(logger: logging.Logger) -> Iterator[None]:
    """Suppress pooch's lines about each file; `DownloadProgress` reports progress."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
