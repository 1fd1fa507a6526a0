"""What `fanin.watch` or a callback has written, as verdict, table, figure and page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin import atomic
from fanin._version import __version__
from fanin.errors import MissingExtra
from fanin.report.escaping import escape_invisible
from fanin.watching.layer_reading import ALL, STATISTICS
from fanin.watching.signal_log import SignalLog, read_log

if TYPE_CHECKING:
    import jinja2
    import pandas as pd


@dataclass(frozen=True)
class WatchedTraining:
    """A training that was watched. ``print(training)`` says what its signals show, the worst first.

    A training that still runs can be looked at, too.
    """

    log: SignalLog
    """All readings, epochs and notes."""
    path: Path | None = None
    """The file that it was read from."""

    def verdict(self) -> list[str]:
        """What the signals show, in sentences, the worst first."""
        return self.log.judge()

    def frame(self) -> pd.DataFrame:
        """One row per reading and layer: step, epoch (completed before the step), depth, layer, and
        a column for each of `fanin.watching.layer_reading.STATISTICS`; nan for what does not apply.
        """
        import pandas as pd

        rows = [
            {
                "step": reading.step,
                "epoch": reading.epoch,
                "depth": -1 if layer.name == ALL else depth,
                "layer": layer.name,
                **{name: layer.values.get(name) for name in STATISTICS},
            }
            for reading in self.log.readings
            for depth, layer in enumerate(reading.layers)
        ]
        columns = ["step", "epoch", "depth", "layer", *STATISTICS]
        frame = pd.DataFrame(rows, columns=pd.Index(columns))
        return frame.astype(dict.fromkeys(STATISTICS, "float64"))

    def epochs(self) -> pd.DataFrame:
        """One row per epoch: epoch, step, and the metrics that the loop gave."""
        import pandas as pd

        return pd.DataFrame(
            [{"epoch": one.epoch, "step": one.step, **one.metrics} for one in self.log.epochs]
        )

    def figure(self, path: str | Path | None = None) -> Path:
        """Draw output, gradient, update ratio and dead units of each layer as PNG, PDF or SVG.

        By default a PNG beside the file that was read; returns its path.
        """
        from fanin.report.figures.rendering import parse_format

        place = self._place(path, ".png")
        return atomic.write(place, self._draw(parse_format(place)), create_parent=True)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one HTML page, without scripts or network: verdict, figure and the last reading.

        By default beside the file that was read; returns its path.
        """
        place = self._place(path, ".html")
        return atomic.write(place, self._render_page(), create_parent=True)

    def to_json(self) -> dict[str, Any]:
        """Verdict, notes and counts as JSON values."""
        last = self.log.readings[-1] if self.log.readings else None
        return {
            "model": self.log.model,
            "verdict": self.verdict(),
            "notes": list(self.log.notes),
            "readings": len(self.log.readings),
            "last_step": last.step if last else 0,
            "epochs": len(self.log.epochs),
            "ending": self.log.ending or "running",
        }

    def __str__(self) -> str:
        return "\n".join([self._describe(), "", *map(_itemize, self.verdict()), *self.log.notes])

    def _describe(self) -> str:
        facts = self.to_json()
        ending = facts["ending"]
        return escape_invisible(
            f"{self.log.model}: {facts['readings']:,} measured steps up to step "
            f"{facts['last_step']:,}, {facts['epochs']:,} epochs; {ending}."
        )

    def _place(self, path: str | Path | None, suffix: str) -> Path:
        if path is not None:
            return Path(path)
        return (self.path or Path("signals.jsonl")).with_suffix(suffix)

    def _draw(self, kind: str) -> bytes:
        try:
            from fanin.report.figures.rendering import draw_message, render
            from fanin.report.figures.signal_figure import draw_signals
            from fanin.report.figures.signal_panels import make_signal_panel
        except ModuleNotFoundError as error:
            raise MissingExtra(error.name or "matplotlib", "study", "A figure") from None
        if not self.log.readings:
            return render(draw_message("Nothing was measured."), kind)
        panel = make_signal_panel([self.log.series])
        return render(draw_signals([panel], f"{self.log.model}: signals through training"), kind)

    def _render_page(self) -> str:
        last = self.log.readings[-1] if self.log.readings else None
        layers = last.layers if last else ()
        statistics = [x for x in STATISTICS if any(x in layer.values for layer in layers)]
        return _load_template().render(
            title=escape_invisible(f"{self.log.model}: signals through training"),
            summary=self._describe(),
            verdict=[escape_invisible(text) for text in self.verdict()],
            notes=[escape_invisible(text) for text in self.log.notes],
            figure="data:image/png;base64," + base64.b64encode(self._draw("png")).decode("ascii"),
            step=last.step if last else 0,
            columns=[STATISTICS[name] for name in statistics],
            rows=[
                (
                    escape_invisible(layer.name),
                    [
                        f"{layer.values[name]:.3g}" if name in layer.values else "—"
                        for name in statistics
                    ],
                )
                for layer in layers
            ],
            version=__version__,
        )


def load_signals(path: str | Path) -> WatchedTraining:
    """What `fanin.watch(…, path=…)` or a callback has written, also while the training runs.

        training = fanin.load_signals("signals.jsonl")
        print(training)
        training.report()           # signals.html

    Raises `UsageError` if there is no such file, or if it holds something else.
    """
    return WatchedTraining(read_log(path), Path(path))


def _load_template() -> jinja2.Template:
    try:
        import jinja2
    except ModuleNotFoundError:
        raise MissingExtra("jinja2", "study", "The report") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanin.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("signals.html.j2")


def _itemize(text: str) -> str:
    return f"- {escape_invisible(text)}"
