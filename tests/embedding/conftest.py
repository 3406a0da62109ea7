"""What the tests of embedding share: tiny slides, and the plain loop that features are compared with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from cellmix_dali import TileTable, grid_tiles, open_slide

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "slides"), str(TESTS / "embedding")]

from slide_files import directory, picture, write_tiff  # noqa: E402 (of these folders)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slides of 64-px blocks, of unequal size: 384 x 256, 320 x 192 and 256 x 128 px at 0.5 mpp."""
    folder = tmp_path_factory.mktemp("embedded")
    return [
        write_tiff(
            folder / f"slide-{number}.tiff", [directory(picture(width, height, seed=number), pixels_per_cm=20000)]
        )
        for number, (width, height) in enumerate(((384, 256), (320, 192), (256, 128)), 1)
    ]


@pytest.fixture(scope="session")
def tiles(tiny: list[Path]) -> TileTable:
    """Tiles of 64 px that lie across the blocks."""
    tables = []
    for path in tiny:
        with open_slide(path) as slide:
            tables.append(grid_tiles(slide, 64, stride=40))
    return TileTable.concat(tables)


@pytest.fixture
def slides(tiny: list[Path], tmp_path: Path) -> list[Path]:
    """Copies of the tiny slides, to be damaged."""
    return [Path(shutil.copy(path, tmp_path)) for path in tiny]
