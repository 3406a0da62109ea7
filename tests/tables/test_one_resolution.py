"""Slides of several resolutions, where none was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides import pool
from cellmix_dali.synthetic import write_slide
from cellmix_dali.tables import SlideList, TileRecipe, tiles_of_slides
from cellmix_dali.tables.one_resolution import check_one_resolution, mixed_resolutions

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two slides of 0.25 and 0.5 microns per pixel, all over tissue."""
    folder = tmp_path_factory.mktemp("scanned")
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    pixels[..., 1] //= 3
    paths = [folder / "fine.svs", folder / "coarse.svs"]
    for path, mpp in zip(paths, (0.25, 0.5), strict=True):
        write_slide(path, pixels, mpp=mpp, block=128)
    return paths


def test_up_to_five_percent_is_one_resolution() -> None:
    assert mixed_resolutions(["a", "b"], [0.5, 0.525]) is None
    assert mixed_resolutions(["a", "b", "c"], [0.5, 0.2501, 0.25]) == "0.25: c, b; 0.5: a"
    with pytest.raises(
        ArgumentError, match=r"different scale \(microns per pixel: 0\.5: a; 0\.53: b\)\. .*--mpp 0\.53"
    ):
        check_one_resolution(["a", "b"], [0.5, 0.53])


def test_an_unknown_mpp_among_known_ones_is_no_silent_equal() -> None:
    with pytest.raises(ArgumentError, match=r"not known to be one .*0\.5: a; unknown: b, c\).*column 'mpp'"):
        check_one_resolution(["a", "b", "c"], [0.5, None, math.nan])
    check_one_resolution(["a", "b"], [None, None])  # nothing to compare


def test_many_slides_are_not_all_named() -> None:
    told = mixed_resolutions([f"s{number}" for number in range(20)], [0.25] * 10 + [0.5] * 10)
    assert told == "0.25: s0, s1, s2, s3, s4 and 5 more; 0.5: s10, s11, s12, s13, s14 and 5 more"


@pytest.mark.parametrize(("count", "more"), [(4, ""), (5, ""), (6, " and 1 more")])
def test_five_slides_of_a_resolution_are_named(count: int, more: str) -> None:
    names = [f"s{number}" for number in range(count)]
    told = mixed_resolutions(["a", *names], [0.25] + [0.5] * count)
    assert told == f"0.25: a; 0.5: {', '.join(names[:5])}{more}"


def test_many_resolutions_are_not_all_named() -> None:
    mpps = [0.25 * 1.1**number for number in range(9)]
    told = mixed_resolutions([f"s{number}" for number in range(9)], mpps)
    assert told is not None
    shown = [f"{mpp:.4g}: s{number}" for number, mpp in enumerate(mpps)]
    count = told.count(":")
    assert 1 < count < 9
    assert told == "; ".join(shown[:count]) + f"; and {9 - count} more mpps, up to {mpps[-1]:.4g}"
    few = mixed_resolutions([f"s{number}" for number in range(count)], mpps[:count])
    assert few == "; ".join(shown[:count])


def test_a_list_of_two_resolutions_stops_with_both_and_goes_on_when_asked(scanned: list[Path]) -> None:
    slides = SlideList(tuple(scanned))
    with pytest.raises(ArgumentError, match=rf"0\.25: {scanned[0]}; 0\.5: {scanned[1]}.*--mpp 0\.5 .*--mixed-res"):
        tiles_of_slides(slides, TileRecipe(128, tissue=0))
    with pytest.raises(ArgumentError, match="different scale"):
        tiles_of_slides(slides, TileRecipe(128, level=0, tissue=0), on_error="skip")
    table, _ = tiles_of_slides(slides, TileRecipe(128, tissue=0), mixed_resolutions=True)
    assert set(table.size.tolist()) == {128}
    table, _ = tiles_of_slides(slides, TileRecipe(128, mpp=0.5, tissue=0))
    assert table.size.tolist() == [256] + [128] * 4
    same = SlideList(tuple(scanned), mpp=np.array([np.nan, 0.25]))  # the list's own word counts
    assert len(tiles_of_slides(same, TileRecipe(128, tissue=0))[0]) == 8


def test_no_slide_is_looked_into_twice(scanned: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = pool.open_slide

    def counting(path: str) -> object:
        opened.append(Path(path))
        return real(path)

    monkeypatch.setattr(pool, "open_slide", counting)
    tiles_of_slides(SlideList(tuple(scanned), mpp=np.array([0.5, 0.5])), TileRecipe(128, tissue=0))
    assert opened == scanned


def test_tile_stops_before_anything_is_tiled_and_the_folder_can_be_used_again(
    run: Run, scanned: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = ("tile", *scanned, "--out", out, "--tile-size", 128, "--tissue", 0, "--workers", 0)
    code, _, err = run(*given)
    assert code == 2
    assert str(scanned[0]) in err
    assert str(scanned[1]) in err
    assert "--mixed-resolutions" in err
    assert not (out / "tiles.parquet").exists()
    assert not list((out / "shards").iterdir())
    code, _, err = run(*given, "--mpp", 0.5)
    assert code == 0, err
    code, _, err = run(*given[:-4], "--tissue", 0, "--workers", 0, "--out", tmp_path / "mixed", "--mixed-resolutions")
    assert code == 0, err


def test_train_stops_and_names_the_slides(run: Run, scanned: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"slide,label\n{scanned[0]},a\n{scanned[1]},b\n")
    code, _, err = run("train", "slides", path, "--tile-size", 128, "--tissue", 0, "--out", tmp_path / "run")
    assert code == 2
    assert "0.25: " in err
    assert "coarse.svs" in err
    assert "--mixed-resolutions" in err
