"""Bytes and folders: files that stay open, and how they are read, written, locked; what is wrong with a path."""

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .store_cache import set_store_cache as set_store_cache

__getattr__, __dir__, __all__ = front(__name__, {"store_cache": "set_store_cache"})
