"""Augmenting and normalising samples, against the packages that others do it with; processor time of this process."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from material import Material
from measure import Contestant, Series, alternate, quotients
from nvidia.dali import fn, types
from openslide import OpenSlide
from peers import missing
from settings import BATCH, CLASSES, THREADS

from cellmix_dali import TileTable
from cellmix_dali.augment import Batch, ColourChange, ColourJitter, Compose, HEDJitter
from cellmix_dali.pipelines import train_loader
from cellmix_dali.pipelines.device import pipeline_on
from cellmix_dali.plugins import Draw, EpochClock
from cellmix_dali.plugins.normalise import MEAN, STD, normalise

if TYPE_CHECKING:
    from groups import Report

__all__ = ["augmenting"]

_SIDE, _WINDOWS, _SLOW = 224, 1024, 64
_COLOUR = ColourJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=18)
_HED = HEDJitter(alpha=0.05, beta=0.01)
_One = Callable[[np.ndarray], Any]


def augmenting(material: Material, rounds: int, report: Report) -> None:
    """Samples in memory, augmented and made normalised floats one by one; then the whole way from the slide."""
    images = _images(material)
    contestants = [_ours("ours: colour", images, _COLOUR), _ours("ours: HED", images, _HED)]
    asked: list[tuple[str, str, str, Callable[[], _One]]] = [
        ("torchvision", "torchvision v2: colour", "ours: colour", _torchvision),
        ("albumentations", "albumentations: colour", "ours: colour", _albumentations),
        ("kornia", "kornia: colour", "ours: colour", _kornia),
        ("skimage", "scikit-image: HED", "ours: HED", _skimage),
        ("torchstain", "torchstain: Macenko", "ours: HED", lambda: _torchstain(images[0])),
    ]
    for module, name, _, make in asked:
        reason = missing(module)
        if reason is None:
            contestants.append(_one_by_one(name, images[:_SLOW], make()))
        else:
            report.notes[f"augmenting_over_{module}"] = reason
    series = report.series["augmenting and normalising, 224 px, in memory"] = alternate(contestants, rounds)
    for module, name, own, _ in asked:
        report.rounds[f"augmenting_over_{module}"] = _cheaper(series, own, name)
    _from_slides(material, rounds, report)


def _from_slides(material: Material, rounds: int, report: Report) -> None:
    """Windows of the TIFF with HED jitter: the training loader, against OpenSlide and scikit-image."""
    table = material.windows(material.tiff, _WINDOWS)
    loader = train_loader(
        table,
        num_classes=CLASSES,
        batch_size=BATCH,
        method=None,
        flips=False,
        augment=_HED,
        num_threads=THREADS,
        num_workers=THREADS,
    )
    contestants = [Contestant("ours", lambda: sum(len(batch["images"]) for batch in loader), loader.close)]
    reason = missing("skimage")
    if reason is None:
        change = _skimage()
        contestants += [
            Contestant("OpenSlide opened per sample + scikit-image", lambda: _read(table, change, keep=False)),
            Contestant("OpenSlide kept open + scikit-image", lambda: _read(table, change, keep=True)),
        ]
    else:
        report.notes |= dict.fromkeys(("hed_over_openslide_opened", "hed_over_openslide_kept"), reason)
    reason = missing("wsistream")
    if reason is None:
        contestants.append(_wsistream(material.tiff))
    else:
        report.notes["hed_over_wsistream"] = reason
    series = report.series["HED jitter, windows of 224 px, from the slide"] = alternate(contestants, rounds)
    for key, name in (
        ("hed_over_openslide_opened", "OpenSlide opened per sample + scikit-image"),
        ("hed_over_openslide_kept", "OpenSlide kept open + scikit-image"),
        ("hed_over_wsistream", "wsistream"),
    ):
        report.rounds[key] = _cheaper(series, "ours", name)


def _wsistream(path: Path) -> Contestant:
    """Its stream of patches with its HED and its normalising, as its README has it; the slide stays open."""
    from wsistream import OpenSlideBackend, OtsuTissueDetector, PatchPipeline, RandomSampler
    from wsistream.transforms import ComposeTransforms, HEDColorAugmentation, NormalizeTransform

    stream = PatchPipeline(
        slide_paths=[path],
        backend=OpenSlideBackend(),
        tissue_detector=OtsuTissueDetector(),
        sampler=RandomSampler(patch_size=_SIDE, num_patches=-1, level=0, tissue_threshold=0.0),
        transforms=ComposeTransforms(
            transforms=[HEDColorAugmentation(sigma=0.05, sigma_bias=0.01), NormalizeTransform(MEAN, STD)]
        ),
        patches_per_slide=1 << 30,
        cycle=True,
        seed=0,
    )
    patches = iter(stream)

    def run() -> int:
        for patch in itertools.islice(patches, _SLOW):
            torch.from_numpy(patch.image).permute(2, 0, 1).contiguous()
        return _SLOW

    return Contestant("wsistream", run)


def _cheaper(series: dict[str, Series], own: str, other: str) -> list[float]:
    """How many times the other's processor time is ours, round by round; nothing where it did not run."""
    if other not in series:
        return []
    return quotients(series[other].cpu_us_per_tile, series[own].cpu_us_per_tile)


def _images(material: Material) -> np.ndarray:
    """A batch of windows of the TIFF, uint8 (batch, side, side, 3)."""
    table = material.windows(material.tiff, BATCH)
    with OpenSlide(table.slides[0]) as slide:
        corners = zip(table.x.tolist(), table.y.tolist(), strict=True)
        return np.stack([np.asarray(slide.read_region(at, 0, (_SIDE, _SIDE)).convert("RGB")) for at in corners])


def _ours(name: str, images: np.ndarray, change: ColourChange) -> Contestant:
    """The pass that changes colours and normalises, in a pipeline of its own."""
    pipeline = pipeline_on("cpu", batch_size=len(images), num_threads=THREADS)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC", no_copy=True)
        batch = Batch(node, Draw(EpochClock(None), len(images)))
        Compose([change]).change(batch)
        colour = batch.colour()
        pipeline.set_outputs(normalise(batch.pixels, colour=colour, engine="numba", sizes_checked=True))
    pipeline.build()

    def run() -> int:
        for _ in range(4):
            pipeline.run()
        return 4 * len(images)

    return Contestant(name, run)


def _one_by_one(name: str, images: np.ndarray, change: _One) -> Contestant:
    def run() -> int:
        for image in images:
            change(image)
        return len(images)

    return Contestant(name, run)


def _normalised(image: np.ndarray) -> torch.Tensor:
    """What all who change uint8 arrays do next, as torchvision does."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous().float().div_(255)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return tensor.sub_(mean).div_(std)


def _torchvision() -> _One:
    from torchvision.transforms import v2

    change = v2.Compose(
        [
            v2.ToImage(),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return lambda image: change(image)


def _albumentations() -> _One:
    import albumentations

    change = albumentations.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.05, 0.05), p=1)
    return lambda image: _normalised(change(image=image)["image"])


def _kornia() -> _One:
    import kornia.augmentation

    jitter = kornia.augmentation.ColorJitter(0.2, 0.2, 0.2, 0.05, p=1)
    means, deviations = torch.tensor(MEAN), torch.tensor(STD)
    even = kornia.augmentation.Normalize(means, deviations)
    return lambda image: even(jitter(torch.from_numpy(image).permute(2, 0, 1).float().div_(255)))


def _skimage() -> _One:
    from skimage.color import hed2rgb, rgb2hed

    random = np.random.default_rng(0)

    def change(image: np.ndarray) -> torch.Tensor:
        alpha, beta = random.uniform(0.95, 1.05, 3), random.uniform(-0.01, 0.01, 3)
        return _normalised((255 * hed2rgb(rgb2hed(image) * alpha + beta)).clip(0, 255).astype(np.uint8))

    return change


def _torchstain(target: np.ndarray) -> _One:
    import torchstain

    normaliser = torchstain.normalizers.MacenkoNormalizer(backend="numpy")
    normaliser.fit(target)

    def change(image: np.ndarray) -> torch.Tensor:
        with contextlib.suppress(np.linalg.LinAlgError):  # glass
            image = normaliser.normalize(I=image, stains=False)[0].astype(np.uint8)
        return _normalised(image)

    return change


def _read(table: TileTable, change: _One, *, keep: bool) -> int:
    """Read windows one by one, and change each."""
    corners: Sequence[tuple[int, int]] = list(zip(table.x[:_SLOW].tolist(), table.y[:_SLOW].tolist(), strict=True))
    kept = OpenSlide(table.slides[0]) if keep else None
    for at in corners:
        slide = kept or OpenSlide(table.slides[0])
        change(np.asarray(slide.read_region(at, 0, (_SIDE, _SIDE)).convert("RGB")))
        if kept is None:
            slide.close()
    if kept is not None:
        kept.close()
    return len(corners)
