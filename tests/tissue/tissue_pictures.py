"""Pictures of slides with known tissue: rendered, stained anew by optical densities, with glass, pens and dust."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image, ImageDraw, ImageFilter

from cellmix_dali.synthetic import render_tissue

FloatArray = npt.NDArray[np.float32]

# What stains absorb of red, green and blue light (Ruifrok and Johnston 2001, and as scanners show them).
STAINS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "h-e": ((0.65, 0.70, 0.29), (0.09, 0.86, 0.33)),
    "h-dab": ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78)),
    "blue h-dab": ((0.76, 0.60, 0.24), (0.27, 0.57, 0.78)),
    "pas": ((0.64, 0.71, 0.28), (0.17, 0.91, 0.37)),
    "trichrome": ((0.45, 0.83, 0.33), (0.80, 0.58, 0.15)),
    "silver": ((0.58, 0.58, 0.57), (0.30, 0.34, 0.45)),
}
PENS = {
    "blue": (0.42, 0.60, 0.88),
    "green": (0.35, 0.66, 0.60),
    "red": (0.90, 0.20, 0.30),
    "black": (0.06, 0.06, 0.06),
}


@dataclass(frozen=True)
class Case:
    """How a picture is made.

    Attributes
    ----------
    stain : str
        Of `STAINS`.
    strengths : tuple of float
        One a piece of tissue: 1 is usual, 0.1 very pale.
    amounts : (float, float)
        How much of the first stain and of the second there is.
    glass : (float, float, float)
        Its colour.
    """

    stain: str = "h-e"
    strengths: tuple[float, ...] = (1.0, 1.0)
    amounts: tuple[float, float] = (1.0, 1.0)
    glass: tuple[float, float, float] = (243, 243, 243)
    pen: str | None = None
    dust: bool = False
    fat: bool = False
    shade: float = 0.0
    padding: bool = False
    noise: float = 1.2
    seed: int = 3
    must: bool = True

    def without_pen(self) -> Case:
        """The same picture before anyone drew on it."""
        return replace(self, pen=None)


_HE, _DAB = Case(), Case("h-dab")
CASES: dict[str, Case] = {
    "H&E strong": replace(_HE, strengths=(1.6, 1.6)),
    "H&E": _HE,
    "H&E pale": replace(_HE, strengths=(0.4, 0.4)),
    "H&E very pale": replace(_HE, strengths=(0.15, 0.15)),
    "H&E pale beside strong": replace(_HE, strengths=(1.6, 0.25)),
    "H&E very pale beside strong": replace(_HE, strengths=(1.6, 0.12)),
    "H&E dim scan": replace(_HE, glass=(165, 164, 163)),
    "H&E pale, dim scan": replace(_HE, glass=(165, 164, 163), strengths=(0.3, 0.3)),
    "H&E uneven light": replace(_HE, shade=0.08, strengths=(1.0, 0.4)),
    "H&E yellow glass": replace(_HE, glass=(240, 236, 205)),
    "H&E pale, blue glass": replace(_HE, glass=(215, 228, 240), strengths=(0.4, 0.4)),
    "H&E pale, pink glass": replace(_HE, glass=(244, 238, 242), strengths=(0.4, 0.4)),
    "H&E pale, white padding": replace(_HE, glass=(236, 234, 228), strengths=(0.4, 0.4), padding=True),
    "H&E noisy": replace(_HE, noise=5.0, strengths=(1.0, 0.4)),
    "H&E dust": replace(_HE, dust=True, strengths=(1.0, 0.4)),
    "H&E eosin alone": replace(_HE, amounts=(0.0, 1.0), strengths=(0.6, 0.3)),
    "H&E blue pen": replace(_HE, pen="blue", strengths=(1.0, 0.4)),
    "H&E green pen": replace(_HE, pen="green", strengths=(1.0, 0.4)),
    "H&E red pen": replace(_HE, pen="red", strengths=(1.0, 0.4)),
    "H&E black pen": replace(_HE, pen="black", strengths=(1.0, 0.4)),
    "H-DAB negative": replace(_DAB, amounts=(1.0, 0.0)),
    "H-DAB negative, blue": Case("blue h-dab", amounts=(1.0, 0.0)),
    "H-DAB negative, strong blue": Case("blue h-dab", amounts=(1.0, 0.0), strengths=(2.2, 1.6)),
    "H-DAB negative, pale": Case("blue h-dab", amounts=(1.0, 0.0), strengths=(0.4, 0.3)),
    "H-DAB positive": replace(_DAB, amounts=(0.7, 1.6)),
    "H-DAB weak": replace(_DAB, amounts=(0.6, 0.3)),
    "H-DAB positive beside negative": Case("blue h-dab", amounts=(1.0, 1.2), strengths=(1.8, 0.3)),
    "H-DAB, blue pen": Case("blue h-dab", amounts=(1.0, 0.4), pen="blue"),
    "H-DAB, black pen": Case("blue h-dab", amounts=(1.0, 0.4), pen="black"),
    "PAS": Case("pas", amounts=(0.6, 0.9), must=False),
    "PAS pale": Case("pas", amounts=(0.6, 0.9), strengths=(0.3, 0.3), must=False),
    "trichrome": Case("trichrome", must=False),
    "silver": Case("silver", must=False),
    "silver pale": Case("silver", strengths=(0.4, 0.4), must=False),
    "fat, H&E": replace(_HE, fat=True, must=False),
    "glass alone": replace(_HE, strengths=()),
    "glass alone, dust": replace(_HE, strengths=(), dust=True),
}

_SIDE, _DOWN = 2048, 4  # of a rendered piece, and pixels of it per pixel of the picture
_PIECE = _SIDE // _DOWN


@lru_cache(maxsize=4)
def _amounts(seed: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """How much haematoxylin and eosin a rendered piece took, at half its size; and where tissue is, reduced."""
    pixels, regions = render_tissue(_SIDE, _SIDE, seed=seed)
    half = np.asarray(Image.fromarray(pixels).reduce(2), np.float32)
    density = np.maximum(-np.log10(np.maximum(half, 1) / 243), 0)
    basis = np.array(STAINS["h-e"])
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    found = np.maximum(density @ np.linalg.pinv(basis), 0).astype(np.float32)
    canvas = Image.new("L", (_PIECE, _PIECE))
    draw = ImageDraw.Draw(canvas)
    for _, polygon in regions:
        for ring, value in ((polygon.exterior, 255), *((hole, 0) for hole in polygon.interiors)):
            draw.polygon((shapely.get_coordinates(ring) / _DOWN - 0.5).ravel().tolist(), fill=value)
    # Nests lie in the stroma's holes, and were cut out if they came first.
    for name, polygon in regions:
        if name == "tumour":
            draw.polygon((shapely.get_coordinates(polygon.exterior) / _DOWN - 0.5).ravel().tolist(), fill=255)
    truth = np.asarray(canvas) > 0
    cover = np.asarray(Image.fromarray(truth).resize((_SIDE // 2, _SIDE // 2)))
    found[~cover] = 0
    return found, truth


def _fat(shape: tuple[int, int]) -> FloatArray:
    """Lace of fat cells: 1 on their walls, 0 in their bubbles."""
    rng = np.random.default_rng(5)
    canvas = Image.new("L", shape[::-1], 255)
    draw = ImageDraw.Draw(canvas)
    for row, top in enumerate(range(-20, shape[0], 44)):
        for left in range(-20 - (row % 2) * 22, shape[1], 46):
            x, y = left + rng.normal(0, 3), top + rng.normal(0, 3)
            r = rng.uniform(19.5, 22.5)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=0)
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255


@cache
def make(case: Case) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Make a picture.

    Returns
    -------
    picture : uint8 array (height, width, 3)
        Of 620 x 1160 pixels.
    tissue : bool array (height, width)
        Where tissue is to be found.
    glass : bool array (height, width)
        Where none is to be found: glass, pens, dust, padding; not a rim of 4 pixels around tissue.

    The arrays are kept for the next call, and cannot be written to.
    """
    height, width, rim = _PIECE + 108, 2 * _PIECE + 136, 48
    light = np.ones((height, width, 3), np.float32)
    tissue = np.zeros((height, width), bool)
    basis = np.array(STAINS[case.stain], np.float32)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    for number, strength in enumerate(case.strengths):
        amounts, truth = _amounts(case.seed + number)
        density = (amounts * np.float32(case.amounts)) @ basis * np.float32(strength)
        if case.fat:
            density *= _fat(density.shape[:2])
        passed = np.float32(10) ** -density
        left = rim + number * (_PIECE + 40)
        # Reduced as light, as a scanner's pyramid is.
        light[rim : rim + _PIECE, left : left + _PIECE] = passed.reshape(_PIECE, 2, _PIECE, 2, 3).mean((1, 3))
        tissue[rim : rim + _PIECE, left : left + _PIECE] = truth
    no_tissue = ~np.asarray(Image.fromarray(tissue).filter(ImageFilter.MaxFilter(9)))
    rng = np.random.default_rng(case.seed)
    if case.pen:
        mark = Image.new("L", (width, height))
        draw = ImageDraw.Draw(mark)
        draw.line([(20, 20), (500, 24), (620, 560), (1100, 590)], fill=255, width=14, joint="curve")
        draw.ellipse((8, 8, 32, 32), fill=255)
        cover = np.asarray(mark.filter(ImageFilter.GaussianBlur(1.2)), np.float32)[..., None] / 255
        light *= 1 - cover * (1 - np.float32(PENS[case.pen]))
        dot = Image.new("L", (width, height))
        ImageDraw.Draw(dot).ellipse((10, 10, 30, 30), fill=255)
        deep = np.asarray(dot.filter(ImageFilter.GaussianBlur(1.2)), np.float32)[..., None] / 255
        light *= 1 - deep * (1 - np.float32(PENS[case.pen]) * (0.1 if case.pen == "red" else 0.75))
        drawn = np.asarray(mark) > 0
        near = np.asarray(mark.filter(ImageFilter.MaxFilter(15))) > 0
        tissue &= ~near
        no_tissue |= drawn
    if case.dust:
        specks = Image.new("L", (width, height))
        draw = ImageDraw.Draw(specks)
        for x, y, r in zip(
            rng.integers(0, width, 90), rng.integers(0, height, 90), rng.uniform(0.7, 3, 90), strict=True
        ):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(60, 200)))
        draw.line([(0, 30), (width, 34)], fill=60, width=2)
        light *= 1 - np.asarray(specks.filter(ImageFilter.GaussianBlur(0.8)), np.float32)[..., None] / 255 * 0.8
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light *= (1 - case.shade * (xs**2 + ys**2)[..., None]).astype(np.float32)
    picture = light * np.float32(case.glass) + rng.normal(0, case.noise, light.shape)
    if case.padding:
        picture[:, :40] = picture[-50:] = 255
    whole = Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=88)
    found = np.asarray(Image.open(file).convert("RGB")), tissue, no_tissue
    for array in found:
        array.flags.writeable = False
    return found


def measure(method: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]], case: Case) -> tuple[float, float, float]:
    """Share of the tissue that a method finds, of the piece it finds least of, and share of the glass that it takes."""
    picture, tissue, glass = make(case)
    mask = method(picture)
    pieces = [tissue.copy(), tissue.copy()]
    middle = 48 + _PIECE + 20
    pieces[0][:, middle:] = False
    pieces[1][:, :middle] = False
    shares = [float(mask[piece].mean()) for piece in pieces if piece.any()]
    found = float(mask[tissue].mean()) if tissue.any() else float("nan")
    return found, min(shares, default=float("nan")), float(mask[glass].mean())
