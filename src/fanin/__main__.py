"""``python -m fanin``: the command line."""

import sys

from fanin.cli import main

if __name__ == "__main__":
    sys.exit(main())
