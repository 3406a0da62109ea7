"""Tiles that are augmented before they are written: by numbers of their own, the same bytes however they are made."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from nvidia.dali import fn, types
from PIL import Image
from slide_files import directory, picture, write_tiff
from tiling_jobs import serial

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.shards import open_tiles, tile_augmentation
from cellmix_dali.tiling import TilingSettings
from cellmix_dali.tiling.parts import make_part


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Two slides of 128 x 192 px, of the same pixels."""
    return [
        write_tiff(tmp_path / f"slide-{number}.tiff", [directory(picture(128, 192, seed=1), pixels_per_cm=20000)])
        for number in range(2)
    ]


def recipe(tmp_path: Path, text: str) -> str:
    (tmp_path / "recipe.yaml").write_text(text)
    return str(tmp_path / "recipe.yaml")


def settings(augment: str | None, **asked: object) -> TilingSettings:
    return TilingSettings(**{"tile_size": 64, "tissue": 0, "augment": augment, **asked})  # type: ignore[arg-type]


def tiles(folder: Path) -> dict[tuple[str, int, int], NDArray[np.uint8]]:
    """Each tile's pixels, by slide and place."""
    table = open_tiles(folder)
    arrow, found = table.arrow, {}
    for row, (shard, offset, length) in enumerate(
        zip(*(arrow[name].to_pylist() for name in ("shard", "offset", "bytes")), strict=True)
    ):
        stream = Path(shard).read_bytes()[offset : offset + length]
        place = Path(table.slides[table.slide[row]]).name, int(table.x[row]), int(table.y[row])
        found[place] = np.asarray(Image.open(io.BytesIO(stream)))
    return found


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*(folder / "shards").iterdir(), folder / "tiles.parquet"]}


def darker(images: Any, draw: Any) -> Any:
    return fn.cast(images * draw.uniform(0.3, 0.6), dtype=types.UINT8)


def test_each_tile_is_changed_by_itself_and_the_record_says_how(slides: list[Path], tmp_path: Path) -> None:
    """Inverted from a threshold that is drawn: 64 to 192; what is drawn differs from tile to tile."""
    augment = recipe(tmp_path, "- solarise: {threshold: [64, 192], p: 0.5}")
    result = serial(slides, tmp_path / "out", settings(augment, format="png"))
    assert [slide.tiles_copied for slide in result.slides] == [0, 0]
    table = open_tiles(tmp_path / "out")
    told = "[solarise(threshold=(64.0, 192.0), p=0.5)], seed 0"
    assert tile_augmentation(table) == told
    thresholds, kept = {}, 0
    for (name, x, y), image in tiles(tmp_path / "out").items():
        with open_slide(slides[0].parent / name) as slide:
            pixels = slide.read_region(0, x, y, 64, 64)
        fitting = [t for t in range(64, 257) if np.array_equal(image, np.where(pixels >= t, 255 - pixels, pixels))]
        assert fitting, "neither kept nor inverted from one threshold on"
        thresholds[name, x, y] = fitting[0]
        kept += np.array_equal(image, pixels)
    assert len(set(thresholds.values())) > 4
    assert 0 < kept < len(thresholds)
    with tarfile.open(next((tmp_path / "out" / "shards").glob("*.tar"))) as shard:
        about = json.loads(shard.extractfile(next(of for of in shard if of.name.endswith(".json"))).read())  # type: ignore[union-attr]
    assert about["augment"] == told


def test_a_tile_does_not_depend_on_its_batch_its_part_or_its_job(slides: list[Path], tmp_path: Path) -> None:
    augment = recipe(tmp_path, "- hed_jitter: {p: 1}\n- gaussian_blur: {p: 0.5}\n- noise: {p: 0.5}")
    asked: dict[str, Any] = {"format": "png", "augment_seed": 3}
    serial(slides, tmp_path / "whole", settings(augment, **asked))
    serial(slides[1:], tmp_path / "parts", settings(augment, **asked, shard_size=2))
    whole, parts = tiles(tmp_path / "whole"), tiles(tmp_path / "parts")
    assert len(parts) == 6
    for place, image in parts.items():
        np.testing.assert_array_equal(image, whole[place])
        assert (whole[("slide-0.tiff", *place[1:])] != image).any()  # another slide's tile draws apart
    serial(slides[1:], tmp_path / "other", settings(augment, format="png", augment_seed=4))
    assert all((tiles(tmp_path / "other")[place] != image).any() for place, image in parts.items())


def test_a_job_that_goes_on_writes_the_same_bytes(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = recipe(tmp_path, "[hed_jitter, noise]")
    serial(slides, tmp_path / "whole", settings(augment, shard_size=4))
    made = []

    def once(*given: Any, **named: Any) -> Any:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(given)
        return make_part(*given, **named)

    monkeypatch.setattr("cellmix_dali.tiling.tasks.make_part", once)
    with pytest.raises(KeyboardInterrupt):
        serial(slides, tmp_path / "out", settings(augment, shard_size=4))
    monkeypatch.undo()
    serial(slides, tmp_path / "out", settings(augment, shard_size=4), resume=True)
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    recipe(tmp_path, "[noise]")  # the same file, another recipe
    with pytest.raises(ArgumentError, match="augmentation was"):
        serial(slides, tmp_path / "out", settings(augment, shard_size=4), resume=True)


def test_own_functions(slides: list[Path], tmp_path: Path) -> None:
    serial(slides[:1], tmp_path / "plain", settings(None, format="png"))
    serial(slides[:1], tmp_path / "out", settings(f"{__name__}:darker", format="png"))
    before, after = tiles(tmp_path / "plain"), tiles(tmp_path / "out")
    factors = [after[place].sum() / image.sum() for place, image in before.items()]
    assert all(0.28 < factor < 0.61 for factor in factors)
    assert len(np.unique(np.round(factors, 3))) > 3
    assert tile_augmentation(open_tiles(tmp_path / "plain")) is None


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ("strong", r"turn\(.*random_affine\(.* moves.*table of tiles says.*hed_jitter"),
        ("turn", r"turn\(p=.* moves pixels.*a recipe of others"),
        ("hed_jiter", "hed_jitter"),
    ],
)
def test_what_would_break_the_recorded_place_is_refused(
    slides: list[Path], tmp_path: Path, augment: str, words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        serial(slides, tmp_path / "out", settings(augment))
    assert not (tmp_path / "out").exists()


def test_settings_that_are_refused() -> None:
    for asked, words in (
        ({"augment": "noise", "coords_only": True}, "coordinates have no pixels"),
        ({"augment_seed": 3}, "without augment"),
        ({"augment": "noise", "augment_seed": -1}, "augment_seed=-1"),
    ):
        with pytest.raises(ArgumentError, match=words):
            TilingSettings(**asked)  # type: ignore[arg-type]
    assert not [name for name in TilingSettings().to_json() if name.startswith("augment")]
