"""`main`: runs a command, prints its answer, and turns errors into texts and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TextIO, cast

import typer

from fanin._version import __version__
from fanin.cli import data, export, listing, report, run, show, status, store
from fanin.cli.command_output import SCHEMA, CommandOutput, print_to_stderr
from fanin.errors import FaninError, MissingExtra, UsageError

# What Typer raises for words that it does not understand. Typer used to import it from click and
# now carries it inside.
_Misuse = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

# What the library imports beyond the light core; a command that needs one of them says how to
# install it.
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
    What there is to choose from:       fanin list
    How to use any command:             fanin COMMAND --help
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process' own; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words[: words.index("--")] if "--" in words else "--json" in words
    stdout = sys.stdout
    try:
        with _redirect_prints(stdout) if as_json else contextlib.nullcontext(), _shorten_warnings():
            answer = app(words, prog_name="fanin", standalone_mode=False)
        if isinstance(answer, CommandOutput):
            _print_output(answer, stdout if as_json else None)
            return answer.exit_code
        return (
            _print_error("KeyboardInterrupt", "Interrupted.", answer, as_json, stdout)
            if answer
            else 0
        )
    except _Misuse as error:
        if not as_json:
            error.show()
            return UsageError.exit_code
        return _print_error(
            "UsageError", error.format_message(), UsageError.exit_code, as_json, stdout
        )
    except FaninError as error:
        return _print_error(type(error).__name__, str(error), error.exit_code, as_json, stdout)
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _STUDY_EXTRA:
            return _report_bug(error, as_json, stdout)
        missing = MissingExtra(str(error.name), "study", "This command")
        return _print_error("MissingExtra", str(missing), missing.exit_code, as_json, stdout)
    except Exception as error:
        return _report_bug(error, as_json, stdout)


def _print_output(answer: CommandOutput, json_to: TextIO | None) -> None:
    try:
        if json_to is None:
            answer.show()
            sys.stdout.flush()
        else:
            _print_json(answer.record, json_to)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"Standard output cannot be written: {error.strerror or error}.") from None


def _print_json(record: Any, file: TextIO) -> None:
    print(json.dumps({"schema": SCHEMA, **record}, allow_nan=False), file=file, flush=True)


def _print_error(kind: str, text: str, exit_code: int, as_json: bool, stdout: TextIO) -> int:
    if as_json:
        _print_json({"error": {"type": kind, "message": text, "exit_code": exit_code}}, stdout)
    else:
        print_to_stderr(f"Error: {text}")
    return exit_code


def _report_bug(error: Exception, as_json: bool, stdout: TextIO) -> int:
    traceback.print_exception(error)
    return _print_error(
        type(error).__name__,
        f"This is a bug in fanin; please report it: {error}",
        1,
        as_json,
        stdout,
    )


@contextlib.contextmanager
def _redirect_prints(stdout: TextIO) -> Iterator[None]:
    """Send to standard error whatever is printed inside, such as by a plug-in, so that `stdout`
    gets the JSON object alone.
    """
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _shorten_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the place in our code that raised them."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_to_stderr(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
