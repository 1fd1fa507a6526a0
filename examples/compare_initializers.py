"""Compare three initializers by training: a part of the built-in study `quick`, from Python.

    python examples/compare_initializers.py          # five replicates of ten epochs
    python examples/compare_initializers.py 1        # of one epoch

Results stay in ``runs/compare-initializers``: the same command again trains only what is missing
there.
"""

from __future__ import annotations

import sys

import fanin


def main() -> None:
    results = fanin.run(
        "quick",
        out="runs/compare-initializers",
        only={"data": "digits", "initializer": ["zero", "xavier_uniform", "he_normal"]},
        max_epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 10,
    )
    print(results)
    print(results.report())


if __name__ == "__main__":
    main()
