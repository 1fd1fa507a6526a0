"""A newcomer is trained on a study's cells, and compared with the study's stored baselines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_session import Done
from cli_session import fanin as run_command
from combinations import for_each
from newcomer_files import TUNED, write_files

import fanin
from fanin.cell.result import Result
from fanin.errors import FaninError, UsageError
from fanin.execution.events import Notice
from fanin.execution.process_settings import is_onednn_exact
from fanin.report.standing import Standing
from fanin.store import jsonl
from fanin.study.baseline_results import list_baselines, read_baselines
from fanin.study.newcomer_cells import add_newcomer
from fanin.study.study import Study


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, preloaded_workers: None
) -> Iterator[list[Result]]:
    """The results of the study, from this environment."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        results = fanin.run(write_files(folder), workers=1, progress=False)
        assert results.outcomes == {"ok": 20}
        yield list(results.results.values())


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path)


@pytest.fixture
def here(study: Path, trained: list[Result]) -> Path:
    """The baselines' results, in a file."""
    jsonl.write(trained, "here.jsonl")
    return Path("here.jsonl")


@pytest.fixture
def elsewhere(study: Path, trained: list[Result]) -> Path:
    """The same results, from another version of torch."""
    other = [replace(r, environment={**r.environment, "torch": "1.0"}) for r in trained]
    jsonl.write(other, "elsewhere.jsonl")
    return Path("elsewhere.jsonl")


def compare(newcomer: Any, study: Any, **options: Any) -> Standing:
    return fanin.compare(newcomer, study, workers=1, progress=False, **options)


def run_compare(*words: object) -> Done:
    return run_command("compare", *words, "--workers", 1)


def test_only_the_newcomer_is_trained_and_the_same_initializer_by_another_name_is_equal(
    study: Path, here: Path
) -> None:
    comparison = compare("my_init.py:same", study, baselines=here)
    summary = comparison.results.run_summary
    assert summary is not None
    assert summary.trained == 10
    frame = comparison.frame().set_index("reference")
    assert frame.loc["he_normal", "judgement"] == "equal"
    assert frame.loc["he_normal", ["mean", "low", "high", "ties"]].tolist() == [0, 0, 0, 10]
    assert set(frame["pairing"]) == {"paired"}


@pytest.mark.parametrize("backend", ["default", "onednn"])
def test_the_newcomer_is_trained_with_the_matmul_backend_of_the_baselines(
    study: Path, trained: list[Result], backend: str
) -> None:
    """However fast it seems here: which one is the faster changes from time to time."""
    if backend == "onednn" and not is_onednn_exact([trained[0].cell]):
        pytest.skip("oneDNN's products are not exact on this machine")
    with_it = [replace(r, environment={**r.environment, "matmul": backend}) for r in trained]
    jsonl.write(with_it, "with_it.jsonl")
    comparison = compare("my_init.py:same", study, baselines=Path("with_it.jsonl"))
    assert set(comparison.frame()["pairing"]) == {"paired"}
    found = comparison.results.results.values()
    assert {result.environment["matmul"] for result in found} == {backend}


def test_a_better_newcomer_is_found_better_and_a_worse_one_worse(study: Path, here: Path) -> None:
    better = compare("my_init.py:same", study, baselines=here, only={"initializer": "zero"})
    assert better.frame()["judgement"].tolist() == ["better"]
    assert "is better than zero (+" in str(better.verdict())
    worse = compare("my_init.py:constant", study, baselines=here).frame().set_index("reference")
    assert worse.loc["he_normal", "judgement"] == "worse"
    assert worse.loc["he_normal", "mean"] < 0
    assert worse.loc["zero", "judgement"] == "equal"


def test_an_initializer_of_the_study_is_compared_without_training(study: Path, here: Path) -> None:
    for newcomer in ("he_normal", "kaiming_normal_", fanin.get("he_normal")):
        comparison = compare(newcomer, study, baselines=here)
        assert comparison.results.run_summary is not None
        assert comparison.results.run_summary.trained == 0
        assert comparison.frame()["reference"].tolist() == ["zero"]


def test_baselines_of_another_environment_are_not_paired_unless_they_are_retrained(
    study: Path, elsewhere: Path
) -> None:
    notices: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    apart = fanin.compare("my_init.py:same", study, baselines=elsewhere, workers=1, on_event=listen)
    assert set(apart.frame()["pairing"]) == {"unpaired"}
    assert apart.frame().set_index("reference").loc["he_normal", "judgement"] == "cannot tell"
    assert apart.frame().set_index("reference").loc["zero", "judgement"] == "better"
    assert "torch 1.0, here" in " ".join(apart.notes)
    assert any("--retrain trains them here too" in notice for notice in notices)
    before = {r.cell.id for r in jsonl.read(elsewhere)[0]}

    together = compare("my_init.py:same", study, baselines=elsewhere, retrain=True)
    assert together.results.run_summary is not None
    assert together.results.run_summary.trained == len(before) == 20
    assert set(together.frame()["pairing"]) == {"paired"}
    assert together.frame().set_index("reference").loc["he_normal", "judgement"] == "equal"
    again = compare("my_init.py:same", study, baselines=elsewhere, retrain=True)
    assert again.results.run_summary is not None
    assert again.results.run_summary.trained == 0


def test_an_initializer_of_the_study_is_retrained_with_its_baselines(
    study: Path, elsewhere: Path
) -> None:
    apart = compare("he_normal", study, baselines=elsewhere, replicates=2)
    assert set(apart.frame()["pairing"]) == {"paired"}  # both are from the other environment
    together = compare("he_normal", study, baselines=elsewhere, replicates=2, retrain=True)
    assert together.results.run_summary is not None
    assert together.results.run_summary.trained == 4
    assert set(together.frame()["pairing"]) == {"paired"}


def test_on_other_data_nothing_is_compared(
    study: Path, trained: list[Result], elsewhere: Path
) -> None:
    other = [replace(r, data={**r.data, "fingerprint": "0" * 64}) for r in trained]
    jsonl.write(other, "other.jsonl")
    comparison = compare("my_init.py:same", study, baselines="other.jsonl", replicates=2)
    assert set(comparison.frame()["pairing"]) == {"other data"}
    assert "other data, so nothing is compared" in str(comparison.verdict())


def test_the_same_command_continues_where_it_stopped(study: Path, here: Path) -> None:
    compare("my_init.py:same", study, baselines=here, replicates=3)
    comparison = compare("my_init.py:same", study, baselines=here)
    assert comparison.results.run_summary is not None
    assert comparison.results.run_summary.trained == 7
    again = compare("my_init.py:same", study, baselines=here)
    assert again.results.run_summary is not None
    assert again.results.run_summary.trained == 0
    assert again.to_json() == comparison.to_json()


def test_few_replicates_are_too_few(study: Path, here: Path) -> None:
    comparison = compare("my_init.py:same", study, baselines=here, replicates=2)
    assert set(comparison.frame()["judgement"]) == {"too few"}
    assert str(comparison.verdict()).startswith(
        "Nothing can be said of my_init.py:same yet. Of 2 baselines, 2: too few replicates to test "
        "(10 needed)."
    )


def test_the_results_of_the_studys_own_folder_are_baselines(
    study: Path, trained: list[Result]
) -> None:
    with pytest.raises(UsageError, match=r"no baselines of study blobs.*fanin run .*blobs\.toml"):
        compare("my_init.py:same", study)
    jsonl.write(trained, "here.jsonl")
    assert run_command("store", "merge", "runs/blobs", "here.jsonl").code == 0
    comparison = compare("my_init.py:same", study, replicates=1)
    assert comparison.source == "runs/blobs"
    assert (Path("runs/compare-blobs") / "results.sqlite").is_file()


def test_a_newcomer_gets_the_tuning_of_the_baselines(tmp_path: Path, study: Path) -> None:
    study.write_text(TUNED)
    fanin.run(study, workers=1, progress=False)
    comparison = compare("my_init.py:same", study)
    stored = comparison.results.results
    from fanin.store import results_store

    trials = [r.cell for r in results_store.read("runs/compare-blobs").results.values()]
    trials = [c for c in trials if c.initializer == "my_init.py:same" and not c.tuned]
    theirs = [r.cell for r in results_store.read("runs/blobs").results.values()]
    theirs = [c for c in theirs if c.initializer == "he_normal" and not c.tuned]
    assert {(c.seed, c.replicate, c.learning_rate) for c in trials} == {
        (c.seed, c.replicate, c.learning_rate) for c in theirs
    }
    assert comparison.budgets["my_init.py:same"] == comparison.budgets["he_normal"] == len(theirs)
    assert "trial trainings tuned the newcomer's" in " ".join(comparison.notes)
    chosen = {p.labels["initializer"]: p.cell.learning_rate for p in comparison.results.plan.cells}
    assert chosen["my_init.py:same"] == chosen["he_normal"]
    assert stored
    assert comparison.frame().set_index("reference").loc["he_normal", "mean"] == 0


def test_json_has_the_verdict_and_the_page_is_written(study: Path, here: Path) -> None:
    done = run_compare("my_init.py:same", "--against", study, "--baselines", here, "--json")
    assert done.code == 0, done.err
    record = done.record
    assert record["trained"] == 10
    assert record["verdict"]["overall"].startswith("my_init.py:same is better than 1, equal")
    (section,) = record["verdict"]["sections"]
    assert {item["reference"]: item["judgement"] for item in section["differences"]} == {
        "zero": "better",
        "he_normal": "equal",
    }
    assert Path(record["files"]["page"]).is_file()
    assert "is better than 1" in Path(record["files"]["comparison"]).read_text()
    assert "p_holm" in Path(record["files"]["comparison_csv"]).read_text()
    shown = run_compare("my_init.py:same", "--against", study, "--baselines", here).out
    assert shown.splitlines()[2].startswith("my_init.py:same is better than 1")
    assert max(map(len, shown.splitlines()[:25])) <= 80


def test_a_dry_run_says_what_is_trained_and_what_retraining_costs(
    study: Path, elsewhere: Path
) -> None:
    words = ("my_init.py:same", "--against", study, "--baselines", elsewhere, "--dry-run")
    record = run_compare(*words, "--json").record
    assert (record["to_train"], record["baselines"], record["elsewhere"]) == (10, 20, 20)
    assert record["retraining_seconds"] > 0
    assert "--retrain" in run_compare(*words).out
    assert run_compare(*words, "--retrain", "--json").record["to_train"] == 10
    assert not Path("runs").exists()


def test_another_metric_is_compared(study: Path, here: Path) -> None:
    comparison = compare("my_init.py:same", study, baselines=here, metric="loss")
    frame = comparison.frame().set_index("reference")
    assert set(frame["metric"]) == {"test_loss"}
    assert frame.loc["zero", "mean"] < 0
    assert frame.loc["zero", "judgement"] == "better"


@for_each(
    "newcomer, options, says",
    [
        ("nowhere.py:make", {}, "There is no file nowhere.py"),
        ("he_nrmal", {}, "Did you mean he_normal"),
        ("", {}, "A newcomer is a name"),
        ("my_init.py:same", {"replicates": 11}, "have 10 replicates; 11 were asked for"),
        ("my_init.py:same", {"metric": "acuracy"}, "Did you mean accuracy"),
        ("my_init.py:same", {"only": {"initializer": "orthogonal"}}, "No value of axis initia"),
        ("my_init.py:same", {"baselines": "nowhere"}, "Cannot read baselines from nowhere"),
    ],
)
def test_what_cannot_be_compared_is_told(
    newcomer: str, options: dict[str, Any], says: str, study: Path, here: Path
) -> None:
    with pytest.raises(FaninError) as caught:
        compare(newcomer, study, **{"baselines": here, **options})
    assert says in str(caught.value)


def test_results_of_another_study_are_no_baselines(study: Path) -> None:
    jsonl.write(read_baselines("quick").values(), "quick.jsonl")
    with pytest.raises(UsageError, match="None of the 20 cells"):
        compare("my_init.py:same", study, baselines="quick.jsonl")


def test_a_damaged_file_of_baselines_is_told(study: Path) -> None:
    Path("bad.jsonl").write_text("{}\n")
    done = run_compare("my_init.py:same", "--against", study, "--baselines", "bad.jsonl")
    assert done.code == 3
    assert "bad.jsonl, line 1" in done.err
    assert "Traceback" not in done.err


@for_each("name", list_baselines())
def test_the_baselines_that_come_with_fanin_are_the_committed_results(name: str) -> None:
    source = Path(__file__).parent.parent / "results" / f"{name}.jsonl"
    kept = read_baselines(name)  # if this fails: python docs/baselines.py
    committed = {r.cell.id: r for r in jsonl.read(source)[0] if r.outcome in ("ok", "diverged")}
    assert kept.keys() == committed.keys()
    for cell, result in kept.items():
        other = committed[cell]
        numbers = json.dumps([result.to_json()[key] for key in ("metrics", "outcome", "data")])
        assert numbers == json.dumps([other.to_json()[k] for k in ("metrics", "outcome", "data")])
        assert result.environment_key == other.environment_key
        assert not result.history


def test_every_study_with_committed_results_has_baselines() -> None:
    committed = {path.stem for path in (Path(__file__).parent.parent / "results").glob("*.jsonl")}
    assert set(fanin.names("studies")) & committed == set(list_baselines())
    study = Study.load("quick")
    ids = {planned.cell.id for planned in study.plan().cells}
    assert ids <= read_baselines("quick").keys()


def test_user_code_is_called_by_its_file_unless_a_baseline_is_called_so() -> None:
    study = Study("s", axes={"initializer": ["zero", "b.py:make"], "model": ["mlp"]})
    extended, label = add_newcomer(study, "some/folder/a.py:make(x=1)")
    assert label == "a.py:make(x=1)"
    added = extended.grids[0]["initializer"][-1]
    assert (added.value, added.label) == ("some/folder/a.py:make(x=1)", label)
    assert add_newcomer(study, "folder/b.py:make")[1] == "folder/b.py:make"
    assert add_newcomer(Study("s", base={"initializer": "zero"}), "folder/b.py:make")[1] == (
        "b.py:make"
    )
