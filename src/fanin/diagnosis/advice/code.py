"""Write patches as code to paste: plain torch where torch has the same rule, fanin elsewhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from fanin.diagnosis.advice.patch_statements import Block, write_patch
from fanin.diagnosis.advice.patching import find_places, list_distinct
from fanin.diagnosis.patch import Patch
from fanin.errors import UnknownName


def write_code(
    model: nn.Module, patches: Sequence[Patch], *, seed: int = 0, batch: Any = None
) -> str:
    """The code that does to a variable named ``model`` what the patches do.

    It runs as it is. ``torch.nn.init`` draws from the same distributions, not the same numbers, as
    `apply_patches`. What torch has no function for (packed parts, computed weights, orthogonal
    blocks, half precision) is a call of fanin, which gives the same numbers too.

    Args:
        model: the model that the patches are for; it is read, not changed.
        patches: in the order in which they are to be applied.
        seed: for calls of fanin.
        batch: as in `apply_patches`; calls of fanin then name a variable ``batch``.

    Raises `UnknownName` if a patch names what the model does not have.

    >>> patch = Patch(operation="scale", parameters=("weight",), value=0.1)
    >>> print(write_code(nn.Linear(4, 2), [patch]))
    import torch
    <BLANKLINE>
    with torch.no_grad():
        model.weight.mul_(0.1)
    """
    places = find_places(model)
    blocks: list[Block] = []
    for patch in patches:
        for name in patch.parameters:
            if name not in places:
                raise UnknownName.suggest("parameter of the model", name, places)
        blocks += write_patch(model, patch, list_distinct(patch, places), seed, batch)
    return "\n".join([*_write_imports(blocks), *_join_blocks(blocks)])


def _join_blocks(blocks: Sequence[Block]) -> Iterator[str]:
    inside, header = False, ""
    for block in blocks:
        if block.bare:
            yield from block.lines
            inside, header = False, ""
            continue
        if not inside:
            yield "with torch.no_grad():"
            inside, header = True, ""
        if block.header and block.header != header:
            yield f"    {block.header}"
        header = block.header
        indent = "        " if header else "    "
        for line in block.lines:
            yield textwrap.indent(line, indent)


def _write_imports(blocks: Sequence[Block]) -> list[str]:
    text = "\n".join(line for block in blocks for line in block.lines)
    wanted = {
        "import torch": any(not block.bare for block in blocks),
        "from torch import nn": "nn.init." in text,
        "import fanin": "fanin.initialize(" in text,
        "from fanin.diagnosis.advice import apply_patch": "apply_patch(" in text,
        "from fanin.diagnosis.patch import Patch": "apply_patch(" in text,
    }
    lines = [line for line, is_needed in wanted.items() if is_needed]
    return [*lines, ""] if lines else []
