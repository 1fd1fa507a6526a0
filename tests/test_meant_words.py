"""A word that is not known leads to the one that was meant: keys, names, formats, patterns,
files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_session import TINY, fanin
from combinations import for_each
from torch import nn

from fanin import initialize, seeds
from fanin.apply.rules import Rules
from fanin.errors import FaninError
from fanin.study.study import Study

CELL = 'model = "mlp"\ndata = "digits"\n'
REST = '[axes]\ninitializer = ["zero"]\n'

STUDIES = {
    "lr for learning_rate": ("lr = 0.1\n", "line 4: ", "Did you mean learning_rate?"),
    "bs": ("bs = 8\n", "Did you mean batch_size?"),
    "max_epochs": ("max_epochs = 8\n", "Did you mean epochs?"),
    "weight_decay": ("weight_decay = 8\n", "Did you mean optimizer.weight_decay?"),
    "a key of the head in a table": ("replicates = 8\n", "belongs to the head of the study"),
    "the rate in the optimizer": (
        'optimizer = "adam(learning_rate=0.1)"\n',
        "line 4 (optimizer)",
        "learning_rate = 0.1",
        "option lr",
    ),
    "a metric that is not there": ('metrics = ["bleu"]\n', "Your own metric: my_file.py:make."),
    "a key twice": ('model = "cnn"\n', "the key model is written twice, on line 2 and on line 4"),
    "a quoted key twice": ("'model' = 3\n", "key model is written twice, on line 2 and on line"),
    "a table twice": (
        "[base]\nepochs = 2\n",
        "table [base] is written twice, on line 1 and on line",
    ),
}


@for_each("name", STUDIES)
def test_a_word_of_a_study_leads_to_what_was_meant(name: str) -> None:
    line, *says = STUDIES[name]
    with pytest.raises(FaninError) as caught:
        Study.from_toml(f"[base]\n{CELL}{line}{REST}", "mine").plan()
    for text in says:
        assert text in str(caught.value)


@for_each(
    "path, says",
    [
        ("mydata.csv", "fanin data add mydata mydata.csv --target COLUMN"),
        ("./My Data.CSV", "fanin data add my-data './My Data.CSV' --target COLUMN"),
        ("data/digits.npz", "fanin data add digits data/digits.npz, then write digits."),
        ("a b.npz", "fanin data add a-b 'a b.npz'"),
        ("C:\\\\data\\\\x.mat", "fanin data add x x.npz"),
        ("folder/", "my_file.py:make"),
    ],
)
def test_the_path_of_data_leads_to_data_add(path: str, says: str) -> None:
    text = f'[base]\nmodel = "mlp"\ndata = "{path}"\n{REST}'
    with pytest.raises(FaninError) as caught:
        Study.from_toml(text, "mine").plan()
    assert "is a path, not the name of a data set" in str(caught.value)
    assert says in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_rules_or_of_a_study(tmp_path: Path) -> None:
    rules, study = tmp_path / "rules.toml", tmp_path / "study.toml"
    rules.write_bytes(b'\xef\xbb\xbfdefault = "zero"\r\n')
    study.write_bytes(b"\xef\xbb\xbf" + TINY.encode())
    assert Rules.load(rules).default == "zero"
    assert Study.load(str(study)).plan().cells


def test_a_key_of_a_rules_file_that_is_written_twice_is_told_with_its_lines(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('default = "zero"\n[patterns]\n"a.*" = "zero"\n"a.*" = "he_normal"\n')
    with pytest.raises(FaninError, match=r"key a\.\* is written twice, on line 3 and on line 4"):
        Rules.load(rules)


def make_model() -> nn.Module:
    model = nn.Sequential()
    with seeds.preserve_torch_state(0):
        model.add_module("enc", nn.Linear(3, 4))
        model.add_module("block[0]", nn.Linear(4, 4))
    return model


@for_each(
    "pattern, meant",
    [
        ("enc", r"Did you mean enc\.\*\?"),
        ("weight", r"Did you mean \*\.weight\?"),
        ("[enc].weight", r"Did you mean enc\.weight\?"),
        ("nc.weight", r"Did you mean enc\.weight"),
    ],
)
def test_a_pattern_that_matches_nothing_leads_to_one_that_does(pattern: str, meant: str) -> None:
    with pytest.raises(FaninError, match=meant):
        initialize(make_model(), {pattern: "zero"}, seed=0, default="zero")


@for_each("pattern", ["block[0].weight", "block[0].*", "block[[]0].weight"])
def test_brackets_in_the_name_of_a_parameter_can_be_written(pattern: str) -> None:
    record = initialize(make_model(), {pattern: "identity"}, seed=0, default="zero")
    assert [item.name for item in record if item.rule == "identity"] == ["block[0].weight"]


@for_each(
    "name, meant",
    [
        ("xlsx", "csv, which spreadsheets open"),
        ("tex", "Did you mean latex?"),
        ("md", "Did you mean markdown?"),
        (".json", "Did you mean jsonl"),
        ("html", "fanin report"),
        ("makdown", "Did you mean markdown?"),
    ],
)
def test_a_format_that_is_not_there_leads_to_one_that_is(name: str, meant: str) -> None:
    done = fanin("export", "nowhere", "--to", name)
    assert done.code == 2
    assert done.out == ""
    assert meant in done.err
