"""Tiles as arrays: OpenSlide's pixels, at any resolution, by the training's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

import cellmix_dali
from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines import evaluate_loader, read_table, read_tiles
from cellmix_dali.synthetic import RenderedSlide


def test_the_front_door_has_it() -> None:
    assert cellmix_dali.read_tiles is read_tiles
    with pytest.raises(AttributeError, match="no attribute 'read_tile'"):
        cellmix_dali.read_tile  # noqa: B018


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "gcp-camelyon-multiframe-jpeg.dcm"])
def test_real_slides(real: Callable[[str], Path], name: str) -> None:
    path = real(name)
    places = [(0, 0), (33, 100), (256, 256), (700, 300), (1100, 650)]
    tiles = read_tiles(path, places, 224, batch_size=2)
    with openslide.OpenSlide(path) as slide:
        for place, tile in zip(places, tiles, strict=True):
            region = np.asarray(slide.read_region(place, 0, (224, 224)))
            np.testing.assert_array_equal(tile, np.where(region[..., 3:] == 255, region[..., :3], 255))


def test_levels_and_resolutions(rendered: list[RenderedSlide]) -> None:
    path = rendered[1].path  # levels of 0.5, 1 and 2 microns per pixel
    places = [(0, 0), (128, 256)]
    with openslide.OpenSlide(path) as slide:
        for tiles, level, size in (
            (read_tiles(path, places, 128, level=1), 1, 128),
            (read_tiles(path, places, 128, mpp=1.01), 1, 128),  # within the tolerance: not resized
            (read_tiles(path, places, 128, mpp=1.5), 1, 192),
            (read_tiles(path, places, 128, mpp=0.75), 0, 192),
        ):
            assert tiles.shape == (2, 128, 128, 3)
            for place, tile in zip(places, tiles, strict=True):
                region = slide.read_region(place, level, (size, size)).convert("RGB")
                if size == 128:
                    np.testing.assert_array_equal(tile, np.asarray(region))
                else:
                    want = np.asarray(region.resize((128, 128), Image.Resampling.BILINEAR), np.int16)
                    assert np.abs(tile - want).mean() < 1  # Pillow's filter is the same, its rounding is not


def test_it_is_what_training_sees(rendered: list[RenderedSlide]) -> None:
    x, y = np.array([0, 300, 512]), np.array([0, 77, 512])
    table = TileTable.from_columns(rendered[0].path, x=x, y=y, size=200, label=[0, 1, 0])
    tiles = read_tiles(rendered[0].path, np.stack([x, y], axis=1), 200)
    np.testing.assert_array_equal(read_table(table), tiles)
    with evaluate_loader(table, batch_size=3, mean=(0, 0, 0), std=(1, 1, 1)) as loader:
        (batch,) = loader
    seen = np.rint(batch["images"].numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(seen, tiles)


def test_what_is_refused(rendered: list[RenderedSlide], real: Callable[[str], Path]) -> None:
    path = rendered[0].path
    assert read_tiles(path, np.empty((0, 2), int), 64).shape == (0, 64, 64, 3)
    for positions in ([0, 0], [[0.5, 0]], [[0, 0, 0]]):
        with pytest.raises(ArgumentError, match="must be integers of shape"):
            read_tiles(path, positions, 64)
    with pytest.raises(ArgumentError, match=r"1 of 2 positions are not on .* number 1: \(-1, 5\)"):
        read_tiles(path, [(0, 0), (-1, 5)], 64)
    with pytest.raises(SlideError, match="lies over the edge"), open_slide(path) as slide:
        read_tiles(slide, [(1000, 0)], 64, edge="skip")
    with pytest.raises(ArgumentError, match=r"number 0: \(1024, 0\)\. Level 0 has 1024 x 1024 pixels"):
        read_tiles(path, [(1024, 0)], 64)  # wholly beyond
    with pytest.raises(SlideError, match=r"reads 0\.00499"):
        read_tiles(real("CMU-1-Small-Region.jpeg.tiff"), [(0, 0)], 64, mpp=0.5)
    tiles = read_tiles(real("CMU-1-Small-Region.jpeg.tiff"), [(0, 0)], 64, mpp=0.5, mpp_override=0.499)
    assert tiles.shape == (1, 64, 64, 3)


def test_a_file_that_was_replaced_or_changed_between_calls_is_noticed(
    rendered: list[RenderedSlide], tmp_path: Path
) -> None:
    path, places = tmp_path / "slide.svs", [(5, 9), (300, 200)]
    want = [read_tiles(slide.path, places, 200) for slide in rendered[:2]]
    assert (want[0] != want[1]).any()
    path.write_bytes(rendered[0].path.read_bytes())
    np.testing.assert_array_equal(read_tiles(path, places, 200), want[0])
    other = tmp_path / "other"
    other.write_bytes(rendered[1].path.read_bytes())
    other.replace(path)
    np.testing.assert_array_equal(read_tiles(path, places, 200), want[1])
    path.write_bytes(rendered[0].path.read_bytes())  # the same file, with other bytes
    np.testing.assert_array_equal(read_tiles(path, places, 200), want[0])
    path.unlink()
    with pytest.raises(SlideError, match="There is no slide"):
        read_tiles(path, places, 200)


def test_further_calls_open_nothing(rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch) -> None:
    from cellmix_dali.pipelines import _kept, read

    read._SLIDES.clear()
    opened: list[object] = []
    monkeypatch.setattr(_kept, "open_slide", lambda path: opened.append(path) or open_slide(path))
    for number in (0, 1, 0, 1):
        for size in (100, 64):
            read_tiles(rendered[number].path, [(7, 8)], size)
    assert len(opened) == 2
    assert len(read._SLIDES._idle) == 2


def test_what_is_kept_is_bounded_and_used_by_one_thread_at_a_time() -> None:
    from cellmix_dali.pipelines._kept import Kept

    closed: list[str] = []
    kept: Kept[str] = Kept(2, closed.append)
    with kept.use("a", lambda: "first"), kept.use("a", lambda: "second") as second:
        assert second == "second"
    assert closed == ["second"]  # the one that ended last stays
    for key in "bc":
        with kept.use(key, lambda key=key: key):  # type: ignore[misc]
            pass
    assert closed == ["second", "first"]
    with pytest.raises(KeyError), kept.use("b", lambda: "not made"):
        raise KeyError
    assert closed == ["second", "first", "b"]
    kept.clear()
    assert sorted(closed) == ["b", "c", "first", "second"]
