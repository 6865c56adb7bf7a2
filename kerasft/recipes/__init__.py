"""The default recipe: how a backbone is fine-tuned where nobody says how, and what each step of it is for."""

from kerasft.recipes.augmentation import (
    KINDS,
    Kind,
    KindReport,
    augmented,
    limits_of,
    look_at_kinds,
    views_of,
)
from kerasft.recipes.recipe import DefaultRecipe, default

__all__ = [
    "KINDS",
    "DefaultRecipe",
    "Kind",
    "KindReport",
    "augmented",
    "default",
    "limits_of",
    "look_at_kinds",
    "views_of",
]
