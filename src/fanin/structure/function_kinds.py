"""What kind of step a function of tensors is, by its name: of torch, a method of tensors or an
operator of Python alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin import specs
from fanin.structure.graph import NodeKind


def _split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ATTENTION = "scaled_dot_product_attention"

SUMS = _split_words("add sub rsub subtract")

MIXING = _split_words(
    "matmul mm bmm mv dot baddbmm addmm addmv addbmm einsum tensordot inner grouped_mm "
    "scaled_grouped_mm linear bilinear"
) | {f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)}
"""Linear in each of two tensors, one of which is often a weight."""

AVERAGES = MIXING | {ATTENTION}

DIVISIONS = _split_words("div divide truediv true_divide")

PRODUCTS = MIXING | DIVISIONS | _split_words("mul multiply addcmul lerp prod")

LOOKUPS = _split_words("embedding embedding_bag")

LAYERS = MIXING | LOOKUPS | _split_words("multi_head_attention_forward getitem index_select")
"""Layers, if one of the tensors is a weight and another is not."""

ELEMENTWISE = (
    SUMS
    | DIVISIONS
    | _split_words(
        "mul multiply neg negative exp expm1 exp2 log log1p log2 sqrt rsqrt reciprocal rtruediv "
        "rdiv erfc sign maximum minimum"
    )
)
"""Those besides activations that can be part of a function of one number."""

IGNORED = _split_words(
    "gt ge lt le eq ne greater less greater_equal less_equal not_equal logical_and logical_or "
    "logical_not and or xor "
    "invert not isnan isinf isfinite isclose allclose equal any all argmax argmin argsort bool int "
    "long byte size dim "
    "ndim shape numel len item tolist stride is_contiguous is_floating_point is_complex "
    "element_size nelement "
    "zeros_like ones_like empty_like rand_like randn_like full_like new_zeros new_ones new_empty "
    "new_full new_tensor "
    "floordiv floor_divide mod format repr hash"
)
"""What no signal passes through: questions about a tensor, and new tensors of its shape."""

ATTRIBUTES = _split_words("T mT H mH data real")
"""Attributes of a tensor through which its numbers pass."""

MOVES = _split_words(
    "view view_as reshape reshape_as flatten unflatten ravel permute transpose t movedim squeeze "
    "unsqueeze expand expand_as broadcast_to contiguous clone alias detach to type type_as float "
    "half bfloat16 double cuda cpu getitem select narrow getattr atleast_1d atleast_2d atleast_3d "
    "unbind as_subclass"
)
"""What gives the numbers of one tensor as they are, in another shape or dtype."""

_ALIASES = {
    **dict.fromkeys(("radd", "iadd"), "add"),
    **dict.fromkeys(("rmul", "imul"), "mul"),
    **dict.fromkeys(("idiv", "itruediv"), "div"),
    **dict.fromkeys(("rmatmul", "imatmul"), "matmul"),
    **dict.fromkeys(("ipow", "float_power"), "pow"),
    "isub": "sub",
    "special_expit": "sigmoid",
    "expit": "sigmoid",
    "swish": "silu",
}

# The parameters of each activation that `fanin.gains` knows by name, after its input, with torch's
# defaults.
_ACTIVATIONS: dict[str, tuple[tuple[str, float | str], ...]] = {
    **dict.fromkeys(
        (
            "relu",
            "relu6",
            "selu",
            "silu",
            "mish",
            "sigmoid",
            "logsigmoid",
            "tanh",
            "softsign",
            "sin",
            "hardsigmoid",
            "hardswish",
        ),
        (),
    ),
    "tanhshrink": (),
    "leaky_relu": (("negative_slope", 0.01),),
    "elu": (("alpha", 1.0),),
    "celu": (("alpha", 1.0),),
    "gelu": (("approximate", "none"),),
    "softplus": (("beta", 1.0), ("threshold", 20.0)),
    "hardtanh": (("min_val", -1.0), ("max_val", 1.0)),
    "hardshrink": (("lambd", 0.5),),
    "softshrink": (("lambd", 0.5),),
}

_KINDS: dict[str, NodeKind] = {
    **dict.fromkeys(_ACTIVATIONS, "activation"),
    **dict.fromkeys(
        _split_words(
            "prelu rrelu threshold clamp clip clamp_min clamp_max abs absolute square pow erf atan "
            "arctan asinh cos"
        ),
        "activation",
    ),
    **dict.fromkeys(
        _split_words("softmax log_softmax softmin gumbel_softmax cross_entropy"), "softmax"
    ),
    **dict.fromkeys(
        _split_words("batch_norm layer_norm group_norm instance_norm rms_norm normalize"),
        "normalization",
    ),
    **dict.fromkeys(_split_words("glu"), "product"),
    **dict.fromkeys(
        _split_words("binary_cross_entropy binary_cross_entropy_with_logits kl_div"), "output"
    ),
    **dict.fromkeys(
        _split_words(
            "view view_as reshape reshape_as flatten unflatten ravel permute transpose t swapaxes "
            "swapdims movedim "
            "moveaxis squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave "
            "tile contiguous clone "
            "alias detach to type type_as float half bfloat16 double cuda cpu chunk split "
            "split_with_sizes tensor_split "
            "unbind select narrow getitem get getattr index_select gather take take_along_dim "
            "masked_fill masked_select "
            "where cat concat concatenate stack hstack vstack dstack roll flip rot90 mean nanmean "
            "sum nansum cumsum "
            "amax amin max min sort topk median interpolate upsample pixel_shuffle pixel_unshuffle "
            "channel_shuffle "
            "unfold fold as_strided neg negative positive copy setitem index_put index_add "
            "index_copy scatter "
            "scatter_add scatter_reduce tril triu diagonal nan_to_num local_response_norm "
            "requires_grad grid_sample "
            "native_channel_shuffle meshgrid atleast_1d atleast_2d atleast_3d rearrange as_subclass"
        ),
        "transparent",
    ),
}
_KINDS_BY_SUBSTRING: tuple[tuple[str, NodeKind], ...] = (
    ("dropout", "transparent"),
    ("pool", "transparent"),
    ("pad", "transparent"),
)


def normalize_name(name: str) -> str:
    """One name for all forms of a function: ``relu_`` and ``relu``, ``__iadd__`` and ``add``."""
    bare = name.strip("_")
    return _ALIASES.get(bare, bare)


def classify_function(name: str) -> NodeKind:
    """The kind of a function that is neither a sum nor a product."""
    if name in _KINDS:
        return _KINDS[name]
    if name.endswith("_loss"):
        return "output"
    return next((kind for part, kind in _KINDS_BY_SUBSTRING if part in name), "other")


def is_ignored(name: str) -> bool:
    """Whether no signal passes through a function."""
    return name in IGNORED or name.startswith("assert")


def is_elementwise(name: str) -> bool:
    """Whether a function takes each number by itself."""
    return name in ELEMENTWISE or _KINDS.get(name) == "activation"


def render_activation(
    name: str, arguments: Sequence[object], keywords: Mapping[str, object]
) -> str | None:
    """An activation called as a function, as a spec; `arguments` are those after its input.

    None if `fanin.gains` has no name for it, or an option is no plain number or word.
    """
    if name not in _ACTIVATIONS:
        return None
    given = dict(zip((key for key, _ in _ACTIVATIONS[name]), arguments, strict=False)) | dict(
        keywords
    )
    options = {}
    for key, default in _ACTIVATIONS[name]:
        value = given.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        if value != default:
            options[key] = value if isinstance(value, str) else float(value)
    return specs.render(name, options)
