"""The values of ``--only`` and ``--add``: axes and the values to keep, or to add."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fanin.errors import UsageError, quote

_EXAMPLES = {
    "--only": "data=mnist,cifar10,model=mlp",
    "--add": "initializer=my_init.py:make",
}

_OPENING, _CLOSING = "([{", ")]}"
_KEY = re.compile(r"[A-Za-z_]+(\.[A-Za-z_]\w*)?")


def parse_only(texts: Iterable[str], option: str = "--only") -> dict[str, list[str]]:
    """``data=mnist,cifar10`` → {"data": ["mnist", "cifar10"]}.

    A value without a key belongs to the key before it. Commas inside brackets or quotes do not
    separate: a spec such as ``he_normal(a=0.2,truncated=true)`` is one value. Raises `UsageError`.
    """
    selected: dict[str, list[str]] = {}
    for text in texts:
        key = ""
        for item in split_items(text):
            before, equals, after = item.partition("=")
            if equals and _KEY.fullmatch(before.strip()):
                key, item = before.strip(), after
            value = item.strip()
            if not key or not value:
                raise UsageError(
                    f"{option} takes key=value,…, such as {_EXAMPLES[option]}; received "
                    f"{quote(text)}."
                )
            selected.setdefault(key, []).append(value)
    return selected


def split_items(text: str) -> Iterator[str]:
    """The parts between commas outside brackets and quotes."""
    depth, quote, start = 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth <= 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]
