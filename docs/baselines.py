"""Write the baselines that fanin brings along, from committed results.

python docs/baselines.py            # reads results/<study>.jsonl, writes src/fanin/study/baselines/
python docs/baselines.py --check    # writes nothing; fails if a file does not fit the results
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

from fanin.store import jsonl
from fanin.study.baseline_results import compress_baselines
from fanin.study.builtin_studies import list_builtin_studies

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "src" / "fanin" / "study" / "baselines"


def main() -> int:
    """Write the files, or check them."""
    wrong = []
    for name in list_builtin_studies():
        source, target = ROOT / "results" / f"{name}.jsonl", FOLDER / f"{name}.jsonl.xz"
        if not source.is_file():
            continue
        content = compress_baselines(jsonl.read(source)[0])
        if "--check" not in sys.argv[1:]:
            target.write_bytes(content)
        elif not target.is_file() or _unpack(target.read_bytes()) != _unpack(content):
            wrong.append(str(target))
    if wrong:
        print("Run python docs/baselines.py: out of date are " + ", ".join(wrong), file=sys.stderr)
    return int(bool(wrong))


def _unpack(content: bytes) -> bytes:
    """Versions of xz compress differently."""
    return lzma.decompress(content)


if __name__ == "__main__":
    raise SystemExit(main())
