"""Write docs/recipes.md from the registry of recipes.

python docs/recipes.py            # writes docs/recipes.md
python docs/recipes.py --check    # writes nothing; fails if the page does not fit the registry
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from pages import wrap, wrap_item, write_or_check
from torch import Tensor, nn

import fanin
from fanin import catalogue
from fanin.apply import Record
from fanin.initializers import recipes

PAGE = Path(__file__).resolve().parent / "recipes.md"
DEPTH, WIDTH, HIDDEN, WORDS = 8, 512, 1408, 32_000

_HEAD = """
# Recipes: what the best-known models start from

A recipe is the start of one published model, role by role: which layers end a residual branch,
which look tokens up, how deep the model is comes from the model's graph, not from the names of its
layers.

```python
record = fanin.initialize(model, fanin.recipe("gpt2"), seed=0, batch=x)
print(record)                          # what each layer was taken for, and what it got
fanin.recipe("torchtitan_llama3", scale_up=False)   # with other numbers than the model's own
```

In a study file and wherever a rule is text, a recipe is `"recipe:gpt2"`. `fanin list recipes` lists
them, `fanin show recipe:gpt2` prints one. Parameters that a recipe does not speak of get what their
role gets otherwise: biases 0, scales of norms 1. Values that a model has set on purpose stay, as
everywhere. Where the graph of your model does not show what a layer does, say it:
`roles={"*.w3": "up"}`.
"""

_TABLE = f"""
## Standard deviations of one model under each language recipe

A decoder with pre-norm blocks and SwiGLU, d = {WIDTH}, {DEPTH} blocks, perceptrons of {HIDDEN},
{WORDS:,} tokens, head not tied; computed from the recipes' formulas, nothing is drawn. Of residual
outputs the first and the last block.
"""

_LANGUAGE = (
    "gpt2",
    "megatron",
    "llama",
    "olmo2",
    "torchtitan_llama3",
    "torchtitan_qwen3",
    "torchtitan_gpt_oss",
    "nanochat",
    "modded_nanogpt",
    "bert",
    "t5",
)

_COLUMNS = {
    "tokens": "tokens.weight",
    "query": "blocks.0.q.weight",
    "value": "blocks.0.v.weight",
    "gate": "blocks.0.gate.weight",
    "up": "blocks.0.up.weight",
    "output, first": "blocks.0.o.weight",
    "down, last": f"blocks.{DEPTH - 1}.down.weight",
    "head": "head.weight",
}


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(2))
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norms[0](x)
        x = x + self.o(F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h)))
        h = self.norms[1](x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(DEPTH))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x)
        for block in self.blocks:
            h = block(h)
        y: Tensor = self.head(self.norm(h))
        return y


def preview(recipe: str) -> Record:
    """What a recipe would give the decoder."""
    with torch.device("meta"):
        model = _Decoder()
    return fanin.initialize(model, fanin.recipe(recipe), seed=0, preview=True, device="cpu")


def render_page() -> str:
    """The whole page as Markdown."""
    lines = [wrap(_HEAD), "", *_render_list(), "", wrap(_TABLE).strip(), "", *_render_stds()]
    for entry in recipes.REGISTRY:
        lines += ["", *_render_section(entry)]
    return "\n".join(lines) + "\n"


def _render_list() -> Iterator[str]:
    yield f"## All {len(recipes.REGISTRY.names())}"
    yield ""
    yield "| recipe | year | scales | deviates from its intention |"
    yield "|---|--:|---|---|"
    for entry in recipes.REGISTRY:
        deviates = "no" if entry.deviates.startswith(("No", "Not")) else "yes"
        yield f"| [`{entry.name}`](#{entry.name}) | {entry.year} | {entry.scales} | {deviates} |"


def _render_stds() -> Iterator[str]:
    yield f"| recipe | {' | '.join(_COLUMNS)} |"
    yield f"|---|{'--:|' * len(_COLUMNS)}"
    for name in _LANGUAGE:
        record = preview(name)
        stds = (record[one].intended_std for one in _COLUMNS.values())
        yield f"| `{name}` | {' | '.join('–' if std is None else f'{std:.3g}' for std in stds)} |"


def _render_section(entry: recipes.RecipeEntry) -> Iterator[str]:
    described = catalogue.describe("recipes", entry.name)
    yield f"## {entry.name}"
    yield ""
    yield wrap(entry.summary)
    yield ""
    for heading, text in described.facts.items():
        yield wrap_item(f"**{heading}**: {text}")
    for option in described.options:
        yield wrap_item(
            f"option `{option.name}`: `{option.default}` by default; takes {option.takes}"
        )


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, render_page()))
