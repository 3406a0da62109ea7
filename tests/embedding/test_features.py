"""Features are those of a plain loop, whatever slides, batches and bad tiles lie between."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import Patches, Undefined, damage_block, patches, plain_loop
from torch import Tensor, nn

from cellmix_dali import TileTable, open_slide
from cellmix_dali.embedding import FeatureModel, ModelSettings, embed, slide_features
from cellmix_dali.embedding.features import Clock, FeaturesOfSlides
from cellmix_dali.embedding.stream import SlideTiles
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.shards import open_tiles
from cellmix_dali.tables import to_level0
from cellmix_dali.tiling import TilingSettings, tile_slides

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Seen(nn.Module):
    """Notes the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.of, self.sizes = patches(), []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return self.of(images)


@pytest.mark.parametrize("options", [{}, {"channels_last": True}, {"deterministic": True}])
def test_features_are_those_of_a_plain_loop(tiles: TileTable, options: dict[str, bool]) -> None:
    model = FeatureModel(patches(), settings=ModelSettings(batch_size=16, **options))
    features, rows, faults = embed(tiles, model)
    assert not faults
    assert rows.tolist() == list(range(len(tiles)))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, plain_loop(patches(), tiles, MEAN, STD), atol=1e-5, rtol=0)


def test_a_table_in_any_order_keeps_its_order(tiles: TileTable) -> None:
    mixed = np.random.default_rng(0).permutation(len(tiles))
    model = FeatureModel(patches(), settings=ModelSettings(batch_size=16))
    whole, _, _ = embed(tiles, model)
    found, rows, _ = embed(tiles.select(mixed), model)
    assert rows.tolist() == list(range(len(tiles)))
    np.testing.assert_allclose(found, whole[mixed], atol=1e-6)


def test_batches_are_full_across_slides(tiles: TileTable) -> None:
    model = Seen()
    list(slide_features(tiles, FeatureModel(model, settings=ModelSettings(batch_size=16))))
    full, rest = divmod(len(tiles), 16)
    assert model.sizes == [2] + [16] * full + [rest] * bool(rest)  # the first one tries the model


def test_deterministic_batches_are_of_one_slide_and_filled_up(tiles: TileTable) -> None:
    model = Seen()
    settings = ModelSettings(batch_size=16, deterministic=True)
    whole = list(slide_features(tiles, FeatureModel(model, settings=settings)))
    assert model.sizes == [2] + [16] * sum(-(-len(each.rows) // 16) for each in whole)
    alone = tiles.select(tiles.slide == 1)
    again = next(slide_features(alone, FeatureModel(model, settings=settings)))
    assert again.features.tobytes() == whole[1].features.tobytes()


def test_each_slide_comes_with_its_places_on_level_0(tiles: TileTable, tiny: list[Path]) -> None:
    found = list(slide_features(tiles, FeatureModel(patches())))
    assert [each.slide for each in found] == [str(path) for path in tiny]
    for number, each in enumerate(found):
        own = tiles.select(tiles.slide == number)
        with open_slide(tiny[number]) as slide:
            assert each.coords.tolist() == to_level0(slide, own.positions, own.level).tolist()
            assert each.size == (slide.levels[0].width, slide.levels[0].height)
        assert len(each.features) == len(own)


def test_bad_tiles_are_left_out_and_listed(tiles: TileTable, tiny: list[Path], tmp_path: Path) -> None:
    paths = [Path(shutil.copy(path, tmp_path)) for path in tiny]
    damage_block(paths[1], 2, 1)
    moved = TileTable.concat([
        TileTable.from_columns(path, x=own.x, y=own.y, size=own.size, level=own.level)
        for number, path in enumerate(paths)
        for own in [tiles.select(tiles.slide == number)]
    ])  # fmt: skip
    touched = (tiles.slide == 1) & (tiles.x < 192) & (tiles.x + 64 > 128) & (tiles.y < 128) & (tiles.y + 64 > 64)
    assert 0 < touched.sum() < (tiles.slide == 1).sum()
    model = FeatureModel(patches(), settings=ModelSettings(batch_size=16))
    features, rows, faults = embed(moved, model)
    assert [row for row, _ in faults] == np.flatnonzero(touched).tolist()
    assert all(isinstance(why, SlideError) and str(paths[1]) in str(why) for _, why in faults)
    assert rows.tolist() == np.flatnonzero(~touched).tolist()
    np.testing.assert_allclose(features, embed(tiles, model)[0][~touched], atol=1e-6)


def test_numbers_that_are_not_finite_are_left_out_and_listed(tiles: TileTable) -> None:
    features, rows, faults = embed(tiles, FeatureModel(Undefined()))
    assert np.isfinite(features).all()
    assert 0 < len(rows) < len(tiles)
    assert sorted([*rows.tolist(), *(row for row, _ in faults)]) == list(range(len(tiles)))
    assert "not finite" in str(faults[0][1])


def test_a_slide_that_is_not_there_stops_no_other(tiles: TileTable, tmp_path: Path) -> None:
    (tmp_path / "broken.tiff").write_bytes(b"II*\0" + bytes(100))
    own = [tiles.select(tiles.slide == number) for number in range(2)]
    broken = TileTable.from_columns(tmp_path / "broken.tiff", x=[0, 64], y=[0, 0], size=64)
    table = TileTable.concat([own[0], broken, own[1]])
    found = list(slide_features(table, FeatureModel(patches())))
    assert [len(each.rows) for each in found] == [len(own[0]), 0, len(own[1])]
    assert isinstance(found[1].error, SlideError)
    assert found[0].error is found[2].error is None
    with pytest.raises(SlideError, match="broken"):
        embed(table, FeatureModel(patches()))


def test_tiles_in_shards_have_the_same_features(tiny: list[Path], tmp_path: Path) -> None:
    settings = TilingSettings(tile_size=64, tissue=0.0, format="png")
    tile_slides(tiny, tmp_path / "out", settings, workers=0)
    table, model = open_tiles(tmp_path / "out"), FeatureModel(patches())
    wanted = plain_loop(patches(), table, MEAN, STD)
    np.testing.assert_allclose(embed(table, model)[0], wanted, atol=1e-5)
    with pytest.raises(ArgumentError, match="tile_size=64"):
        embed(table, model, tile_size=32)


def test_features_of_half_precision_and_windows_of_another_size(tiles: TileTable) -> None:
    half = FeatureModel(patches(), settings=ModelSettings(dtype="float16"))
    features = embed(tiles, half, tile_size=32)[0]
    assert features.dtype == np.float16
    whole = embed(tiles, FeatureModel(patches()), tile_size=32)[0]
    np.testing.assert_allclose(features.astype(np.float32), whole, atol=2e-3)
    auto = FeatureModel(patches(), settings=ModelSettings(amp="bfloat16"))
    np.testing.assert_allclose(embed(tiles, auto, tile_size=32)[0], whole, atol=0.05)
    assert not np.array_equal(embed(tiles, auto, tile_size=32)[0], whole)


@pytest.mark.parametrize(
    ("settings", "of"),
    [
        ({"tokens": "cls"}, lambda model, x: model.forward_features(x)[:, 0]),
        ({"tokens": "mean"}, lambda model, x: model.forward_features(x)[:, 1:].mean(1)),
        (
            {"tokens": "cls+mean"},
            lambda model, x: torch.cat([(t := model.forward_features(x))[:, 0], t[:, 1:].mean(1)], 1),
        ),
        ({"layers": ("embed",), "tokens": "output"}, lambda model, x: model.embed(x).mean((2, 3))),
        (
            {"layers": ("block.1", "block"), "tokens": "cls"},
            lambda model, x: torch.cat(
                [
                    model.block[1](
                        model.block[0](
                            torch.cat(
                                [
                                    (t := model.embed(x).flatten(2).transpose(1, 2)).mean(1, keepdim=True),
                                    t,
                                ],
                                1,
                            )
                        )
                    )[:, 0],
                    model.forward_features(x)[:, 0],
                ],
                1,
            ),
        ),
    ],
    ids=["cls", "mean", "both", "a layer's map", "two layers"],
)
def test_tokens_and_layers(tiles: TileTable, settings: dict[str, object], of: object) -> None:
    few = tiles.select(np.arange(5))
    model = FeatureModel(patches(), settings=ModelSettings(**settings))  # type: ignore[arg-type]
    plain: Patches = patches()  # type: ignore[assignment]
    wanted = plain_loop(lambda x: of(plain, x), few, MEAN, STD)  # type: ignore[operator]
    np.testing.assert_allclose(embed(few, model)[0], wanted, atol=1e-5)


def reading_ahead() -> list[threading.Thread]:
    """The threads that read ahead."""
    return [thread for thread in threading.enumerate() if thread.name == "cellmix-dali-ahead"]


def test_what_nobody_refers_to_any_more_ends_without_being_waited_for() -> None:
    """The collector of garbage runs in any thread, under any lock: who waits there may wait for itself."""
    asked, go_on = threading.Event(), threading.Event()

    def slides() -> Iterator[SlideTiles]:
        asked.set()
        go_on.wait(timeout=60)
        yield from ()

    found = FeaturesOfSlides(slides(), FeatureModel(patches()), tile_size=32, clock=Clock())
    assert asked.wait(timeout=10)
    began = time.monotonic()
    del found
    assert time.monotonic() - began < 30  # not the minute that its thread would
    left = reading_ahead()
    assert left
    go_on.set()
    for thread in left:
        thread.join(timeout=10)
    assert not reading_ahead()


def test_left_early_no_thread_goes_on(tiles: TileTable) -> None:
    without_end = repeat(SlideTiles(tiles.slides[0], tiles.select(np.flatnonzero(tiles.slide == 0))))
    with closing(FeaturesOfSlides(without_end, FeatureModel(patches()), tile_size=64, clock=Clock())) as found:
        next(found)
        assert reading_ahead()
    assert not reading_ahead()
    assert list(found) == []
