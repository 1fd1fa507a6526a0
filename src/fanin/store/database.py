"""The SQLite file of a results store: connections, schema versions, errors.

It is written with a rollback journal and ``synchronous=FULL``: what was committed survives a crash
of the program and of the machine. SQLite's write-ahead log does not work on network file systems,
and versions before 3.51.3 could corrupt files with it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from fanin import atomic
from fanin.crash_points import pass_crash_point
from fanin.errors import OutputError, StoreCorrupt, StoreError, StoreFull

APPLICATION_ID = 0x66616E69
"""``fani``, in the file's header: tells our files from those of other programs."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE result (
            number INTEGER PRIMARY KEY,
            cell TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            outcome TEXT NOT NULL,
            record TEXT NOT NULL,
            digest TEXT NOT NULL,
            UNIQUE (cell, attempt)
        )""",
        """CREATE TABLE plan (
            number INTEGER PRIMARY KEY,
            record TEXT NOT NULL,
            digest TEXT NOT NULL
        )""",
    ),
    # of the whole row, for readers in a hurry (fanin.store.stored_rows); none in older rows
    ("ALTER TABLE result ADD COLUMN checksum INTEGER",),
)
"""Entry i holds the statements that lead from version i to version i + 1."""

# Seconds that a writer waits for readers, and a reader for the writer. It waits in slices, so that
# Ctrl-C works.
_PATIENCE = 600.0
_SLICE = 1.0


def create(path: Path) -> None:
    """Create an empty store. It appears whole or not at all: an empty file is always damaged.

    Raises `StoreCorrupt` if a journal without its store is there, and `OutputError` or `StoreFull`.
    """
    if path.with_name(f"{path.name}-journal").exists():
        raise StoreCorrupt(
            f"{path} is missing, but its journal {path.name}-journal is there. Put the file back "
            "beside its journal, or choose another --out."
        )
    aside = path.with_name(f"{path.name}.new")
    try:
        for leftover in (aside, aside.with_name(f"{aside.name}-journal")):
            leftover.unlink(missing_ok=True)
        with translate_errors(path), contextlib.closing(_connect(aside, "rwc")) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate(connection)
        pass_crash_point("store.before_created")
        atomic.publish(aside, path)
    except OSError as error:
        raise atomic.to_output_error(path, error) from None


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open an existing store, check it, and migrate it to the current version."""
    with translate_errors(path):
        connection = _connect(path, "rw")
        try:
            _check_header(connection, path)
            # not quick_check, which skips the index
            check = execute_patiently(connection, "PRAGMA integrity_check(1)")
            if (problem := check.fetchone()[0]) != "ok":
                raise to_corrupt_error(path, problem)
            if (version := _read_version(connection)) < len(MIGRATIONS):
                _back_up(connection, path.with_name(f"{path.name}.version-{version}"))
                migrate(connection)
            execute_patiently(connection, "PRAGMA journal_mode = DELETE")
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def open_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing store in one read transaction, which should be short: it blocks the writer.

    The file is opened for writing if possible, because the first process that opens it after a
    crash has to roll back the interrupted write. A store of an older version is migrated in memory.
    """
    with translate_errors(path), contextlib.closing(_connect(path, "rw")) as connection:
        execute_patiently(connection, "BEGIN")
        _check_header(connection, path)
        if _read_version(connection) == len(MIGRATIONS):
            yield connection
            return
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            connection.backup(copy)
            migrate(copy)
            yield copy


def connect_for_lookups(path: Path) -> sqlite3.Connection:
    """Connect to an existing store of any version, to read single rows now and then.

    It is locked only while a statement is executed. Any thread may use the connection, one at a
    time.
    """
    with translate_errors(path):
        connection = _connect(path, "rw", check_same_thread=False)
        _check_header(connection, path)
        return connection


@contextlib.contextmanager
def open_damaged(path: Path) -> Iterator[sqlite3.Connection]:
    """Open what may be left of a store, for reading alone. Errors of SQLite are its own."""
    with contextlib.closing(_connect(path, "ro")) as connection:
        yield connection


def execute_patiently(connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Execute a statement, and wait while other processes lock the file."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if not _get_error_name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise


@contextlib.contextmanager
def begin_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that is written inside, or after an error nothing."""
    execute_patiently(connection, "BEGIN IMMEDIATE")
    try:
        yield
        execute_patiently(connection, "COMMIT")
    except BaseException:
        if connection.in_transaction:  # after a full disk SQLite has rolled back itself
            connection.execute("ROLLBACK")
        raise


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the current version, in one transaction."""
    with begin_transaction(connection):
        for version in range(_read_version(connection), len(MIGRATIONS)):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


@contextlib.contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """As `translate_errors`, and raise the errors of damaged rows with the file's name and what can
    be done.
    """
    try:
        with translate_errors(path):
            yield
    except StoreCorrupt as error:
        text = str(error)
        is_explained = text.startswith(str(path))
        raise error if is_explained else to_corrupt_error(path, text.rstrip(".")) from None


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise fanin's errors in place of SQLite's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(path, error) from error


def _connect(path: Path, mode: str, *, check_same_thread: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_SLICE,
        isolation_level=None,
        check_same_thread=check_same_thread,
    )
    # Damaged text is found by its digest.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    execute_patiently(connection, "PRAGMA synchronous = FULL")  # reads the file, too
    return connection


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    version = _read_version(connection)  # the first statement that reads the file
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or version < 1:
        raise to_corrupt_error(path, "not a results store of fanin")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}; this version of fanin reads versions up to "
            f"{len(MIGRATIONS)}. Use the newer fanin that wrote it."
        )


def _read_version(connection: sqlite3.Connection) -> int:
    return int(execute_patiently(connection, "PRAGMA user_version").fetchone()[0])


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)


def to_corrupt_error(path: Path, problem: str) -> StoreCorrupt:
    """The error of a file that is not what was written."""
    return StoreCorrupt(
        f"{path} cannot be used: {problem}. The file was not changed. `fanin store verify` tells "
        "more, and `fanin store salvage` copies the sound results to another folder. Or restore a "
        "copy."
    )


def _get_error_name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _translate(path: Path, error: sqlite3.Error) -> StoreError | OutputError:
    name = _get_error_name(error)
    if name == "SQLITE_FULL":
        return StoreFull(
            f"Disk full: cannot write {path}. All committed results are safe. Free space, then "
            "repeat the command."
        )
    if name.startswith("SQLITE_IOERR"):
        return StoreFull(
            f"Cannot read or write {path} ({name}): disk full, quota or file size limit reached, "
            "or a failing disk. All committed results are safe. Remove the cause, then repeat the "
            "command."
        )
    if name.startswith("SQLITE_BUSY"):
        return StoreError(
            f"Another program has kept {path} locked for {_PATIENCE:g} s. Close it, then repeat "
            "the command."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return OutputError(
            f"Cannot open {path} ({error}). Make the file and its folder readable. If there is a "
            f"{path.name}-journal, a write was interrupted, and they must be writable, too; or "
            "copy the folder to a place where they are."
        )
    return to_corrupt_error(path, str(error))
