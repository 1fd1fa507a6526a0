#!/usr/bin/env bash
# Use an installed fanin from a folder of its own, as a user would: try_wheel.sh BIN, where BIN holds
# python and fanin of the environment.
set -euo pipefail
bin=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset PYTHONPATH

"$bin/python" - <<'PYTHON'
import sys
from pathlib import Path

from torch import nn

import fanin

assert Path(fanin.__file__).is_relative_to(sys.prefix), f"{fanin.__file__} is not the wheel's"
print(fanin.initialize(nn.Linear(8, 4), "auto", seed=0))
PYTHON
"$bin/fanin" --version
"$bin/fanin" --help >help.txt
"$bin/fanin" list initializers
"$bin/fanin" show he_normal
"$bin/fanin" run quick --replicates 1 --max-epochs 1 --out out
for file in report.html table.csv results.sqlite; do test -s "out/$file"; done
"$bin/fanin" status out
"$bin/fanin" export out --to markdown >table.md
