"""A collection of slides: an index of what is known of each, made once, mapped into memory and shared.

`make_index` looks at every slide, on all cores, and writes one file; `CollectionIndex` opens it. A loader, or
`cellmix_dali.tables.tiles_of_slides`, with an index opens no slide but to read its tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .index import CollectionIndex as CollectionIndex
    from .job import make_index as make_index
    from .settings import IndexSettings as IndexSettings

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "index": "CollectionIndex",
        "job": "make_index",
        "settings": "IndexSettings",
    },
)
