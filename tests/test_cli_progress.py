"""Live progress: what is estimated, and what is shown on a terminal and off it."""

from __future__ import annotations

import io

import pytest
from cli_session import fanin

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.cli.only_option import parse_only
from fanin.errors import UsageError
from fanin.execution.events import (
    CellFinished,
    CellStarted,
    EpochFinished,
    Event,
    Notice,
    RunStarted,
    WorkerLost,
)
from fanin.progress import progress_display as progress
from fanin.progress.progress_display import show_training
from fanin.progress.remaining_time import RemainingTime, format_duration

CELLS = [Cell(data="digits", model="mlp", initializer="he_normal", replicate=i) for i in range(4)]
SLOW = Cell(data="digits", model="cnn", initializer="he_normal")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def story(*, outcome: str = "ok") -> list[Event]:
    """Two of four cells, the second of which is lost once."""
    first, second = CELLS[:2]
    row = {
        "epoch": 1.0,
        "loss": 1.0,
        "val_loss": 0.51239,
        "accuracy": 0.5,
        "val_accuracy": 0.5,
        "seconds": 0.1,
    }
    message = "" if outcome == "ok" else "Traceback\nRuntimeError: it broke"
    return [
        RunStarted(5, 4, 2, {}),
        CellStarted(first, 1),
        EpochFinished(first, 1, row),
        CellStarted(second, 2),
        CellFinished(
            Result(cell=first, outcome=outcome, message=message, metrics={"epochs": 7.0}), 1
        ),
        WorkerLost(2, second, "the process was killed by SIGKILL", True),
        Notice("Something to know."),
    ]


def told(stream: io.StringIO, events: list[Event]) -> str:
    with show_training(CELLS, {cell.id: "he" for cell in CELLS}, stream) as handle:
        for event in events:
            handle(event)
    return stream.getvalue()


def test_off_a_terminal_progress_is_plain_lines() -> None:
    assert told(io.StringIO(), story()).splitlines() == [
        "Training 4 cells on 2 workers (1 of 5 are done already).",
        "1/4 cells, about 1 s to go: mlp · digits · he: ok after 7 epochs",
        "Worker 2 (mlp · digits · he #1): the process was killed by SIGKILL; tried again.",
        "Something to know.",
    ]


def test_lines_about_finished_cells_are_throttled_but_failures_and_the_end_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 1000.0)
    outcomes = ["ok", "ok", "failed", "ok"]
    events: list[Event] = [RunStarted(4, 4, 1, {})]
    events += [
        CellFinished(Result(cell=cell, outcome=outcome), 1)
        for cell, outcome in zip(CELLS, outcomes, strict=True)
    ]
    lines = told(io.StringIO(), events).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["Training", "1/4", "3/4", "4/4"]
    assert "1 failed" in lines[-1]


def test_on_a_terminal_progress_is_bars_and_failures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    text = told(Terminal(), story(outcome="failed"))
    assert "\x1b[" in text
    assert "failed: RuntimeError: it broke" in text
    assert "Something to know." in text


def test_no_color_leaves_no_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[3" not in told(Terminal(), story())


def test_nothing_is_said_where_nothing_is_trained() -> None:
    assert told(io.StringIO(), [RunStarted(5, 0, 0, {})]) == ""


def test_control_characters_in_a_message_are_written_out() -> None:
    events: list[Event] = [RunStarted(1, 1, 1, {}), Notice("\x1b[31mred")]
    assert "\\x1b[31mred" in told(io.StringIO(), events)


def test_remaining_time_is_that_of_finished_cells_of_the_same_kind() -> None:
    remaining = RemainingTime([*CELLS, SLOW], workers=1)
    assert remaining.estimate_seconds(0.0) is None
    remaining.begin(CELLS[0], 0.0)
    remaining.end(CELLS[0], 10.0)
    assert remaining.estimate_seconds(10.0) == pytest.approx(
        4 * 10
    )  # the slow one counts as the others while nothing is known of it
    remaining.begin(SLOW, 10.0)
    remaining.end(SLOW, 110.0)
    assert remaining.estimate_seconds(110.0) == pytest.approx(3 * 10)


def test_remaining_time_is_shared_by_workers_and_shrinks_while_cells_run() -> None:
    remaining = RemainingTime(CELLS, workers=2)
    for cell in CELLS[:2]:
        remaining.begin(cell, 0.0)
    remaining.end(CELLS[0], 10.0)
    assert remaining.estimate_seconds(10.0) == pytest.approx((20 + 0) / 2)
    remaining.begin(CELLS[2], 10.0)
    assert remaining.estimate_seconds(14.0) == pytest.approx((10 + 6) / 2)


def test_a_cell_whose_worker_was_lost_waits_again() -> None:
    remaining = RemainingTime(CELLS[:2], workers=1)
    remaining.begin(CELLS[0], 0.0)
    remaining.end(CELLS[0], 10.0)
    remaining.begin(CELLS[1], 10.0)
    remaining.put_back(CELLS[1])
    assert remaining.estimate_seconds(15.0) == pytest.approx(10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (61, "1 min"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (3e5, "3 days"),
    ],
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["data=mnist"], {"data": ["mnist"]}),
        (["data=mnist,cifar10,model=mlp"], {"data": ["mnist", "cifar10"], "model": ["mlp"]}),
        (["data=mnist", "data=cifar10"], {"data": ["mnist", "cifar10"]}),
        (
            ["initializer=he_normal(a=0.2,mode=fan_out),zero"],
            {"initializer": ["he_normal(a=0.2,mode=fan_out)", "zero"]},
        ),
        (["activation=[relu, tanh] , relu"], {"activation": ["[relu, tanh]", "relu"]}),
        (["optimizer=adam(epsilon='a,b')"], {"optimizer": ["adam(epsilon='a,b')"]}),
        ([], {}),
    ],
)
def test_only_is_read(texts: list[str], found: dict[str, list[str]]) -> None:
    assert parse_only(texts) == found


@pytest.mark.parametrize("text", ["", "mnist", "=mnist", "data=", "data=mnist,,cifar10", ","])
def test_an_only_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="--only takes key=value"):
        parse_only([text])


def test_an_empty_only_is_an_error_on_the_command_line() -> None:
    assert fanin("run", "quick", "--only", "").code == 2
