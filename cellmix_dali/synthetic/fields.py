"""Smooth random fields and outlines: what gives the rendered tissue its shapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity

__all__ = ["SplineField", "fibre_texture", "outlines", "smooth_step"]

FloatArray = npt.NDArray[np.float32]

# The root mean square of a cubic B-spline surface whose coefficients are independent with variance 1.
_SPLINE_RMS = 0.48


def _spline_weights(positions: FloatArray, count: int) -> FloatArray:
    """Weights (n, count) of the uniform cubic B-splines at positions given in knots."""
    knot = np.floor(positions).astype(np.intp)
    t = positions - knot
    rows = np.arange(len(positions))
    weights = np.zeros((len(positions), count), np.float32)
    weights[rows, knot] = (1 - t) ** 3 / 6
    weights[rows, knot + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[rows, knot + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[rows, knot + 3] = t**3 / 6
    return weights


class SplineField:
    """A smooth random surface of mean 0 and variance about 1, which can be evaluated on any grid.

    A bicubic B-spline over white noise, evaluated by two matrix products.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the coefficients.
    height, width : int
        The extent in pixels.
    spacing : float
        The distance of the knots in pixels; features are about three times as wide.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int, spacing: float) -> None:
        self._spacing = spacing
        shape = (int(height / spacing) + 5, int(width / spacing) + 5)
        self._coefficients = rng.standard_normal(shape, dtype=np.float32) / _SPLINE_RMS

    def at(self, ys: FloatArray, xs: FloatArray) -> FloatArray:
        """Evaluate on the grid of the rows `ys` and the columns `xs`, in pixels.

        Returns
        -------
        float32 array (len(ys), len(xs))
        """
        rows = _spline_weights(ys / self._spacing, self._coefficients.shape[0])
        columns = _spline_weights(xs / self._spacing, self._coefficients.shape[1])
        field: FloatArray = (rows @ self._coefficients) @ columns.T
        return field


def smooth_step(low: float, high: float, values: FloatArray) -> FloatArray:
    """Rise from 0 at `low` to 1 at `high` without corners; `low` may be the greater one, then it falls."""
    t: FloatArray = np.clip((values - low) / (high - low), 0, 1)
    step: FloatArray = t * t * (3 - 2 * t)
    return step


def fibre_texture(rng: np.random.Generator, across: float, along: float) -> npt.NDArray[np.uint8]:
    """Make a periodic texture of short streaks along the second axis.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the noise.
    across, along : float
        Standard deviation of the streaks' blur in texture pixels, across and along them.

    Returns
    -------
    uint8 array (512, 1024)
        Mean 128, standard deviation 42.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((512, 1024), dtype=np.float32))
    fy, fx = np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(1024)[None]
    spectrum *= np.exp(-2 * np.pi**2 * ((across * fy) ** 2 + (along * fx) ** 2))
    spectrum[0, 0] = 0
    texture = np.fft.irfft2(spectrum, s=(512, 1024))
    pixels: npt.NDArray[np.uint8] = np.clip(128 + 42 / texture.std() * texture, 0, 255).astype(np.uint8)
    return pixels


def _blob(
    rng: np.random.Generator,
    centre: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
    squareness: float,
) -> shapely.Polygon:
    """Draw a star-shaped outline: a superellipse whose radius is modulated by a few random harmonics."""
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    radius = (np.abs(direction) ** squareness).sum(1) ** (-1 / squareness)
    for order in range(2, 9):
        radius *= 1 + 0.22 / order * rng.standard_normal() * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return shapely.Polygon(centre + direction * radius[:, None] * radii)


def outlines(rng: np.random.Generator, height: int, width: int) -> tuple[shapely.Geometry, shapely.Geometry]:
    """Draw where the tissue lies on the glass and which part of it is tumour, about one half.

    Returns
    -------
    tissue, tumour : shapely geometries
        In pixels, x first; the tumour lies within the tissue.
    """
    size = np.array([width, height], np.float64)
    glass = shapely.box(0, 0, width, height)
    tissue = glass & shapely.make_valid(_blob(rng, size * rng.uniform(0.47, 0.53, 2), size * 0.455, 3.0))
    # Foci around the middle on well-separated bearings, so that both classes have large coherent parts.
    bearings = rng.uniform(0, 2 * np.pi) + np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.4, 0.4, 3)
    distance = rng.uniform(0.22, 0.34, 3)[:, None]
    centres = size * (0.5 + distance * np.stack([np.cos(bearings), np.sin(bearings)], 1))
    foci = [_blob(rng, centre, size * rng.uniform(0.18, 0.30), 2.0) for centre in centres]
    wanted = rng.uniform(0.46, 0.54) * tissue.area

    def grown(factor: float) -> shapely.Geometry:
        parts = [shapely.affinity.scale(focus, factor, factor, origin="center") for focus in foci]
        return shapely.union_all([shapely.make_valid(part) for part in parts]) & tissue

    low, high = 0.3, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if grown(middle).area < wanted else (low, middle)
    return tissue, grown(high)
