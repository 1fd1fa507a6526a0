"""Initialization of a whole model: which rule meets which parameter, and the record of it.

Weights of linear layers, convolutions, attention and recurrent layers are filled with their true
fans. Each map of a packed parameter (q, k, v; the gates of an LSTM) is drawn separately. Special
parameters:

- Frozen parameters (``requires_grad`` is False) and those of unknown role stay as they are; the
  record says so.
- What no layer class describes is described by its use where that is seen: in a trace, in a forward
  pass on ``batch``, or in a forward pass of a stack of experts. ``layouts`` and
  `fanin.register_layer` tell what cannot be seen.
- Values that the model has set on purpose, such as zero gammas or LoRA's B, stay unless a rule
  names them (`fanin.apply.special_values` says how they are told).
- A tied parameter is filled once, in its first known role.
- A reparametrized weight (weight_norm, spectral_norm, orthogonal) is set through its
  parametrization.
- What was loaded stays: what a state dict says, or the flags of transformers
  (`fanin.apply.loaded_parameters`).
- Lazy layers are filled when their first batch tells their shapes (`fanin.apply.waiting_layers`).
- A parameter on the device "meta" gets memory on the device that the caller names.
  What no rule fills there is filled by its module's reset method or, if it is frozen, by the
  function that the caller gives as ``materialize``; otherwise it is an error.
- Wrappers (torch.compile, data parallelism, FSDP, peft) change no weight: patterns and streams are
  about the names of the bare model.
- Weights of 8 bits, quantized, scripted and exported modules are refused.

Every parameter has its own random stream, a function of (seed, name in the bare model), so that
adding a layer does not change the draws of another.
"""

from fanin.apply.initialization import initialize
from fanin.apply.parameter_record import ParameterRecord, PartRecord
from fanin.apply.record import Record
from fanin.apply.record_verification import verify
from fanin.apply.rules import Rules
from fanin.apply.selected_weights import Selection, select_weights
from fanin.apply.unfilled import collect_unfilled
from fanin.apply.verification import Verification
from fanin.apply.verification_check import ParameterCheck

__all__ = [
    "ParameterCheck",
    "ParameterRecord",
    "PartRecord",
    "Record",
    "Rules",
    "Selection",
    "Verification",
    "collect_unfilled",
    "initialize",
    "select_weights",
    "verify",
]
