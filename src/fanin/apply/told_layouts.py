"""What a user tells about parameters: which axes are which, and which maps a parameter packs.

    [layouts]
    "*.experts.up" = { in_axis = 2, out_axis = 1, batch_axis = 0 }

    [split]
    "*.qkv.*" = { q = 768, k = 256, v = 256 }
    "*.query_key_value.*" = { repeats = 12, q = 64, k = 64, v = 64 }

`repeats` is for parts that alternate along the outputs, as where each head has its q, k and v.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanin.apply.model_parameters import ParameterUse
from fanin.apply.patterns import match_uses
from fanin.errors import FitError, quote
from fanin.fans import Layout, WeightLayout, pack
from fanin.fans.packing import find_output_axis, split_evenly

Split = int | Sequence[int] | Mapping[str, int]

_REPEATS = "repeats"


def apply_layouts(
    layouts: Mapping[str, Layout], uses: Sequence[ParameterUse]
) -> tuple[ParameterUse, ...]:
    """The uses with the layouts that patterns tell; of several that match, the last one counts.

    A parameter whose role fanin does not know becomes a weight.
    """
    told = {
        use.name: _arrange(use, layout)
        for pattern, layout in layouts.items()
        for use in match_uses(uses, pattern, "layouts")
    }
    return tuple(
        replace(use, layout=told[use.name], role="weight" if use.role == "unknown" else use.role)
        if use.name in told
        else use
        for use in uses
    )


def _arrange(use: ParameterUse, layout: Layout) -> WeightLayout:
    if use.waits:
        return use.layout
    try:
        return layout.arrange(use.layout.shape)
    except FitError as error:
        raise FitError(f"layout of {use.name}: {error}") from None


def split_layouts(
    split: Mapping[str, Split], uses: Sequence[ParameterUse]
) -> dict[str, WeightLayout]:
    """The layouts of the parameters that are split by hand, by name."""
    return {
        use.name: _split_layout(use, sizes)
        for pattern, sizes in split.items()
        for use in match_uses(uses, pattern, "split")
        if not use.waits
    }


def _split_layout(use: ParameterUse, split: Split) -> WeightLayout:
    layout = use.layout
    try:
        reason = _find_obstacle(use)
        if reason is not None:
            raise FitError(
                f"a parameter of shape {layout.shape} (role: {use.role}) cannot be split{reason}"
            )
        one = layout.parts[0].layout if layout.parts else layout
        sizes, repeats = _read_split(split, one.shape[find_output_axis(one)])
        return pack(layout, sizes, repeats=repeats)
    except FitError as error:
        raise FitError(f"split of {use.name}: {error}") from None


def _find_obstacle(use: ParameterUse) -> str | None:
    """Why a parameter cannot be split, to be said after that it cannot; None if it can."""
    layout = use.layout
    if use.role == "unknown":
        return "; tell first which axes are which: layouts={…: fanin.Layout(…)}"
    if layout.groups != 1 or not layout.shape:
        return ""
    if layout.parts and not all(part.counted for part in layout.parts):
        return ", it has parts already"
    return None


def _read_split(split: object, total: int) -> tuple[dict[str, int], int]:
    """Sizes by name, and how often they repeat; three sizes are q, k and v."""
    if isinstance(split, int) and not isinstance(split, bool) and split > 0 and total % split == 0:
        return split_evenly(_name_parts(split), total), 1
    listed = dict(split) if isinstance(split, Mapping) else None
    if listed is None and isinstance(split, Sequence) and not isinstance(split, str):
        listed = dict(zip(_name_parts(len(split)), split, strict=True))
    if not listed or not all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0
        for size in listed.values()
    ):
        raise FitError(
            f"expected sizes that add up to {total}, such as {{'q': 768, 'k': 256, 'v': 256}} or "
            "[768, 256, 256], or a number of equal parts; parts that alternate have "
            f"{{'{_REPEATS}': 12, …}} besides; received {quote(split)}"
        )
    repeats = listed.pop(_REPEATS, 1) if isinstance(split, Mapping) else 1
    return {str(name): size for name, size in listed.items()}, repeats


def _name_parts(count: int) -> tuple[str, ...]:
    return ("q", "k", "v") if count == 3 else tuple(map(str, range(count)))
