"""Class masks of image files: resized, flipped and mixed as the images, to the bit; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from nvidia.dali import fn
from PIL import Image

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.mixing import METHODS, make_mixer
from cellmix_dali.pipelines import ImageCache, Loader, evaluate_image_loader, train_image_loader
from cellmix_dali.plugins.source import drawn_flips
from cellmix_dali.reading import ImageMasks

COUNT, BATCH, SIDE, SEED = 12, 4, 64, 5
Masks = list[NDArray[np.uint8]]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Images of 64 x 64, and of 128 x 96 px, in two folders."""
    found = []
    for item in range(COUNT):
        shape = (128, 96) if item % 3 == 0 else (SIDE, SIDE)
        path = tmp_path / "images" / "ab"[item % 2] / f"{item}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(item).integers(0, 256, (*shape, 3), np.uint8)).save(path)
        found.append(str(path))
    return found


@pytest.fixture
def masks(files: list[str], tmp_path: Path) -> tuple[ImageMasks, Masks]:
    """Masks of three kinds in the images' subfolders, some of another resolution; and what each is at 64 x 64 px."""
    made = []
    for item, file in enumerate(files):
        with Image.open(file) as image:
            width, height = image.size
        scale = 2 if item % 4 == 1 else 1
        classes = np.random.default_rng(100 + item).integers(0, 3, (scale * height, scale * width), np.uint8)
        classes[0] = 255
        kind = ("L", "P", "1")[item % 3]
        if kind == "1":
            classes = (classes == 1).astype(np.uint8)
        path = tmp_path / "masks" / Path(file).parent.name / f"{item}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(classes == 1) if kind == "1" else Image.fromarray(classes)
        if kind == "P":
            picture = Image.frombytes("P", picture.size, classes.tobytes())
            picture.putpalette([255 - value // 3 for value in range(768)])
        picture.save(path)
        rows, columns = (((np.arange(SIDE) + 0.5) / SIDE * side).astype(int) for side in classes.shape)
        made.append(classes[rows][:, columns])
    return ImageMasks(tmp_path / "masks", values=3), made


def loader_of(files: list[str], method: str, **options: Any) -> Loader[Any]:
    steering = {"patch_size": 16, "fix_ratio": 0.25} if METHODS[method].is_cellmix else {}
    given: dict[str, Any] = {"num_classes": 2, "batch_size": BATCH, "image_size": SIDE, "method": method, "p": 0.8}
    labels = np.arange(len(files)) % 2
    return train_image_loader(files, labels, **given | {"seed": SEED} | steering | options)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("method", ["CellMix-Group", "Cutout", "ResizeMix"])
def test_masks_are_resized_flipped_and_mixed_as_the_images(
    files: list[str], masks: tuple[ImageMasks, Masks], method: str, cached: bool
) -> None:
    mixer: Any = make_mixer(method, p=0.8, seed=SEED)
    cache = ImageCache(SIDE) if cached else None
    triggered = 0
    with loader_of(files, method, masks=masks[0], cache=cache) as loader:
        for number, batch in enumerate(loader):
            plan = mixer.draw(
                BATCH, SIDE, *((16, 0.25) if METHODS[method].is_cellmix else ()), epoch=0, iteration=number
            )
            flips = drawn_flips(BATCH, seed=SEED, epoch=0, iteration=number, rank=0)
            own = [masks[1][item] for item in batch["item"].tolist()]
            pairs = zip(own, flips, strict=True)
            turned = np.stack([mask[:: -1 if down else 1, :: -1 if across else 1] for mask, (across, down) in pairs])
            want = plan.for_masks().apply(turned[..., None])[..., 0]
            assert batch["masks"].dtype == torch.uint8
            np.testing.assert_array_equal(batch["masks"].numpy(), want)
            triggered += plan.triggered
    assert triggered


def test_an_evaluation_has_them_and_augmentations_move_them(files: list[str], masks: tuple[ImageMasks, Masks]) -> None:
    """All in one folder, under the images' full names; the last batch is short."""
    flat = masks[0].folder.parent / "flat"
    flat.mkdir()
    for file in files:
        own = masks[0].folder / Path(file).parent.name / Path(file).name
        (flat / f"{Path(file).name}.png").write_bytes(own.read_bytes())
    given: dict[str, Any] = {"batch_size": 5, "image_size": SIDE, "masks": ImageMasks(flat)}
    upside_down = {"flip": {"horizontal": 0, "vertical": 1}}
    with (
        evaluate_image_loader(files, None, **given) as loader,
        evaluate_image_loader(files, None, **given, augment=[upside_down]) as turned,
    ):
        plain, moved = (torch.cat([batch["masks"] for batch in each]).numpy() for each in (loader, turned))
    np.testing.assert_array_equal(plain, np.stack(masks[1]))
    np.testing.assert_array_equal(moved, plain[:, ::-1])
    with pytest.raises(ArgumentError, match=r"moves pixels of the images, and not those of draw.masks"):
        evaluate_image_loader(files, None, **given, augment=lambda images, _: fn.flip(images, vertical=1, horizontal=0))


def test_a_training_goes_on_with_the_same_masks_alone(files: list[str], masks: tuple[ImageMasks, Masks]) -> None:
    with loader_of(files, "CellMix-Group", masks=masks[0]) as loader:
        next(iter(loader))
        state = loader.state_dict()
        rest = [batch["masks"].clone() for batch in loader][1:]
    with loader_of(files, "CellMix-Group", masks=masks[0]) as loader:
        loader.load_state_dict(state)
        assert all(torch.equal(got["masks"], want) for got, want in zip(loader, rest, strict=False))
    with loader_of(files, "CellMix-Group") as loader, pytest.raises(ArgumentError, match="masks was"):
        loader.load_state_dict(state)


def write(path: Path, mask: Any) -> None:
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "There is no mask for .*0.png: looked for"),
        (lambda path: write(path, np.full((128, 96), 3)), "0.png has the value 3: values go from 0 to 2"),
        (lambda path: write(path, np.zeros((128, 128))), "has 128 x 128 pixels, its image .* 96 x 128"),
        (lambda path: write(path, np.zeros((128, 96, 3))), "is a PNG of mode RGB: give a PNG of grey values"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(
    files: list[str], masks: tuple[ImageMasks, Masks], spoil: Any, words: str
) -> None:
    """By the name of the file, when the loader is made."""
    spoil(masks[0].folder / "a" / "0.png")
    with pytest.raises(CellMixDaliError, match=words):
        loader_of(files, "CutMix", masks=masks[0])


def test_a_bad_mask_that_is_met_later_is_named(files: list[str], masks: tuple[ImageMasks, Masks]) -> None:
    write(masks[0].folder / "b" / "11.png", np.full((SIDE, SIDE), 77))
    with (
        pytest.raises(CellMixDaliError, match=r"11.png has the value 77"),
        loader_of(files, "CutMix", masks=masks[0]) as loader,
    ):
        for _ in loader:
            pass
    with pytest.raises(ArgumentError, match=r"11.png has the value 77"):
        loader_of(files, "CutMix", masks=masks[0], cache=ImageCache(SIDE))


def test_what_cannot_be_masks(files: list[str], masks: tuple[ImageMasks, Masks], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="There is no folder of masks"):
        ImageMasks(tmp_path / "nothing")
    with pytest.raises(ArgumentError, match="values=0"):
        ImageMasks(tmp_path, values=0)
    with pytest.raises(ArgumentError, match=r"image files take ImageMasks\(folder\)"):
        loader_of(files, "CutMix", masks=str(masks[0].folder))
    with pytest.raises(ArgumentError, match=r"[Mm]ixup"):
        loader_of(files, "Mixup", masks=masks[0])
    twins = [tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"]
    for twin in [*twins, tmp_path / "flat" / "a.png"]:
        twin.parent.mkdir()
        write(twin, np.zeros((SIDE, SIDE)))
    with pytest.raises(ArgumentError, match=r"would share .*a.png: put masks into the same subfolders"):
        evaluate_image_loader(twins, None, batch_size=2, masks=ImageMasks(tmp_path / "flat"))
