"""Gains of activations: what multiplies a weight's standard deviation 1/√fan so that a signal keeps
its size.

A layer computes h' = W f(h) with weights of variance gain²/fan-in and pre-activations h ~ N(0, q).
It takes their second moment q to gain² · E f(√q·z)², z ~ N(0, 1), and on the way back
(gain²/fan-out) it multiplies that of gradients by gain² · E f'(√q·z)². For every smooth f these are
different conditions, so fanin always says which gain it returns:

| activation | E f    | E f²   | forward | centred | backward | critical | depth | torch  |
|------------|--------|--------|---------|---------|----------|----------|-------|--------|
| relu       | 0.3989 | 0.5    | 1.4142  | 1.7129  | 1.4142   | 1.4142   | any   | 1.4142 |
| tanh       | 0      | 0.3943 | 1.5925  | 1.5925  | 1.4674   | 1        | any   | 1.6667 |
| sigmoid    | 0.5    | 0.2934 | 1.8462  | 4.8013  | 4.7226   | 4.7226   | 0     | 1      |
| softsign   | 0      | 0.1830 | 2.3375  | 2.3375  | 2.0958   | 1        | any   | error  |
| elu        | 0.1605 | 0.6449 | 1.2452  | 1.2708  | 1.2234   | 1.2234   | any   | error  |
| selu       | 0      | 1      | 1       | 1       | 0.9660   | 0.9660   | any   | 0.75   |
| gelu       | 0.2821 | 0.4252 | 1.5335  | 1.7009  | 1.4811   | 1.4811   | 6     | error  |
| silu       | 0.2066 | 0.3558 | 1.6765  | 1.7872  | 1.6233   | 1.6233   | 6     | error  |
| mish       | 0.2404 | 0.4523 | 1.4868  | 1.5920  | 1.4448   | 1.4448   | 8     | error  |
| softplus   | 0.8061 | 0.9212 | 1.0419  | 1.9191  | 1.8462   | 1.8462   | 0     | error  |
| hardswish  | 0.1662 | 0.3316 | 1.7367  | 1.8139  | 1.6701   | 1.6701   | 5     | error  |
| hardtanh   | 0      | 0.5161 | 1.3920  | 1.3920  | 1.2103   | 1        | any   | error  |
| sin        | 0      | 0.4323 | 1.5209  | 1.5209  | 1.3273   | 1        | any   | error  |
| relu2      | 0.5    | 1.5    | 0.8165  | 0.8944  | 0.7071   | 0.7071   | 1     | error  |

The forward gain is 1/√E f², the centred one 1/√Var f, the backward one 1/√E f'². Depth is the
number of layers over which the critical gain is valid (`critical_gain`).

An activation is a name or spec (``gelu``, ``leaky_relu(negative_slope=0.2)``), a module with its
own parameters, or any elementwise function of tensors. Keras and JAX have no gains: their
``variance_scaling`` takes a number, scale = gain².
"""

from fanin.gains.gain_rules import CriticalGain, calculate_gain, critical_gain, gain, moments
from fanin.gains.mean_field import MeanField, mean_field
from fanin.gains.quadrature import Moments

__all__ = [
    "CriticalGain",
    "MeanField",
    "Moments",
    "calculate_gain",
    "critical_gain",
    "gain",
    "mean_field",
    "moments",
]
