"""Whether a model fits some data is found out in milliseconds, without memory for it."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor, nn

from fanin.models.skeleton import build_skeletons

CHECK_ALL = """
import sys
from model_cases import every_fit, default
for entry, case in every_fit():
    skeleton = default(entry).build_skeleton_for(case)
    assert all(one.is_meta for one in skeleton.parameters()), entry.name
print("torch._dynamo" in sys.modules)
"""


def test_no_model_makes_torch_import_its_compiler_when_it_is_checked() -> None:
    """That import takes seconds, in each process that plans."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{CHECK_ALL}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr


def test_a_tensor_that_has_memory_is_filled_as_always() -> None:
    before = torch.get_rng_state()
    with build_skeletons():
        table = nn.Embedding(3, 4)
        tensors = [torch.zeros(100, device="cpu") for _ in range(2)]
        nn.init.normal_(tensors[0])
        tensors[1].normal_()
        same: Tensor = nn.init.normal_(table.weight, std=3.0)
    assert same is table.weight
    assert table.weight.is_meta
    assert all(float(tensor.std()) > 0.5 for tensor in tensors)
    assert torch.equal(torch.get_rng_state(), before)
