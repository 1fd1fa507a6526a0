"""Recipes: the starts that published models really use, role by role.

A file in this folder that registers a `RecipeEntry` is all that one takes.
"""

from __future__ import annotations

from fanin.initializers.recipes.recipe import REGISTRY as REGISTRY
from fanin.initializers.recipes.recipe import Recipe as Recipe
from fanin.initializers.recipes.recipe import RecipeEntry as RecipeEntry
from fanin.initializers.recipes.recipe import Source as Source
from fanin.initializers.recipes.recipe import get_recipe as get_recipe
from fanin.registry import import_modules

import_modules(__name__, __path__)
