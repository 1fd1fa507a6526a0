"""Commands, as a user types them: one small study is trained once and looked at in every way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_session import TINY, Done, fanin

from fanin import __version__, catalogue


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, preloaded_workers: None) -> tuple[Path, Done]:
    """The folder of a trained study, and what the command that trained it said."""
    home = tmp_path_factory.mktemp("trained")
    (home / "tiny.toml").write_text(TINY)
    done = fanin("run", home / "tiny.toml", "--out", home / "out", "--workers", 1, "--figures")
    return home / "out", done


@pytest.fixture
def folder(trained: tuple[Path, Done]) -> Path:
    return trained[0]


def again(folder: Path, *words: object) -> Done:
    return fanin("run", folder.parent / "tiny.toml", "--out", folder, *words)


def test_run_ends_with_the_table_and_says_where_the_files_are(trained: tuple[Path, Done]) -> None:
    folder, done = trained
    assert done.code == 0, done.err
    assert "he_normal" in done.out
    assert "test accuracy" in done.out
    for name in ("report.html", "curves.png", "table.csv", "table.md"):
        assert str(folder / name) in done.out
        assert (folder / name).stat().st_size > 100
    assert len(list((folder / "figures").glob("*.png"))) == 2


def test_progress_goes_to_standard_error_in_plain_lines(trained: tuple[Path, Done]) -> None:
    assert "Training 2 cells on 1 worker." in trained[1].err
    assert "2/2 cells: " in trained[1].err
    assert "\x1b" not in trained[1].err
    assert "cells on" not in trained[1].out


def test_no_line_of_a_table_is_wider_than_80_columns(
    trained: tuple[Path, Done], folder: Path
) -> None:
    table = trained[1].out.partition("Page:")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert max(map(len, fanin("status", folder).out.splitlines()[:6])) <= 80


def test_the_same_command_again_trains_nothing_and_shows_the_table_at_once(folder: Path) -> None:
    done = again(folder)
    assert done.code == 0
    assert "All 2 cells are done already" in done.out
    assert "he_normal" in done.out


def test_run_as_json_is_one_object(folder: Path) -> None:
    record = again(folder, "--json").record
    assert record["schema"] == 1
    assert record["trained"] == 0
    assert record["outcomes"] == {"ok": 2}
    assert len(record["table"]["rows"]) == 2


def test_status_counts_cells_and_says_what_to_do_next(folder: Path) -> None:
    done = fanin("status", folder)
    assert done.code == 0
    assert "2 of 2 cells done" in done.out
    assert "Not running." in done.out
    assert f"Next: fanin report {folder}" in done.out
    record = fanin("status", folder, "--json").record
    assert record["outcomes"] == {"ok": 2}
    assert record["running"] is None


def test_status_of_more_replicates_shows_what_is_missing(folder: Path, tmp_path: Path) -> None:
    from fanin.experiment import make_plan
    from fanin.store.results_store import Store

    with Store.create_or_open(tmp_path) as store:
        store.set_plan(make_plan(str(folder.parent / "tiny.toml"), replicates=3))
    done = fanin("status", tmp_path)
    assert "0 of 6 cells done" in done.out
    assert "It trains the missing cells" in done.out


def test_report_writes_the_files_anew(folder: Path, tmp_path: Path) -> None:
    done = fanin("report", folder, "--output", tmp_path / "shown")
    assert done.code == 0
    figure = "figure-1-test-accuracy-by-initializer.png"
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        "report.html",
        "curves.png",
        "overlay.png",
        "table.csv",
        "table.md",
        "differences.csv",
        figure,
    }


def test_report_of_several_folders_needs_a_place_and_shows_them_as_one(
    folder: Path, tmp_path: Path
) -> None:
    assert fanin("report", folder, folder).code == 2
    record = fanin("report", folder, folder, "--output", tmp_path, "--json").record
    assert record["outcomes"] == {"ok": 2}


@pytest.mark.parametrize(
    ("to", "begins"),
    [
        ("csv", "model,dataset"),
        ("csv-cells", "model,dataset"),
        ("latex", "% needs "),
        ("markdown", "**tiny"),
    ],
)
def test_export_prints_the_table_in_every_format(folder: Path, to: str, begins: str) -> None:
    done = fanin("export", folder, "--to", to)
    assert done.code == 0
    assert done.out.startswith(begins)
    assert fanin("export", folder, "--to", to, "--json").record["text"] == done.out


def test_exported_lines_merge_into_another_store_without_loss(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "results.jsonl"
    assert fanin("export", folder, "--to", "jsonl", "--output", lines).code == 0
    merged = fanin("store", "merge", tmp_path / "other", lines)
    assert merged.code == 0
    assert "2 results added" in merged.out
    assert fanin("store", "merge", tmp_path / "other", folder, "--json").record["skipped"] == 2
    assert fanin("export", tmp_path / "other", "--to", "jsonl").out == lines.read_text()
    assert fanin("store", "verify", tmp_path / "other").out.endswith("sound\n")


def test_a_store_seeded_by_lines_needs_no_training(folder: Path, tmp_path: Path) -> None:
    fanin("store", "merge", tmp_path, folder)
    assert "nothing was trained" in again(folder, "--out", tmp_path).out


def test_merged_results_without_a_plan_say_how_to_see_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(fanin("export", folder, "--to", "jsonl").out)
    fanin("store", "merge", tmp_path / "out", tmp_path / "r.jsonl")
    assert "Next: fanin run STUDY" in fanin("status", tmp_path / "out").out
    assert fanin("report", tmp_path / "out").code == 2


def test_python_and_the_command_line_see_the_same_results(folder: Path) -> None:
    import fanin as package

    results = package.run(str(folder.parent / "tiny.toml"), folder)
    assert results.outcomes == {"ok": 2}
    assert results.export("csv") == fanin("export", folder, "--to", "csv").out


def test_only_keeps_a_part_of_the_study(folder: Path) -> None:
    record = again(
        folder, "--only", "initializer=he_normal,model=mlp,data=digits", "--dry-run", "--json"
    ).record
    assert [cell["labels"]["initializer"] for cell in record["cells"]] == ["he_normal"]
    assert record["to_train"] == 0


def test_a_dry_run_lists_cells_and_estimates_time_and_leaves_nothing(
    folder: Path, tmp_path: Path
) -> None:
    done = again(folder, "--out", tmp_path / "new", "--dry-run")
    assert done.code == 0
    assert done.out.count("replicate 0") == 2
    assert "At most about" in done.out
    assert not (tmp_path / "new").exists()


def test_a_failed_cell_gives_exit_code_1_and_status_tells_its_message(
    folder: Path, tmp_path: Path
) -> None:
    from fanin.cell.result import Result
    from fanin.experiment import make_plan
    from fanin.store.results_store import Store

    plan = make_plan(str(folder.parent / "tiny.toml"))
    with Store.create_or_open(tmp_path) as store:
        store.set_plan(plan)
        store.add(
            Result(
                cell=plan.cells[0].cell,
                outcome="failed",
                message="first line\nRuntimeError: it broke",
            )
        )
    done = fanin("status", tmp_path)
    assert "RuntimeError: it broke" in done.out
    assert "and failed and killed ones once more" in done.out
    assert (
        "RuntimeError: it broke"
        in fanin("status", tmp_path, "--json").record["failures"][0]["message"]
    )


def test_the_version_is_printed() -> None:
    assert fanin("--version").out == f"fanin {__version__}\n"


def test_python_m_fanin_is_the_command_line_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fanin", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fanin {__version__}\n"


HEAVY = ("torch", "pandas", "scipy", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["status"], ["status", "--json"]], ids=" ".join
)
def test_help_and_status_import_no_torch(words: list[str], folder: Path) -> None:
    code = (
        "import sys; from fanin.cli import main; main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    where = [str(folder)] if words[0] == "status" else []
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *where], capture_output=True, text=True, check=True
    )
    imported = done.stderr.split()
    assert "fanin.cli.command_line" in imported
    assert [name for name in HEAVY if name in imported] == []


@pytest.mark.parametrize("package", ["pydantic", "matplotlib"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    package: str, folder: Path
) -> None:
    words = {"pydantic": ["run", "quick", "--dry-run"], "matplotlib": ["report", str(folder)]}[
        package
    ]
    code = (
        f"import sys; sys.modules[{package!r}] = None; "
        "from fanin.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert package in done.stderr
    assert 'pip install ".[study]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", catalogue.kinds())
def test_every_entry_of_the_catalogue_is_listed_and_explained_within_80_columns(kind: str) -> None:
    listed = fanin("list", kind)
    assert listed.code == 0
    for entry in fanin("list", kind, "--json").record["entries"]:
        assert f"  {entry['name']} " in listed.out
        shown = fanin("show", f"{kind}:{entry['name']}")
        assert shown.code == 0
        assert "Examples" in shown.out
        explanation = (listed.out + shown.out.partition("Examples")[0]).splitlines()
        assert [line for line in explanation if len(line) > 80 and len(line.split()) > 3] == []


def test_list_without_a_kind_lists_the_kinds() -> None:
    found = set(fanin("list", "--json").record["kinds"])
    assert found >= {
        "initializers",
        "models",
        "datasets",
        "studies",
        "optimizers",
        "schedules",
        "metrics",
        "activations",
    }


def test_data_commands_list_check_add_and_locate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path / "data"))
    x, y = np.zeros((6, 3), np.float32), np.array([0, 1, 0, 1, 0, 1])
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert fanin("data", "add", "mine", tmp_path / "mine.npz").code == 0
    listed = {
        entry["name"]: entry["state"]
        for entry in fanin("data", "list", "--json").record["datasets"]
    }
    assert listed["mine"] == "user copy"
    assert listed["mnist"] == "missing"
    assert fanin("data", "verify", "mine").code == 0
    assert "ok" in fanin("data", "verify").out
    missing = fanin("data", "verify", "mnist")
    assert (missing.code, missing.out.count("WRONG")) == (4, 4)
    assert fanin("data", "path", "mine").out == f"{tmp_path / 'data' / 'mine'}\n"
    assert "mine" in fanin("show", "mine").out


def test_what_a_plug_in_prints_does_not_reach_the_json_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fanin import catalogue

    def noisy() -> tuple[str, ...]:
        print("hello from a plug-in")
        return ("quick",)

    monkeypatch.setitem(
        catalogue._KINDS, "studies", catalogue._Kind(noisy, catalogue._KINDS["studies"].describe)
    )
    done = fanin("list", "studies", "--json")
    assert json.loads(done.out)["entries"][0]["name"] == "quick"
    assert "hello from a plug-in" in done.err


def test_a_terminal_without_unicode_gets_words_it_can_show(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "fanin", "status", str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert "digits" in done.stdout


def test_status_shows_where_it_failed_and_where_the_log_is() -> None:
    from fanin.cell.cell import Cell
    from fanin.cell.result import Result
    from fanin.cli.folder_state import find_place

    cell = Cell(data="digits", model="mlp", initializer="zero")
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/torch/nn/modules/module.py", line 1, in _call_impl\n'
        "    return forward_call(*args)\n"
        '  File "/home/me/mine.py", line 7, in forward\n'
        "    return self.missing(x)\n"
        '  File "/x/site-packages/torch/nn/modules/module.py", line 2, in __getattr__\n'
        "    raise AttributeError(\n"
        "AttributeError: no attribute 'missing'"
    )
    failed = Result(cell=cell, outcome="failed", message=traceback)
    assert failed.reason == "AttributeError: no attribute 'missing'"
    assert find_place(failed.message) == [
        '  File "/home/me/mine.py", line 7, in forward',
        "    return self.missing(x)",
    ]
    killed = Result(
        cell=cell,
        outcome="killed",
        message="killed by SIGSEGV (2 times)\nLast output:\nnumpy, torch",
    )
    assert killed.reason == "killed by SIGSEGV (2 times)"
    assert find_place(killed.message) == ["Last output:", "numpy, torch"]
