"""How tissue is found on a picture: one method a file, each a function of the picture that a decorator enters."""

from __future__ import annotations

from . import density, saturation  # noqa: F401  (they enter themselves)
from .registry import DEFAULT_METHOD, METHODS, TissueMethod, find_method, register_tissue_method

__all__ = ["DEFAULT_METHOD", "METHODS", "TissueMethod", "find_method", "register_tissue_method"]
