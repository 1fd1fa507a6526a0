"""Process-wide settings: the matmul check has power, and leaves the setting as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fanin.execution import process_settings
from fanin.study.canonical_cell import make_cell

CELLS = [make_cell({"data": "digits", "model": "mlp", "initializer": "zero"})]


def test_the_check_leaves_the_setting_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    process_settings.is_onednn_exact(CELLS)
    assert torch.get_float32_matmul_precision() == before


def test_a_backend_that_computes_in_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = process_settings._measure_product_error(64, 256, 128)

    def rounded(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self.dtype == torch.float32:
            return torch.mm(self.bfloat16().float(), other.bfloat16().float())
        return torch.mm(self, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert process_settings._measure_product_error(64, 256, 128) > 100 * exact
    assert not process_settings.is_onednn_exact(CELLS)


def test_the_faster_backend_is_found_on_the_cells_own_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_float32_matmul_precision()
    seconds = {"highest": 3.0, "medium": 2.0}
    monkeypatch.setattr(
        process_settings,
        "_time_linear",
        lambda *shape: seconds[torch.get_float32_matmul_precision()],
    )
    assert process_settings.measure_onednn_speedup(CELLS) == 1.5
    assert process_settings.measure_onednn_speedup([]) == 1.0
    assert torch.get_float32_matmul_precision() == before


def test_plain_fp32_products_pass_the_check() -> None:
    assert process_settings._measure_product_error(64, 3072, 256) < process_settings.EXACT


def test_shapes_are_those_of_the_cells_own_layers() -> None:
    assert process_settings.collect_linear_shapes(CELLS) == {
        (64, 64, 256),
        (64, 256, 128),
        (64, 128, 10),
    }


def test_a_tuned_process_has_one_thread_and_still_works() -> None:
    code = (
        "import torch; from fanin.execution.process_settings import tune_process; tune_process(); "
        "x = torch.ones(2000, 2000); del x; print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_the_environment_tells_what_a_block_must_share() -> None:
    found = process_settings.describe_environment("cpu", "default")
    assert {"device", "engine", "torch", "threads", "matmul", "dtype"} <= found.keys()
    assert found["device"]
