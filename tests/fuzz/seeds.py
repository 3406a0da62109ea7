"""Readers of files, each with whole files to begin from."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image

from cellmix_dali import Curriculum, TileTable, grid_tiles, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.previews.loss_record import read_losses
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.shards import open_tiles
from cellmix_dali.stain import DensityFit, LabFit, SlideStain, StainSettings, StainTable
from cellmix_dali.synthetic import render_slides
from cellmix_dali.tables import read_slide_list
from cellmix_dali.tables.coordinates import read_h5
from cellmix_dali.tables.labels import with_label_column
from cellmix_dali.tiling import TilingSettings, tile_slides
from cellmix_dali.tissue.slide_mask import mask_from_geojson, mask_from_png
from cellmix_dali.training.checkpoint import CHECKPOINT, Checkpoint
from cellmix_dali.training.images import read_folds

sys.path += [str(Path(__file__).parents[1] / room) for room in ("slides", "faults")]

from damage_kinds import write_of_vendors
from vendor_files import write_ndpi

__all__ = ["Target", "targets"]


@dataclass(frozen=True)
class Target:
    """A reader, and what it reads.

    Attributes
    ----------
    name : str
        For a person.
    file : str
        What the file must be called.
    seeds : list of bytes
        Whole files.
    read : callable
        Given the file; does with it what users do.
    text : bool
        Whether lines and numbers are worth changing, too.
    """

    name: str
    file: str
    seeds: list[bytes]
    read: Callable[[Path], Any]
    text: bool = False


def targets(folder: Path, slides: Mapping[str, bytes]) -> list[Target]:
    """Make all targets; `slides` are slide files of other kinds, by name."""
    rendered = render_slides(folder / "slides", count=2, side=512, seed=1)
    first = rendered[0].path
    with open_slide(first) as slide:
        table = grid_tiles(slide, 256).with_labels(np.arange(4) % 2)
    lines = [f"{each.path},a,0.25" for each in rendered]

    def with_slide(call: Callable[..., Any]) -> Callable[[Path], Any]:
        def read(path: Path) -> Any:
            with open_slide(first) as slide:
                return call(path, slide)

        return read

    def state(path: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return
        Curriculum(epochs=3, tile_size=256).load_state_dict(content)

    curriculum = Curriculum(epochs=3, tile_size=256).state_dict()
    outline = [[[0, 0], [300, 0], [300, 300], [0, 300], [0, 0]]]
    feature = {
        "type": "Feature",
        "properties": {"classification": {"name": "tumour"}},
        "geometry": {"type": "Polygon", "coordinates": outline},
    }
    multi = {**feature, "geometry": {"type": "MultiPolygon", "coordinates": [outline, outline]}}
    geojson = [
        json.dumps({"type": "FeatureCollection", "features": [feature, multi]}).encode(),
        json.dumps([feature]).encode(),
    ]
    own = [each.path for each in rendered] + write_of_vendors(folder) + [write_ndpi(folder / "slide.ndpi")]
    return [
        *_slide_targets({path.name: path.read_bytes() for path in own} | dict(slides)),
        Target(
            "slide list",
            "list.csv",
            [_lines("slide,label,mpp", *lines)],
            read_slide_list,
            True,
        ),
        Target(
            "labels",
            "labels.csv",
            [_lines("slide,x,y,label", *(f"{first.name},{x},{y},a" for x in (0, 256) for y in (0, 256)))],
            lambda path: with_label_column(table, path),
            True,
        ),
        Target("losses", "losses.csv", [_lines("epoch,loss", "0,0.5", "1,0.25")], read_losses, True),
        Target("folds", "folds.csv", [_lines("path,class,fold", "a.png,x,0", "b.png,y,1")], read_folds, True),
        Target("annotations", "slide.geojson", geojson, _labels, True),
        Target("mask of annotations", "slide.geojson", geojson, with_slide(mask_from_geojson), True),
        Target("mask", "slide.png", [_png()], with_slide(mask_from_png)),
        Target("coordinates", "slide.h5", _coordinates(folder), with_slide(read_h5)),
        Target("Arrow", "tiles.arrow", [_saved(table, folder / "tiles.arrow")], _open_table),
        Target("Parquet", "tiles.parquet", [_saved(table, folder / "tiles.parquet")], _open_table),
        Target("stains", "stains.parquet", _stains(folder), _ask_stains),
        Target("curriculum's state", "state.json", [json.dumps(curriculum).encode()], state, True),
        Target("checkpoint", CHECKPOINT, [_checkpoint(folder)], lambda path: Checkpoint(path.parent, {"a": 1}).load()),
        *_of_a_job(folder, first),
    ]


def _lines(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(out, "png")
    return out.getvalue()


def _coordinates(folder: Path) -> list[bytes]:
    found = []
    for attributes in ({"patch_size": 256, "patch_level": 0}, {"patch_size": 256, "patch_size_level0": 256}):
        path = folder / "coords.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("coords", data=np.array([[0, 0], [256, 0]])).attrs.update(attributes)
        found.append(path.read_bytes())
    return found


def _saved(table: TileTable, path: Path) -> bytes:
    table.save(path)
    return path.read_bytes()


def _checkpoint(folder: Path) -> bytes:
    checkpoint = Checkpoint(folder, {"a": 1})
    checkpoint.save({"weights": torch.arange(9), "epochs": [{"loss": 0.5}]})
    content = checkpoint.path.read_bytes()
    checkpoint.remove()
    return content


def _labels(path: Path) -> Any:
    annotations = read_geojson(path)
    return annotations.label_tiles([0, 256], [0, 0], 256, 256, ("tumour", "stroma"))


def _open_table(path: Path) -> Any:
    table = TileTable.open(path)
    for row in range(min(3, len(table))):
        table.describe(row)
    return [np.asarray(getattr(table, name)).sum() for name in ("x", "y", "level", "size", "slide")]


def _stains(folder: Path) -> list[bytes]:
    found = []
    for method, fit in (
        ("macenko", DensityFit([[0.6, 0.8, 0], [0, 0.8, 0.6]], [1, 2], 240)),
        ("reinhard", LabFit([50, 1, 2], [3, 4, 5])),
    ):
        rows = SlideStain("a", fit, 500, 0.5), SlideStain("b", fault="none", fault_kind="damaged")
        StainTable(rows, StainSettings(method=method).to_json()).save(folder / "stains.parquet")
        found.append((folder / "stains.parquet").read_bytes())
    return found


def _ask_stains(path: Path) -> Any:
    table = StainTable.open(path)
    changed = table.changes([row.slide for row in table.rows], unfitted="keep")[0].apply(np.zeros((2, 2, 3), np.uint8))
    return changed, table.method


def _slide_targets(files: Mapping[str, bytes]) -> list[Target]:
    def read(path: Path) -> Any:
        with open_slide(path) as slide:
            slide.thumbnail(64)
            for number, level in enumerate(slide.levels):
                slide.read_region(number, 3, 3, min(99, level.width), min(99, level.height))
            tiles = grid_tiles(slide, 64)
        if len(tiles):
            TileReader(tiles, lenient=True).read(np.arange(min(8, len(tiles))))

    return [Target(f"slide {name}", name, [content], read) for name, content in files.items()]


def _of_a_job(folder: Path, slide: Path) -> list[Target]:
    """The records of a tiling job, and its table; what a fuzzed one says is told by resuming, or by reading it."""
    settings, out = TilingSettings(tile_size=256, tissue=0, shard_size=2), folder / "job"
    tile_slides([slide], out, settings, workers=0)
    whole = {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}

    def resumed(path: Path) -> Any:
        content = path.read_bytes()
        job = path.parent / "job"
        for name, kept in whole.items():
            (job / name).parent.mkdir(parents=True, exist_ok=True)
            (job / name).write_bytes(kept)
        (job / path.name).write_bytes(content)
        result = tile_slides([slide], job, settings, workers=0, resume=True)
        if result.tiles != 4:
            raise AssertionError(f"{result.tiles} tiles of 4")

    def trained(path: Path) -> Any:
        table = open_tiles(path)
        try:
            from cellmix_dali.reading import ShardReader

            ShardReader(table, verify="hash").read(np.arange(len(table)))
        except CellMixDaliError:
            return None
        return len(table)

    return [
        Target("manifest", "manifest.json", [whole[Path("manifest.json")]], resumed, True),
        Target("manifest's slides", "slides.jsonl", [whole[Path("slides.jsonl")]], resumed, True),
        Target("finished tiles", "tiles.parquet", [whole[Path("tiles.parquet")]], trained),
    ]
