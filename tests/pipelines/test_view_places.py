"""Views of random places: the pixels that were drawn, and a run that needs no epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellmix_dali import open_slide
from cellmix_dali.augment import View
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines.views import ViewLoader, view_loader
from cellmix_dali.sampling import Places, PlaceSettings, SlideTissue, tissue_of_slides
from cellmix_dali.synthetic import RenderedSlide

LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}
WHOLE = View("whole", 96, scale=1.0, ratio=1.0)
BOTH = (WHOLE, View("part", 32, count=2, scale=(0.1, 0.5), augment="hed_jitter"))


@pytest.fixture(scope="module")
def tissue(rendered: list[RenderedSlide]) -> list[SlideTissue]:
    return tissue_of_slides([slide.path for slide in rendered])


def places(tissue: list[SlideTissue], **given: Any) -> Places:
    finest = tissue[0].levels[0][2]
    return Places(tissue, PlaceSettings(96, **{"mpp": finest, **given}))


def loader(of: Places, views: Any = BOTH, **given: Any) -> ViewLoader:
    return view_loader(of, views, **{"batch_size": 4, "steps": 3, "seed": 5, "places": True, **given})


def batches(made: ViewLoader, passes: int = 1) -> list[dict[str, torch.Tensor]]:
    with made:
        return [batch for _ in range(passes) for batch in made]


def same(one: list[dict[str, torch.Tensor]], two: list[dict[str, torch.Tensor]]) -> bool:
    pairs = list(zip(one, two, strict=True))
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_the_pixels_of_places_are_those_of_openslide(tissue: list[SlideTissue]) -> None:
    of = places(tissue)
    for number, batch in enumerate(batches(loader(of, WHOLE, **LEVELS))):
        want = of.draw(5, number, count=4)
        np.testing.assert_array_equal(batch["slide"], want.slide)
        np.testing.assert_array_equal(batch["place"], np.stack(want[1:], axis=1))
        for image, slide, (level, x, y, size) in zip(
            batch["whole"].numpy(), want.slide.tolist(), batch["place"].tolist(), strict=True
        ):
            assert (level, size) == (0, 96)
            with open_slide(tissue[slide].path) as opened:
                pixels = opened.read_region(level, x, y, size, size)
            np.testing.assert_allclose(image.transpose(1, 2, 0), pixels, atol=1e-3)


def test_passes_are_only_where_a_loop_pauses(tissue: list[SlideTissue]) -> None:
    of = places(tissue, mpp=(0.25, 1.0), patches_per_visit=3, pool=2)
    assert same(batches(loader(of, steps=2), 3), batches(loader(of, steps=6, num_workers=3, num_threads=1)))


def test_a_run_goes_on_to_the_byte(tissue: list[SlideTissue]) -> None:
    of = places(tissue, patches_per_visit=5, pool=2)
    whole = batches(loader(of), 2)
    with loader(of) as made:
        for number, _ in enumerate(made):
            if number == 1:
                state = json.loads(json.dumps(made.state_dict()))
                break
    with loader(of) as made:
        made.load_state_dict(state)
        assert same([*made, *made], whole[2:])
    with loader(places(tissue, by="slide")) as made, pytest.raises(ArgumentError, match="by"):
        made.load_state_dict(state)


def test_slides_may_be_added(tissue: list[SlideTissue]) -> None:
    with loader(places(tissue[:1])) as made:
        next(iter(made))
        state = made.state_dict()
    with loader(places(tissue)) as made:
        with pytest.warns(UserWarning, match="other slides"):
            made.load_state_dict(state)
        after = list(made)
    assert same(after, batches(loader(places(tissue)))[1:])


def test_ranks_draw_by_themselves(tissue: list[SlideTissue]) -> None:
    of = places(tissue)
    found = [batches(loader(of, rank=rank, world_size=8)) for rank in (0, 7)]
    drawn = [{tuple(place) for batch in each for place in batch["place"].tolist()} for each in found]
    assert not drawn[0] & drawn[1]


def test_what_cannot_be_read_is_replaced_by_another_place(tissue: list[SlideTissue], tmp_path: Path) -> None:
    broken = tmp_path / "broken.svs"
    broken.write_bytes(Path(tissue[0].path).read_bytes()[:4000])
    first, second = tissue
    bad = SlideTissue(str(broken), first.levels, first.shape, first.tissue, first.tinted, first.area)
    of = Places([bad, second], PlaceSettings(96, mpp=first.levels[0][2], by="slide"))
    with loader(of) as made:
        found = list(made)
        faults = made.faults
    assert {int(slide) for batch in found for slide in batch["slide"]} == {1}
    assert len(faults) >= 2
    assert {fault.slide for fault in faults} == {str(broken)}
    with pytest.raises(SlideError, match=r"broken\.svs"):
        loader(of, on_error="raise")


def test_wrong_arguments_are_refused(tissue: list[SlideTissue]) -> None:
    of = places(tissue)
    for given, word in (
        ({"balance": "slide"}, "tile tables"),
        ({"steps": 0}, "steps"),
        ({"on_error": "no"}, "replace"),
    ):
        with pytest.raises(ArgumentError, match=word):
            loader(of, **given)
