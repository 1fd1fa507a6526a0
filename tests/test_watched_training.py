"""What a watch has written, loaded: verdict, frame, figure, page, and `fanin report FILE`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from cli_session import fanin as run
from torch import nn
from watching_cases import Plain, make_model, train

import fanin
from fanin.errors import OutputError
from fanin.watching.layer_reading import ALL, STATISTICS

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a training with three readings and one epoch."""
    place, model = tmp_path / "signals.jsonl", make_model(Plain)
    watch = fanin.watch(model, every=3, path=place)
    train(
        model,
        6,
        watched=watch,
        after_step=lambda step, loss: watch.epoch(loss=loss) if step == 8 else None,
    )
    return place


def test_the_frame_has_a_row_for_each_reading_and_layer(path: Path) -> None:
    frame = fanin.load_signals(path).frame()
    assert list(frame.columns) == ["step", "epoch", "depth", "layer", *STATISTICS]
    assert sorted(set(frame["step"])) == [1, 4, 7]
    assert list(frame["layer"][:6]) == ["fc1", "fc1:relu", "fc2", "fc2:tanh", "out", ALL]
    assert list(frame["depth"][:6]) == [0, 1, 2, 3, 4, -1]
    assert math.isnan(frame["gradient_rms"][1])
    assert frame["gradient_rms"][0] > 0


def test_epochs_have_the_metrics_that_the_loop_gave(path: Path) -> None:
    (row,) = fanin.load_signals(path).epochs().to_dict("records")
    assert (row["epoch"], row["step"]) == (1, 8)
    assert row["loss"] > 0


def test_the_text_says_how_far_the_training_came(path: Path) -> None:
    text = str(fanin.load_signals(path))
    assert text.startswith("Plain: 3 measured steps up to step 7, 1 epochs; finished.\n\n- ")
    lines = path.read_text().split("\n")
    path.write_text("\n".join(lines[:3]) + "\n")
    assert "; running." in str(fanin.load_signals(path))


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_figure_is_written_in_each_format(path: Path, tmp_path: Path, kind: str) -> None:
    training = fanin.load_signals(path)
    assert training.figure(tmp_path / f"f.{kind}").stat().st_size > 1000
    with pytest.raises(OutputError, match="Expected a path that ends in"):
        training.figure(tmp_path / "figure.gif")


def test_a_page_holds_verdict_figure_and_the_last_reading(path: Path) -> None:
    training = fanin.load_signals(path)
    page = training.report()
    assert page == path.with_suffix(".html")
    text = page.read_text()
    assert training.verdict()[0].replace("'", "&#39;") in text
    assert "data:image/png;base64," in text
    assert "<h2>Step 7</h2>" in text
    assert "<script" not in text
    assert "fc2:tanh" in text


def test_names_of_users_stay_text(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(HOSTILE, nn.Linear(6, 3))

        def forward(self, x: object) -> object:
            return self._modules[HOSTILE](x)  # type: ignore[misc]

    place, model = tmp_path / "signals.jsonl", make_model(Named)
    train(model, 6, watched=fanin.watch(model, path=place))
    text = fanin.load_signals(place).report().read_text()
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;img" in text


def test_a_file_without_readings_still_gives_a_page(tmp_path: Path) -> None:
    place = tmp_path / "signals.jsonl"
    with fanin.watch(make_model(Plain), path=place):
        pass
    training = fanin.load_signals(place)
    assert "Nothing was measured" in training.report().read_text()
    assert training.figure().exists()
    assert len(training.frame()) == 0


def test_the_command_says_what_the_signals_show_and_writes_page_and_figure(
    path: Path, tmp_path: Path
) -> None:
    output = run("report", str(path), "--output", str(tmp_path / "shown"))
    assert output.code == 0
    assert "Nothing stands out" in output.out
    assert max(map(len, output.out.split("\n")[:4])) <= 80
    assert (tmp_path / "shown" / "signals.html").exists()
    assert (tmp_path / "shown" / "signals.png").exists()


def test_the_command_gives_json(path: Path) -> None:
    record = run("report", path, "--json").record
    assert record["model"] == "Plain"
    assert record["readings"] == 3
    assert record["ending"] == "finished"
    assert record["verdict"][0].startswith("Nothing stands out")


def test_a_file_of_something_else_is_an_error_in_words(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    output = run("report", str(other))
    assert output.code == 2
    assert "holds no signals of fanin" in output.err
    other.write_text('{"cell": {"data": "digits"}}\n')
    output = run("report", str(other))
    assert output.code == 2
    assert "fanin store merge DIR" in " ".join(output.err.split())
