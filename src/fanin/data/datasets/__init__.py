"""Data sets, one subject per file: a file in this folder that registers its entries is all that a
data set takes.
"""

from fanin.registry import import_modules

import_modules(__name__, __path__)
