"""The same tiles, mixed by several methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..curriculum.patch_sizes import legal_patch_sizes, nearest_patch_size
from ..errors import CellMixDaliError
from ..mixing import METHODS
from ..mixing.cellmix import patch_grid
from ..plugins import TileSource, mix, tiles
from ..plugins.dali import Pipeline, fn, types
from .chosen_tiles import ChosenTiles

__all__ = ["MixedTiles", "middle_patch_size", "mix_tiles"]


class MixedTiles(NamedTuple):
    """A batch that was mixed.

    Attributes
    ----------
    method : str
        One of `cellmix_dali.mixing.METHODS`.
    images : uint8 array (batch, height, width, 3)
        Mixed tiles.
    weights : float32 array (batch, batch)
        The mixing matrix: how much of each tile the label of each mixed tile takes.
    """

    method: str
    images: NDArray[np.uint8]
    weights: NDArray[np.float32]


def middle_patch_size(tile_size: int) -> int:
    """Return the patch size nearest to a quarter of the tile."""
    return nearest_patch_size(legal_patch_sizes(tile_size, token_size=1), tile_size // 4)


def mix_tiles(
    chosen: ChosenTiles, methods: Sequence[str], *, patch_size: int | None = None, fix_ratio: float = 0.5, seed: int = 0
) -> tuple[NDArray[np.uint8], list[MixedTiles]]:
    """Read tiles and mix them in a DALI pipeline, by each method.

    Parameters
    ----------
    chosen : ChosenTiles
        The batch.
    methods : sequence of str
        Names in `cellmix_dali.mixing.METHODS`.
    patch_size : int, optional
        Of CellMix, in pixels; by default that nearest to a quarter of the tile.
    fix_ratio : float, default 0.5
        Of CellMix: share of patches that stay.
    seed : int, default 0
        Of the mixing.

    Returns
    -------
    images : uint8 array (batch, tile_size, tile_size, 3)
        The tiles as they are.
    mixed : list of MixedTiles
        One a method, every batch mixed (p=1).

    Raises
    ------
    CellMixDaliError
        If a method cannot mix this batch, or a tile cannot be read.
    """
    batch = len(chosen.table)
    if patch_size is not None:
        patch_grid(chosen.tile_size, patch_size)
    cells: dict[str, Any] = {"patch_size": patch_size or middle_patch_size(chosen.tile_size), "fix_ratio": fix_ratio}
    source = TileSource(
        chosen.table,
        batch_size=batch,
        tile_size=chosen.tile_size,
        edge=chosen.edge,
        shuffle=False,
    )
    pipeline = Pipeline(batch_size=batch, num_threads=2, device_id=None, prefetch_queue_depth=1, seed=0)
    with pipeline:
        nodes = tiles(source)
        # Labels that name the tile itself: mixed, they are the mixing matrix.
        own = fn.external_source(lambda: np.eye(batch, dtype=np.float32), batch=True, dtype=types.FLOAT, ndim=1)
        outputs = [nodes.images, nodes.labels, nodes.tile]
        for method in methods:
            parameters = cells if METHODS[method].is_cellmix else {}
            outputs += mix(nodes.images, own, method=method, num_classes=batch, soft=True, seed=seed, **parameters)
        pipeline.set_outputs(*outputs)
    pipeline.build()
    try:
        arrays = [np.array(output.as_array()) for output in pipeline.run()]
    except RuntimeError as error:
        raise CellMixDaliError(
            f"A tile could not be decoded: its block in the slide file is damaged.\n{error}"
        ) from error
    finally:
        source.close()
    mixed = [MixedTiles(method, *arrays[3 + 2 * n : 5 + 2 * n]) for n, method in enumerate(methods)]
    return arrays[0], mixed
