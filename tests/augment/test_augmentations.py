"""Augmentations: what each draws and does, keys, probabilities, sequences, masks, recipes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from changed import changed, pictures
from nvidia.dali import fn

from cellmix_dali.augment import (
    AUGMENTATIONS,
    PRESETS,
    Augmentation,
    ColourJitter,
    Compose,
    Erase,
    Flip,
    GaussianBlur,
    Greyscale,
    HEDJitter,
    JPEGArtefacts,
    Noise,
    PixelChange,
    RandomAffine,
    RandomResizedCrop,
    RandStainNA,
    Sharpen,
    Solarise,
    Template,
    Turn,
    augmentation,
    register_augmentation,
)
from cellmix_dali.errors import ArgumentError

LAB = {
    "color_space": "LAB",
    "L": {"avg": {"mean": 158.0, "std": 20.0}, "std": {"mean": 36.9, "std": 5.0}},
    "A": {"avg": {"mean": 151.2, "std": 6.0}, "std": {"mean": 8.1, "std": 1.0}},
    "B": {"avg": {"mean": 116.8, "std": 4.0}, "std": {"mean": 6.1, "std": 0.5}},
}
HED = {
    "color_space": "HED",
    "H": {"avg": {"mean": 0.08, "std": 0.02}, "std": {"mean": 0.03, "std": 0.005}},
    "E": {"avg": {"mean": 0.05, "std": 0.01}, "std": {"mean": 0.02, "std": 0.004}},
    "D": {"avg": {"mean": 0.03, "std": 0.01}, "std": {"mean": 0.01, "std": 0.002}},
}
EACH: dict[str, Callable[..., Augmentation]] = {
    "flip": Flip,
    "turn": Turn,
    "colour_jitter": ColourJitter,
    "greyscale": Greyscale,
    "solarise": Solarise,
    "noise": Noise,
    "hed_jitter": HEDJitter,
    "randstainna": lambda **given: RandStainNA(templates=[LAB, HED], **given),
    "gaussian_blur": lambda **given: GaussianBlur(sigma=(0.8, 2.0), **given),
    "sharpen": lambda **given: Sharpen(amount=(0.5, 1.0), **given),
    "jpeg_artefacts": JPEGArtefacts,
    "random_resized_crop": RandomResizedCrop,
    "random_affine": RandomAffine,
    "erase": lambda **given: Erase(scale=(0.1, 0.3), **given),
}


def test_each_one_is_here() -> None:
    by_slide = {"stain_normalisation", "stain_mixup"}  # tests/pipelines/test_stains_in_graphs.py
    here = {name for name in AUGMENTATIONS if AUGMENTATIONS[name].__module__.startswith("cellmix_dali.")}
    assert set(EACH) | by_slide == here


@pytest.mark.parametrize("name", EACH)
def test_p_draws_by_the_key_and_says_who_is_changed(name: str) -> None:
    """p=0 is the identity to the bit; p=1 changes (nearly) all; in between a share; same key, same images."""
    images = pictures(16, 32, 32)
    np.testing.assert_array_equal(changed(EACH[name](p=0.0), images)[0], images)
    always = changed(EACH[name](p=1.0), images, batches=2)
    moved = (always != images).any(axis=(2, 3, 4))
    assert moved.mean() >= (0.5 if name in ("flip", "turn", "erase") else 0.95)
    np.testing.assert_array_equal(changed(EACH[name](p=1.0), images, iteration=1)[0], always[1])
    if name not in ("greyscale", "solarise"):  # which draw nothing but whether
        assert not np.array_equal(always[0], always[1])
        assert not np.array_equal(changed(EACH[name](p=1.0), images, seed=1)[0], always[0])
    half = (changed(EACH[name](p=0.5), images, batches=2) != images).any(axis=(2, 3, 4)).mean()
    assert 0.15 < half < 0.85


@pytest.mark.parametrize("name", EACH)
def test_both_engines_draw_the_same(name: str) -> None:
    images = pictures(4, 24, 24)
    both = [changed(EACH[name](p=0.7), images, engine=engine)[0].astype(np.int16) for engine in ("native", "numba")]
    assert np.abs(both[0] - both[1]).max() <= 1


@pytest.mark.parametrize("name", [name for name in EACH if name not in ("flip", "turn", "greyscale", "randstainna")])
def test_strength_0_changes_nothing(name: str) -> None:
    images = pictures(4, 24, 24)
    if name not in ("jpeg_artefacts", "hed_jitter"):  # quality 100; colours that are no stains'
        got = changed(EACH[name](p=1.0), images, strength=0.0)[0].astype(np.int16)
        assert np.abs(got - images).max() <= 1
    stronger = changed(EACH[name](p=1.0), images, strength=0.5)[0]
    assert not np.array_equal(stronger, changed(EACH[name](p=1.0), images, strength=1.0)[0])


@pytest.mark.parametrize("size", [(24, 24), (20, 36)])
def test_flips_are_those_of_numpy(size: tuple[int, int]) -> None:
    """Every sample is one of four, each as often; masks go with their pixels."""
    images = pictures(64, *size)
    got, masks = changed(Flip(), images, masks=images[..., 0])
    np.testing.assert_array_equal(masks[0], got[0][..., 0])
    of_each = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    counts = [(got[0] == each).all(axis=(1, 2, 3)).sum() for each in of_each]
    assert sum(counts) == 64
    assert min(counts) > 5
    across = changed(Flip(horizontal=1.0, vertical=0.0), images)[0]
    np.testing.assert_array_equal(across, images[:, :, ::-1])
    np.testing.assert_array_equal(changed(Flip(horizontal=0.0, vertical=1.0), images)[0], images[:, ::-1])


def test_turns_are_those_of_numpy() -> None:
    images = pictures(64, 24, 24)
    got, masks = changed(Turn(), images, masks=images[..., 1])
    np.testing.assert_array_equal(masks[0], got[0][..., 1])
    counts = [(got[0] == np.rot90(images, turns, axes=(1, 2))).all(axis=(1, 2, 3)).sum() for turns in range(4)]
    assert sum(counts) == 64
    assert min(counts) > 5


def test_ranges_of_the_colour_jitter() -> None:
    numbers = ColourJitter(brightness=(0.5, 0.6), contrast=0.0, saturation=0.0, hue=0.0).numbers(
        np.random.default_rng(0), 500, 1.0
    )
    assert 0.5 <= numbers[:, 0, 1].min() < 0.51 < 0.59 < numbers[:, 0, 1].max() <= 0.6
    half = ColourJitter(brightness=(0.5, 0.6), contrast=0.0, saturation=0.0, hue=0.0).numbers(
        np.random.default_rng(0), 500, 0.5
    )
    assert 0.75 <= half[:, 0, 1].min() < 0.76 < 0.79 < half[:, 0, 1].max() <= 0.8


def test_grey_is_grey() -> None:
    images = pictures(3)
    got = changed(Greyscale(p=1.0), images)[0]
    want = images @ np.array([0.299, 0.587, 0.114])
    assert np.abs(got - want[..., None]).max() <= 0.51


@pytest.mark.parametrize("threshold", [100.0, (90.0, 110.0)])
def test_solarise(threshold: Any) -> None:
    images = pictures(3)
    got = changed(Solarise(threshold=threshold, p=1.0), images)[0]
    low, high = images < 90, images >= 110
    np.testing.assert_array_equal(got[low], images[low])
    np.testing.assert_array_equal(got[high], 255 - images[high])


def test_randstainna_meets_its_template() -> None:
    """With templates that do not vary, images have their means and deviations; HED fills the whole range of levels."""
    color = pytest.importorskip("skimage.color")
    fixed = {key: ({of: dict(each, std=0.0) for of, each in value.items()} if key != "color_space" else value)
             for key, value in LAB.items()}  # fmt: skip
    images = pictures(3, 64, 64)[:, 20:]  # tissue, without the noise of all colours
    images = images[:, :12]
    got = changed(RandStainNA(templates=fixed, p=1.0), images)[0]
    for image in got:
        lab = color.rgb2lab(image) * [2.55, 1, 1] + [0, 128, 128]
        np.testing.assert_allclose(lab.mean(axis=(0, 1))[1:], [151.2, 116.8], atol=2.5)
        np.testing.assert_allclose(lab[..., 0].mean(), 158.0, atol=6)
    stretched = changed(RandStainNA(templates=HED, p=1.0), images)[0]
    assert all(image.min() == 0 and image.max() == 255 for image in stretched)


def test_randstainna_is_that_of_its_authors() -> None:
    """Their arithmetic in float64, to a level: normalise in HED, and stretch."""
    color = pytest.importorskip("skimage.color")
    images = pictures(4, 40, 40)
    augment = RandStainNA(templates=HED, p=1.0)
    got = changed(augment, images)[0]
    from cellmix_dali._random import generator
    from cellmix_dali.augment.hed_jitter import HED_UNIT

    numbers = augment.drawn(generator(0, epoch=0, iteration=0, rank=0, stream=1 << 16), 4, 1.0)
    for image, own, found in zip(images, numbers, got, strict=True):
        hed = color.rgb2hed(image)
        deviation = np.clip(hed.std(axis=(0, 1)), 0.0001 / HED_UNIT, 255)
        target, mean = own[2, 13:16] / HED_UNIT, own[2, 16:19] / HED_UNIT
        back = color.hed2rgb((hed - hed.mean(axis=(0, 1))) * (target / deviation) + mean)
        want = 255 * (back - back.min()) / (back.max() - back.min())
        assert np.abs(found - want).max() <= 1


def test_a_box_is_erased() -> None:
    images = pictures(32, 40, 60)
    got = changed(Erase(scale=(0.1, 0.2), ratio=(0.5, 2.0), fill=7.0, p=1.0), images)[0]
    for image, before in zip(got, images, strict=True):
        rows, columns = np.nonzero((image == 7).all(axis=-1) & (before != 7).any(axis=-1))
        box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (box == 7).mean() == 1.0
        assert 0.08 < box.shape[0] * box.shape[1] / 2400 < 0.22
        assert ((image != before).any(axis=-1)).sum() <= box.shape[0] * box.shape[1]


def test_crops_are_boxes_of_the_image() -> None:
    """A ramp tells where each box began and ended; masks take the same box."""
    ramp = np.zeros((24, 64, 96, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = 3 * np.arange(64)[:, None], 2 * np.arange(96)
    got, masks = changed(RandomResizedCrop(scale=(0.3, 0.5), ratio=(0.5, 2.0)), ramp, masks=ramp[..., 1])
    height = (got[0, :, -1, 0, 0].astype(float) - got[0, :, 0, 0, 0]) / 3 * 64 / 63
    width = (got[0, :, 0, -1, 1].astype(float) - got[0, :, 0, 0, 1]) / 2 * 96 / 95
    area = height * width / (64 * 96)
    assert (area > 0.25).all()
    assert (area < 0.55).all()
    assert area.std() > 0.02
    assert np.abs(masks[0].astype(int) - got[0][..., 1]).max() <= 4  # the nearest pixel against interpolation


def test_affine_maps_about_the_centre() -> None:
    images = pictures(4, 33, 33)
    quarter = changed(RandomAffine(degrees=(90, 90), scale=1.0, p=1.0), images)[0]
    turned = [np.rot90(images, turns, axes=(1, 2)) for turns in (1, 3)]
    assert min(np.abs(quarter[:, 2:-2, 2:-2].astype(int) - each[:, 2:-2, 2:-2]).max() for each in turned) <= 1
    far = changed(RandomAffine(degrees=0, scale=1.0, translate=1.0, fill=9.0, p=1.0), images)[0]
    assert (far == 9).all(axis=-1).mean() > 0.2
    same, masks = changed(
        RandomAffine(degrees=30, scale=(0.7, 1.4), shear=10, p=1.0), images, masks=images[..., 0] // 86
    )
    assert not np.array_equal(same[0], images)
    assert set(np.unique(masks)) <= set(np.unique(images[..., 0] // 86))


def test_a_sequence_is_its_parts_one_after_the_other() -> None:
    """Changes of colour wait for one another, also over a flip; a matrix after a matrix is their product."""
    images = pictures(4)
    fixed = ColourJitter(brightness=(0.8, 0.8), contrast=(0.9, 0.9), saturation=(0.7, 0.7), hue=(20, 20))
    grey = Greyscale(p=1.0)
    one = changed(Compose([fixed, Flip(horizontal=1.0, vertical=0.0), grey]), images)[0]
    two = changed(grey, changed(fixed, images)[0])[0][:, :, ::-1]
    assert np.abs(one.astype(int) - two).max() <= 2  # which are rounded, and cut off, in between
    blurred = Compose([grey, GaussianBlur(sigma=1.0, p=1.0)])
    apart = changed(GaussianBlur(sigma=1.0, p=1.0), changed(grey, images)[0])[0]
    assert np.abs(changed(blurred, images)[0].astype(int) - apart).max() <= 1


def test_what_is_added_at_the_end_changes_no_draw_before_it() -> None:
    images = pictures(8)
    never = Compose([HEDJitter(alpha=0.3), Noise(p=0.0), GaussianBlur(p=0.0)])
    np.testing.assert_array_equal(changed(never, images), changed(HEDJitter(alpha=0.3), images))


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    images = pictures(8, 48, 48)
    got = changed(PRESETS[name], images)
    assert got.shape == (1, *images.shape)
    assert (got[0] != images).any(axis=(1, 2, 3)).mean() >= 0.7
    assert augmentation(name.upper()) is PRESETS[name]


def test_recipes(tmp_path: Path) -> None:
    recipe = ["turn", {"hed_jitter": {"alpha": 0.1, "p": 0.5}}, {"noise": None}]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(recipe))
    found = augmentation(file)
    assert isinstance(found, Compose)
    assert found.changes == (Turn(), HEDJitter(alpha=0.1, p=0.5), Noise())
    assert augmentation(recipe) == augmentation(str(file)) == found
    assert augmentation("HED-jitter") == HEDJitter()
    assert augmentation("cellmix_dali.augment.presets:PRESETS".replace("PRESETS", "Flip")) is Flip
    assert augmentation({"gaussian_blur": {"sigma": 2}}) == Compose([GaussianBlur(sigma=2)])
    assert "hed_jitter(alpha=(0.9, 1.1)" in found.told()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("strnog", "Did you mean 'strong'"),
        ([], "not a list of augmentations"),
        ([{"flip": {}, "turn": {}}], "one name with its arguments"),
        ([{"flip": {"sigma": 1}}], "flip cannot be made"),
        ([{"flip": [1]}], "not arguments by name"),
        ([3], "give a name"),
        ("nowhere.yaml", "cannot be read"),
        ("nowhere:thing", "cannot be imported"),
        (7, "give a preset's name"),
    ],
)
def test_recipes_that_cannot_be(given: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        augmentation(given)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flip(horizontal=1.2), "p=1.2"),
        (lambda: ColourJitter(brightness=(1.2, 0.8)), "above its high end"),
        (lambda: ColourJitter(hue=200), "hue="),
        (lambda: ColourJitter(saturation=(-0.1, 1)), "saturation=-0.1"),
        (lambda: HEDJitter(alpha=(1, 2, 3)), "give a range"),
        (lambda: HEDJitter(beta=-1), "beta=-1"),
        (lambda: Solarise(threshold=257), "threshold=257"),
        (lambda: Noise(sigma=(-1, 2)), "sigma=-1"),
        (lambda: GaussianBlur(sigma=21), "sigma=21"),
        (lambda: Sharpen(sigma=0), "sigma=0"),
        (lambda: Sharpen(amount=11), "amount=11"),
        (lambda: JPEGArtefacts(quality=0), "quality=0"),
        (lambda: RandomResizedCrop(scale=(0.1, 1.1)), "scale=1.1"),
        (lambda: RandomResizedCrop(ratio=0), "ratio=0"),
        (lambda: RandomAffine(scale=0), "scale=0"),
        (lambda: RandomAffine(shear=90), "shear="),
        (lambda: RandomAffine(translate=1.5), "translate=1.5"),
        (lambda: RandomAffine(fill=256), "fill=256"),
        (lambda: Erase(fill=-1), "fill=-1"),
        (lambda: RandStainNA(), "give at least one"),
        (lambda: RandStainNA(templates=[LAB, LAB]), "one for each colour space"),
        (lambda: RandStainNA(templates=LAB, distribution="cauchy"), "cauchy"),
        (lambda: RandStainNA(templates=LAB, std_hyper=-2), "std_hyper=-2"),
        (lambda: RandStainNA(templates={"color_space": "LAB"}), "is missing"),
        (lambda: Template("LAB", [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3]), "give three numbers"),
        (lambda: Template("XYZ", [1] * 3, [1] * 3, [1] * 3, [1] * 3), "XYZ"),
        (lambda: Compose([Flip()], p=0.5), "a probability each"),
        (lambda: Compose([len]), "not an Augmentation"),
        (lambda: register_augmentation("a:b"), "without a colon"),
        (lambda: register_augmentation("mine")(len), "derive a class"),
        (lambda: register_augmentation("Flip")(Flip), "already"),
    ],
)
def test_arguments_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


def test_one_of_ones_own() -> None:
    """One class, registered from outside: recipes know it."""
    from dataclasses import dataclass

    @register_augmentation("upside_down")
    @dataclass(frozen=True)
    class UpsideDown(PixelChange):
        """Turn everything over."""

        p: float = 1.0

        def pixels(self, images: Any, draw: Any) -> Any:
            return fn.flip(images, horizontal=0, vertical=draw.coin(self.p))

    try:
        images = pictures(3)
        np.testing.assert_array_equal(changed(augmentation(["upside_down"]), images)[0], images[:, ::-1])
    finally:
        del AUGMENTATIONS["upside_down"]


def test_every_parameter_is_documented() -> None:
    for name in AUGMENTATIONS:
        kind = AUGMENTATIONS[name]
        for parameter in inspect.signature(kind).parameters:
            assert f"{parameter}" in (kind.__doc__ or ""), (name, parameter)
