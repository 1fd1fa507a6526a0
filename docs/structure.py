"""Write docs/structure.md: how roles are found, with the structures of two models.

python docs/structure.py            # needs the extra peers (transformers); downloads nothing
python docs/structure.py --check    # writes nothing; fails if the page does not fit the package
"""

from __future__ import annotations

from pathlib import Path

import torch
from pages import wrap, write_or_check
from torch import nn

from fanin import seeds
from fanin.structure import describe_structure

PAGE = Path(__file__).resolve().parent / "structure.md"

_HEAD = """
# The structure of a model

`fanin.structure.describe_structure(model, batch)` says what each layer of a model does: which layers
read from a residual stream and which write to it, which make queries, keys and values, which gate,
which route. It reads the graph of the model's computation and no name. The model is left unchanged.

```python
structure = describe_structure(model, {"input_ids": ids})
print(structure)  # 80 columns
structure.writers  # the layers that end a residual branch
structure.list_layers("router")
structure.streams[0].branches[3]  # readers, writers, layers, norms, step
structure.to_json()
```

With a batch, one forward pass in eval mode is observed, and gradients show which rows of a packed layer
are which. Without a batch the model is traced symbolically; that works if its control flow does not
depend on data or shapes, and it shows no rows.

## What is found, and how

| what | how |
|---|---|
| residual branch | A sum whose one summand was computed by layers from the other one, or from an earlier point of the stream that the other comes from. The last layers before the sum *write*; dropout, scales, normalizations and gates may lie between. The first layers after the stream *read*. |
| shortcut with layers | The other summand is a linear projection of that point by fewer layers, and nothing else uses what the branch computes: the downsampling of a ResNet. |
| parallel branches | Branches that start from the same point of the stream share their `step`: GPT-J, GPT-NeoX, Falcon. Routed and shared experts are one branch. |
| stream | Sums that are joined by nothing but shortcuts, normalizations and activations. A layer between, such as a downsampling, begins another stream. A stream inside a branch of another one names it as its `parent`. |
| norms | pre: between the stream and the branch's first layers; end: between its last layers and the sum; post: on the stream, after the sum. |
| scales, factors | What multiplies the two summands of a residual sum, back to the last layer or normalization: parameters that are used as they are (LayerScale's, ReZero's) by name, constants (`2.213 * x`, `alpha=`, a buffer of one number) as a number. Where something else multiplies the shortcut, an observed pass is tried: the factor is known if the shortcut is a multiple of the stream. A gate that is computed gives none. |
| shifts, crossing | The vectors and scalars that are added inside a branch, by name; whether a branch also reads another stream, as attention to an encoder does. |
| attention | A softmax of a product of two computed tensors that averages a third one: by `scaled_dot_product_attention`, products, einsum, or `nn.MultiheadAttention`. Rotations, normalizations of q and k, masks, soft caps, sinks and talking heads may lie between. |
| packed rows | The gradient of a number that depends on all of q (k, v, a gate), taken at the packed layer's output, is zero exactly where the output does not belong to it. So rows are found through views, rotations and normalizations, by part (GPT-2), by head (GPT-NeoX, Bloom) and by group (Falcon). |
| gate, up, down | A product of an activation of one layer's output and another layer's output of the same input, and the layer that the product enters. A lone gate, as in an LSTM that is written out, a highway network or squeeze-and-excitation, is `gate`. In a branch of two layers without a gate, the first is `up` and the last `down`. |
| router, experts | A layer whose output becomes, by a softmax over its units or a sigmoid of which the largest are selected, weights of what other layers computed from the same signal. Experts of one list are told apart; those that no sample was sent to are like their siblings. |
| embedding, head | Lookups in a table; the last layers before the output, if they do not write to a stream. |
| ties, shared, clones | Parameters of several names; layers that one pass calls several times; weights of distinct layers that hold equal numbers. |

Layers are called as in the bare model: `torch.compile`, DataParallel, DDP, FSDP1, activation
checkpointing, parametrizations and peft are seen through by their classes. LoRA's matrices are
`adapter`s, and their base layer keeps its roles. A module that holds several matrices and uses them one
by one, such as stacked experts, has one layer for each, called as the parameter.

`corrections={"*.w3": "up"}` sets the roles of layers by pattern; a role, several joined by `+`, or `none`.
They change `layers` and `list_layers`, not the branches and units that were found.

## What cannot be seen

- Attention without a softmax over a product: linear attention, state space models, graph attention. Their layers read and write, and have no q, k and v.
- A gate without an activation (a bilinear unit, gMLP's spatial gate), and which of an LSTM's gates is which.
- The first branch of a reversible network, whose two halves start as parts of one tensor, and streams that go through a concatenation.
- Whether a linear layer beside a deeper path (wide and deep, an input that is injected again) is a shortcut or a part of its own: it is reported as a shortcut with a projection.
- What an autograd function, a scripted module or a kernel of its own computes inside. Layers that the pass did not reach are listed.
- Under `torch.no_grad` inside the model, on the device meta, and under FSDP: which rows are which.
"""


def render_page() -> str:
    """The whole page as Markdown."""
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with seeds.preserve_torch_state(0):
        shown = [
            (title, str(describe_structure(model, {"input_ids": ids})))
            for title, model in (("GPT-2 small", make_gpt2()), ("A small Mixtral", make_mixtral()))
        ]
    sections = [f"## {title}\n\n```text\n{text}\n```" for title, text in shown]
    return "\n\n".join([wrap(_HEAD), *sections]) + "\n"


def make_gpt2() -> nn.Module:
    """GPT-2 small, from its configuration."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model: nn.Module = GPT2LMHeadModel(GPT2Config())
    return model


def make_mixtral() -> nn.Module:
    """Two blocks with eight experts."""
    from transformers import MixtralConfig, MixtralForCausalLM

    model: nn.Module = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    return model


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, render_page()))
