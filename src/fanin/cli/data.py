"""``fanin data``: data sets on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fanin.cli.command_output import CommandOutput, print_lines, print_to_stderr
from fanin.cli.json_option import JsonOption
from fanin.cli.listing import format_columns
from fanin.errors import DataError, DataUnavailable

if TYPE_CHECKING:
    from fanin.data import DatasetStatus, DownloadProgress, FileCheck, LabelCounts

app = typer.Typer(
    name="data", help="Data sets on this machine.", no_args_is_help=True, rich_markup_mode=None
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")]
_File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An .npz file with x_train, y_train, x_test, y_test, or with x and y alone; or a CSV "
        "file.",
    ),
]
_Replace = Annotated[
    bool, typer.Option("--replace", help="Overwrite an existing copy of that name.")
]
_Target = Annotated[
    str | None,
    typer.Option("--target", metavar="COLUMN", help="The column of a CSV file to predict."),
]
_Drop = Annotated[
    list[str] | None,
    typer.Option(
        "--drop", metavar="COLUMN", help="A column of a CSV file to leave out; may be repeated."
    ),
]
_Task = Annotated[
    Literal["classification", "regression"] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="classification or regression, where a CSV file's target is taken for the other.",
    ),
]
_Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B,…",
        help="The classes in the order of their numbers; sorted by default.",
    ),
]
_Test = Annotated[
    float | None,
    typer.Option(
        "--test",
        metavar="SHARE",
        help="The share of test samples of a CSV file, or of x and y; 0.2 by default.",
    ),
]
_Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Draws the test samples; 0 by default."),
]
_Standardise = Annotated[
    bool,
    typer.Option(
        "--standardise",
        help="Subtract the mean of each input column and divide by its standard deviation, both of "
        "the training samples.",
    ),
]


@app.command("list")
def list_data(as_json: JsonOption = False) -> CommandOutput:
    """List the data sets, and say which are on this machine.

    \b
    Exit codes: 0 listed
    """
    from fanin import data

    found = data.list_datasets()
    record = {
        "datasets": [
            {
                "name": listing.name,
                "state": listing.state,
                "where": listing.where,
                "note": listing.note,
                "task": listing.info.task if listing.info else None,
                "input_shape": list(listing.info.input_shape) if listing.info else None,
                "outputs": listing.info.outputs if listing.info else None,
                "kind": listing.info.kind if listing.info else None,
                "vocabulary": listing.info.vocabulary if listing.info else None,
                "of": listing.of or None,
                "n_train": listing.info.n_train if listing.info else None,
                "n_test": listing.info.n_test if listing.info else None,
                **_counts_to_json(listing.labels),
            }
            for listing in found
        ]
    }
    return CommandOutput(
        record,
        lambda: print_lines(
            format_columns([(listing.name, _summarize(listing)) for listing in found])
        ),
    )


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]",
            help="Data sets; by default all that can be downloaded, 0.4 GB.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Download data sets that are missing or damaged.

    Mirrors are tried in turn, and a file is kept only if its checksum is right. An interrupted
    download starts from the beginning. With FANIN_OFFLINE=1 nothing is contacted.

    \b
    Examples:
      fanin data fetch mnist cifar10
      fanin data fetch

    \b
    Exit codes: 0 all are there · 2 unknown data set, or nowhere to write
    · 4 no mirror has one
    """
    from fanin import data
    from fanin.progress.download_progress import show_downloads

    chosen = list(dict.fromkeys(names or data.list_fetchable()))
    for name in chosen:
        data.describe(name)  # finds a misspelt name before anything is downloaded
    with show_downloads() as on_progress:
        records = [_fetch_one(name, on_progress) for name in chosen]
    errors = [record["error"] for record in records if record["error"]]
    if errors and len(chosen) == 1:
        raise DataUnavailable(errors[0])
    rows = [(record["name"], record["error"] or record["where"]) for record in records]
    return CommandOutput(
        {"complete": not errors, "datasets": records},
        lambda: print_lines(format_columns(rows)),
        DataError.exit_code if errors else 0,
        has_effect=True,
    )


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets; by default all on this machine."),
    ] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Check the size and checksum of data files.

    The arrays of your own copies are checked instead.

    \b
    Examples:
      fanin data verify mnist
      fanin data verify

    \b
    Exit codes: 0 all are sound · 2 unknown data set · 4 missing or damaged
    """
    from fanin import data

    chosen = names or [
        found.name for found in data.list_datasets() if found.state != "missing" and not found.of
    ]
    checks = {name: data.verify(name) for name in chosen}
    sound = all(check.ok for found in checks.values() for check in found)
    record = {
        "sound": sound,
        "datasets": {
            name: [_check_to_json(check) for check in found] for name, found in checks.items()
        },
    }

    def show() -> None:
        for name, found in checks.items():
            print_lines(f"{name}: {'embedded, nothing to check' if not found else ''}".rstrip(" "))
            print_lines(
                format_columns(
                    [("ok" if check.ok else "WRONG", _format_check(check)) for check in found]
                )
            )

    return CommandOutput(record, show, 0 if sound else DataError.exit_code)


@app.command()
def add(
    name: _Name,
    file: _File,
    replace: _Replace = False,
    target: _Target = None,
    drop: _Drop = None,
    task: _Task = None,
    classes: _Classes = None,
    test: _Test = None,
    seed: _Seed = None,
    standardise: _Standardise = False,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Register your own data set.

    Images as uint8, of shape (N, H, W) or (N, H, W, C), are divided by 255. Float arrays are used
    unchanged. Integer labels make a classification, float targets a regression; of a CSV file,
    texts and few different whole numbers are classes. Samples that are not divided yet are, by
    class and by a seed. The file is checked and copied. Classes, their samples and the accuracy
    that needs no learning are shown, and what looks like a mistake is said.

    \b
    Examples:
      fanin data add my-digits digits.npz
      fanin data add flowers flowers.csv --target species --test 0.25

    \b
    Exit codes: 0 added · 2 bad name, or nowhere to write · 4 bad file
    """
    from fanin import data

    path = data.add(
        name,
        file,
        replace=replace,
        target=target,
        drop=drop or (),
        task=task,
        classes=classes.split(",") if classes else (),
        test=test,
        seed=seed,
        standardise=standardise,
    )
    dataset = data.load(name)
    info, counts, doubts = dataset.info, data.count_labels(dataset), data.list_doubts(dataset)
    classes = f" {counts};" if counts else ""
    summary = f"{name}: {info.task}, {info.n_train:,} + {info.n_test:,} samples;{classes} {path}"
    for doubt in doubts:
        print_to_stderr(f"Warning: {name}: {doubt}.")
    record = {
        "name": name,
        "file": str(path),
        "task": info.task,
        "outputs": info.outputs,
        **_counts_to_json(counts),
        "warnings": doubts,
    }
    return CommandOutput(record, lambda: print_lines(summary), has_effect=True)


@app.command("path")
def show_path(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set's name.")] = None,
    as_json: JsonOption = False,
) -> CommandOutput:
    """Print the folder of all data sets, or of one. Set it with FANIN_DATA_DIR.

    \b
    Exit codes: 0 printed · 2 bad name · 4 there is no home folder
    """
    from fanin import data

    folder = data.resolve_folder(name)
    return CommandOutput({"path": str(folder)}, lambda: print_lines(str(folder)))


def _counts_to_json(counts: LabelCounts | None) -> dict[str, object]:
    return {
        "class_counts": {"train": list(counts.train), "test": list(counts.test)}
        if counts
        else None,
        "baseline": counts.baseline if counts else None,
    }


def _fetch_one(name: str, on_progress: Callable[[DownloadProgress], None]) -> dict[str, Any]:
    """Fetch a data set, and describe it or the error. An error does not stop the others."""
    from fanin import data

    downloaded: list[str] = []

    def record_download(event: DownloadProgress) -> None:
        if event.state == "done":
            downloaded.append(event.url)
        on_progress(event)

    error = ""
    try:
        data.fetch(name, on_progress=record_download)
    except DataUnavailable as failure:
        error = str(failure)
    listing = data.get_status(name)
    return {
        "name": name,
        "state": listing.state,
        "where": listing.where,
        "downloaded": downloaded,
        "error": error,
    }


def _summarize(listing: DatasetStatus) -> str:
    from fanin.report.escaping import escape_invisible

    info = listing.info
    shape = (
        f"{info.task}, {'×'.join(map(str, info.input_shape))}, {info.n_train:,} + {info.n_test:,} "
        "samples; "
        if info
        else ""
    )
    classes = f"{listing.labels}; " if listing.labels else ""
    if info and not listing.labels and info.task in ("classification", "token_classification"):
        classes = f"{info.outputs:,} classes; "
    note = f" ({escape_invisible(listing.note)})" if listing.note else ""
    return f"{listing.state}: {shape}{classes}{escape_invisible(listing.where)}{note}"


def _format_check(check: FileCheck) -> str:
    from fanin.report.escaping import escape_invisible

    facts = [
        f"{check.actual_bytes:,} bytes" if check.actual_bytes is not None else "",
        escape_invisible(check.note),
    ]
    if not check.ok and check.expected_bytes is not None:
        checksum = (
            f"SHA-256 {check.expected_sha256}"
            if check.expected_sha256
            else f"SHA-1 {check.expected_sha1}"
        )
        facts.append(f"expected {check.expected_bytes:,} bytes, {checksum}")
    return f"{escape_invisible(check.path)}: {'; '.join(filter(None, facts))}"


def _check_to_json(check: FileCheck) -> dict[str, object]:
    return {
        "path": str(check.path),
        "ok": check.ok,
        "expected_bytes": check.expected_bytes,
        "actual_bytes": check.actual_bytes,
        "expected_sha256": check.expected_sha256,
        "actual_sha256": check.actual_sha256,
        "expected_sha1": check.expected_sha1,
        "actual_sha1": check.actual_sha1,
        "note": check.note,
    }
