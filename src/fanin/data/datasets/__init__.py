"""Data sets, one subject per file: a file in this folder that registers its entries is all that a
data set takes.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
