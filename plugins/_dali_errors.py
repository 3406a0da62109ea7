"""What DALI's errors mean, in words for people."""

from __future__ import annotations

from collections.abc import Sequence

from cellmix_dali.errors import CellMixDaliError

__all__ = ["explained"]

# What the graph's own assertions look like from outside; see plugins/image_shape.py and plugins/labels.py.
_MEANINGS = {
    "require_tile_size": "The images are not of the size that the mixing plans are drawn for: correct tile_size.",
    "_one_hot": "A label is out of range: labels go from 0 to num_classes - 1.",
    "decoders": "A tile could not be decoded: its block in the slide file is damaged.",
}


def explained(error: RuntimeError, where: Sequence[str]) -> CellMixDaliError:
    """Put a person's words before DALI's error, and the tiles to blame."""
    text = str(error)
    known = [words for place, words in _MEANINGS.items() if place in text]
    lines = [known[0] if known else "DALI could not make a batch.", *where, text]
    return CellMixDaliError("\n".join(lines))
