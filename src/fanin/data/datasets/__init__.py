"""Data sets, one subject per file: a file in this folder that registers its entries is all that a
data set takes.
"""

import importlib

from fanin.registry import import_modules

# The order in listings; other modules follow in alphabetical order.
for _module in (
    "scikit_learn",
    "images",
    "california_housing",
    "image_fitting",
    "image_sequences",
    "autoencoding",
    "synthetic_sequences",
    "characters",
):
    importlib.import_module(f"{__name__}.{_module}")

import_modules(__name__, __path__)
