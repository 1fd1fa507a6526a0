"""Write docs/record.md: the records of five models, parameter by parameter.

python docs/record.py            # needs the extra peers (transformers); downloads nothing
python docs/record.py --check    # writes nothing; fails if the page does not fit the records
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pages import wrap, write_or_check
from torch import Tensor, nn

import fanin
from fanin import seeds

PAGE = Path(__file__).resolve().parent / "record.md"


@dataclass(frozen=True)
class Example:
    """A model, how it is initialized, and what to notice in its record."""

    title: str
    call: str
    text: str
    model: nn.Module
    rules: Any
    options: dict[str, Any]
    detail: str
    """The parameter that is shown in full."""

    def initialize(self) -> fanin.Record:
        """Initialize the model."""
        return fanin.initialize(self.model, self.rules, seed=0, **self.options)


def make_gpt2_example() -> Example:
    """GPT-2 small with its own scheme."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers = 12
    scaled = f"normal(std={0.02 / math.sqrt(2 * layers):.6f})"
    call = f"""
fanin.initialize(
    model,
    {{"*.c_proj.weight": "{scaled}"}},
    default="normal(std=0.02)",
    split={{"*.c_attn.*": 3}},
    seed=0,
)
"""
    text = """
transformers' `Conv1D` stores (in, out), so fan-in is the first dimension. `c_attn` packs q, k and v
along its outputs; `split` says so, and each is drawn as a map of its own. The matrices that write
to the residual stream are scaled by 1/√(2·12), as in the paper. The head shares the table of tokens
and is filled once.
"""
    return Example(
        "GPT-2 small",
        call,
        text,
        GPT2LMHeadModel(GPT2Config()),
        {"*.c_proj.weight": scaled},
        {"default": "normal(std=0.02)", "split": {"*.c_attn.*": 3}},
        "transformer.h.0.attn.c_attn.weight",
    )


def make_resnet50_example() -> Example:
    """ResNet-50 with He's rule by fan-out."""
    from transformers import ResNetConfig, ResNetForImageClassification

    text = """
The rule of He et al. for the backward pass: variance 2/fan-out. The gain column is intended std ·
√fan-in, so it is √2 if fans are equal, and shows where a layer widens or narrows. Running
statistics are buffers, not parameters, and stay as they are.
"""
    return Example(
        "ResNet-50",
        'fanin.initialize(model, "he_normal(mode=fan_out)", seed=0)',
        text,
        ResNetForImageClassification(ResNetConfig(num_labels=1000)),
        "he_normal(mode=fan_out)",
        {},
        "resnet.embedder.embedder.convolution.weight",
    )


def make_lstm_example() -> Example:
    """Two layers, both directions."""
    call = """
model = nn.LSTM(input_size=128, hidden_size=256, num_layers=2, bidirectional=True)
fanin.initialize(
    model,
    "xavier_uniform",
    recurrent="orthogonal",
    biases="forget_gate(value=1.0)",
    seed=0,
)
"""
    text = """
Each weight packs four gates (i, f, g, o), and each gate is a map of its own: Xavier's bound uses
256 outputs and not 1024, and each gate's recurrent matrix is orthogonal. Layer 1 receives both
directions of layer 0, 512 inputs. The gates receive the sum of two biases: the first holds the
forget gate's 1, the second is zero.
"""
    return Example(
        "A bidirectional LSTM of two layers",
        call,
        text,
        nn.LSTM(input_size=128, hidden_size=256, num_layers=2, bidirectional=True),
        "xavier_uniform",
        {"recurrent": "orthogonal", "biases": "forget_gate(value=1.0)"},
        "weight_hh_l0",
    )


def make_mixtral_example() -> Example:
    """A small Mixtral: stacks of experts and a router, which no layer of torch describes."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    call = """
split = {"*.gate_up_proj": {"gate": 96, "up": 96}}
fanin.initialize(model, "xavier_uniform", split=split, seed=0)
"""
    text = """
Most of the numbers of a mixture of experts are raw parameters: one stack (expert, out, in) for all
gates and up-projections, one for all down-projections, and the router's matrix. How they are used
tells their axes; here each stack's own forward pass is watched, so no batch is needed. Each expert
is a map of its own, with its own stream, and `split` says that the first stack holds two maps per
expert. Norms of transformers are known by what they compute.
"""
    return Example(
        "A small Mixtral",
        call,
        text,
        MixtralForCausalLM(config),
        "xavier_uniform",
        {"split": {"*.gate_up_proj": {"gate": 96, "up": 96}}},
        "model.layers.0.mlp.experts.gate_up_proj",
    )


class LowRankLinear(nn.Module):
    """A linear layer with LoRA: base(x) + B(A(x)), whose B starts at zero."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.base.requires_grad_(False)
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The base layer's output and the update of rank `rank`."""
        out: Tensor = self.base(x) + self.lora_B(self.lora_A(x))
        return out


def make_low_rank_example() -> Example:
    """LoRA on two layers."""
    call = """
model = nn.Sequential(LowRankLinear(64, 64, rank=4), nn.ReLU(), LowRankLinear(64, 10, rank=4))
fanin.initialize(model, "he_normal", seed=0)
"""
    text = """
B starts at zero, so that training begins at the trained layer's own output. Such values, which a
model has set on purpose, stay and are named; a pattern for them, or `special="overwrite"`, fills
them. The trained base is frozen and stays as well.
"""
    return Example(
        "Two layers with LoRA",
        call,
        text,
        nn.Sequential(LowRankLinear(64, 64, 4), nn.ReLU(), LowRankLinear(64, 10, 4)),
        "he_normal",
        {},
        "0.lora_B.weight",
    )


_HEAD = """
# The record of an initialization

`fanin.initialize` returns a record of every parameter: its rule and the reason for it, fans, gain,
intended and measured standard deviation, and the number of its random stream. Printed, it is a
table of 80 columns. `print(record["name"])` shows everything about one parameter;
`record.to_json()` and `record.to_frame()` are for programs. Parameters that stay as they are are
listed too, with the reason; the last lines say which share of the numbers is filled, how many
parameters are kept and why, what keeps values that the model has set on purpose, and what holds
memory that nobody ever filled. `record.touched` and `record.kept` separate the two.
`Record.from_json` reads a record back, and `fanin.verify` [compares](#a-verification) it with the
weights that are there.

Generated by `python docs/record.py`. If std is missing, nothing is drawn; ×3 and ×4 are the numbers
of maps that one parameter packs.
"""


_VERIFICATION = """
A record that was saved is compared with a model that has been through a cast, and with one to which
more has happened: a table was scaled, a layer trained, one drawn in shards that are alike, one from
another seed. Each parameter is drawn again from its rule
and its stream. p is the probability of a mean, a variance or a distribution that far from the
recorded rule, adjusted for all parameters that are tested (Holm); n is how many numbers there are.
"""

_VERIFICATION_CALL = """
record = fanin.Record.from_json(json.loads(text))
print(fanin.verify(model.bfloat16(), record))
print(fanin.verify(other, record))
"""


def render_verification() -> str:
    """The section on `fanin.verify`."""
    layers = [nn.Embedding(100, 32), nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    record = fanin.initialize(model, "he_normal", seed=0)
    other = copy.deepcopy(model)
    fanin.initialize(other, "he_normal", seed=7, only="3.weight")
    with torch.no_grad():
        noise = seeds.standard_normal((64, 32), seeds.make_generator(0, "example"))
        other[1].weight.add_(0.01 * noise)
        other[2].weight.copy_(other[2].weight[:32].repeat(2, 1))
        other[0].weight.mul_(50)
    found = fanin.verify(model.bfloat16(), record)
    blocks = [
        f"```python\n{_VERIFICATION_CALL.strip()}\n```",
        wrap(_VERIFICATION),
        f"```text\n{found}\n```",
        f"```text\n{fanin.verify(other, record)}\n```",
    ]
    return "\n\n".join(["## A verification", *blocks])


def render_page() -> str:
    """The whole page as Markdown."""
    with seeds.preserve_torch_state(0):
        sections = [
            _render_section(make())
            for make in (
                make_gpt2_example,
                make_resnet50_example,
                make_lstm_example,
                make_mixtral_example,
                make_low_rank_example,
            )
        ]
        sections.append(render_verification())
    return "\n\n".join([wrap(_HEAD), *sections]) + "\n"


def _render_section(example: Example) -> str:
    record = example.initialize()
    call, text = example.call.strip(), wrap(example.text)
    blocks = [
        f"```python\n{call}\n```",
        text,
        f"```text\n{record[example.detail]}\n```",
        f"```text\n{record}\n```",
    ]
    return "\n\n".join([f"## {example.title}", *blocks])


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, render_page()))
