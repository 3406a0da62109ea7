"""Random places: in tissue, by the chances that were asked for, a pure function of (seed, iteration, rank)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.sampling import (
    Places,
    PlaceSettings,
    SlideTissue,
    TintFilter,
    open_tissue,
    save_tissue,
    slide_tissue,
    slide_weights,
    tissue_of_slides,
)
from cellmix_dali.sampling.place_table import OtherPlaces, PlaceOrder, PlaceTable
from cellmix_dali.slides import Slide, open_slide
from cellmix_dali.synthetic import RenderedSlide


def slide(name: str, share: float = 0.25, mpp: float = 0.25, side: int = 8192) -> SlideTissue:
    """A slide with a square of tissue of that share in its upper left corner, the left half of it tinted."""
    mask = np.zeros((128, 128), bool)
    edge = round(128 * share**0.5)
    mask[:edge, :edge] = True
    tinted = mask.copy()
    tinted[:, edge // 2 :] = False
    levels = ((side, side, mpp), (side // 4, side // 4, 4 * mpp), (side // 16, side // 16, 16 * mpp))
    area = float(mask.mean()) * (side * mpp / 1000) ** 2
    return SlideTissue(name, levels, mask.shape, np.packbits(mask), np.packbits(tinted), area)


SLIDES = [slide("a", 0.25), slide("b", 0.0625), slide("c", 0.5625)]


def drawn(places: Places, count: int = 3000, **given: Any) -> dict[str, NDArray[np.int64]]:
    return places.draw(**{"seed": 1, "iteration": 0, "count": count, **given})._asdict()


def test_a_batch_is_the_same_whatever_was_drawn_before() -> None:
    one, two = Places(SLIDES, PlaceSettings(224)), Places(SLIDES, PlaceSettings(224))
    first = [one.draw(3, number, rank=rank, count=8) for number in range(3) for rank in range(2)]
    again = [two.draw(3, number, rank=rank, count=8) for number in (2, 1, 0) for rank in (1, 0)][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(np.stack(a), np.stack(b))
    assert len({np.stack(each).tobytes() for each in first}) == 6
    assert np.stack(two.draw(4, 0, count=8)).tobytes() != np.stack(first[0]).tobytes()
    assert np.stack(two.draw(3, 0, count=8, attempt=1)).tobytes() != np.stack(first[0]).tobytes()


def test_tiles_lie_in_the_tissue_and_everywhere_in_it() -> None:
    places = Places(SLIDES[:1], PlaceSettings(224, mpp=0.25, tissue=0.9))
    found = drawn(places)
    edge = 4096  # pixels of tissue
    covered = [(np.minimum(found[of] + 224, edge) - np.minimum(found[of], edge)) / 224 for of in "xy"]
    assert (covered[0] * covered[1] > 0.89).all()
    assert found["x"].min() < 60
    assert found["x"].max() > edge - 224
    thirds = np.histogram(found["x"] + 112, bins=3, range=(112, edge - 112))[0] / 3000
    assert np.abs(thirds - 1 / 3).max() < 0.03
    assert len(set(found["x"] % 64)) > 60  # not on the mask's grid


def test_slides_are_drawn_by_area_or_evenly() -> None:
    by_area = np.bincount(drawn(Places(SLIDES))["slide"]) / 3000
    np.testing.assert_allclose(by_area, np.array([4, 1, 9]) / 14, atol=0.03)
    by_slide = np.bincount(drawn(Places(SLIDES, PlaceSettings(by="slide")))["slide"]) / 3000
    np.testing.assert_allclose(by_slide, 1 / 3, atol=0.03)


def test_weights_of_slides_and_classes(tmp_path: Path) -> None:
    even = PlaceSettings(by="slide")
    pq.write_table(pa.table({"slide": ["a", "c", "c"], "worth": [0.0, 1.0, 2.0]}), tmp_path / "weights.parquet")
    weights = slide_weights(tmp_path / "weights.parquet", "worth")
    assert weights == {"a": 0.0, "c": 3.0}
    np.testing.assert_allclose(Places(SLIDES, even, weights=weights).chances, [0, 0.25, 0.75])
    labels = {"a": 0, "b": 0, "c": 1}
    shares = Places(SLIDES, even, labels=labels, class_weights={0: 0.2, 1: 0.8})
    np.testing.assert_allclose(shares.chances, [0.1, 0.1, 0.8])
    only = Places(SLIDES, even, labels=labels, class_weights={0: 1.0})
    assert set(drawn(only)["slide"]) == {0, 1}


def test_shares_of_resolutions() -> None:
    """Each window shows what was asked, from the coarsest level that is fine enough."""
    asked = {0.25: 0.2, 0.5: 0.4, 1.0: 0.2, 2.0: 0.2}
    found = drawn(Places(SLIDES, PlaceSettings(128, mpp=asked)))
    mpp = found["size"] * 0.25 * 4.0 ** found["level"] / 128
    for each, share in asked.items():
        assert abs((mpp == each).mean() - share) < 0.03
    assert set(found["level"][mpp >= 1]) == {1}
    assert set(found["level"][mpp < 1]) == {0}


def test_a_range_of_resolutions() -> None:
    found = drawn(Places(SLIDES, PlaceSettings(224, mpp=(0.25, 4.0))))
    mpp = found["size"] * 0.25 * 4.0 ** found["level"] / 224
    assert 0.249 < mpp.min() < 0.26
    assert 3.9 < mpp.max() < 4.02
    quarters = np.histogram(np.log2(mpp), bins=4, range=(-2, 2))[0] / 3000
    assert np.abs(quarters - 0.25).max() < 0.03


def test_slides_that_are_too_coarse_give_the_other_resolutions() -> None:
    coarse = slide("coarse", mpp=0.5)
    both = Places([SLIDES[0], coarse], PlaceSettings(128, mpp={0.25: 0.5, 1.0: 0.5}, by="slide"))
    found = drawn(both)
    own = found["slide"] == 1
    assert (found["size"][own] * 0.5 * 4.0 ** found["level"][own] == 128).all()
    with pytest.raises(ArgumentError, match="finest level is coarser"):
        Places([coarse], PlaceSettings(mpp=0.25))
    ranged = drawn(Places([coarse], PlaceSettings(128, mpp=(0.1, 1.0))))
    assert (ranged["size"] * 0.5 * 4.0 ** ranged["level"] / 128).min() > 0.47


def test_tinted_tiles_alone() -> None:
    places = Places(SLIDES[:1], PlaceSettings(224, mpp=0.25, tint=TintFilter(share=0.6)))
    found = drawn(places)
    assert (found["x"] + 0.6 * 224 <= 2048 + 64).mean() > 0.99
    assert (drawn(Places(SLIDES[:1], PlaceSettings(224, mpp=0.25)))["x"] > 2048).mean() > 0.4


def test_the_filter_is_that_of_opencv_units() -> None:
    picture = np.array([[[200, 100, 180], [240, 240, 240], [60, 20, 60], [100, 200, 100]]], np.uint8)
    assert TintFilter().passes(picture).tolist() == [[True, False, False, False]]
    with pytest.raises(ArgumentError, match="hue"):
        TintFilter(hue=(100, 90))


def test_a_pool_bounds_the_slides_in_use() -> None:
    many = [slide(f"s{number}") for number in range(200)]
    settings = PlaceSettings(224, pool=8, patches_per_visit=32)
    places = Places(many, settings)
    slides = np.stack([places.draw(0, number, count=16).slide for number in range(64)]).ravel()
    for first in range(0, len(slides), 8):
        assert len(set(slides[first : first + 8])) <= 8
    assert len(set(slides[:256])) <= 8 + 8  # in 32 rounds each place of the pool changes its slide once
    changes = np.bincount(slides, minlength=200)
    assert set(changes[changes > 0] % 4) == {0} or changes.max() >= 32
    assert (np.diff(np.flatnonzero(slides == slides[300])) <= 15).any()
    assert 28 < len(set(slides)) < 45  # 1,024 tiles are 32 visits, and those that began before
    mixed = places.shuffling(16)
    assert mixed.independent == pytest.approx(1 / 200)
    assert mixed.slides_at_once <= 16
    assert mixed.independent < mixed.same_slide < 0.1
    free = Places(many, PlaceSettings(224)).shuffling(16, batches=400)
    assert free.same_slide == pytest.approx(1 / 200, rel=0.3)
    assert free.slides_at_once > 15
    other = np.stack([places.draw(0, number, rank=1, count=16).slide for number in range(64)]).ravel()
    assert (slides != other).mean() > 0.8


def test_what_is_known_of_slides_is_kept(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    paths = [each.path for each in rendered]
    found = tissue_of_slides(paths[:1])
    save_tissue(found, tmp_path / "tissue.npz")
    read = open_tissue(tmp_path / "tissue.npz")
    assert read[0].levels == found[0].levels
    assert (read[0].path, read[0].shape, read[0].area) == (str(paths[0]), found[0].shape, found[0].area)
    for tinted in (False, True):
        np.testing.assert_array_equal(read[0].mask(tinted=tinted), found[0].mask(tinted=tinted))
    assert read[0].mask().any()
    more = tissue_of_slides(paths, known=read)
    assert more[0] is read[0]
    assert more[1].path == str(paths[1])
    with pytest.raises(ArgumentError, match="not a file of slides' tissue"):
        open_tissue(paths[0])
    with pytest.raises(ArgumentError, match="more than once"):
        tissue_of_slides([paths[0], paths[0]])
    with pytest.raises(SlideError):
        tissue_of_slides([tmp_path / "missing.svs"])
    refused: list[str] = []
    left = tissue_of_slides(
        [tmp_path / "missing.svs", paths[0]], known=read, on_error=lambda path, error: refused.append(f"{path} {error}")
    )
    assert left == [read[0]]
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("mpp", "word"),
    [(None, "does not say its mpp"), ((0.005, 0.005), "which no slide has"), ((0.5, 1.0), "not square")],
)
def test_resolutions_that_cannot_be_believed_are_refused(
    rendered: list[RenderedSlide], monkeypatch: pytest.MonkeyPatch, mpp: tuple[float, float] | None, word: str
) -> None:
    """Else a tile would be the whole slide, and the slide would nearly never be drawn."""

    def opened(path: str) -> Slide:
        slide = open_slide(path)
        slide.mpp = mpp
        return slide

    monkeypatch.setattr(slide_tissue, "open_slide", opened)
    with pytest.raises(SlideError, match=word):
        tissue_of_slides([rendered[0].path])
    (found,) = tissue_of_slides([rendered[0].path], mpp_override=0.3)
    assert found.levels[0][2] == 0.3
    with pytest.raises(ArgumentError, match=r"mpp_override=0\.005"):
        tissue_of_slides([rendered[0].path], mpp_override=0.005)


def test_a_table_without_an_end() -> None:
    places = Places(SLIDES, PlaceSettings(128, mpp=(0.25, 1.0)), labels={"a": 0, "b": 1})
    order = PlaceOrder(4, 5, seed=9, rank=1, world_size=2)
    table = PlaceTable(places, order)
    rows = order.batch(2, 3)
    want = places.draw(9, 13, rank=1, count=4)
    for name, column in want._asdict().items():
        np.testing.assert_array_equal(getattr(table, name)[rows], column)
        assert getattr(table, name)[int(rows[2])] == column[2]
    assert table.label is not None
    assert table.label[rows].tolist() == [{0: 0, 1: 1, 2: -1}[each] for each in want.slide.tolist()]
    assert set(order.of_all_ranks(2, 3)) == {*rows, *PlaceOrder(4, 5, seed=9, world_size=2).batch(2, 3)}
    others = list(OtherPlaces(table, batch_size=4, on_error="replace").rows(int(rows[1]), 0, "bad"))
    again = places.draw(9, 13, rank=1, count=4, attempt=1)
    assert (table.x[others[0]], table.slide[others[0]]) == (again.x[1], again.slide[1])
    with pytest.raises(SlideError, match="on_error='replace'"):
        OtherPlaces(table, batch_size=4, on_error="raise").rows(int(rows[1]), 0, "bad")


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    for given, word in (
        ({"tile_size": 0}, "tile_size"),
        ({"mpp": 0}, "mpp"),
        ({"mpp": (1.0, 0.5)}, "range"),
        ({"mpp": {0.5: 0.0}}, "above 0"),
        ({"by": "class"}, "area"),
        ({"tissue": 2}, "tissue"),
        ({"pool": 0}, "pool"),
        ({"patches_per_visit": 0}, "patches_per_visit"),
    ):
        with pytest.raises(ArgumentError, match=word):
            PlaceSettings(**given)
    for given, word in (
        ({"weights": {"z": 1.0}}, "z"),
        ({"weights": {"a": 0, "b": 0, "c": 0}}, "weights are 0"),
        ({"class_weights": {0: 1.0}}, "need labels"),
        ({"labels": {"a": 0}, "class_weights": {3: 1.0}}, "class 3"),
    ):
        with pytest.raises(ArgumentError, match=word):
            Places(SLIDES, **given)
    with pytest.raises(ArgumentError, match="no slides"):
        Places([])
    with pytest.raises(ArgumentError, match="cannot be read"):
        slide_weights(tmp_path / "none.parquet", "worth")
