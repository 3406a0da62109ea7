"""Pictures of H&E-stained tissue: stroma, tumour nests and glass, with the outlines of the two classes.

The colours come from mixing the two stains' optical densities (Ruifrok and Johnston, "Quantification of
histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23, 2001). What is drawn is the
amount of each stain at each pixel; light goes through it by the law of Lambert and Beer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image, ImageDraw, ImageFilter

from ..errors import ArgumentError
from .cells import Bank, cell_bodies, fibroblasts, lymphocytes, stamp, tumour_nuclei
from .fields import FloatArray, SplineField, fibre_texture, outlines, smooth_step

__all__ = ["CLASSES", "render_tissue"]

CLASSES = ("stroma", "tumour")
"""The two tissue classes of a rendered slide, in the order of their labels."""

ByteArray = npt.NDArray[np.uint8]

# Optical densities of the stains in red, green and blue, Ruifrok and Johnston 2001.
_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
_EOSIN = np.array([0.072, 0.990, 0.105])

_COARSE = 4  # pixels of the picture per pixel of the maps of what is where
_BAND = 96  # rows rendered at once, so that the work stays in the processor's cache
_MARGIN = 48  # border around the planes that cells are stamped into
_POSITIVE = np.float32(65536)  # added to coordinates, so that truncation is flooring
_SLIVER = 4096  # square pixels: smaller cuttings of a class get no polygon
_H_STEPS, _E_STEPS = 150.0, 200.0  # steps of the colour table per unit of optical density


@dataclass
class _Maps:
    """What is where, on the coarse grid: float32 arrays in 0 to 1 unless said otherwise."""

    tissue: FloatArray
    tumour: FloatArray
    nest: FloatArray
    lumen: FloatArray
    inflamed: FloatArray
    pale: FloatArray  # about -2 to 2: how much lighter than usual the eosin took
    thickness: FloatArray  # about 1: of the section, which darkens everything in it


class _Fibres:
    """The wavy bundles of collagen: coordinates across and along them, and their texture."""

    def __init__(self, rng: np.random.Generator, ys: FloatArray, xs: FloatArray) -> None:
        extent = (int(ys[-1]) + 1, int(xs[-1]) + 1)
        angle = rng.uniform(0, np.pi)
        self._cos, self._sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        bend, wave = SplineField(rng, *extent, 260), SplineField(rng, *extent, 34)
        # The coordinates' waves on the coarse grid, to be interpolated: they are smooth.
        self._across = Image.fromarray(120 * bend.at(ys, xs) + 7 * wave.at(ys, xs))
        self._along = Image.fromarray(60 * SplineField(rng, *extent, 200).at(ys, xs))
        self._texture = fibre_texture(rng, 1.7, 9.0)
        self.across = self._cos * xs[None] + self._sin * ys[:, None] + np.asarray(self._across)
        """The coordinate across the fibres on the coarse grid."""

    def texture(self, rows: slice, width: int) -> FloatArray:
        """Streaks of two widths, about -1 to 1, float32 (rows, width)."""
        ys, xs = (
            np.arange(rows.start, rows.stop, dtype=np.float32)[:, None],
            np.arange(width, dtype=np.float32),
        )
        across = self._cos * xs + self._sin * ys + (self._enlarge(self._across, rows, width) + _POSITIVE)
        along = self._cos * ys - self._sin * xs + (self._enlarge(self._along, rows, width) + _POSITIVE)
        fine = self._look_up(across, along * np.float32(0.42))
        coarse = self._look_up(across * np.float32(0.22), along * np.float32(0.22))
        streaks: FloatArray = (fine + 1.2 * coarse) * np.float32(1 / 128) - np.float32(2.2)
        return streaks

    @staticmethod
    def _enlarge(waves: Image.Image, rows: slice, width: int) -> FloatArray:
        box = (0, rows.start / _COARSE, waves.width, rows.stop / _COARSE)
        size = (waves.width * _COARSE, rows.stop - rows.start)
        return np.asarray(waves.resize(size, Image.Resampling.BILINEAR, box=box))[:, :width]

    def _look_up(self, across: FloatArray, along: FloatArray) -> FloatArray:
        index = (across.astype(np.int32) & 511) << 10
        index |= along.astype(np.int32) & 1023
        values: FloatArray = self._texture.ravel()[index].astype(np.float32)
        return values


def _soft_mask(shape: shapely.Geometry, height: int, width: int) -> FloatArray:
    """Fill a geometry on the coarse grid and blur it: 0.5 lies on the outline."""
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    for part in shapely.get_parts(shape):
        if isinstance(part, shapely.Polygon):
            draw.polygon((shapely.get_coordinates(part.exterior) / _COARSE).ravel().tolist(), fill=255)
            for ring in part.interiors:
                draw.polygon((shapely.get_coordinates(ring) / _COARSE).ravel().tolist(), fill=0)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(2))).astype(np.float32) / np.float32(255)


def _maps(
    rng: np.random.Generator,
    tissue: shapely.Geometry,
    tumour: shapely.Geometry,
    ys: FloatArray,
    xs: FloatArray,
) -> _Maps:
    """Lay out nests, septa, lumina and inflammation within the outlines."""
    height, width = len(ys), len(xs)
    extent = (int(ys[-1]) + 1, int(xs[-1]) + 1)
    in_tissue = _soft_mask(tissue, height, width)
    in_tumour = _soft_mask(tumour, height, width)
    fray = SplineField(rng, *extent, 14).at(ys, xs)
    in_tissue = smooth_step(0.35, 0.65, in_tissue + 0.08 * fray)
    in_tumour = smooth_step(0.35, 0.65, in_tumour + 0.12 * fray)
    # Septa run along the zero lines of two smooth fields: they close up into nests of many sizes.
    first, second = (SplineField(rng, *extent, rng.uniform(75, 110)).at(ys, xs) for _ in range(2))
    ridge = np.minimum(np.abs(first), np.abs(second)) + 0.04 * fray
    density = SplineField(rng, *extent, 170).at(ys, xs)
    septum = smooth_step(0.26, 0.12, ridge - 0.07 * density)
    nest = in_tumour * (1 - septum)
    lumen = nest * smooth_step(1.85, 2.0, np.abs(first) * 0.8 + np.abs(second) * 0.35 + 0.08 * fray)
    inflamed = smooth_step(0.3, 1.4, SplineField(rng, *extent, 120).at(ys, xs)) * in_tissue * (1 - nest)
    pale = SplineField(rng, *extent, 230).at(ys, xs)
    thickness = np.clip(1 + 0.17 * SplineField(rng, *extent, 290).at(ys, xs), 0.6, 1.5)
    return _Maps(in_tissue, in_tumour, nest * (1 - lumen), lumen, inflamed, pale, thickness)


def _scatter(
    rng: np.random.Generator, height: int, width: int, spacing: float, jitter: float
) -> tuple[FloatArray, FloatArray]:
    """Points on a jittered hexagonal grid, as crowded cells pack; jitter in spacings."""
    rows, columns = int(height / (spacing * 0.866)) + 2, int(width / spacing) + 2
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x += (y % 2) / 2
    x += rng.uniform(-jitter, jitter, x.shape)
    y = y * 0.866 + rng.uniform(-jitter, jitter, y.shape)
    ys, xs = (y * spacing).ravel().astype(np.float32), (x * spacing).ravel().astype(np.float32)
    within = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    # In random order, so that no row always lies over the next.
    order = rng.permutation(np.flatnonzero(within))
    return ys[order], xs[order]


def _stamp_cells(
    rng: np.random.Generator, maps: _Maps, fibres: _Fibres, height: int, width: int
) -> tuple[ByteArray, ByteArray]:
    """Place all cells: the planes of the nuclei and of the tumour cells' bodies, with their margins."""
    nuclei = np.zeros((height + 2 * _MARGIN, width + 2 * _MARGIN), np.uint8)
    bodies = np.zeros_like(nuclei)

    def place(bank: Bank, ys: FloatArray, xs: FloatArray, chance: FloatArray) -> tuple[FloatArray, FloatArray]:
        keep = rng.random(len(ys)) < chance
        ys, xs = ys[keep], xs[keep]
        stamp(nuclei, bank, _MARGIN, ys, xs, rng.integers(0, len(bank.stamps), len(ys)))
        return ys, xs

    def at(field: FloatArray, ys: FloatArray, xs: FloatArray) -> FloatArray:
        values: FloatArray = field[(ys / _COARSE).astype(np.intp), (xs / _COARSE).astype(np.intp)]
        return values

    spacing = rng.uniform(19.5, 24.5)
    ys, xs = _scatter(rng, height, width, spacing, 0.24)
    # Where the nests took little stain they are also loose: large pink cells, as in better differentiated
    # parts.
    crowded = 0.97 - 0.34 * smooth_step(0.1, 1.4, at(maps.pale, ys, xs))
    bank = tumour_nuclei(rng, spacing * rng.uniform(0.39, 0.44))
    ys, xs = place(bank, ys, xs, smooth_step(0.55, 0.8, at(maps.nest * maps.tissue, ys, xs)) * crowded)
    shapes = cell_bodies(rng, spacing * 0.78)
    stamp(bodies, shapes, _MARGIN, ys, xs, rng.integers(0, len(shapes.stamps), len(ys)))

    ys, xs = _scatter(rng, height, width, 17.0, 0.3)
    small = lymphocytes(rng)
    inflamed = at(maps.inflamed, ys, xs)
    room = at(maps.tissue * (1 - maps.lumen) * (1 - 0.8 * maps.nest), ys, xs)
    place(small, ys, xs, (0.012 + 0.72 * inflamed**2) * room)

    # Spindles lie along the fibres: across the gradient of the coordinate that runs across them.
    ys, xs = _scatter(rng, height, width, 38.0, 0.45)
    loose = at(maps.tissue * (1 - maps.nest) * (1 - maps.lumen), ys, xs)
    keep = rng.random(len(ys)) < (0.52 + 0.3 * at(maps.tumour, ys, xs)) * (loose > 0.7)
    ys, xs = ys[keep], xs[keep]
    down, right = np.gradient(fibres.across, axis=0), np.gradient(fibres.across, axis=1)
    bearing = np.arctan2(at(down, ys, xs), at(right, ys, xs)) + np.pi / 2 + rng.normal(0, 0.12, len(ys))
    bearings, variants = 32, 6
    turn = np.rint(bearing / np.pi * bearings).astype(np.intp) % bearings
    which = turn * variants + rng.integers(0, variants, len(ys))
    stamp(nuclei, fibroblasts(rng, bearings, variants), _MARGIN, ys, xs, which)
    return nuclei, bodies


class _Stains:
    """How much of the two stains each pixel took, in optical density, computed band by band."""

    def __init__(
        self, rng: np.random.Generator, maps: _Maps, fibres: _Fibres, nuclei: ByteArray, bodies: ByteArray
    ) -> None:
        self._nuclei, self._bodies, self._fibres = nuclei, bodies, fibres
        self._height, self._width = (side - 2 * _MARGIN for side in nuclei.shape)
        loose = maps.tissue * (1 - maps.nest) * (1 - maps.lumen)
        nest = maps.tissue * maps.nest
        blue = loose * (0.03 + 0.05 * maps.inflamed + 0.02 * np.clip(-maps.pale, 0, 2))
        blue += nest * np.clip(0.13 - 0.045 * maps.pale, 0.03, 0.24)
        self._collagen = self._enlarge(loose * np.clip(0.215 - 0.055 * maps.pale, 0.09, 0.36) * maps.thickness)
        self._cytoplasm = self._enlarge(nest * np.clip(0.24 - 0.04 * maps.pale, 0.12, 0.36) * maps.thickness)
        self._blue = self._enlarge(blue * maps.thickness)
        # A quarter, so that it fits into bytes.
        self._chromatin = self._enlarge(maps.thickness * np.float32(rng.uniform(0.85, 1.05) / 4))
        grain = fibre_texture(rng, 0.7, 0.7).astype(np.float32) / 128 - 1
        self._grain = np.tile(grain, (1, -(-self._width // grain.shape[1])))[:, : self._width]

    def _enlarge(self, density: FloatArray) -> ByteArray:
        """Bring a coarse map to full size, in bytes of 1 / 400."""
        small = Image.fromarray(np.clip(density * 400, 0, 255).astype(np.uint8))
        full = (small.width * _COARSE, small.height * _COARSE)
        return np.asarray(small.resize(full, Image.Resampling.BILINEAR))[: self._height, : self._width]

    def rows(self, rows: slice) -> tuple[FloatArray, FloatArray]:
        """Haematoxylin and eosin of some rows, each float32 (rows, width)."""
        inner = slice(rows.start + _MARGIN, rows.stop + _MARGIN), slice(_MARGIN, _MARGIN + self._width)
        nucleus = self._nuclei[inner].astype(np.float32) * (1 / 255)
        body = self._bodies[inner].astype(np.float32) * (1 / 255)
        ys = np.arange(rows.start, rows.stop)
        grain = self._grain[ys % len(self._grain)]
        # Collagen: streaks of more and less eosin, and slits of bare glass where the bundles part.
        streaks = self._fibres.texture(rows, self._width)
        eosin = self._collagen[rows] * np.clip(1 + 0.62 * streaks + 0.12 * grain, 0, None)
        # Cytoplasm: granular, thinning out to a pale line where two cells meet.
        eosin += self._cytoplasm[rows] * (0.1 + 0.9 * body) * (1 + 0.35 * grain)
        eosin *= 1 - 0.45 * np.minimum(nucleus * 2, 1)
        haematoxylin = self._blue[rows] * (1 + 0.4 * grain) + self._chromatin[rows] * (4 * nucleus)
        # The grain on bare glass is the camera's.
        return haematoxylin * (1 / 400) + (0.008 + 0.012 * grain), eosin * (1 / 400) + (0.008 + 0.012 * grain)


def _colour_table(rng: np.random.Generator) -> npt.NDArray[np.uint32]:
    """RGBX of each pair of haematoxylin (high byte) and eosin (low byte) by this slide's stains and lamp."""
    haematoxylin = _HAEMATOXYLIN + rng.normal(0, 0.022, 3)
    # Eosin is sold in shades from bluish to yellowish: what changes is how much blue it takes.
    eosin = _EOSIN + rng.normal(0, 0.02, 3) + [0.03, -0.14, rng.uniform(0.16, 0.34)]
    strength = rng.uniform(0.85, 1.12, 2)
    h = np.arange(256)[:, None, None] / _H_STEPS * strength[0] * haematoxylin / np.linalg.norm(haematoxylin)
    e = np.arange(256)[None, :, None] / _E_STEPS * strength[1] * eosin / np.linalg.norm(eosin)
    lamp = rng.uniform(240, 246) + rng.normal(0, 0.8, 3)
    rgb = np.rint(lamp * 10 ** -(h + e)).clip(0, 255).astype(np.uint32)
    table: npt.NDArray[np.uint32] = (rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16).ravel().astype("<u4")
    return table


def render_tissue(height: int, width: int, *, seed: int) -> tuple[ByteArray, list[tuple[str, shapely.Polygon]]]:
    """Render one H&E-like picture: stroma and tumour on glass, as at 20x, half a micron a pixel.

    Outlines, stains, cell sizes and the direction of the fibres differ from seed to seed, so that a slide
    that was not trained on is a new one.

    Parameters
    ----------
    height, width : int
        Size in pixels, at least 256 each.
    seed : int
        Not negative. The same seed and size give the same picture.

    Returns
    -------
    pixels : uint8 array (height, width, 3)
        RGB.
    regions : list of (class name, polygon)
        Where each of `CLASSES` lies, in pixels, x first; slivers under 4096 square pixels are left out,
        and what no polygon covers is glass.

    Raises
    ------
    ArgumentError
        For a size under 256 pixels or a negative seed.
    """
    if min(height, width) < 256:
        raise ArgumentError(f"A picture of {height} x {width} pixels has no room for tissue: give at least 256 x 256.")
    if seed < 0:
        raise ArgumentError(f"seed {seed} is negative: give a whole number from 0.")
    rng = np.random.default_rng([seed, height, width])
    tissue, tumour = outlines(rng, height, width)
    ys, xs = (np.arange(-(-side // _COARSE), dtype=np.float32) * _COARSE for side in (height, width))
    maps = _maps(rng, tissue, tumour, ys, xs)
    fibres = _Fibres(rng, ys, xs)
    nuclei, bodies = _stamp_cells(rng, maps, fibres, height, width)

    stains = _Stains(rng, maps, fibres, nuclei, bodies)
    table = _colour_table(rng)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        haematoxylin, eosin = stains.rows(rows)
        index = np.clip(haematoxylin * _H_STEPS, 0, 255).astype(np.int32) << 8
        index |= np.clip(eosin * _E_STEPS, 0, 255).astype(np.int32)
        pixels[rows] = table[index].view(np.uint8).reshape(*index.shape, 4)[..., :3]
    return pixels, _regions(tissue, tumour)


def _regions(tissue: shapely.Geometry, tumour: shapely.Geometry) -> list[tuple[str, shapely.Polygon]]:
    """Cut the outlines into polygons of one class each."""
    regions = []
    for name, shape in zip(CLASSES, (tissue - tumour, tumour), strict=True):
        for part in shapely.get_parts(shapely.simplify(shape, 0.5)):
            if isinstance(part, shapely.Polygon) and part.area >= _SLIVER:
                regions.append((name, part))  # noqa: PERF401
    return regions
