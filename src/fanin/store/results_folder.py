"""The files of a results folder.

    results.sqlite    every result and the latest plan (`fanin.store.results_store`)
    lock              held by the one runner that writes here
    progress.json     what that runner is doing (`fanin.store.progress_file`)
    belongs-to        the study file, if the folder was chosen for it
    study.toml        the study that ran last, with everything said explicitly
    checkpoints/      states of unfinished cells: <cell id>.<digest>.safetensors
    logs/             what workers printed, up to a limit
    weights/          initial and best weights, on request

All names are fixed, or made from cell ids. No name that a user chooses becomes a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from fanin import atomic
from fanin.atomic import to_output_error
from fanin.errors import OutputError, UsageError, quote

_MOST_NUMBERED = 1000
"""Folders ``runs/<study>-2`` and so on that are tried."""


def choose_folder(out: Path | str | None, study: str, file: Path | None = None) -> Path:
    """The results folder that ``--out`` names; ``runs/<study>`` by default.

    If that belongs to another study of this name, ``runs/<study>-2`` and so on.

    Args:
        out: the folder that the user has named, if any.
        study: the study's name.
        file: the study's file; None for a built-in one, or one that was made in Python.
    """
    if out is not None:
        return Path(out)
    usual = Path("runs") / study
    numbered = (Path("runs") / f"{study}-{number}" for number in range(2, _MOST_NUMBERED))
    return next((folder for folder in (usual, *numbered) if _belongs(folder, file)), usual)


def claim_folder(folder: Path, file: Path | None) -> None:
    """Record that a folder belongs to the study in a file, or to one without a file."""
    atomic.write(folder / _OWNER, _describe_owner(folder, file) + "\n", create_parent=True)


def is_claimed(folder: Path, file: Path | None) -> bool:
    """Whether it is recorded that a folder belongs to the study in a file, or to one without."""
    return _read_owner(folder) == _describe_owner(folder, file)


def _belongs(folder: Path, file: Path | None) -> bool:
    """Whether a folder may be used for a study: it is free, or its own. A folder whose study file
    is gone is free: the file may have been moved.
    """
    owner = _read_owner(folder)
    if owner is None or owner == _describe_owner(folder, file):
        return True
    return owner != _NO_FILE and not (folder / owner).is_file()


def _read_owner(folder: Path) -> str | None:
    """What is recorded of whom a folder belongs to."""
    try:
        return (folder / _OWNER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _describe_owner(folder: Path, file: Path | None) -> str:
    """The study's file, relative to the folder, so that both can be moved together."""
    if file is None:
        return _NO_FILE
    with contextlib.suppress(ValueError):  # on another drive
        return Path(os.path.relpath(file, folder)).as_posix()
    return str(file.absolute())


_OWNER = "belongs-to"
_NO_FILE = "a study without a file"


def check_path(path: Path | str) -> None:
    """Raise `OutputError` for what the system takes for no path, such as a name that is too long.

    Whether there is something there does not matter.
    """
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        if getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"{quote(str(path))} cannot be used as a path: {reason}. Choose another."
            ) from None


@dataclass(frozen=True)
class ResultsFolder:
    """A results folder. Its path is absolute, because user code may change the working folder."""

    path: Path

    @classmethod
    def from_path(cls, out: Path | str) -> ResultsFolder:
        """The folder `out`, which need not exist; raises `OutputError` if no folder can be called
        so.
        """
        check_path(out)
        return cls(Path(out).absolute())

    @property
    def database(self) -> Path:
        return self.path / "results.sqlite"

    @property
    def study(self) -> Path:
        """The file of the study that ran last."""
        return self.path / "study.toml"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    def create(self) -> None:
        """Create the folder; raises `OutputError` if it cannot be written."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise to_output_error(self.path, error) from None

    def remove_checkpoints_of(self, cell_ids: Container[str]) -> None:
        """Remove the checkpoints of several cells; the folder is listed once."""
        for path in self.checkpoints.glob("*"):
            if path.name.partition(".")[0] in cell_ids:
                with contextlib.suppress(OSError):  # a file left behind only costs space
                    path.unlink()

    def remove_checkpoints(self, cell_id: str) -> None:
        """Remove a cell's checkpoints, and what a crash left of one."""
        for path in self.checkpoints.glob(f"{cell_id}.*"):
            with contextlib.suppress(OSError):  # a file left behind only costs space
                path.unlink()


def require_store(out: Path | str) -> ResultsFolder:
    """The results folder `out`; raises `UsageError` if it holds no store."""
    folder = ResultsFolder.from_path(out)
    if not folder.database.is_file():
        raise UsageError(
            f"No results in {out}: expected a folder with {folder.database.name}. `fanin run` "
            "creates one."
        )
    return folder
