"""What `cellmix-dali warm-up` runs, so that it is compiled: small pieces of real work, each for a worker process."""

from __future__ import annotations

import tempfile
from pathlib import Path

__all__ = ["PIECES", "compile_for", "not_compiled"]

_TILE, _SIDE, _BATCH = 64, 512, 8


def compile_for(piece: str) -> str | None:
    """Do a piece of work, see `PIECES`; what it needs is compiled and kept. Returns what went wrong, or None."""
    PIECES[piece]()
    return None


def not_compiled(piece: str) -> str:
    """Return what to say of a piece whose worker process died again and again."""
    return f"the processes that compiled for {piece!r} died"


def _train() -> None:
    """Read a rendered slide's tiles as a training does, whole blocks and windows that lie across several."""
    from ..augment import View
    from ..pipelines import evaluate_loader, train_loader, view_loader
    from ..slides import open_slide
    from ..synthetic import render_slides
    from ..tables import TileRecipe, lay_tiles

    with tempfile.TemporaryDirectory() as folder:
        slide = render_slides(folder, count=1, side=_SIDE)[0].path
        for tile in (_TILE, 256):
            with open_slide(slide) as opened:
                table = lay_tiles(opened, TileRecipe(tile, tissue=0), label=0).table
            batch = min(_BATCH, len(table))
            how = {"patch_size": 16, "fix_ratio": 0.5, "p": 1.0, "source_map": 32}
            with train_loader(table, num_classes=2, batch_size=batch, **how) as loader:  # type: ignore[arg-type]
                next(iter(loader))
            with evaluate_loader(table, num_classes=2, batch_size=batch) as loader:
                next(iter(loader))
            with view_loader(table, View(size=32, augment="gaussian_blur"), batch_size=batch) as views:
                next(iter(views))


def _tile() -> None:
    """Find tissue, and make shards of copied and of resampled tiles."""
    from ..slides import open_slide
    from ..synthetic import render_slides
    from ..tiling import TilingSettings, tile_slides

    with tempfile.TemporaryDirectory() as folder:
        slide = render_slides(folder, count=1, side=_SIDE)[0].path
        with open_slide(slide) as opened:
            mpps = opened.mpp
        assert mpps is not None
        for number, mpp in enumerate((None, mpps[0], 2 * mpps[0])):
            settings = TilingSettings(tile_size=_TILE, tissue=0.1, mpp=mpp, format="jpeg" if mpp else "auto")
            tile_slides(slide, Path(folder, str(number)), settings, workers=0)


def _mix() -> None:
    """Apply each kind of plan alone, and in the pass that normalises."""
    from ..mixing import METHODS, canonical_method, make_mixer
    from ..plugins.engines.engine import DTYPES
    from ..plugins.engines.registry import engine_for
    from ..plugins.engines.self_check import self_check

    engine = engine_for("numba", "cpu")
    actions = {make_mixer(canonical_method(name)).action for name in METHODS.names()}
    for action in sorted(actions, key=repr):
        if action.kind in engine.mixes:
            self_check(engine, type(action)(action.kind, interpolation=action.interpolation), None)
    for dtype in DTYPES:
        self_check(engine, None, dtype)


def _augment() -> None:
    """Change colours in each way, alone and in the pass that normalises; blur."""
    from ..plugins.colour_stages import KINDS
    from ..plugins.engines.registry import engine_for
    from ..plugins.engines.self_check import blur_check, colour_check

    engine = engine_for("numba", "cpu")
    for fused in (True, False):
        colour_check(engine, KINDS[0], fused)
    blur_check(engine)


#: What can be warmed up, in the order in which most is compiled.
PIECES = {"train": _train, "tile": _tile, "augment": _augment, "mix": _mix}
