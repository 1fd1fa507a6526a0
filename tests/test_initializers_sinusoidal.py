"""sinusoidal: against its formula, entry by entry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from initializer_cases import filled
from torch import nn

import fanin
from fanin import initializers, seeds
from fanin.errors import FitError


def formula(outputs: int, inputs: int) -> np.ndarray:
    """The paper's matrix in fp64, without any shortcut."""
    order, place = np.arange(1, outputs + 1)[:, None], np.arange(inputs)[None, :]
    waves = np.sin(2 * np.pi * order * place / inputs + 2 * np.pi * order / outputs)
    return waves * math.sqrt(2 / (outputs + inputs)) / waves.std()


@pytest.mark.parametrize("shape", [(7, 40), (40, 7), (12, 8), (16, 16), (1, 20), (9, 1), (3, 3)])
def test_the_entries_are_those_of_the_formula(shape: tuple[int, int]) -> None:
    found = filled("sinusoidal", torch.empty(shape)).double().numpy()
    assert found == pytest.approx(formula(*shape), abs=2e-6)
    assert found.std() == pytest.approx(math.sqrt(2 / sum(shape)), rel=1e-6)


def test_a_kernel_is_one_long_row_and_groups_go_on_counting() -> None:
    with seeds.preserve_torch_state(0):
        conv = nn.Conv2d(8, 12, 3, groups=4, bias=False)
    fanin.initialize(conv, "sinusoidal", seed=0)
    assert conv.weight.detach().flatten(1).double().numpy() == pytest.approx(
        formula(12, 18), abs=2e-6
    )


def test_the_channels_of_a_depthwise_convolution_differ() -> None:
    with seeds.preserve_torch_state(0):
        conv = nn.Conv1d(16, 16, 9, groups=16, bias=False)
    fanin.initialize(conv, "sinusoidal", seed=0)
    rows = conv.weight.detach().flatten(1)
    alike = (rows.unsqueeze(0) - rows.unsqueeze(1)).abs().amax(-1) < 1e-6
    assert alike.sum() == 16


def test_a_transposed_convolution_has_one_wave_per_output() -> None:
    with seeds.preserve_torch_state(0):
        conv = nn.ConvTranspose1d(6, 10, 3, bias=False)
    fanin.initialize(conv, "sinusoidal", seed=0)
    rows = conv.weight.detach().transpose(0, 1).flatten(1)
    assert rows.double().numpy() == pytest.approx(formula(10, 18), abs=2e-6)


def test_no_phase_is_lost_in_a_large_matrix() -> None:
    """Row 4096·i of 2π·4095·4095/4096 turns: computed in fp32 the phase would be off by 10⁻³."""
    weight = filled("sinusoidal", torch.empty(4096, 4096))
    order, place = 4095, np.arange(4096)
    turns = (order * place * 4096 + order * 4096) % 4096**2
    wave = np.sin(2 * np.pi * turns.astype(np.float64) / 4096**2)
    found = weight[order - 1].double().numpy()
    assert found / found.std() == pytest.approx(wave / wave.std(), abs=1e-6)


def test_the_dead_outputs_are_the_ones_that_its_description_names() -> None:
    weight = filled("sinusoidal", torch.empty(16, 16))
    assert [row + 1 for row in range(16) if not weight[row].any()] == [8, 16]
    assert filled("sinusoidal", torch.empty(16, 24)).any(1).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 2), (2, 1)], ids=str)
def test_a_weight_whose_sines_are_all_zero_is_refused(shape: tuple[int, int]) -> None:
    assert abs(np.sin(2 * np.pi * np.ones(shape) * 0.5)).max() < 1e-12
    with pytest.raises(FitError, match="at least three outputs"):
        initializers.get("sinusoidal")(torch.empty(shape), generator=torch.Generator())


def test_query_key_and_value_are_each_a_weight_of_their_own() -> None:
    with seeds.preserve_torch_state(0):
        attention = nn.MultiheadAttention(8, 2)
    fanin.initialize(attention, "sinusoidal", seed=0)
    query, key, value = attention.in_proj_weight.detach().chunk(3)
    assert torch.equal(query, key)
    assert torch.equal(key, value)
    assert query.double().numpy() == pytest.approx(formula(8, 8), abs=2e-6)
