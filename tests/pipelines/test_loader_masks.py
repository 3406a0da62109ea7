"""Class masks from the loaders: cut, flipped and mixed as the images, to the bit; unreadable as tiles may be."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
import torch
from numpy.typing import NDArray
from nvidia.dali import fn, types

from cellmix_dali import Draw, TileTable, grid_tiles, open_slide
from cellmix_dali.annotations import annotations_of
from cellmix_dali.annotations.class_masks import SlideMask
from cellmix_dali.augment import PixelChange, register_augmentation
from cellmix_dali.errors import ArgumentError, CellMixDaliError, NotReadError, SlideError
from cellmix_dali.mixing import METHODS, TargetValues, make_mixer, saliency_peaks
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.plugins.source import drawn_flips
from cellmix_dali.reading import AnnotationMasks, MaskReader, MaskSlides
from cellmix_dali.storage.patience import Retry
from cellmix_dali.synthetic import RenderedSlide

BATCH, SEED = 8, 5
CLASSES = ("tumour", "stroma")
METHODS_OF_MASKS = ["CellMix-Group", "CellMix-All", "Cutout", "CutMix", "SaliencyMix", "ResizeMix", "FMix"]
PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}


@pytest.fixture
def polygons(rendered: list[RenderedSlide]) -> AnnotationMasks:
    return AnnotationMasks(rendered[0].path.parent, CLASSES)


@pytest.fixture
def slides(rendered: list[RenderedSlide], tmp_path: Path) -> tuple[MaskSlides, list[NDArray[np.uint8]]]:
    """A mask for each slide, of its size, in a TIFF of two levels."""
    made = []
    for number, of in enumerate(rendered):
        made.append(np.random.default_rng(number).integers(0, 5, (1024, 1024), np.uint8))
        with tifffile.TiffWriter(tmp_path / f"{of.path.stem}.tif") as file:
            for level in (0, 1):
                pixels = made[-1][:: 4**level, :: 4**level]
                file.write(pixels, tile=(128, 128), compression="zlib", subfiletype=level)
    return MaskSlides(tmp_path, values=5), made


def flipped(images: NDArray[np.uint8], iteration: int) -> NDArray[np.uint8]:
    flips = drawn_flips(len(images), seed=SEED, epoch=0, iteration=iteration, rank=0)
    pairs = zip(images, flips, strict=True)
    return np.stack([image[:: -1 if down else 1, :: -1 if across else 1] for image, (across, down) in pairs])


def window(table: TileTable, row: int, whole: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    x, y, size = int(table.x[row]), int(table.y[row]), int(table.size[row])
    return whole[table.slide[row]][y : y + size, x : x + size, None]


def loader_of(table: TileTable, method: str, **options: Any) -> Any:
    steering = {"patch_size": 32, "fix_ratio": 0.25} if METHODS[method].is_cellmix else {}
    chosen = {"num_classes": 3, "batch_size": BATCH, "method": method, "p": 0.8, "seed": SEED} | steering | PLAIN
    return train_loader(table, **chosen | options)


@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize(
    "method", ["CellMix-Group", "CellMix-All", "Cutout", "CutMix", "SaliencyMix", "ResizeMix", "FMix"]
)
def test_masks_are_flipped_and_mixed_as_the_images(table: TileTable, slides: Any, method: str, engine: str) -> None:
    masks, whole = slides
    mixer: Any = make_mixer(method, p=0.8, seed=SEED)
    triggered = 0
    with loader_of(table, method, masks=masks, engine=engine) as loader:
        for number, batch in enumerate(loader):
            rows = batch["tile"].tolist()
            key: dict[str, Any] = {"epoch": 0, "iteration": number}
            if method == "SaliencyMix":
                images = []
                for row in rows:
                    with open_slide(table.slides[table.slide[row]]) as slide:
                        images.append(slide.read_region(0, int(table.x[row]), int(table.y[row]), 256, 256))
                key["peaks"] = saliency_peaks(flipped(np.stack(images), number))
            plan = mixer.draw(BATCH, 256, *((32, 0.25) if METHODS[method].is_cellmix else ()), **key)
            given = flipped(np.stack([window(table, row, whole) for row in rows]), number)
            assert batch["masks"].shape == (BATCH, 256, 256)
            assert batch["masks"].dtype == torch.uint8
            np.testing.assert_array_equal(batch["masks"].numpy(), plan.for_masks().apply(given)[..., 0])
            triggered += plan.triggered
    assert triggered


def test_polygons_at_the_middle_of_every_pixel_on_every_level(rendered: list[RenderedSlide], polygons: Any) -> None:
    """Windows anywhere, of a coarser level, shrunk to the tile, and over the edge: by Shapely, point by point."""
    path = rendered[1].path
    table = TileTable.from_columns(
        [path] * 5,
        x=[0, 131, 77, 210, 900],
        y=[256, 400, 30, 40, 870],
        size=[64, 64, 160, 96, 200],
        level=[0, 0, 0, 1, 0],
    )
    with evaluate_loader(table, batch_size=3, tile_size=64, masks=polygons, edge="pad") as loader:
        found = torch.cat([batch["masks"] for batch in loader]).numpy()
    with open_slide(path) as slide:
        annotations, _ = annotations_of(path.with_suffix(".geojson"), slide)
        levels = slide.levels
    assert set(annotations.names) >= set(CLASSES)
    for row in range(5):
        step, level = table.size[row] / 64, levels[table.level[row]]
        x, y = (start + (np.arange(64) + 0.5) * step for start in (table.x[row], table.y[row]))
        want = np.zeros((64, 64), np.uint8)
        for value, name in enumerate(CLASSES, 1):
            for polygon, of in zip(annotations.polygons, annotations.names, strict=True):
                if of == name:
                    want[shapely.contains_xy(polygon, *np.meshgrid(x * level.downsample, y * level.downsample))] = value
        want[y >= level.height] = 255
        want[:, x >= level.width] = 255
        np.testing.assert_array_equal(found[row], want)
    assert set(np.unique(found)) == {0, 1, 2, 255}


def test_windows_over_several_blocks_and_of_a_coarser_level(rendered: list[RenderedSlide], slides: Any) -> None:
    masks, whole = slides
    path = rendered[0].path
    table = TileTable.from_columns([path] * 4, x=[0, 100, 31, 9], y=[0, 77, 500, 100], size=128, level=[0, 0, 0, 1])
    with evaluate_loader(table, batch_size=4, masks=masks) as loader:
        assert not loader.source.reader.whole
        (batch,) = list(loader)
    for row in range(3):
        np.testing.assert_array_equal(batch["masks"][row].numpy(), window(table, row, whole)[..., 0])
    np.testing.assert_array_equal(batch["masks"][3].numpy(), whole[0][::4, ::4][100:228, 9:137])


def turned(images: Any, draw: Draw) -> Any:
    """Move images and masks by the same numbers."""
    how = {"horizontal": draw.coin(0.5), "vertical": draw.coin(0.5)}
    if draw.masks is not None:
        draw.masks = fn.flip(draw.masks, **how)
    return fn.cast(fn.flip(images, **how) * draw.uniform(0.9, 1.0), dtype=types.UINT8)


def test_an_augmentation_moves_masks_by_the_same_numbers(table: TileTable, slides: Any) -> None:
    """The images' red channel as the mask: where an image is dark, so is its mask, however both were turned."""
    masks, whole = slides
    with loader_of(table, "CutMix", masks=masks, augment=turned, flips=False, p=0.0) as loader:
        for number, batch in enumerate(loader):
            assert loader.source.order.batch(0, number).tolist() == batch["tile"].tolist()
            for row, image, mask in zip(batch["tile"].tolist(), batch["images"], batch["masks"], strict=True):
                with open_slide(table.slides[table.slide[row]]) as slide:
                    plain = slide.read_region(0, int(table.x[row]), int(table.y[row]), 256, 256).astype(float)
                own = window(table, row, whole)[..., 0]
                ways = [(slice(None, None, down), slice(None, None, across)) for down in (1, -1) for across in (1, -1)]
                way = min(ways, key=lambda way: np.abs(image.permute(1, 2, 0).numpy() - 0.95 * plain[way]).mean())
                np.testing.assert_array_equal(mask.numpy(), own[way])


def smaller(images: Any, draw: Draw) -> Any:
    draw.masks = fn.crop(draw.masks, crop=[128, 128])
    return images


def test_an_augmentation_that_breaks_masks_is_refused(table: TileTable, slides: Any) -> None:
    with pytest.raises(CellMixDaliError), loader_of(table, "CutMix", masks=slides[0], augment=smaller) as loader:
        next(iter(loader))


def unmoved(images: Any, draw: Draw) -> Any:
    return fn.flip(images, horizontal=draw.coin(0.1), vertical=0)


def moved_otherwise(images: Any, draw: Draw) -> Any:
    draw.masks = fn.flip(draw.masks, horizontal=draw.coin(0.5))
    return fn.flip(images, horizontal=draw.coin(0.5))


def shifted(images: Any, _: Draw) -> Any:
    return fn.warp_affine(images, matrix=[1.0, 0.0, 5.0, 0.0, 1.0, 0.0], fill_value=255.0)


def zoomed(images: Any, draw: Draw) -> Any:
    return fn.resize(fn.crop(images, crop=[200, 200], crop_pos_x=draw.uniform()), size=[256, 256])


def interpolated(images: Any, draw: Draw) -> Any:
    how = {"angle": draw.uniform(-90, 90), "keep_size": True, "fill_value": 255.0}
    draw.masks = fn.rotate(draw.masks, **how)
    return fn.rotate(images, **how)


@register_augmentation("test_half_turn")
@dataclass(frozen=True)
class HalfTurn(PixelChange):
    """Turns pixels, which a change of pixels in their places must not."""

    p: float = 0.2

    def pixels(self, images: Any, draw: Draw) -> Any:
        turn = draw.coin(self.p)
        return fn.flip(images, horizontal=turn, vertical=turn)


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (unmoved, "augment=.*unmoved moves pixels of the images, and not those of draw.masks"),
        (moved_otherwise, "moved_otherwise moves pixels"),
        (shifted, "shifted moves pixels"),
        (zoomed, "zoomed moves pixels"),
        (interpolated, "interpolated makes [0-9]+ classes of 2 in draw.masks, as interpolation does"),
        (["hed_jitter", "test_half_turn"], r"test_half_turn\(p=0.2\) moves pixels"),
    ],
)
def test_an_augmentation_that_moves_pixels_without_their_masks_is_refused(
    table: TileTable, slides: Any, augment: Any, words: str
) -> None:
    """By name, before the first batch; without masks it is the user's to choose."""
    with pytest.raises(ArgumentError, match=words):
        loader_of(table, "CutMix", masks=slides[0], augment=augment)
    if augment not in (moved_otherwise, interpolated):
        with loader_of(table, "CutMix", augment=augment) as loader:
            assert len(next(iter(loader))["images"]) == BATCH


def rotated(images: Any, draw: Draw) -> Any:
    how = {"angle": draw.uniform(-90, 90), "keep_size": True, "fill_value": 255.0}
    draw.masks = fn.rotate(draw.masks, interp_type=types.INTERP_NN, **how)
    return fn.rotate(images, **how)


def blurred_equalised_and_erased(images: Any, draw: Draw) -> Any:
    """What changes colours by the whole picture, smears them, and hides some; all in their places."""
    images = fn.equalize(fn.gaussian_blur(images, sigma=draw.uniform(0.5, 5.0)))
    images = fn.erase(images, anchor=draw.uniform(0, 128, [2]), shape=[90.0, 90.0], axes=(0, 1), fill_value=0)
    images = fn.cast(images * draw.uniform(0.3, 1.0), dtype=types.UINT8)
    small = fn.resize(fn.jpeg_compression_distortion(images, quality=20), size=[64, 64])
    return fn.resize(small, size=[256, 256], interp_type=types.INTERP_NN)


@pytest.mark.parametrize("augment", [turned, rotated, blurred_equalised_and_erased, "strong", "dinov2"])
def test_what_keeps_masks_and_pixels_together_is_not_refused(table: TileTable, slides: Any, augment: Any) -> None:
    with loader_of(table, "CutMix", masks=slides[0], augment=augment) as loader:
        assert len(next(iter(loader))["masks"]) == BATCH


def test_a_mask_that_cannot_be_read_is_as_a_tile_that_cannot(table: TileTable, slides: Any, tmp_path: Path) -> None:
    masks, whole = slides
    name = Path(table.slides[1]).stem
    wrong = np.array(whole[1])
    wrong[300, 300] = 77  # in one tile
    tifffile.imwrite(tmp_path / f"{name}.tif", wrong, tile=(128, 128), compression="zlib")
    with loader_of(table, "CutMix", masks=masks, p=0.0, flips=False) as loader:
        rows: list[int] = []
        for batch in loader:
            rows += batch["tile"].tolist()
            want = np.stack([window(table, row, whole)[..., 0] for row in batch["tile"].tolist()])
            np.testing.assert_array_equal(batch["masks"].numpy(), want)
        (fault,) = loader.faults
    assert fault.tile not in rows
    assert "has the value 77" in fault.reason
    with (
        pytest.raises(SlideError, match="has the value 77"),
        evaluate_loader(table, batch_size=8, masks=masks) as loader,
    ):
        list(loader)


@pytest.mark.parametrize("heals", [True, False])
def test_a_mask_that_cannot_be_read_just_now_is_tried_again(
    table: TileTable, slides: Any, monkeypatch: pytest.MonkeyPatch, heals: bool
) -> None:
    at, tried = SlideMask.at, [0]

    def moody(self: SlideMask, x: Any, y: Any) -> NDArray[np.uint8]:
        tried[0] += 1
        if tried[0] <= 2 or not heals:
            raise NotReadError("The server does not answer.")
        return at(self, x, y)

    reader = MaskReader(table, slides[0], 256, retry=Retry(seconds=0.3, first=0.1))
    monkeypatch.setattr(SlideMask, "at", moody)
    with pytest.warns(UserWarning, match="The server does not answer"):
        (mask,) = reader.read(np.array([3]))
    assert isinstance(mask, NotReadError) != heals
    before = tried[0]
    (again,) = reader.read(np.array([5]), patient=False)
    assert tried[0] == before + 1
    assert isinstance(again, NotReadError) != heals
    reader.close()


def test_a_state_of_other_masks_is_refused(table: TileTable, polygons: AnnotationMasks, slides: Any) -> None:
    with loader_of(table, "CutMix", masks=polygons) as loader:
        next(iter(loader))
        state = json.loads(json.dumps(loader.state_dict()))
    others = (None, slides[0], AnnotationMasks(polygons.folder, CLASSES[::-1]))
    for other in (*others, AnnotationMasks(polygons.folder, CLASSES, unannotated=255)):
        with loader_of(table, "CutMix", masks=other) as loader, pytest.raises(ArgumentError, match="masks was"):
            loader.load_state_dict(state)
    with loader_of(table, "CutMix", masks=polygons) as loader:
        loader.load_state_dict(state)


def test_a_training_that_goes_on_sees_the_very_batches(table: TileTable, polygons: AnnotationMasks) -> None:
    age = TargetValues("regression", np.arange(len(table)) / 7)
    risk = TargetValues("survival", np.stack([np.arange(len(table)), np.arange(len(table)) % 2], axis=1))
    options: dict[str, Any] = {"masks": polygons, "targets": {"age": age, "risk": risk}, "source_map": 32}
    with loader_of(table, "CellMix-All", augment=turned, **options) as loader:
        whole = []
        for batch in loader:
            whole.append({name: value.clone() for name, value in batch.items()})
            if len(whole) == 2:
                state = json.loads(json.dumps(loader.state_dict()))
    with loader_of(table, "CellMix-All", augment=turned, **options) as loader:
        loader.load_state_dict(state)
        rest = list(loader)
    assert len(rest) == len(whole) - 2 > 0
    for got, want in zip(rest, whole[2:], strict=True):
        assert {"masks", "age", "risk", "weights", "source_map"} <= set(got)
        assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize("unannotated", [0, 7, 255])
def test_a_slide_without_polygons_and_one_without_a_file(
    rendered: list[RenderedSlide], tmp_path: Path, unannotated: int
) -> None:
    path = rendered[0].path
    with open_slide(path) as slide:
        table = grid_tiles(slide, 256)
    masks = AnnotationMasks(tmp_path, CLASSES, unannotated=unannotated)
    with pytest.raises(
        ArgumentError, match=f"There is no mask for .* looked for {path.name}.geojson, {path.stem}.geojson"
    ):
        MaskReader(table, masks, 256)
    (tmp_path / f"{path.name}.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    reader = MaskReader(table, masks, 256)
    (mask,) = reader.read(np.array([3]))
    assert not isinstance(mask, SlideError)
    assert (mask == unannotated).all()
    reader.close()


def test_what_is_refused(table: TileTable, polygons: AnnotationMasks, tmp_path: Path) -> None:
    folder = polygons.folder
    makers: list[tuple[Any, str]] = [
        (lambda: AnnotationMasks(folder / "none", CLASSES), "There is no folder of masks"),
        (lambda: AnnotationMasks(folder), "give 1 to 254 different names"),
        (lambda: AnnotationMasks(folder, ("a", "a")), "give 1 to 254 different names"),
        (lambda: AnnotationMasks(folder, CLASSES, unannotated=256), "unannotated=256"),
        (lambda: AnnotationMasks(folder, CLASSES, unannotated=-1), "unannotated=-1"),
        (lambda: AnnotationMasks(folder, CLASSES, origin="slide"), "Unknown annotations_origin 'slide'"),  # type: ignore[arg-type]
        (lambda: MaskSlides(folder, values=0), "values=0"),
        (lambda: MaskSlides(folder, values=256), "values=256"),
        (lambda: loader_of(table, "Mixup", masks=polygons), "a mixed pixel has no one class"),
        (lambda: loader_of(table, "CutMix", masks=folder), r"give AnnotationMasks\(folder, classes\)"),
        (lambda: loader_of(table, "CutMix", masks=AnnotationMasks(folder, ("tumor",))), "none of the classes 'tumor'"),
        (lambda: loader_of(table, "CutMix", masks=MaskSlides(folder)), "There is no mask for|compressed as JPEG"),
    ]
    for make, words in makers:
        with pytest.raises(ArgumentError, match=words):
            make()
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken, ignore=shutil.ignore_patterns("*.svs", "*.tif*"))
    next(broken.glob("*.geojson")).write_text("{")
    with pytest.raises(ArgumentError, match="Export them from QuPath"):
        loader_of(table, "CutMix", masks=AnnotationMasks(broken, CLASSES))
    assert AnnotationMasks(folder, "tumour").classes == ("tumour",)  # type: ignore[arg-type]
