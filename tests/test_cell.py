"""Cells and results: identity, and the round trip through JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from fanin.cell.cell import Cell
from fanin.cell.result import Result
from fanin.errors import StoreCorrupt

CELL = Cell(data="digits", model="mlp", initializer="he_normal")


def test_golden_ids_never_change() -> None:
    # A change here orphans every stored result. Add a field with a default instead.
    assert CELL.id == "93d10d39ffe7c637"
    full = Cell(
        data="mnist",
        model="mlp(widths=[512, 256])",
        initializer="he_normal(truncated=true)",
        activation=("sigmoid", "tanh"),
        optimizer="adam(epsilon=keras)",
        learning_rate=0.01,
        batch_size=32,
        epochs=7,
        protocol="case-study",
        replicate=3,
        seed=9,
        init_seed=1,
        order_seed=2,
        dropout_seed=3,
        split_seed=4,
    )
    assert full.id == "996c95e02fd31552"
    more = dataclasses.replace(
        full,
        normalization="layer",
        schedule="cosine(warmup=2.0)",
        biases="forget_gate",
        clip_norm=1.0,
        label_smoothing=0.1,
        augmentation=("shift(pixels=2)", "flip"),
        augment_seed=5,
        metrics=("perplexity",),
        tuned=True,
        sources=(("my_file.py:make", "0" * 64),),
    )
    assert more.id == "10123e2640660fcc"
    assert Cell.from_json(json.loads(json.dumps(more.to_json()))) == more


def test_a_field_that_equals_its_default_is_left_out_of_the_identity() -> None:
    assert CELL.to_json() == {"data": "digits", "model": "mlp", "initializer": "he_normal"}
    assert dataclasses.replace(CELL, batch_size=64).id == CELL.id
    assert dataclasses.replace(CELL, batch_size=32).id != CELL.id


def test_every_field_is_part_of_the_identity() -> None:
    other = {
        "activation": "relu",
        "init_seed": 1,
        "order_seed": 1,
        "dropout_seed": 1,
        "split_seed": 1,
    }
    other |= {
        "augmentation": ("flip",),
        "metrics": ("psnr",),
        "sources": (("a.py:make", "0"),),
        "biases": "zero",
    }
    for field in dataclasses.fields(Cell):
        value = getattr(CELL, field.name)
        changed = other.get(
            field.name, f"{value}x" if isinstance(value, str) else (value and value * 2) or 1
        )
        assert dataclasses.replace(CELL, **{field.name: changed}).id != CELL.id, field.name


def test_a_block_holds_the_cells_that_differ_in_the_initializer_only() -> None:
    assert dataclasses.replace(CELL, initializer="zero").block == CELL.block
    assert dataclasses.replace(CELL, replicate=1).block != CELL.block


def test_replicates_and_factors_have_seeds_of_their_own() -> None:
    seeds = {
        dataclasses.replace(CELL, replicate=r).derive_seed(factor)
        for r in range(50)
        for factor in ("init", "order", "dropout", "split", "augment")
    }
    assert len(seeds) == 250
    assert dataclasses.replace(CELL, init_seed=7).derive_seed("init") == 7
    assert dataclasses.replace(CELL, init_seed=7).derive_seed("order") == CELL.derive_seed("order")


def test_initializers_of_a_replicate_share_all_seeds() -> None:
    assert dataclasses.replace(CELL, initializer="orthogonal").derive_seed(
        "init"
    ) == CELL.derive_seed("init")


def test_a_result_survives_json_exactly_with_nan_and_infinities() -> None:
    values = [0.1 + 0.2, math.inf, -math.inf, 5e-324]
    result = Result(
        cell=CELL,
        outcome="diverged",
        history={"loss": [*values, math.nan]},
        metrics={"epochs": 3.0},
    )
    back = Result.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert back.history["loss"][:4] == values
    assert math.isnan(back.history["loss"][4])
    assert back.cell == CELL
    assert back.metrics == {"epochs": 3.0}


@pytest.mark.parametrize(
    "damage",
    [
        {"outcome": "splendid"},
        {"id": "0" * 16},
        {"schema": 99},
        {"cell": {"data": "digits"}},
        {"cell": {"unknown": 1}},
        {"history": {"loss": ["much"]}},
        {"metrics": None},
    ],
)
def test_a_damaged_record_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(StoreCorrupt):
        Result.from_json({**Result(cell=CELL, outcome="ok").to_json(), **damage})


@pytest.mark.parametrize("record", [None, 3, [], "ok", {}])
def test_anything_but_a_record_is_refused(record: object) -> None:
    with pytest.raises(StoreCorrupt):
        Result.from_json(record)
