"""A contract over many combinations is one test: it tries them all, then names those that
failed.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from global_state import describe_moves, read_global_state

Test = Callable[..., None]
Ids = Sequence[object] | Mapping[str, object] | Callable[[Any], object] | None

HERE = Path(__file__).parent
SHOWN_FAILURES = 20
SHOWN_LINES = 12
"""How many failures are shown in full, and how many lines of each."""


def for_each(
    names: str | Sequence[str], values: Iterable[Any], ids: Ids = None
) -> Callable[[Test], Test]:
    """Call the test with every value inside one test; otherwise like ``pytest.mark.parametrize``.

    Two of them on one test nest. Use it if there are many combinations that take milliseconds
    each: a pytest item costs about as much by itself, and the list of tests stays readable. All
    combinations share the test's fixtures, so none may leave anything behind in `tmp_path` or
    `monkeypatch`. None may skip.

    ``pytest --only TEXT`` tries only the combinations whose label contains the text. A single one
    is called directly, with its whole traceback and within reach of ``--pdb``.
    """
    axis = Axis.make(names, values, ids)

    def decorate(test: Test) -> Test:
        inner: Test = getattr(test, "each_combination", test)
        axes: tuple[Axis, ...] = (axis, *getattr(test, "axes", ()))

        @functools.wraps(test)
        def loop(request: pytest.FixtureRequest, **fixtures: Any) -> None:
            __tracebackhide__ = True
            arguments = fixtures | ({"request": request} if "request" in parameters else {})
            _try_all(inner, axes, request, arguments)

        parameters = inspect.signature(inner).parameters
        looped = {name for one in axes for name in one.names}
        assert looped <= set(parameters), f"{inner.__name__} has no parameter {looped}"
        request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
        fixtures = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in parameters.items()
            if name not in looped | {"request"}
        ]
        loop.__signature__ = inspect.Signature([request, *fixtures])  # type: ignore[attr-defined]
        loop.each_combination, loop.axes = inner, axes  # type: ignore[attr-defined]
        return loop

    return decorate


@dataclass(frozen=True)
class Axis:
    """The values that some parameters of a test take together, and a label for each."""

    names: tuple[str, ...]
    points: tuple[tuple[str, dict[str, Any]], ...]

    @classmethod
    def make(cls, names: str | Sequence[str], values: Iterable[Any], ids: Ids) -> Axis:
        single = isinstance(names, str) and "," not in names
        split = tuple(n.strip() for n in names.split(",")) if isinstance(names, str) else names
        rows = [(value,) if single else tuple(value) for value in values]
        assert all(len(row) == len(split) for row in rows), f"Each value needs {split}."
        labels = [_label(row) for row in rows] if ids is None else _given(ids, rows)
        assert len(labels) == len(rows), "There is not one id for each value."
        return cls(
            tuple(split),
            tuple(
                (label, dict(zip(split, row, strict=True)))
                for label, row in zip(labels, rows, strict=True)
            ),
        )


def _given(ids: Ids, rows: list[tuple[Any, ...]]) -> list[str]:
    if callable(ids):
        return [", ".join(str(ids(value)) for value in row) for row in rows]
    return [str(label) for label in ids or ()]


def _label(row: tuple[Any, ...]) -> str:
    return ", ".join(value if isinstance(value, str) else repr(value) for value in row)


@dataclass
class Failures:
    """What went wrong, by combination."""

    tried: int = 0
    messages: list[str] = field(default_factory=list)
    first: BaseException | None = None

    def add(self, label: str, error: BaseException) -> None:
        lines = (str(error) or repr(error)).splitlines()
        more = [f"… {len(lines) - SHOWN_LINES} more lines"] * (len(lines) > SHOWN_LINES)
        text = "\n".join(f"    {line}" for line in [*lines[:SHOWN_LINES], *more])
        self.messages.append(f"{label}\n  {type(error).__name__}{_place(error)}\n{text}")
        self.first = self.first or error

    def report(self) -> None:
        """Fail if anything did, with the traceback of the first."""
        __tracebackhide__ = True
        if not self.messages:
            return
        more = len(self.messages) - SHOWN_FAILURES
        parts = [
            f"{len(self.messages)} of {self.tried} combinations failed:",
            *self.messages[:SHOWN_FAILURES],
            *[f"… and {more} more: " + "; ".join(self._labels(SHOWN_FAILURES))] * (more > 0),
        ]
        raise AssertionError("\n\n".join(parts)) from self.first

    def _labels(self, start: int) -> Iterator[str]:
        return (message.partition("\n")[0] for message in self.messages[start:])


def _place(error: BaseException) -> str:
    """Where in a file of the tests an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [
        f" at {path.name}:{frame.lineno}"
        for frame in frames
        if (path := Path(frame.filename)).is_relative_to(HERE) and path != Path(__file__)
    ]
    return inside[-1] if inside else ""


def _try_all(
    test: Test, axes: tuple[Axis, ...], request: pytest.FixtureRequest, fixtures: dict[str, Any]
) -> None:
    __tracebackhide__ = True
    wanted = request.config.getoption("--only")
    combinations = [
        (label, fixtures | {name: value for _, values in points for name, value in values.items()})
        for points in itertools.product(*(axis.points for axis in axes))
        if wanted in (label := " | ".join(label for label, _ in points))
    ]
    if not combinations:
        assert wanted, "There is nothing to try."
        pytest.skip(f"no combination contains {wanted!r}")
    if len(combinations) == 1:
        test(**combinations[0][1])
        return
    guarded = "draws_globally" not in request.fixturenames
    failures = Failures()
    for label, arguments in combinations:
        failures.tried += 1
        before = read_global_state() if guarded else {}
        try:
            test(**arguments)
            if moves := describe_moves(before) if guarded else "":
                pytest.fail(moves)
        except (Exception, pytest.fail.Exception) as error:
            failures.add(label, error)
        except pytest.skip.Exception as error:
            failures.add(label, AssertionError(f"A combination cannot be skipped: {error}"))
    failures.report()
