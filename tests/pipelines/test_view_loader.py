"""The loader of views: what comes out is what was drawn, of one decoded region, by keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closed_loader import check_closed_within_a_pass
from numpy.typing import NDArray

from cellmix_dali import TileTable, open_slide
from cellmix_dali._random import generator
from cellmix_dali.augment import ColourChange, Compose, Flip, GaussianBlur, HEDJitter, Solarise
from cellmix_dali.augment.block_masks import BlockMasks
from cellmix_dali.augment.views import VIEW_PRESETS, View
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines.views import ViewLoader, view_loader
from cellmix_dali.plugins.view_nodes import plainly_viewed

STREAM = 1 << 16
LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}
VIEWS = (
    View("wide", 40, augment=[{"flip": {}}, {"hed_jitter": {"alpha": 0.2}}, {"gaussian_blur": {}}, {"solarise": {}}]),
    View("near", 24, count=2, scale=(0.05, 0.32), augment="colour_jitter", interpolation="cubic"),
)


def loader(table: TileTable, views: Any = VIEWS, **given: Any) -> ViewLoader:
    return view_loader(table, views, **{"batch_size": 4, "seed": 3, **given})


def region(table: TileTable, row: int) -> NDArray[np.uint8]:
    with open_slide(table.slides[int(table.slide[row])]) as slide:
        return slide.read_region(int(table.level[row]), int(table.x[row]), int(table.y[row]), 256, 256)


def same(one: list[dict[str, torch.Tensor]], two: list[dict[str, torch.Tensor]]) -> bool:
    assert len(one) == len(two)
    pairs = zip(one, two, strict=True)
    return all(set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def test_views_are_those_that_were_drawn(table: TileTable) -> None:
    """Rebuilt here in float64 of OpenSlide's pixels, step by step."""
    seed, batch_size = 3, 4
    with loader(table, boxes=True, places=True, **LEVELS) as batches:
        for epoch in range(2):
            for iteration, batch in enumerate(batches):
                if iteration > 1:
                    continue
                rows = batch["tile"].tolist()
                images = [region(table, row) for row in rows]
                key = {"seed": seed, "epoch": epoch, "iteration": iteration}
                ordinal, done = 0, {"wide": 0, "near": 0}
                for view in (VIEWS[0], VIEWS[1], VIEWS[1]):
                    random = generator(**key, stream=STREAM + ordinal)
                    geometry = view.geometry(256, random, batch_size, 1.0).astype(np.float32)
                    made = view.one_pass()
                    assert made is not None
                    stages: list[Any] = []
                    for changes in (made.before, made.after):
                        if changes:
                            ordinal += 1
                            random = generator(**key, stream=STREAM + ordinal)
                            stages.append((changes[0].kinds, changes[0].drawn(random, batch_size, 1.0)))
                        else:
                            stages.append(None)
                    ordinal += 1
                    first = done[view.name] * batch_size
                    done[view.name] += 1
                    got = batch[view.name][first : first + batch_size].numpy().transpose(0, 2, 3, 1)
                    boxes = batch[f"{view.name}_boxes"][first : first + batch_size]
                    np.testing.assert_array_equal(boxes.numpy(), geometry[:, :4])
                    for place, image in enumerate(images):
                        before, after = (of and (of[0], of[1][place]) for of in stages)
                        want = plainly_viewed(
                            image,
                            view.size,
                            geometry[place],
                            before=before,
                            after=after,
                            cubic=view.interpolation == "cubic",
                        )
                        away = np.abs(got[place] - want)
                        assert np.quantile(away, 0.999) <= 2  # one may fall to the other side of the threshold
                columns = [table.level, table.x, table.y, table.size]
                np.testing.assert_array_equal(batch["place"], np.stack([of[rows] for of in columns], axis=1))
                np.testing.assert_array_equal(batch["slide"], table.slide[rows])
                assert table.label is not None
                np.testing.assert_array_equal(batch["labels"], table.label[rows])


def test_shapes_and_types(table: TileTable) -> None:
    for dtype in ("float32", "float16", "bfloat16"):
        with loader(table, dtype=dtype) as batches:
            batch = next(iter(batches))
        assert {name: tuple(of.shape) for name, of in batch.items()} == {
            "wide": (4, 3, 40, 40),
            "near": (8, 3, 24, 24),
            "labels": (4,),
            "tile": (4,),
        }
        assert batch["wide"].dtype == batch["near"].dtype == getattr(torch, dtype)


def test_tables_without_labels_and_with_weak_ones(table: TileTable) -> None:
    bare = TileTable(table.arrow.drop_columns(["label"]))
    with loader(bare) as batches:
        assert next(iter(batches))["labels"].tolist() == [-1] * 4
    shares = np.full((len(table), 2), 0.5)
    with loader(table.with_labels(shares)) as batches:
        assert next(iter(batches))["labels"].tolist() == [[0.5, 0.5]] * 4


def test_a_loader_goes_on_to_the_byte(table: TileTable) -> None:
    masks = BlockMasks(patch=8, view="wide")
    with loader(table, token_masks=masks) as batches:
        first = list(batches)
        whole = [*first, *batches]
    with loader(table, token_masks=masks) as batches:
        for number, _ in enumerate(batches):
            if number == 2:
                state = json.loads(json.dumps(batches.state_dict()))
                break
    with loader(table, token_masks=masks) as batches:
        batches.load_state_dict(state)
        rest = list(batches)
        rest += list(batches)
    assert same(rest, whole[3:])
    other = View("wide", 40, scale=(0.4, 1.0))
    with loader(table, other, token_masks=masks) as batches, pytest.raises(ArgumentError, match="views"):
        batches.load_state_dict(state)


def test_threads_and_workers_change_nothing(table: TileTable) -> None:
    found = []
    for threads, workers, ahead in ((1, 1, 1), (2, 3, 3)):
        given = {"num_threads": threads, "num_workers": workers, "prefetch_queue_depth": ahead}
        with loader(table, **given) as batches:
            found.append(list(batches))
    assert same(*found)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batches_that_are_kept_stay_as_they_are(table: TileTable, dtype: str) -> None:
    """Memory is lent again only when nothing holds it."""
    with loader(table, dtype=dtype) as batches:
        kept = list(batches)
        copies = [{name: of.clone() for name, of in batch.items()} for batch in kept]
        for batch in batches:
            del batch
    assert same(kept, copies)


def test_ranks_share_the_regions_and_draw_by_themselves(table: TileTable) -> None:
    found = []
    for rank in range(2):
        with loader(table, rank=rank, world_size=2, boxes=True) as batches:
            found.append(list(batches))
    tiles = [set(torch.cat([batch["tile"] for batch in of]).tolist()) for of in found]
    assert not tiles[0] & tiles[1]
    assert len(tiles[0] | tiles[1]) == len(table)
    assert not torch.equal(found[0][0]["wide_boxes"], found[1][0]["wide_boxes"])


def test_augmentations_that_need_more_than_one_pass(table: TileTable) -> None:
    """A turn moves pixels, so operators do one after the other; a function of one's own, too."""

    def darker(images: Any, draw: Any) -> Any:
        from nvidia.dali import fn, types

        return fn.cast(images * draw.uniform(0.0, 0.001), dtype=types.UINT8)

    turned = View("turned", 32, augment=["turn", "hed_jitter"])
    assert turned.one_pass() is None
    with loader(table, [turned, View("dark", 16, augment=darker)], **LEVELS) as batches:
        batch = next(iter(batches))
    assert 20 < batch["turned"].mean() < 250
    assert batch["dark"].max() == 0
    with pytest.raises(ArgumentError, match="random numbers of its own"):
        loader(table, View(size=16, augment=_noisy))


def _noisy(images: Any, draw: Any) -> Any:
    del draw
    from nvidia.dali import fn, types

    return fn.cast(images * fn.random.uniform(range=[0.0, 1.0]), dtype=types.UINT8)


def test_boxes_keep_to_their_ranges() -> None:
    random = generator(0)
    view = View(size=98, zoom=(0.9, 1.1), ratio=(0.95, 1.05))
    top, left, high, wide, *_ = view.geometry(392, random, 4000, 1.0).T
    sides = np.sqrt(high * wide)
    assert 0.9 * 98 - 1 < sides.min() < 0.92 * 98
    assert 1.08 * 98 < sides.max() < 1.1 * 98 + 1
    for start, side in ((top, high), (left, wide)):
        assert start.min() <= 2
        assert (start + side).max() >= 390
        assert (start + side).max() <= 392
    share = View(scale=(0.05, 0.32)).geometry(448, random, 4000, 1.0)
    areas = share[:, 2] * share[:, 3] / 448**2
    assert 0.049 < areas.min() < 0.06
    assert 0.31 < areas.max() < 0.323
    assert View(scale=1.0, ratio=1.0).geometry(100, random, 1, 1.0)[0].tolist() == [0, 0, 100, 100, 0, 0, 0]


def test_whole_pixels_are_drawn_evenly() -> None:
    """The outermost places as often as others."""
    view = View(size=8, zoom=1.0, ratio=1.0)
    top = view.geometry(10, generator(1), 30000, 1.0)[:, 0]
    counts = np.bincount(top.astype(int), minlength=3)
    assert len(counts) == 3
    assert counts.min() > 9700


@pytest.mark.parametrize("name", VIEW_PRESETS)
def test_presets_are_one_pass(name: str) -> None:
    assert all(view.one_pass() is not None for view in VIEW_PRESETS[name])


def test_what_one_pass_does() -> None:
    colour, blur, flip = HEDJitter(), GaussianBlur(), Flip()
    made = View(augment=Compose([colour, flip, blur, Solarise()])).one_pass()
    assert made is not None
    assert (made.flip, made.before, made.blur) == (flip, (colour,), blur)
    assert all(isinstance(each, ColourChange) for each in made.after)
    assert View(augment=[blur, blur]).one_pass() is None
    assert View(augment=[flip, flip]).one_pass() is None


def test_masks_cover_their_share() -> None:
    masks = BlockMasks(patch=14, ratio=(0.1, 0.5), share=0.5)
    drawn = masks.draw(generator(5), 64, 16)
    covered = np.sort(drawn.mean(axis=1))
    assert (covered[:32] == 0).all()
    assert (covered[32:] > 0.05).all()
    assert 0.4 < covered[-1] <= 0.5
    assert abs(covered[32:].mean() - 0.3) < 0.03
    again = masks.draw(generator(5), 64, 16)
    np.testing.assert_array_equal(drawn, again)
    boxes = drawn[drawn.any(axis=1)].reshape(-1, 16, 16)
    alike = (boxes[:, 1:] == boxes[:, :-1]).mean()  # blocks, not specks
    assert alike > 0.8


def test_masks_of_a_batch(table: TileTable) -> None:
    with loader(table, token_masks=BlockMasks(patch=8, view="near", share=1.0, ratio=0.5)) as batches:
        mask = next(iter(batches))["mask"]
    assert (mask.shape, mask.dtype) == ((8, 9), torch.bool)
    assert mask.any(dim=1).all()


def test_wrong_arguments_are_refused(table: TileTable, tmp_path: Path) -> None:
    for given, word in (
        ({"views": "dinov3"}, "dinov2"),
        ({"views": []}, "at least one"),
        ({"views": [View("a", 16), View("a", 24)]}, "Name them differently"),
        ({"views": View(size=300, zoom=1.0)}, "smaller zoom"),
        ({"dtype": "float64"}, "bfloat16"),
        ({"augment": "light"}, "augmentations of their own"),
        ({"token_masks": BlockMasks(view="global")}, "wide, near"),
        ({"token_masks": BlockMasks(view="wide", patch=7)}, "whole tokens"),
        ({"batch_size": 64}, "smaller batch_size"),
    ):
        with pytest.raises(ArgumentError, match=word):
            loader(table, **{"views": VIEWS, **given})
    for arguments, word in (
        ({"name": "labels"}, "cannot be named"),
        ({"size": 0}, "size"),
        ({"count": 0}, "count"),
        ({"scale": 0.5, "zoom": 1.0}, "only one"),
        ({"scale": (0.5, 1.5)}, "scale"),
        ({"ratio": (2, 1)}, "ratio"),
        ({"interpolation": "lanczos"}, "linear"),
        ({"augment": "nothing"}, "nothing"),
    ):
        with pytest.raises(ArgumentError, match=word):
            View(**arguments)
    with pytest.raises(ArgumentError, match="TileTable"):
        view_loader(str(tmp_path), batch_size=2)  # type: ignore[arg-type]


def test_closed_within_a_pass(table: TileTable) -> None:
    check_closed_within_a_pass(loader(table))
