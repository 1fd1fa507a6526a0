"""Characters of tiny Shakespeare: a small GPT and an LSTM learn something real, and report it in
the field's units.
"""

from __future__ import annotations

import math

import pytest

from fanin.study.canonical_cell import make_cell
from fanin.training.train import DataCache, train

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("model", ["gpt(width=32, depth=1, heads=2)", "lstm(width=64)"])
def test_a_small_model_learns_the_letters_of_shakespeare(model: str) -> None:
    cell = make_cell(
        {
            "data": "tiny-shakespeare(length=32)",
            "model": model,
            "initializer": "xavier_uniform",
            "learning_rate": 0.003,
            "clip_norm": 1.0,
            "schedule": "cosine(warmup=0.1)",
            "epochs": 1,
        }
    )
    result = train(cell, cache=DataCache(), environment={})
    bits = result.metrics["test_bits_per_character"]
    # Guessing evenly among 65 characters costs 6.02 bits, by their frequencies 4.78; knowing the
    # one before, at best 3.54.
    assert bits < 3.45
    assert result.metrics["test_perplexity"] == pytest.approx(2**bits)
    assert 0.3 < result.metrics["test_token_accuracy"] < 0.7
    assert math.log2(65) > result.history["val_bits_per_character"][0]
