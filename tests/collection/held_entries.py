"""What an index holds."""

from __future__ import annotations

from cellmix_dali.collection import CollectionIndex


def held(index: CollectionIndex) -> dict[str, bytes]:
    """What an index holds, whatever the order."""
    contents = {name: index._file.content(name) for name in index}
    return {name: content.tobytes() for name, content in contents.items() if content is not None}
