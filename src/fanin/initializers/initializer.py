"""What an initializer is, and what it takes to fill a tensor."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fanin import fans
from fanin.errors import FitError, UsageError, quote
from fanin.fans import WeightLayout
from fanin.registry import Component

_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex32,
    torch.complex64,
    torch.complex128,
)
"""The kinds of numbers that weights are. Those of 8 bits and fewer need a scale beside them."""


class Initializer(Component, ABC):
    """A distribution, or another rule, for the numbers of one weight.

    Every subclass is final and a frozen dataclass whose fields are its hyperparameters.
    Two equal initializers fill a weight with the same numbers from the same generator.

    All random initializers start from the same standard-normal draw z of the weight's shape
    (`fanin.initializers.distributions`), so that initializers that are compared under one seed
    differ in their distribution and not by chance.
    """

    deterministic: ClassVar[bool] = False
    """True if nothing is drawn: another seed gives the same weights."""
    packs: ClassVar[bool] = False
    """True if a packed parameter is drawn as a whole, because its parts depend on one another
    (``layout.parts``), such as the gates of an LSTM. Otherwise each part is drawn as a weight of
    its own."""
    gate_bias: ClassVar[bool] = False
    """True for biases of gates. torch's layers add two such biases: the second,
    bias_hh, then becomes zero.
    """
    factorizes: ClassVar[bool] = False
    """True if matrices are factorized, which is done on one thread each."""

    @property
    def gaussian(self) -> bool:
        """True if all entries are normal with mean zero, so that a complex weight is made of two
        such draws.
        """
        return False

    @property
    def intended_mean(self) -> float:
        """The mean of the entries of a weight, where it is the same for every layout: 0, unless
        the initializer has another.
        """
        return 0.0

    @abstractmethod
    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """Draw a weight of that layout: contiguous fp32 on the CPU, of shape ``layout.shape``, not
        empty.

        Raises `FitError` if the initializer does not fit the layout.
        """

    @abstractmethod
    def intended_std(self, layout: WeightLayout) -> float | None:
        """The standard deviation of the entries of the weight that this intends; None if it has
        none.

        Raises `FitError` if it does not fit the layout, such as one that needs fans on a
        vector.
        """

    @final
    def __call__(self, tensor: Tensor, *, generator: torch.Generator) -> Tensor:
        """Fill a tensor in place, as ``torch.nn.init`` does and with its fans, and return it.

        Args:
            tensor: floating-point, of any dtype, device and memory format; shape (out, in, *kernel)
                if the initializer needs fans.
            generator: a generator on the CPU; weights are drawn there in fp32 and copied, so every
                device gets the same.

        A tensor without elements is returned as it is, without a warning, and nothing is drawn.

        Raises `FitError`, with the tensor unchanged, if it cannot be filled or the initializer does
        not fit its shape, and for biases of gates, which a tensor alone does not have.
        """
        if self.gate_bias:
            raise FitError(_GATES_UNKNOWN.format(self))
        require_fillable(tensor, self)
        return self.fill(tensor, fans.get_tensor_layout(tensor), generator=generator)

    @final
    def fill(self, tensor: Tensor, layout: WeightLayout, *, generator: torch.Generator) -> Tensor:
        """Fill a tensor in place as a weight of the given layout, such as a module's own, and
        return it.
        """
        require_generator(generator)
        require_fillable(tensor, self)
        if tuple(tensor.shape) != layout.shape:
            raise FitError(
                f"The layout is that of a weight of shape {layout.shape}; this tensor has shape "
                f"{tuple(tensor.shape)}."
            )
        if tensor.numel() > 0:
            with torch.no_grad():
                tensor.copy_(self.draw(layout, generator, tensor.dtype))
        return tensor

    @final
    def draw(self, layout: WeightLayout, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """`sample`; for a complex dtype two of them, (a + i·b)/√2, so that the variance is the
        same.
        """
        if not dtype.is_complex or self.deterministic:
            return self.sample(layout, generator)
        real, imaginary = (self.sample(layout, generator).mul_(math.sqrt(0.5)) for _ in range(2))
        return torch.complex(real, imaginary)


_GATES_UNKNOWN = (
    "{0} fills the biases of gates, and a tensor alone does not say which of its entries belong to "
    "which gate. For nn.LSTM, nn.GRU and their cells: fanin.initialize(model, 'orthogonal', "
    "biases='{0}', seed=0). For a layer of your own: name the gates with split={{'*.bias': {{'i': "
    "64, 'f': 64, 'g': 64, 'o': 64}}}} there, or write into the gate's slice."
)


def require_generator(generator: object) -> None:
    """Raise `UsageError` for anything else than a ``torch.Generator`` on the CPU."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        received = (
            f"one on {generator.device}"
            if isinstance(generator, torch.Generator)
            else quote(generator)
        )
        raise UsageError(
            f"generator must be a torch.Generator on the CPU, not {received}. "
            "Make one with torch.Generator().manual_seed(0) or fanin.seeds.make_generator(0, "
            "'init', "
            "'a name')."
        )


def require_fillable(tensor: object, initializer: Initializer) -> None:
    """Raise `FitError` for anything else than a tensor that the initializer's numbers can be
    written into.
    """
    if not isinstance(tensor, Tensor):
        raise FitError(
            f"Expected a tensor to fill, not {quote(tensor)}. A whole model goes to "
            "fanin.initialize(model, …)."
        )
    reason = unfillable(tensor, initializer)
    if reason:
        raise FitError(f"Expected a tensor that weights can be written into; this one {reason}.")


def unfillable(tensor: Tensor, initializer: Initializer) -> str | None:
    """Why the initializer's numbers cannot be written into a tensor; None if they can."""
    if is_lazy(tensor):
        return "has no shape yet (a lazy parameter): run a batch through its model first"
    if tensor.is_meta:
        return (
            "has no memory (device meta): fanin.initialize(model, …, device='cpu') gives its model "
            "memory"
        )
    return unfit_numbers(tensor, initializer)


def unfit_numbers(tensor: Tensor, initializer: Initializer) -> str | None:
    """Why the tensor's kind of numbers, or their arrangement, does not suit; None if it does."""
    if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
        return (
            f"holds {tensor.dtype}: floating-point numbers are needed, so draw weights before they "
            "are quantized"
        )
    if tensor.dtype not in _DTYPES:
        return (
            f"holds {tensor.dtype}, which is no weight without its scale: draw weights in bfloat16 "
            "or float32 and convert them afterwards"
        )
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        return (
            "was made in torch.inference_mode, outside of which it cannot be written: build the "
            "model outside, or initialize it inside"
        )
    if tensor.is_complex() and not (initializer.deterministic or initializer.gaussian):
        return (
            f"holds {tensor.dtype}, for which {initializer} is not defined: use a normal "
            "distribution, such as he_normal"
        )
    if tensor.layout is not torch.strided:
        return f"is stored as {tensor.layout}: a dense one is needed"
    if any(
        stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    ):
        return (
            "is an expanded view whose entries share memory: fill the tensor it was expanded from"
        )
    return None
