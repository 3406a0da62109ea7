"""Mixing plans: drawing who goes where in a batch. Applying them is the operators' part (`cellmix_dali.plugins`)."""

from .cellmix import CELLMIX_VARIANTS, CellMix, CellMixVariant, cellmix_plan
from .plan import MixPlan

__all__ = ["CELLMIX_VARIANTS", "CellMix", "CellMixVariant", "MixPlan", "cellmix_plan"]
