"""`main`: runs a command, prints its output, and turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TextIO, cast

import typer

from fanin._version import __version__
from fanin.cli import data, export, listing, report, run, show, status, store
from fanin.cli.command_output import SCHEMA, CommandOutput, print_to_stderr
from fanin.errors import FaninError, MissingExtra, UsageError

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
    printer = _Printer(sys.stdout if _asks_for_json(words) else None)
    try:
        with printer.redirect_prints(), _shorten_warnings():
            output = app(words, prog_name="fanin", standalone_mode=False)
        if isinstance(output, CommandOutput):
            printer.print_output(output)
            return output.exit_code
        # After Ctrl-C Typer returns an exit code.
        return printer.print_error("KeyboardInterrupt", "Interrupted.", output) if output else 0
    except _Misuse as error:
        if printer.json_to is None:
            error.show()
            return UsageError.exit_code
        return printer.print_error("UsageError", error.format_message(), UsageError.exit_code)
    except FaninError as error:
        return printer.print_error(type(error).__name__, str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _STUDY_EXTRA:
            return printer.print_bug(error)
        missing = MissingExtra(str(error.name), "study", "This command")
        return printer.print_error("MissingExtra", str(missing), missing.exit_code)
    except Exception as error:
        return printer.print_bug(error)


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether ``--json`` is among the words, before ``--`` if there is one."""
    return "--json" in itertools.takewhile(lambda word: word != "--", words)


@dataclass(frozen=True)
class _Printer:
    """Prints the output or the error of a command, as JSON to a stream if one is given."""

    json_to: TextIO | None

    @contextlib.contextmanager
    def redirect_prints(self) -> Iterator[None]:
        """Send what user code prints to standard error, if standard output is for the JSON object
        only.
        """
        if self.json_to is None:
            yield
            return
        with contextlib.redirect_stdout(sys.stderr):
            yield

    def print_output(self, output: CommandOutput) -> None:
        """Print what a command has returned."""
        try:
            if self.json_to is None:
                output.show()
                sys.stdout.flush()
            else:
                self._print_json(output.record)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UsageError(f"Cannot write standard output: {error.strerror or error}.") from None

    def print_error(self, kind: str, text: str, exit_code: int) -> int:
        """Print an error; returns the exit code."""
        if self.json_to is None:
            print_to_stderr(f"Error: {text}")
        else:
            self._print_json({"error": {"type": kind, "message": text, "exit_code": exit_code}})
        return exit_code

    def print_bug(self, error: Exception) -> int:
        """Print an error that is no user's mistake, with its traceback; returns the exit code."""
        traceback.print_exception(error)
        text = f"This is a bug in fanin; please report it: {error}"
        return self.print_error(type(error).__name__, text, 1)

    def _print_json(self, record: Mapping[str, Any]) -> None:
        text = json.dumps({"schema": SCHEMA, **record}, allow_nan=False)
        print(text, file=self.json_to, flush=True)


@contextlib.contextmanager
def _shorten_warnings() -> Iterator[None]:
    """Print warnings in one line each, without the line of code that raised them."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_to_stderr(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
