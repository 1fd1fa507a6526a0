"""Compare three initializers by training: part of the built-in study `quick`, run from Python.

    python examples/compare_initializers.py          # five replicates, ten epochs
    python examples/compare_initializers.py 1        # five replicates, one epoch

Results are kept in ``runs/compare-initializers``. Running the program again trains only what is
missing there.
"""

from __future__ import annotations

import sys

import fanin


def main() -> None:
    """Train what is missing, print the table, write the report."""
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
