"""Lines that are JSON of the right shape and cannot be true: refused whole, with line and key."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from combinations import for_each
from study_cases import plan_of, result_of

from fanin.cell.result import Outcome
from fanin.errors import StoreCorrupt
from fanin.store import jsonl
from fanin.store.merge import merge
from fanin.store.results_store import Store

PLAN = plan_of(pairs=[("mlp", "mnist")], initializers=("he_normal", "zero"))
OK, OTHER = (planned.cell for planned in PLAN.cells)

Change = Callable[[dict[str, Any]], None]


def put(*path: str | int, to: Any) -> Change:
    def change(record: Any) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = to

    return change


def drop(key: str) -> Change:
    return lambda record: record.pop(key) and None


LIES: dict[str, tuple[Outcome, Change, str]] = {
    "an accuracy above 1": ("ok", put("metrics", "test_accuracy", to=1.5), "metrics.test_accuracy"),
    "an accuracy below 0": ("ok", put("history", "accuracy", 1, to=-0.1), "history.accuracy of"),
    "a loss below 0": ("ok", put("history", "val_loss", 0, to=-1), "history.val_loss of epoch 1"),
    "negative epochs": ("ok", put("metrics", "epochs", to=-3), "metrics.epochs"),
    "half an epoch": ("ok", put("metrics", "epochs", to=2.5), "metrics.epochs"),
    "fewer epochs than the history": ("ok", put("metrics", "epochs", to=1), "metrics.epochs"),
    "a best epoch that never was": ("ok", put("metrics", "best_epoch", to=999), "metrics.best_epo"),
    "another best loss": ("ok", put("metrics", "val_loss", to=0.0), "metrics.val_loss"),
    "an infinite loss": ("ok", put("metrics", "test_loss", to="Infinity"), "metrics.test_loss"),
    "no metrics": ("ok", put("metrics", to={}), "metrics"),
    "a negative time": ("ok", put("timings", "total", to=-1), "timings.total"),
    "a time in words": ("ok", put("timings", "total", to="long"), "timings.total"),
    "negative seconds": ("ok", put("history", "seconds", 0, to=-1), "history.seconds"),
    "400 digits": ("ok", put("metrics", "test_loss", to=10**400), "metrics.test_loss"),
    "400 digits in a cell": ("ok", put("cell", "batch_size", to=10**400), "cell.batch_size"),
    "data that are a number": ("ok", put("cell", "data", to=3), "cell.data"),
    "an initializer that is none": ("ok", put("cell", "initializer", to="he("), "cell.initializer"),
    "a model that is null": ("ok", put("cell", "model", to=None), "cell.model"),
    "no epochs": ("ok", put("cell", "epochs", to=0), "cell.epochs"),
    "a flag that is 1": ("ok", put("cell", "tuned", to=1), "cell.tuned"),
    "a negative seed": ("ok", put("cell", "seed", to=-1), "cell.seed"),
    "a rate of 0": ("ok", put("cell", "learning_rate", to=0), "cell.learning_rate"),
    "sources that are no pairs": ("ok", put("cell", "sources", to=[["a"]]), "cell.sources"),
    "an unknown field": ("ok", put("cell", "mood", to="good"), "cell.mood"),
    "more epochs than planned": ("ok", put("cell", "epochs", to=1), "history"),
    "schema true": ("ok", put("schema", to=True), "schema"),
    "schema 1.0": ("ok", put("schema", to=1.0), "schema"),
    "an unknown key": ("ok", put("colour", to="red"), "the object"),
    "no environment": ("ok", drop("environment"), "the object"),
    "an unknown outcome": ("ok", put("outcome", to="fine"), "outcome"),
    "a message that is a list": ("ok", put("message", to=[]), "message"),
    "columns of unequal length": ("ok", put("history", "loss", to=[1.0]), "history."),
    "a column that is a number": ("ok", put("history", "loss", to=1.0), "history.loss"),
    "an environment in layers": ("ok", put("environment", "torch", to={}), "environment.torch"),
    "a fingerprint that is a number": ("ok", put("data", "fingerprint", to=1), "data.fingerprint"),
    "a negative count": ("ok", put("data", "n_train", to=-1), "data.n_train"),
    "a baseline of 2": ("ok", put("data", "baseline", to=2), "data.baseline"),
    "a metric without direction": (
        "ok",
        put("data", "metrics", to={"f1": "up"}),
        "data.metrics.f1",
    ),
    "metrics of a diverged result": ("diverged", put("metrics", "test_loss", to=1.0), "metrics"),
    "metrics of a failed result": ("failed", put("metrics", "epochs", to=1.0), "metrics"),
    "a history of a killed result": ("killed", put("history", "loss", to=[1.0]), "history"),
}


def to_line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


@for_each("name", LIES)
def test_a_line_that_cannot_be_true_is_refused_with_line_and_key(tmp_path: Path, name: str) -> None:
    sound = to_line(result_of(OTHER).to_json())
    path = tmp_path / "r.jsonl"
    outcome, change, key = LIES[name]
    record = copy.deepcopy(result_of(OK, outcome).to_json())
    path.write_text(sound + to_line(record))
    assert len(jsonl.read(path)[0]) == 2
    change(record)
    path.write_text(sound + to_line(record))
    with pytest.raises(StoreCorrupt) as caught:
        merge(tmp_path / "out", [path])
    assert str(caught.value).startswith(f"{path}, line 2: {key}"), str(caught.value)
    assert "expected" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    line = to_line(result_of(OK).to_json())
    (tmp_path / "r.jsonl").write_text(line.replace('{"schema": 1', '{"schema": 1, "schema": 1'))
    with pytest.raises(StoreCorrupt, match=r"line 1.*the key schema twice"):
        jsonl.read(tmp_path / "r.jsonl")


def test_a_lie_in_another_store_is_refused_with_its_cell(tmp_path: Path) -> None:
    lie = result_of(OK)
    lie.metrics["test_accuracy"] = 1.5
    with Store.create_or_open(tmp_path / "a") as store:
        store.add_all([result_of(OTHER), lie])
    with pytest.raises(StoreCorrupt, match=rf"a, cell {OK.id}: metrics.test_accuracy: expected"):
        merge(tmp_path / "b", [tmp_path / "a"])
    assert not (tmp_path / "b").exists()


def test_what_was_committed_is_plausible() -> None:
    folder = Path(__file__).parent.parent / "results"
    for name in ("case-study", "recurrent"):
        results, warnings = jsonl.read(folder / f"{name}.jsonl")
        assert results
        assert warnings == []
