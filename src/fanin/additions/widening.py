"""widen: more channels in layers of a trained model, which computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from torch import Tensor, nn

from fanin import seeds
from fanin.additions.channel_copies import (
    ChannelCopies,
    Split,
    copy_outputs,
    copy_passed,
    require_untied,
    split_inputs,
)
from fanin.additions.channel_spaces import (
    ChannelSpaces,
    count_inputs,
    count_outputs,
    find_axes,
)
from fanin.additions.growth import (
    GrownModel,
    copy_model,
    describe_growth,
    measure_deviation,
    require_equal,
    round_like,
    widen_batch,
)
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.structure import AttentionLayers, Node, describe_structure, trace_forward
from fanin.structure.forward_tracing import Batch

_BY_CHANNEL = (nn.modules.batchnorm._NormBase,)
"""Normalizations that treat each channel by itself: batch and instance norm."""


def widen(
    model: nn.Module,
    widths: Mapping[str, int],
    *,
    batch: Batch,
    seed: int,
    split: Split = "uneven",
) -> GrownModel:
    """A copy of a model in which layers have more outputs, and that computes the same.

    A new channel copies an old one: rows of the layer that makes it, scales, shifts and statistics
    of normalizations; in layers that read it, the column is divided among the copies. What must
    have the same number of channels grows with it: all layers that write to a residual stream, the
    gate and the up-projection of a gated unit. For a query, key or value, whole heads are copied.

    The graph of a forward pass on the batch shows what follows a layer, and both models are
    compared on it in fp64. What cannot be kept exactly is refused.

    Args:
        model: any module; it is left unchanged.
        widths: new numbers of outputs by the paths of layers: ``{"blocks.0.up": 512}``.
        batch: the input of the model, as in `fanin.audit`.
        seed: which channels are copied, and how the columns are divided.
        split: "uneven" divides a column into unequal shares, so that copies get different gradients
            and part (LEMON); "even" into equal ones, as in Net2Net.

    Raises:
        UsageError: no module, a path without a layer, or a width that is not larger.
        FitError: channels that cannot grow (the model's input and output, what attention mixes,
            tied parameters, grouped convolutions), a layer norm whose width would not become a
            multiple, or outputs that differ.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> grown = widen(net, {"0": 12}, batch=torch.ones(3, 4), seed=0)
    >>> grown.model[0].out_features, grown.model[2].in_features, grown.deviation < 1e-12
    (12, 12, True)

    Sources: Chen, Goodfellow, Shlens, Net2Net (2016); Chen et al., bert2BERT (2022), whose layer
    norms see other moments where a width is no multiple; Wang et al., LEMON (2023).
    """
    seed = seeds.check_seed(seed)
    if split not in get_args(Split):
        raise UnknownName.suggest("split", split, get_args(Split))
    new = copy_model(model).double()
    _check_widths(new, widths)
    wide = widen_batch(batch)
    spaces = ChannelSpaces(trace_forward(new, wide))
    heads = _find_heads(new, widths, wide)
    changes: dict[str, list[str]] = {}
    done: dict[int, str] = {}
    for path, width in widths.items():
        attention = heads.get(path)
        if attention is not None:
            _widen_heads(new, attention, path, width, _Draws(seed, split, path, changes))
            continue
        space = spaces.get_output(path)
        if space in done:
            if count_outputs(new.get_submodule(path)) != width:
                raise UsageError(
                    f"{path} and {done[space]} have the same channels; give one width."
                )
            continue
        _widen_space(new, spaces, space, (path, width), _Draws(seed, split, path, changes))
        done[space] = path
    reason = (
        f"Something near {', '.join(list(changes)[:3])} mixes channels in a way that is not seen, "
        "such as a view by a number of heads or channels that the module keeps."
    )
    require_equal(model, new, batch, reason)
    round_like(new, model)
    described = {name: ", ".join(texts) for name, texts in changes.items()}
    return describe_growth(model, new, described, measure_deviation(model, new, batch))


class _Draws:
    """The random choices of one widening, and the notes on it."""

    def __init__(self, seed: int, split: Split, path: str, changes: dict[str, list[str]]) -> None:
        self.seed, self.split, self.path, self._changes = seed, split, path, changes

    def draw_shares(self, copies: ChannelCopies, reader: str) -> Tensor:
        """How a reader's columns are divided."""
        return copies.draw_shares(self.split, self.seed, self.path, reader)

    def note(self, layer: str, change: str | None) -> None:
        """Keep what was done with a module."""
        if change is not None:
            self._changes.setdefault(layer, []).append(change)


def _check_widths(model: nn.Module, widths: object) -> None:
    if not isinstance(widths, Mapping) or not widths:
        raise UsageError(f"widths are {{'path': outputs, …}}, not {quote(widths)}.")
    modules = dict(model.named_modules())
    for path, width in widths.items():
        if path not in modules:
            raise UnknownName.suggest("layer", path, modules)
        if find_axes(modules[path]) is None:
            kind = type(modules[path]).__name__
            raise UsageError(
                f"{path} is a {kind}; linear layers, embeddings and convolutions without groups "
                "can be widened."
            )
        now = count_outputs(modules[path])
        if isinstance(width, bool) or not isinstance(width, int) or width <= now:
            raise UsageError(f"{path} has {now} outputs; {quote(width)} are not more.")


def _widen_space(
    model: nn.Module, spaces: ChannelSpaces, space: int, target: tuple[str, int], draws: _Draws
) -> None:
    path, width = target
    if (obstacle := spaces.find_obstacle(space)) is not None:
        raise FitError(f"The outputs of {path} cannot grow: {obstacle}.")
    producers, consumers, passed = (
        list(found(space))
        for found in (spaces.list_producers, spaces.list_consumers, spaces.list_passed)
    )
    old = _count_outputs(producers, path)
    evenly = any(
        node.kind == "normalization" and not isinstance(node.module, _BY_CHANNEL) for node in passed
    )
    if evenly and width % old:
        raise FitError(
            f"A normalization over the channels of {path} keeps its moments only if each of the "
            f"{old} channels is copied equally often. Use a multiple of {old}, such as {2 * old}."
        )
    modules = [node.module for node in (*producers, *consumers) if node.module is not None]
    require_untied(model, modules)
    copies = ChannelCopies.draw(old, width, draws.seed, path, evenly=evenly)
    for node in producers:
        assert node.module is not None
        draws.note(node.target, copy_outputs(node.module, copies.sources))
    for node in passed:
        assert node.module is not None
        draws.note(node.target, copy_passed(node.module, copies))
    for node in consumers:
        _split_reader(node, copies, draws)


def _count_outputs(producers: list[Node], path: str) -> int:
    counts: dict[int, str] = {}
    for node in producers:
        assert node.module is not None
        counts.setdefault(count_outputs(node.module), node.target)
    if len(counts) > 1:
        listed = ", ".join(f"{name} ({count})" for count, name in counts.items())
        raise FitError(f"The channels of {path} are joined with others: {listed}.")
    return next(iter(counts))


def _split_reader(node: Node, copies: ChannelCopies, draws: _Draws) -> None:
    module = node.module
    assert module is not None
    inputs = count_inputs(module)
    if inputs is None:
        raise FitError(f"{node.target} looks up what {draws.path} puts out.")
    places, left = divmod(inputs, copies.old)
    if left:
        raise FitError(
            f"{node.target} has {inputs} inputs, which are no multiple of the {copies.old} "
            f"outputs of {draws.path}."
        )
    shares = draws.draw_shares(copies, node.target).repeat_interleave(places)
    draws.note(node.target, split_inputs(module, copies.spread(places), shares))


def _find_heads(
    model: nn.Module, widths: Mapping[str, int], batch: Batch
) -> dict[str, AttentionLayers]:
    """The attentions whose query, key or value is named."""
    return {
        path: attention
        for attention in describe_structure(model, batch).attentions
        for path in (*attention.query, *attention.key, *attention.value)
        if path in widths
    }


def _widen_heads(
    model: nn.Module, attention: AttentionLayers, path: str, width: int, draws: _Draws
) -> None:
    """Copy whole heads; queries that share a key stay together."""
    parts = (attention.query, attention.key, attention.value, attention.output)
    single = len({name for part in parts for name in part}) == 4 and all(
        len(part) == 1 for part in parts
    )
    modules = [model.get_submodule(part[0]) for part in parts if part]
    if not single or attention.head_dim is None or not all(map(_is_linear, modules)):
        raise FitError(
            f"The heads of {path} cannot be copied: query, key, value and output must be four "
            "linear layers."
        )
    require_untied(model, modules)
    outputs = [count_outputs(module) for module in modules[:3]]
    heads = outputs[1] // attention.head_dim
    sizes = [count // heads for count in outputs]
    names = [part[0] for part in parts]
    unit = sizes[names.index(path)]
    if width % unit:
        raise UsageError(
            f"{path} grows by whole heads: {quote(width)} is no multiple of {unit} outputs."
        )
    copies = ChannelCopies.draw(heads, width // unit, draws.seed, path, evenly=False)
    for name, module, size in zip(names[:3], modules[:3], sizes, strict=True):
        draws.note(name, copy_outputs(module, copies.spread(size)))
    each = (count_inputs(modules[3]) or 0) // heads
    shares = draws.draw_shares(copies, names[3]).repeat_interleave(each)
    draws.note(names[3], split_inputs(modules[3], copies.spread(each), shares))


def _is_linear(module: nn.Module) -> bool:
    axes = find_axes(module)
    return axes is not None and axes[1] is not None and module.get_parameter("weight").dim() == 2
