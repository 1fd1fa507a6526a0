"""`main`: runs a command, prints its output, and turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.cli.command_output import SCHEMA, CommandOutput, print_to_stderr
from fanin.cli.output_stream import OutputStream, open_output
from fanin.errors import STUDY_EXTRA, FaninError, MissingExtra, OutputError, UsageError, quote

_INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with open_output() as (out, _), _shorten_warnings():
        return _Printer(out, _asks_for_json(words)).run(words)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether ``--json`` is among the words, before ``--`` if there is one."""
    return "--json" in itertools.takewhile(lambda word: word != "--", words)


def _run_command(words: Sequence[str]) -> object:
    """Run a command line; returns what the command returns, or an exit code.

    Typer takes longer to be imported than ``fanin status`` to answer, so its plain form is
    understood without it.
    """
    others = [word for word in words if word != "--json"]
    if len(others) == 2 and others[0] == "status" and not others[1].startswith("-"):
        from fanin.cli.folder_state import read_state

        return read_state(Path(others[1]))

    from fanin.cli.app import app

    return app(words, prog_name="fanin", standalone_mode=False, obj=tuple(words))


@dataclass(frozen=True)
class _Printer:
    """Runs a command, and prints its output or its error, as JSON or for people."""

    out: OutputStream
    as_json: bool

    def run(self, words: Sequence[str]) -> int:
        """Run a command line; returns the exit code."""
        try:
            # If standard output is for the JSON object only, all else goes to standard error.
            with contextlib.redirect_stdout(sys.stderr if self.as_json else self.out):
                output = _run_command(words)
            if isinstance(output, CommandOutput):
                return self.print_output(output)
            if isinstance(output, int) and output:  # Typer returns it after Ctrl-C
                return self.print_error("KeyboardInterrupt", "Interrupted.", output)
            return self._find_exit_code(0, has_effect=False)
        except KeyboardInterrupt:
            return self.print_error("KeyboardInterrupt", "Interrupted.", _INTERRUPTED)
        except FaninError as error:
            return self.print_error(type(error).__name__, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in STUDY_EXTRA:
                return self.print_bug(error)
            missing = MissingExtra(str(error.name), "study", "This command")
            return self.print_error("MissingExtra", str(missing), missing.exit_code)
        except OSError as error:
            if error.filename is None:
                return self.print_bug(error)
            text = f"Cannot use {quote(str(error.filename))}: {error.strerror or error}."
            return self.print_error("UsageError", text, UsageError.exit_code)
        except Exception as error:
            return self._print_misuse(error) or self.print_bug(error)

    def _print_misuse(self, error: Exception) -> int:
        """Print the error of a command line that Typer does not understand; returns the exit code,
        0 for any other error.
        """
        from fanin.cli.app import Misuse

        if not isinstance(error, Misuse):
            return 0
        if self.as_json:
            return self.print_error("UsageError", error.format_message(), UsageError.exit_code)
        error.show(shown := io.StringIO())
        print_to_stderr(shown.getvalue().rstrip())
        return UsageError.exit_code

    def print_output(self, output: CommandOutput) -> int:
        """Print what a command has returned; returns the exit code."""
        if self.as_json:
            self._print_json(output.record)
        else:
            output.show()
        return self._find_exit_code(output.exit_code, output.has_effect)

    def print_error(self, kind: str, text: str, exit_code: int) -> int:
        """Print an error; returns the exit code."""
        if self.as_json:
            self._print_json({"error": {"type": kind, "message": text, "exit_code": exit_code}})
        else:
            print_to_stderr(f"Error: {text}")
        return exit_code

    def print_bug(self, error: Exception) -> int:
        """Print an error that is no user's mistake, with its traceback; returns the exit code."""
        from fanin.execution.process_limits import explain_lack_of_memory

        if text := explain_lack_of_memory(error):
            return self.print_error("MemoryError", text, 1)
        print_to_stderr("".join(traceback.format_exception(error)).rstrip())
        text = f"This is a bug in fanin; please report it: {error}"
        return self.print_error(type(error).__name__, text, 1)

    def _find_exit_code(self, exit_code: int, has_effect: bool) -> int:
        """The exit code of a command that has returned: that of what it did, or the error of
        standard output if printing is all that it does.
        """
        self.out.flush()
        failure = self.out.failure
        if failure is None:
            return exit_code
        if not isinstance(failure, BrokenPipeError):
            kind = "Warning" if has_effect else "Error"
            reason = failure.strerror or failure
            print_to_stderr(f"{kind}: Cannot write standard output: {reason}.")
        if has_effect:
            return exit_code
        return 1 if isinstance(failure, BrokenPipeError) else OutputError.exit_code

    def _print_json(self, record: Mapping[str, Any]) -> None:
        text = json.dumps({"schema": SCHEMA, **record}, allow_nan=False)
        print(text, file=self.out, flush=True)


@contextlib.contextmanager
def _shorten_warnings() -> Iterator[None]:
    """Print warnings in one line each, without the line of code that raised them."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_to_stderr(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
