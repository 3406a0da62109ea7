"""Coordinates written as CLAM and TRIDENT write them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import openslide
import pytest

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides import Level
from cellmix_dali.tables.coordinates import read_h5

CORNERS = np.array([[0, 0], [512, 256], [300, 700]], np.int64)
SIZES = [(10_000, 8_000), (2_500, 2_000), (625, 500)]


@pytest.fixture
def slide(tmp_path):
    """10000 x 8000 pixels at level 0; levels 4 and 16 times smaller."""
    levels = tuple(Level(w, h, 10_000 / w) for w, h in SIZES)
    found = SimpleNamespace(path=tmp_path / "case 1.svs", levels=levels, file_levels=(0, 1, 2), notes=())
    found.file_size = lambda number: (found.levels[number].width, found.levels[number].height)
    return found


@pytest.fixture
def clam(tmp_path):
    """Write what CLAM's create_patches_fp.py writes; None leaves an attribute out."""

    def write(coords=CORNERS, level=0, size=256, **changes):
        attributes = {
            "patch_size": size,
            "patch_level": level,
            "downsample": (4.0**level, 4.0**level),
            "downsampled_level_dim": SIZES[level] if level < 3 else (1, 1),
            "level_dim": SIZES[level] if level < 3 else (1, 1),
            "name": "case 1",
            "save_path": "out/patches",
        } | changes
        path = tmp_path / "clam.h5"
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("coords", data=coords, maxshape=(None, *np.shape(coords)[1:]), chunks=True)
            dataset.attrs.update({name: value for name, value in attributes.items() if value is not None})
        return path

    return write


@pytest.fixture
def trident(tmp_path):
    """Write what TRIDENT's extract_tissue_coords writes."""

    def write(coords=CORNERS, size=256, level0_mag=40, target_mag=20, **changes):
        attributes = {
            "patch_size": size,
            "patch_size_level0": size * level0_mag // target_mag,
            "level0_magnification": level0_mag,
            "target_magnification": target_mag,
            "overlap": 0,
            "name": "case 1",
            "savetodir": "out/20x_256px_0px_overlap",
        } | changes
        path = tmp_path / "case 1_patches.h5"
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("coords", data=coords)
            dataset.attrs.update({name: value for name, value in attributes.items() if value is not None})
        return path

    return write


def rows(table):
    return list(zip(table.level.tolist(), table.x.tolist(), table.y.tolist(), table.size.tolist(), strict=True))


def test_clam_at_level_0(clam, slide):
    table = read_h5(clam(), slide)
    assert rows(table) == [(0, 0, 0, 256), (0, 512, 256, 256), (0, 300, 700, 256)]
    assert table.slides == (str(slide.path),)
    assert table.label is None


def test_clam_counts_corners_at_level_0_and_sizes_at_its_level(clam, slide):
    table = read_h5(clam(level=1, coords=np.array([[0, 0], [1024, 2048], [4098, 4097]])), slide)
    assert rows(table) == [(1, 0, 0, 256), (1, 256, 512, 256), (1, 1024, 1024, 256)]


def test_a_tile_size_of_ones_own(clam, trident, slide):
    # 512 pixels of level 0 ...
    for path in (clam(size=512), trident()):
        assert set(read_h5(path, slide, tile_size=512).size) == {512}
        assert rows(read_h5(path, slide, tile_size=128))[1] == (1, 128, 64, 128)
        assert rows(read_h5(path, slide, tile_size=224))[1] == (0, 512, 256, 512)  # ... are shrunk where no level fits
        assert rows(read_h5(path, slide, tile_size=100))[1] == (1, 128, 64, 128)
        with pytest.raises(ArgumentError, match=r"512 pixels on each side.*tile size of 600: .*tile_size=512"):
            read_h5(path, slide, tile_size=600)
        with pytest.raises(ArgumentError, match="tile_size=0"):
            read_h5(path, slide, tile_size=0)


def test_trident_is_read_at_the_nearest_finer_level(trident, slide):
    assert rows(read_h5(trident(), slide))[1] == (0, 512, 256, 512)
    assert rows(read_h5(trident(target_mag=10), slide))[1] == (1, 128, 64, 256)
    assert rows(read_h5(trident(target_mag=5), slide))[1] == (1, 128, 64, 512)
    assert rows(read_h5(trident(target_mag=40), slide))[1] == (0, 512, 256, 256)
    assert read_h5(trident(target_mag=10), slide).x.tolist() == [0, 128, 75]
    with pytest.raises(ArgumentError, match="enlarged"):
        read_h5(trident(level0_mag=20, target_mag=40), slide)


def test_a_trident_file_that_also_names_a_level_is_of_trident(trident, slide):
    assert rows(read_h5(trident(patch_level=0, target_mag=10), slide))[0] == (1, 0, 0, 256)


def test_trident_in_its_newer_form_knows_its_slide(trident, slide):
    assert len(read_h5(trident(level0_width=10_000, level0_height=8_000), slide)) == 3
    with pytest.raises(ArgumentError, match=r"another slide than .*case 1\.svs: .*level 0 has 9000 x 8000"):
        read_h5(trident(level0_width=9_000, level0_height=8_000), slide)


def test_sizes_within_the_tolerance_need_no_resize(trident, slide):
    # 255.x pixels for 256, from magnifications that are not quite 4 times apart.
    assert set(read_h5(trident(target_mag=10, patch_size_level0=1027), slide).size) == {256}
    assert set(read_h5(trident(target_mag=10, patch_size_level0=1100), slide).size) == {275}


def test_rounding_keeps_windows_inside(clam, slide):
    # The last window of level 1 ends with the slide; a corner off by 2 of level 0 must not push it over the edge.
    last = np.array([[10_000 - 1024, 8_000 - 1024], [10_000 - 1024, 8_000 - 1026]])
    table = read_h5(clam(level=1, coords=last), slide)
    assert (table.x + table.size).tolist() == [2_500, 2_500]
    assert (table.y + table.size).max() == 2_000
    # One that reaches over the edge in the file does so here as well, and begins inside.
    over = read_h5(clam(level=1, coords=np.array([[9_999, 7_990]])), slide)
    assert rows(over) == [(1, 2_499, 1_998, 256)]


def test_levels_whose_size_is_rounded(clam, slide):
    # OpenSlide's downsample is the mean of both sides' ratios, 4.0016 across and 4 down.
    slide.levels = (Level(10_000, 8_000, 1.0), Level(2_499, 2_000, 4.0008))
    path = clam(level=1, coords=np.array([[4000, 8], [10_000 - 1024, 8_000 - 1024]]), level_dim=(2_499, 2_000))
    assert rows(read_h5(path, slide)) == [(1, 1000, 2, 256), (1, 2243, 1744, 256)]


def test_clam_names_its_level_even_among_equals(clam, slide):
    slide.levels = (slide.levels[0], slide.levels[1], Level(2_475, 1_980, 4.0404))
    assert set(read_h5(clam(level=1), slide).level) == {1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_level": None}, r"lacks the attribute 'patch_level' \(CLAM\) or 'patch_size_level0' \(TRIDENT\)"),
        ({"patch_size": None}, "lacks the attribute 'patch_size' and"),
        ({"patch_size": 0}, "'patch_size' .* is .*0.*: expected a number of at least 1"),
        ({"patch_size": "large"}, "'patch_size' .* is 'large'"),
        ({"patch_level": -1}, "'patch_level' .* at least 0"),
        ({"level": 3}, "tiles of level 3, and .* has the levels 0, 1, 2"),
        ({"level_dim": (10_000, 8_001)}, "made from another slide than .*10000 x 8001 pixels, and it has 10000 x 8000"),
        ({"coords": np.array([[0, 0], [10_000, 0]])}, r"1 of its 2 tiles begin outside .* number 1, at \(10000, 0\)"),
        ({"coords": np.array([[-1, 0]])}, "begin outside"),
        ({"coords": np.zeros((0, 2), np.int64)}, "holds no tiles"),
        ({"coords": np.zeros((4, 3), np.int64)}, r"shape \(4, 3\)"),
        ({"coords": np.array([[0, 0.5]])}, r"shape \(1, 2\) of float64: expected whole numbers"),
    ],
)
def test_files_that_do_not_fit(clam, slide, changes, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        read_h5(clam(**changes), slide)
    assert "clam.h5" in str(caught.value)


def test_files_of_another_kind(slide, tmp_path):
    path = tmp_path / "features.h5"
    with pytest.raises(ArgumentError, match="The file of coordinates is not there"):
        read_h5(path, slide)
    path.write_bytes(b"not HDF5 at all")
    with pytest.raises(ArgumentError, match=r"features\.h5 cannot be read: .*file signature"):
        read_h5(path, slide)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.zeros((3, 4)))
    with pytest.raises(ArgumentError, match=r"no dataset 'coords' \(it has: features\)"):
        read_h5(path, slide)
    # CLAM's feature files keep the corners without saying how large the tiles are.
    with h5py.File(path, "a") as file:
        file.create_dataset("coords", data=CORNERS)
    with pytest.raises(ArgumentError, match=r"it has: none\).*file of features"):
        read_h5(path, slide)


def test_pixels_of_a_written_slide(rendered, clam):
    with open_slide(rendered[1].path) as slide:
        of = slide.levels[1]
        path = clam(level=1, size=128, coords=np.array([[256, 512]]), level_dim=(of.width, of.height), name="slide-2")
        table = read_h5(path, slide)
        assert Path(table.slides[0]) == slide.path
        ((level, x, y, size),) = rows(table)
        seen = slide.read_region(level, x, y, size, size)
        # CLAM calls OpenSlide's read_region(corner at level 0, level, size).
        with openslide.OpenSlide(slide.path) as file:
            expected = np.asarray(file.read_region((256, 512), 1, (128, 128)).convert("RGB"))
    assert (seen == expected).all()
