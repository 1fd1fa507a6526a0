"""Bad input: each mistake is a clear error with the right exit code, nothing lost, no traceback,
and an object under --json.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_session import TINY, Done, fanin

from fanin.cell.result import Result
from fanin.experiment import make_plan
from fanin.store.results_folder import ResultsFolder
from fanin.store.results_store import Store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def refused(done: Done, code: int, *says: str) -> None:
    """The command failed as it should, in words."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    for text in says:
        assert text in done.err


def study(text: str, name: str = "mine.toml") -> str:
    Path(name).write_text(text)
    return name


def tiny(old: str = "", new: str = "") -> str:
    assert old in TINY
    return study(TINY.replace(old, new) if old else TINY)


WORDS = {
    "a study with a near name": (["run", "quik"], 2, "Did you mean quick?"),
    "a study with no near name": (["run", "zzz"], 2, "Known: "),
    "a study file that is not there": (["run", "nowhere.toml"], 2, "There is no file nowhere.toml"),
    "a path as a study": (["run", "../../etc/passwd"], 2, "No study is called"),
    "a NUL in a study's name": (["run", "a\0b.toml"], 2, "'a\\x00b.toml' cannot be read"),
    "an emoji as a study": (["run", "🦄"], 2, "No study is called '🦄'"),
    "a name of 300 characters": (["run", "x" * 300], 2, "…"),
    "a file name of 300 characters": (["run", "x" * 300 + ".toml"], 2, "cannot be read"),
    "an unknown axis": (
        ["run", "quick", "--only", "dta=digits"],
        2,
        "No axis is called 'dta'. Did you mean data?",
    ),
    "an unknown value of an axis": (
        ["run", "quick", "--only", "data=digts"],
        2,
        "Did you mean digits",
    ),
    "an only without a key": (["run", "quick", "--only", "digits"], 2, "--only takes key=value"),
    "no replicates": (
        ["run", "quick", "--replicates", 0],
        2,
        "replicates must be a whole number from 1",
    ),
    "negative epochs": (
        ["run", "quick", "--max-epochs", -1],
        2,
        "max_epochs must be a whole number from 1",
    ),
    "no workers": (["run", "quick", "--workers", 0], 2, "workers must be at least 1, not 0"),
    "a timeout that is no number": (
        ["run", "quick", "--timeout", "nan"],
        2,
        "timeout must be more than 0 seconds, not nan",
    ),
    "an unknown option": (["run", "quick", "--replicate", 3], 2, "--replicates"),
    "an unknown command": (["rn"], 2, "Did you mean 'run'?"),
    "an unknown kind": (["list", "initialisers"], 2, "Did you mean initializers"),
    "an unknown entry": (["show", "he_norml"], 2, "Did you mean he_normal"),
    "an unknown entry of a kind": (["show", "models:ml"], 2, "Did you mean mlp?"),
    "an unknown kind of an entry": (["show", "modells:mlp"], 2, "Did you mean models"),
    "no results": (["status", "."], 2, "No results in ."),
    "no results to report": (["report", "runs/none"], 2, "No results in runs/none"),
    "no results to export": (["export", ".", "--to", "csv"], 2, "No results in ."),
    "an unknown format": (["export", ".", "--to", "xls"], 2, "Did you mean csv"),
    "no store to check": (["store", "verify", "."], 2, "No results in ."),
    "nothing to merge": (["store", "merge", "out", "nowhere.jsonl"], 2, "nowhere.jsonl"),
    "an unknown data set": (["data", "verify", "mnits"], 2, "Did you mean mnist"),
    "a data set's name that is a path": (["data", "path", "../mnist"], 2, "cannot name a dataset"),
    "a data set added under a path": (["data", "add", "a/b", "x.npz"], 2, "cannot name a dataset"),
    "a data file that is not there": (["data", "add", "mine", "x.npz"], 4, "x.npz is not a file"),
    "a data set that is missing": (["run", "case-study", "--only", "data=mnist"], 4, "mnist"),
}


@pytest.mark.parametrize("case", WORDS)
def test_a_mistake_in_the_words_is_explained(case: str) -> None:
    words, code, says = WORDS[case]
    refused(fanin(*words), code, says)


@pytest.mark.parametrize("case", WORDS)
def test_a_mistake_under_json_is_one_object(case: str) -> None:
    words, code, _ = WORDS[case]
    done = fanin(*words, "--json")
    error = done.record["error"]
    assert done.record["schema"] == 1
    assert (done.code, error["exit_code"]) == (code, code)
    assert error["type"]
    assert error["message"]


FILES: dict[str, tuple[Callable[[], str], str]] = {
    "malformed TOML": (lambda: study("[base\n"), "is not valid TOML"),
    "an unknown key": (lambda: study(TINY + "\n[bse]\nepochs = 1\n"), "Did you mean base"),
    "an unknown initializer": (lambda: tiny("he_normal", "he_norml"), "Did you mean he_normal"),
    "an unknown option": (
        lambda: tiny('"he_normal"', '"he_normal(mod=fan_in)"'),
        "Did you mean mode?",
    ),
    "an unknown data set": (lambda: tiny("digits", "digts"), "Did you mean digits"),
    "a data set that is a path": (
        lambda: tiny("digits", "../digits"),
        "is a path, not the name of a data set",
    ),
    "an unknown axis": (lambda: tiny("initializer =", "initialiser ="), "Did you mean initializer"),
    "a model too deep for the images": (
        lambda: tiny("mlp(widths=[8], activation=relu)", "cnn"),
        "cnn on digits",
    ),
    "a regression model for classes": (
        lambda: tiny("mlp(widths=[8], activation=relu)", "regression"),
        "regression",
    ),
    "a model of too many parameters": (
        lambda: tiny("widths=[8]", "widths=[1000000, 1000000]"),
        "parameters",
    ),
    "a negative seed": (lambda: study("seed = -1\n" + TINY), "seed"),
    "the same cell twice": (
        lambda: tiny('"zero", "he_normal"', '"zero", "zero"'),
        "the same cell twice",
    ),
    "an empty axis": (lambda: tiny('["zero", "he_normal"]', "[]"), "is empty"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_a_study_file_is_explained(case: str) -> None:
    make, says = FILES[case]
    refused(fanin("run", make()), 2, says)
    assert not Path("runs").exists()


def test_a_grid_of_a_billion_cells_is_refused_before_it_is_built() -> None:
    seeds = ", ".join(map(str, range(1000)))
    axes = "".join(f"{factor}_seed = [{seeds}]\n" for factor in ("init", "order", "dropout"))
    refused(
        fanin("run", tiny("[axes]\n", f"[axes]\n{axes}")),
        2,
        "2,000,000,000 cells",
        "at most 100,000",
    )


def test_a_binary_file_is_no_study() -> None:
    Path("binary.toml").write_bytes(bytes(range(256)) * 4)
    refused(fanin("run", "binary.toml"), 2, "is not UTF-8 text")


def test_a_folder_is_no_study() -> None:
    Path("folder.toml").mkdir()
    refused(fanin("run", "folder.toml"), 2, "cannot be read")


def save(name: str, rows: int = 8, *, bad: float | None = None) -> Path:
    x, y = np.zeros((rows, 3), np.float32), np.arange(rows) % 2
    if bad is not None:
        x[5, 1] = bad
    path = Path("data") / name / f"{name}.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return path


OWN = TINY.replace("epochs = 2", "epochs = 2\nbatch_size = 2").replace("digits", "own")


def test_nan_in_the_data_is_found_before_anything_is_trained() -> None:
    save("own", bad=float("nan"))
    refused(fanin("run", study(OWN)), 4, "NaN", "row 5")
    assert not Path("runs").exists()


def test_a_truncated_data_file_is_found_before_anything_is_trained() -> None:
    path = save("own", rows=2000)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(fanin("run", study(OWN)), 4, "own.npz")
    assert not Path("runs").exists()


def test_a_file_where_the_output_folder_should_be_is_an_error() -> None:
    Path("out").write_text("precious")
    refused(fanin("run", tiny(), "--out", "out"), 2, "out")
    assert Path("out").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_read_only_output_folder_is_an_error() -> None:
    Path("locked").mkdir(mode=0o500)
    refused(fanin("run", tiny(), "--out", "locked/out"), 2, "locked")


def test_an_output_folder_on_a_read_only_file_system_is_an_error() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs a file system on which nobody can make a folder")
    refused(
        fanin("run", tiny(), "--out", "/proc/fanin"),
        2,
        "Cannot write /proc/fanin",
        "Choose another place",
    )


def test_a_full_disk_is_store_full_and_keeps_what_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_with_result(Path("out"))
    before = Path("out/results.sqlite").read_bytes()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("fanin.store.results_store.Store._insert", full)
    fanin("export", "out", "--to", "jsonl", "--output", "lines.jsonl")
    refused(fanin("store", "merge", "other", "lines.jsonl"), 3, "full")
    assert Path("out/results.sqlite").read_bytes() == before


def test_an_export_that_cannot_be_written_is_an_error() -> None:
    store_with_result(Path("out"))
    refused(
        fanin("export", "out", "--to", "jsonl", "--output", "/proc/lines.jsonl"),
        2,
        "/proc/lines.jsonl",
    )
    refused(fanin("report", "out", "--output", "/proc/shown"), 2, "/proc/shown")


def store_with_result(out: Path) -> None:
    """A store with a plan and one failed cell: whatever a command does to it costs no training."""
    plan = make_plan(tiny())
    with Store.create_or_open(out) as store:
        store.set_plan(plan)
        store.add(Result(cell=plan.cells[0].cell, outcome="failed", message="it broke"))


READERS = [
    ["status"],
    ["report"],
    ["export", "--to", "csv"],
    ["export", "--to", "jsonl"],
    ["store", "verify"],
]


@pytest.mark.parametrize("words", [*READERS, ["run"]], ids=" ".join)
@pytest.mark.parametrize("damage", ["overwritten", "cut off", "another file", "changed row"])
def test_a_corrupted_store_is_exit_code_3_and_is_left_as_it_is(
    words: list[str], damage: str
) -> None:
    store_with_result(Path("out"))
    database = ResultsFolder.from_path("out").database
    content = database.read_bytes()
    if damage == "changed row":
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE result SET record = replace(record, 'it broke', 'all fine')")
        connection.close()
    else:
        database.write_bytes(
            {
                "overwritten": b"\xff" * len(content),
                "cut off": content[: len(content) // 2],
                "another file": b"hello\n",
            }[damage]
        )
    damaged = database.read_bytes()
    where = [tiny(), "--out", "out"] if words == ["run"] else ["out"]
    done = fanin(*words, *where)
    assert done.code == 3, done
    assert "Traceback" not in done.err
    assert database.read_bytes() == damaged
    assert fanin(*words, *where, "--json").code == 3


def test_a_locked_store_is_exit_code_3_and_names_its_holder() -> None:
    with Store.create_or_open("out"):
        refused(fanin("run", tiny(), "--out", "out"), 3, str(os.getpid()))


def test_a_line_that_is_no_result_is_named_and_nothing_is_merged() -> None:
    Path("bad.jsonl").write_text('{"schema": 1}\nnot json\n')
    refused(fanin("store", "merge", "out", "bad.jsonl"), 3, "bad.jsonl, line 1")
    assert not Path("out").exists()


def test_an_unexpected_exception_is_called_a_bug_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(kind: str) -> tuple[str, ...]:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("fanin.catalogue.names", broken)
    done = fanin("list", "--json")
    assert done.code == 1
    assert "unforeseen" in done.record["error"]["message"]
    assert "Traceback" in done.err


def test_ctrl_c_outside_of_training_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(kind: str) -> tuple[str, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr("fanin.catalogue.names", interrupted)
    assert fanin("list").code == 130
    assert fanin("list", "--json").record["error"]["exit_code"] == 130


def test_control_characters_of_a_label_do_not_reach_the_terminal() -> None:
    refused(
        fanin("run", tiny('"he_normal"', '{ label = "\\u001b[31mred", use = "he_normal" }')),
        2,
        "printable",
    )
