"""The engine that workers load: settings that users' models change, devices that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fanin.cell.cell import Cell
from fanin.errors import UsageError
from fanin.execution.engine import DEFAULT_ENGINE, TorchEngine, TrainingJob, load_engine

CELL = Cell(
    data="digits", model="mlp(widths=[8])", initializer="he_normal", activation="relu", epochs=2
)


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    loaded = load_engine(DEFAULT_ENGINE)
    assert isinstance(loaded, TorchEngine)
    return loaded


def test_settings_that_a_model_changes_are_put_back(
    engine: TorchEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(*_: object, **__: object) -> None:
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_float32_matmul_precision("medium")
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        raise RuntimeError("and then it fails")

    engine.set_up("cpu", "default")
    monkeypatch.setattr(engine._train, "train", meddle)
    with pytest.raises(RuntimeError, match="and then it fails"):
        engine.train(
            TrainingJob(cell=CELL, checkpoints=tmp_path, checkpoint_interval=10),
            lambda row: None,
            lambda: False,
        )
    assert torch.get_num_threads() == 1
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_cell_that_is_told_to_stop_returns_nothing_and_leaves_a_checkpoint(
    engine: TorchEngine, tmp_path: Path
) -> None:
    environment = engine.set_up("cpu", "default")
    job = TrainingJob(cell=CELL, checkpoints=tmp_path, checkpoint_interval=1000)
    rows = list[dict[str, float]]()
    assert engine.train(job, rows.append, lambda: True) is None
    assert len(list(tmp_path.iterdir())) == 1
    result = engine.train(job, rows.append, lambda: False)
    assert result is not None
    assert [row["epoch"] for row in rows] == [1, 2]
    assert result.environment == environment


def test_a_model_that_cannot_be_built_does_not_stop_the_matmul_check(engine: TorchEngine) -> None:
    nonsense = Cell(data="digits", model="no-such-model", initializer="zero")
    assert engine.choose_matmul([nonsense]) == "default"
    assert engine.choose_matmul([nonsense, CELL]) == engine.choose_matmul([CELL])


@pytest.mark.parametrize(
    ("exact", "speedup", "expected"),
    [(True, 2.0, "onednn"), (True, 1.0, "default"), (False, 2.0, "default")],
)
def test_onednn_is_chosen_only_where_it_is_exact_and_faster(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch, exact: bool, speedup: float, expected: str
) -> None:
    monkeypatch.setattr(engine._settings, "is_onednn_exact", lambda cells: exact)
    monkeypatch.setattr(engine._settings, "measure_onednn_speedup", lambda cells: speedup)
    assert engine.choose_matmul([CELL]) == expected


def test_off_the_cpu_products_keep_their_full_precision(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = torch.empty
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", lambda *size, device: empty(*size))
        patch.setattr(
            engine._settings, "describe_environment", lambda device, matmul: {"matmul": matmul}
        )
        assert engine.set_up("cpu", "onednn") == {"matmul": "onednn"}
        assert torch.get_float32_matmul_precision() == "medium"
        assert engine.set_up("cuda", "onednn") == {"matmul": "default"}
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("speedup", [0.5, 2.0])
def test_a_backend_that_is_wanted_is_taken_whatever_its_speed_if_it_is_exact(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch, speedup: float
) -> None:
    monkeypatch.setattr(engine._settings, "measure_onednn_speedup", lambda cells: speedup)
    for exact, expected in ((True, "onednn"), (False, "default")):
        monkeypatch.setattr(engine._settings, "is_onednn_exact", lambda cells, exact=exact: exact)
        assert engine.choose_matmul([CELL], "onednn") == expected
        assert engine.choose_matmul([CELL], "default") == "default"


@pytest.mark.parametrize(
    "device",
    [
        "warp-drive",
        "gpu",
        "cuda:77",
        "meta",
        "meta:x",
        pytest.param(
            "mps",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is there"),
        ),
        pytest.param(
            "cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_a_device_that_is_not_there_is_the_users_error(engine: TorchEngine, device: str) -> None:
    with pytest.raises(UsageError, match=f"^Device '{device}' cannot be used") as error:
        engine.set_up(device, "default")
    assert "There are: cpu" in str(error.value)
    assert "\n" not in str(error.value)
