"""fanin audit and fanin explain, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_session import fanin

from fanin.cli.audit_input import parse_shape, read_input
from fanin.diagnosis.codes import list_kinds
from fanin.errors import UsageError

NETS = """
import torch
from torch import nn

print("printed by the user's file")


def dead():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(model[0].bias, -100.0)
    return model


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, ids, scale):
        return self.head((self.tokens(ids) * scale).mean(1))


def loud():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.normal_(model[2].weight, std=100.0)
    return model


ready = nn.Linear(8, 3)


def needs(width): ...
def wrong(): return 3
def fails(): raise ValueError("no such width")
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_errors_are_shown_and_make_the_exit_code_1() -> None:
    done = fanin("audit", "nets.py:dead", "--input", "32x8", "--target", "32:int:3")
    assert done.code == 1
    assert done.out.startswith("Sequential does not start well: ")
    assert "printed by" not in done.out
    assert "printed by" in done.err or "printed by" not in done.err + done.out


def test_a_sound_model_has_exit_code_0() -> None:
    done = fanin("audit", "nets.py:ready", "--input", "32x8", "--target", "32:int:3")
    assert done.code == 0, done.out + done.err


def test_init_comes_before_the_audit() -> None:
    words = ("audit", "nets.py:ready", "--input", "256x8", "--json", "--init")
    (small,) = fanin(*words, "normal(std=0.01)").record["layers"]
    (large,) = fanin(*words, "normal(std=10)").record["layers"]
    assert large["rms"] > 500 * small["rms"]


def test_the_same_seed_gives_the_same_audit() -> None:
    words = ("audit", "nets.py:Two", "--input", "8x5:int:50", "--input", "8x5x8", "--json")
    first, second, other = fanin(*words), fanin(*words), fanin(*words, "--seed", "1")
    assert first.record == second.record
    assert first.record["layers"] != other.record["layers"]


def test_several_inputs_are_arguments_or_keywords() -> None:
    named = ("--input", "scale=8x5x8", "--input", "ids=8x5:int:50")
    done = fanin("audit", "nets.py:Two", *named, "--json")
    assert done.record["samples"] == 8
    assert [layer["name"] for layer in done.record["layers"]] == ["tokens", "head"]


def test_json_is_one_object_and_sarif_names_the_file_and_line() -> None:
    words = ("audit", "nets.py:dead", "--input", "32x8", "--target", "32:int:3")
    record = fanin(*words, "--json").record
    assert record["target"] == "nets.py:dead"
    assert json.loads(fanin(*words, "--format", "json").out)["findings"] == record["findings"]
    log = json.loads(fanin(*words, "--format", "sarif").out)
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nets.py"
    assert NETS.split("\n")[place["region"]["startLine"] - 1] == "def dead():"


def test_a_page_is_written_and_named(here: Path) -> None:
    words = ("audit", "nets.py:dead", "--input", "32x8", "--html", "out/audit.html")
    done = fanin(*words)
    assert "Page: out/audit.html" in done.out
    assert (here / "out" / "audit.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_fix_repairs_a_copy_and_prints_the_code_to_paste() -> None:
    words = ("audit", "nets.py:loud", "--input", "32x8", "--target", "32:int:3", "--fix")
    done = fanin(*words)
    assert "Repaired copy" in done.out
    assert "Audited again: " in done.out
    code = done.out.partition("To paste, after the model is built:\n")[2]
    compile(code, "the code to paste", "exec")
    assert "model" in code
    fixed = fanin(*words, "--json").record["fix"]
    assert fixed["loss_after"] < fixed["loss_before"]
    assert len(fixed["after"]["findings"]) < len(fixed["findings"])


def test_compare_ranks_initializers() -> None:
    specs = "he_normal,normal(mean=0,std=0.001)"
    words = ("audit", "nets.py:loud", "--input", "32x8", "--target", "32:int:3")
    done = fanin(*words, "--compare", specs)
    assert "Compared, without training" in done.out
    ranking = fanin(*words, "--compare", specs, "--json").record["comparison"]
    assert {row["initializer"] for row in ranking["rows"]} == {
        "as it is",
        "he_normal",
        "normal(std=0.001)",
    }
    assert fanin(*words, "--compare", "he_norml").code == 2


def test_what_is_ignored_or_accepted_does_not_count(here: Path) -> None:
    words = ("audit", "nets.py:dead", "--input", "32x8", "--target", "32:int:3")
    assert fanin(*words, "--ignore", "*").code == 0
    written = fanin(*words, "--baseline", "ok.json", "--write-baseline")
    assert written.code == 0
    assert "Accepted: " in written.err
    assert fanin(*words, "--baseline", "ok.json").code == 0
    (here / "ok.json").write_text('{"schema": 1, "accepted": []}', encoding="utf-8")
    assert fanin(*words, "--baseline", "ok.json").code == 1


def test_files_hold_the_batch_and_the_target(here: Path) -> None:
    x, y = np.linspace(-1, 1, 256).reshape(32, 8), np.arange(32) % 3
    np.savez(here / "batch.npz", x=x, y=y)
    record = fanin("audit", "nets.py:ready", "--input", "batch.npz", "--json").record
    assert record["samples"] == 32
    assert record["loss"]["classes"] == 3
    np.savez(here / "named.npz", ids=np.ones((4, 5), np.int32), scale=np.ones((4, 5, 8)))
    record = fanin("audit", "nets.py:Two", "--input", "named.npz", "--json").record
    assert record["samples"] == 4


def test_a_safetensors_file_is_read(here: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(
        {"x": torch.ones(4, 8), "target": torch.ones(4, 3)}, here / "b.safetensors"
    )
    record = fanin("audit", "nets.py:ready", "--input", "b.safetensors", "--json").record
    assert record["loss"]["kind"] == "mse"


def test_labels_are_an_argument_if_forward_takes_them(here: Path) -> None:
    np.savez(here / "b.npz", x=np.ones((4, 8)), labels=np.arange(4))
    given = read_input([str(here / "b.npz")], None, seed=0, keywords=("x", "labels"))
    assert set(given.batch) == {"x", "labels"}
    assert given.target is None
    given = read_input([str(here / "b.npz")], None, seed=0, keywords=("x",))
    assert given.target is not None
    assert given.batch.dtype == torch.float32


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "What is the model given"),
        (("--input", "8y3"), "Received '8y3'"),
        (("--input", "8x3:int"), ":int:COUNT"),
        (("--input", "8x3:int:0"), ":int:COUNT"),
        (("--input", "0x3"), "has 0 numbers"),
        (("--input", "99999999x99999999"), "has 9,999,999,800,000,001 numbers"),
        (("--input", "8x8", "--input", "y=8"), "all inputs a name, or none"),
        (("--input", "a=8", "--input", "a=8"), "more than once"),
        (("--input", "3a=8"), "cannot name an argument"),
        (("--input", "none.npz"), "There is no file none.npz"),
        (("--input", "a.npz", "--input", "8x8"), "only once"),
        (("--input", "nets.npz"), "cannot be read as .npz"),
        (("--input", "32x8", "--target", "8:float:3"), "--target"),
        (("--input", "32x8", "--format", "xml"), "Known: json, sarif, text"),
        (("--input", "32x8", "--level", "slow"), "level"),
        (("--input", "32x8", "--ignore", "F99"), "fanin list findings"),
        (("--input", "32x8", "--write-baseline"), "needs the file"),
        (("--input", "32x8", "--baseline", "none.json"), "There is no baseline file"),
        (("--input", "32x8", "--seed", "-1"), "--seed must be"),
        (("--input", "32x8", "--init", "he_norml"), "he_normal"),
        (("--input", "32x8", "--json", "--format", "sarif"), "two formats"),
    ],
)
def test_a_mistake_is_told_in_words(words: tuple[str, ...], reason: str, here: Path) -> None:
    (here / "nets.npz").write_text("no archive", encoding="utf-8")
    done = fanin("audit", "nets.py:ready", *words)
    assert done.code == 2, done.err
    assert reason in " ".join(done.err.split()) + done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nets.py:deat", "Did you mean dead"),
        ("none.py:make", "There is no file none.py"),
        ("nets.py", "is not a reference"),
        ("nets.py:needs", "needs width"),
        ("nets.py:wrong", "returned 3. Expected a torch.nn.Module"),
        ("nets.py:fails", "ValueError: no such width (nets.py, line"),
    ],
)
def test_a_target_that_is_no_model_is_told_in_words(target: str, reason: str) -> None:
    done = fanin("audit", target, "--input", "8x8")
    assert done.code == 2
    assert reason in done.err


def test_a_model_that_cannot_be_run_is_reported_with_exit_code_2() -> None:
    done = fanin("audit", "nets.py:ready", "--input", "32x5")
    assert done.code == 2
    assert "could not be run" in done.out


def test_drawn_numbers_are_what_the_shape_says() -> None:
    whole = parse_shape("4x128:int:50", "--input").draw(0, "ids")
    assert whole.shape == (4, 128)
    assert not whole.is_floating_point()
    assert (int(whole.min()), int(whole.max())) == (0, 49)
    real = parse_shape("1000x10", "--input").draw(0, "x")
    assert abs(float(real.std()) - 1) < 0.03
    assert not torch.equal(real, parse_shape("1000x10", "--input").draw(0, "y"))
    with pytest.raises(UsageError):
        parse_shape("", "--input")


def test_explain_prints_a_page_of_80_columns() -> None:
    done = fanin("explain", "F012")
    assert done.code == 0
    assert done.out.startswith("F012 the residual stream grows (usually a warning)")
    assert [line for line in done.out.splitlines() if len(line) > 80] == []
    for heading in ("How the audit sees it", "Usual causes", "What to do", "Reference"):
        assert f"\n{heading}\n" in done.out
    assert fanin("explain", "f012", "--json").record["code"] == "F012"


def test_explain_without_a_code_lists_all() -> None:
    done = fanin("explain")
    assert sum(line.startswith("  F0") for line in done.out.splitlines()) == len(list_kinds())
    assert len(fanin("explain", "--json").record["findings"]) == len(list_kinds())


def test_explain_offers_near_codes() -> None:
    done = fanin("explain", "F12")
    assert done.code == 2
    assert "F012" in done.err


def test_a_forecast_is_shown_and_recorded() -> None:
    words = (
        "audit",
        "nets.py:loud",
        "--input",
        "32x8",
        "--target",
        "32:int:3",
        "--forecast",
        "sgd",
    )
    shown = fanin(*words).out
    assert "By sgd, in 150 steps" in shown.partition("\nForecast\n")[2]
    record = fanin(*words, "--steps", "60", "--json").record
    assert record["forecast"]["steps"] == 60
    assert record["forecast"]["verdict"] == "does not train"
    assert "forecast" not in fanin(*words[:-2], "--json").record


def test_a_forecast_that_cannot_be_made_is_refused() -> None:
    words = ("audit", "nets.py:loud", "--input", "32x8")
    for more, problem in (
        (("--forecast", "adam"), "no target"),
        (("--forecast", "adm"), "Did you mean adam"),
        (("--forecast", "adam", "--steps", "0"), "whole number of at least 1"),
    ):
        done = fanin(*words, *more)
        assert done.code == 2
        assert problem in done.err
