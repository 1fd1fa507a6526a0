"""The files of a results folder.

    results.sqlite    every result and the latest plan (`fanin.store.results_store`)
    lock              held by the one runner that writes here
    progress.json     what that runner is doing (`fanin.store.progress_file`)
    study.toml        the study that ran last, with everything said explicitly
    checkpoints/      states of unfinished cells: <cell id>.<digest>.safetensors
    logs/             what workers printed, up to a limit
    weights/          initial and best weights, on request

All names are fixed, or made from cell ids. No name that a user chooses becomes a path.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from fanin.atomic import to_output_error


def choose_folder(out: Path | str | None, study: str) -> Path:
    """The results folder that ``--out`` names; ``runs/<study>`` by default."""
    return Path("runs") / study if out is None else Path(out)


@dataclass(frozen=True)
class ResultsFolder:
    """A results folder. Its path is absolute, because user code may change the working folder."""

    path: Path

    @classmethod
    def from_path(cls, out: Path | str) -> ResultsFolder:
        """The folder `out`, which need not exist."""
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

    def remove_checkpoints(self, cell_id: str) -> None:
        """Remove a cell's checkpoints, and what a crash left of one."""
        for path in self.checkpoints.glob(f"{cell_id}.*"):
            with contextlib.suppress(OSError):  # a file left behind only costs space
                path.unlink()
