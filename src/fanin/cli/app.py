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
from typing import Annotated, Any, cast

import typer

from fanin._version import __version__
from fanin.cli import data, export, listing, report, run, show, status, store
from fanin.cli.command_output import SCHEMA, CommandOutput, print_to_stderr
from fanin.cli.output_stream import OutputStream, open_output
from fanin.errors import FaninError, MissingExtra, OutputError, UsageError, quote
from fanin.execution.process_limits import explain_lack_of_memory

# Typer's error for a command line that it does not understand. Older versions import it from click,
# newer ones define it.
_Misuse = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

# What the library imports beyond the light core. A command that lacks one says how to install it.
_STUDY_EXTRA = {
    "scipy",
    "pandas",
    "sklearn",
    "pydantic",
    "pooch",
    "safetensors",
    "jinja2",
    "matplotlib",
}

app = typer.Typer(
    name="fanin",
    epilog="Exit codes: 0 done · 1 some cells failed · 2 usage · 3 store corrupt, locked or full · "
    "4 data missing or damaged · "
    "130 / 143 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(status.status)
app.command()(report.report)
app.command()(export.export)
app.add_typer(store.app)
app.command("list")(listing.list_entries)
app.command()(show.show)
app.add_typer(data.app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fanin {__version__}")
        raise typer.Exit


@app.callback()
def _describe_program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Which initialization should this network start from? Measure it, don't guess.

    \b
    A first look, in a minute or two:   fanin run quick
    What you can choose from:           fanin list
    How to use a command:               fanin COMMAND --help
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with open_output() as (out, _), _shorten_warnings():
        return _Printer(out, _asks_for_json(words)).run(words)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether ``--json`` is among the words, before ``--`` if there is one."""
    return "--json" in itertools.takewhile(lambda word: word != "--", words)


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
                output = app(words, prog_name="fanin", standalone_mode=False, obj=tuple(words))
            if isinstance(output, CommandOutput):
                return self.print_output(output)
            if output:  # after Ctrl-C Typer returns an exit code
                return self.print_error("KeyboardInterrupt", "Interrupted.", output)
            return self._find_exit_code(0, has_effect=False)
        except _Misuse as error:
            if not self.as_json:
                error.show(shown := io.StringIO())
                print_to_stderr(shown.getvalue().rstrip())
                return UsageError.exit_code
            return self.print_error("UsageError", error.format_message(), UsageError.exit_code)
        except FaninError as error:
            return self.print_error(type(error).__name__, str(error), error.exit_code)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _STUDY_EXTRA:
                return self.print_bug(error)
            missing = MissingExtra(str(error.name), "study", "This command")
            return self.print_error("MissingExtra", str(missing), missing.exit_code)
        except OSError as error:
            if error.filename is None:
                return self.print_bug(error)
            text = f"Cannot use {quote(str(error.filename))}: {error.strerror or error}."
            return self.print_error("UsageError", text, UsageError.exit_code)
        except Exception as error:
            return self.print_bug(error)

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
