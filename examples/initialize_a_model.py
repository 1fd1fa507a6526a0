"""Initialize a model, and read in the record what was done with each parameter.

python examples/initialize_a_model.py
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

import fanin

MY_INITIALIZER = Path(__file__).parent / "my_initializer.py"


def main() -> None:
    """Initialize a small model twice and print both records."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 8 * 8, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )
    print(fanin.initialize(model, "he_normal", seed=0))

    # The last layer gets a rule of its own, by pattern: an initializer from a file.
    record = fanin.initialize(
        model, {"6.*": f"{MY_INITIALIZER}:make(gain=0.5)"}, default="auto", seed=0
    )
    print(record)
    print(record["6.weight"].reason, record["6.weight"].measured_std)


if __name__ == "__main__":
    main()
