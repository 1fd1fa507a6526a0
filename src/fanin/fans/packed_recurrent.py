"""RNN, LSTM and GRU, and their cells: parameters that pack one map per gate.

The order of the gates is torch's: i, f, g, o in an LSTM (input, forget, cell, output; Keras: i, f,
c, o), r, z, n in a GRU (reset, update, new). Every gate sees the sum of two biases, except that a
GRU's reset gate multiplies the recurrent bias of n.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from fanin.fans.layer_parameters import (
    LayerParameter,
    LayerParameters,
    describe_layer,
)
from fanin.fans.layout import Convention, Fans, WeightLayout
from fanin.fans.packing import pack, split_evenly

GATES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.LSTM: ("i", "f", "g", "o"),
    nn.LSTMCell: ("i", "f", "g", "o"),
    nn.GRU: ("r", "z", "n"),
    nn.GRUCell: ("r", "z", "n"),
}
LSTM_GATES, GRU_GATES = GATES[nn.LSTM], GATES[nn.GRU]


@describe_layer.register
def _describe_stack(module: RNNBase, convention: Convention) -> LayerParameters:
    gates = _list_gates(module)
    state = module.proj_size or module.hidden_size
    directions = ("", "_reverse") if module.bidirectional else ("",)
    found: LayerParameters = {}
    for number in range(module.num_layers):
        inputs = module.input_size if number == 0 else state * len(directions)
        for direction in directions:
            found |= _describe_layer(
                gates, inputs, state, module.hidden_size, f"_l{number}{direction}"
            )
            if module.proj_size:
                projection = WeightLayout(
                    (module.proj_size, module.hidden_size),
                    Fans(module.hidden_size, module.proj_size),
                )
                found[f"weight_hr_l{number}{direction}"] = LayerParameter("weight", projection)
    return found


@describe_layer.register
def _describe_cell(module: RNNCellBase, convention: Convention) -> LayerParameters:
    return _describe_layer(
        _list_gates(module), module.input_size, module.hidden_size, module.hidden_size, ""
    )


def _describe_layer(
    gates: tuple[str, ...], inputs: int, state: int, hidden: int, suffix: str
) -> LayerParameters:
    """The parameters of one layer in one direction."""
    rows = hidden * max(len(gates), 1)

    def pack_gates(shape: tuple[int, ...], fan_in: int) -> WeightLayout:
        layout = WeightLayout(shape, Fans(fan_in, rows))
        return pack(layout, split_evenly(gates, rows)) if gates else layout

    return {
        f"weight_ih{suffix}": LayerParameter("weight", pack_gates((rows, inputs), inputs)),
        f"weight_hh{suffix}": LayerParameter("recurrent weight", pack_gates((rows, state), state)),
        f"bias_ih{suffix}": LayerParameter("bias", pack_gates((rows,), inputs)),
        f"bias_hh{suffix}": LayerParameter("recurrent bias", pack_gates((rows,), state)),
    }


def _list_gates(module: nn.Module) -> tuple[str, ...]:
    return next((names for kind, names in GATES.items() if isinstance(module, kind)), ())
