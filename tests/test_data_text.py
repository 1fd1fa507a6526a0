"""Text cut into windows: no window crosses the border, every target is the next character."""

import pytest

from fanin import data
from fanin.data.datasets.characters import cut_windows
from fanin.errors import DataInvalid

TEXT = b"to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer"


@pytest.mark.parametrize("length", [1, 3, 6])
def test_windows_follow_one_another_without_overlap_and_targets_are_the_next_characters(length):
    train, test = TEXT[:60], TEXT[60:]
    kinds = sorted(set(TEXT))
    arrays = cut_windows(TEXT, 60, length)
    for part, x, y in (
        (train, arrays.x_train, arrays.y_train),
        (test, arrays.x_test, arrays.y_test),
    ):
        assert len(x) == len(part) // (length + 1)
        for n in range(len(x)):
            window = part[n * (length + 1) : (n + 1) * (length + 1)]
            assert bytes(kinds[i] for i in x[n]) == window[:-1]
            assert bytes(kinds[i] for i in y[n]) == window[1:]


def test_a_description_needs_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    info = data.describe("tiny-shakespeare(length=99)")
    assert (info.task, info.kind, info.input_shape, info.per_step) == (
        "token_classification",
        "tokens",
        (99,),
        True,
    )
    assert (info.n_train, info.n_test, info.vocabulary, info.outputs) == (10_038, 1_115, 65, 65)
    assert data.describe("tiny-shakespeare(length=111539)").n_test == 1


def test_another_text_of_that_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FANIN_DATA_DIR", str(tmp_path))
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_bytes(TEXT)
    with pytest.raises(DataInvalid, match="cut short: 84 bytes; expected 1,115,394"):
        data.load("tiny-shakespeare")
    (check,) = data.verify("tiny-shakespeare(length=5)")
    assert (check.ok, check.note) == (False, "another size")
