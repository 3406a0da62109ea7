"""Banks of nuclei and cell bodies, drawn once per slide and stamped thousands of times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bank", "cell_bodies", "fibroblasts", "lymphocytes", "stamp", "tumour_nuclei"]

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Bank:
    """Stamps of one kind of cell.

    Attributes
    ----------
    stamps : uint8 array (n, size, size)
        Stain of every stamp, 255 the most.
    """

    stamps: ByteArray

    @property
    def reach(self) -> int:
        """Half the stamps' size in pixels."""
        return int(self.stamps.shape[1]) // 2


def _polar(
    rng: np.random.Generator, angles: FloatArray, size: int, wobble: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coordinates along and across each stamp's own axis, and the outline there, all (n, size, size)."""
    count = len(angles)
    centre = rng.uniform(-0.5, 0.5, (2, count, 1, 1)).astype(np.float32)
    grid = np.arange(size, dtype=np.float32) - (size - 1) / 2
    x, y = grid[None, None, :] - centre[0], grid[None, :, None] - centre[1]
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    along, across = x * cos + y * sin, y * cos - x * sin
    theta = np.arctan2(across, along)
    outline = np.ones_like(theta)
    for order in (2, 3, 4, 5):
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
        amplitude = rng.normal(0, wobble / order, (count, 1, 1)).astype(np.float32)
        outline += amplitude * np.cos(order * theta + phase)
    return along, across, outline


def _clumps(rng: np.random.Generator, count: int, size: int, passes: int) -> FloatArray:
    """Chromatin: smoothed noise of mean 0 and variance 1, (n, size, size)."""
    noise = rng.standard_normal((count, size, size), dtype=np.float32)
    for axis in (1, 2):
        for _ in range(passes):
            noise = noise + np.roll(noise, 1, axis)
    scaled: FloatArray = noise / noise.std()
    return scaled


def _inside(excess: FloatArray, softness: float) -> FloatArray:
    """Turn pixels inside (negative) or outside (positive) an outline into coverage 1 to 0."""
    coverage: FloatArray = np.clip(0.5 - excess / softness, 0, 1)
    return coverage


def _bytes(stain: FloatArray) -> ByteArray:
    stamps: ByteArray = (np.clip(stain, 0, 1) * 255).astype(np.uint8)
    return stamps


def tumour_nuclei(rng: np.random.Generator, radius: float, count: int = 224) -> Bank:
    """Draw large, round to oval, irregular nuclei: dark membrane, clumped open chromatin, some nucleoli.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws everything.
    radius : float
        Mean radius in pixels.
    count : int
        Number of stamps.
    """
    size = 2 * int(radius * 1.9) + 2
    angles = rng.uniform(0, np.pi, count).astype(np.float32)
    along, across, outline = _polar(rng, angles, size, 0.16)
    one = (count, 1, 1)
    mean = (radius * np.clip(rng.lognormal(0, 0.16, one), 0.65, 1.5)).astype(np.float32)
    stretch = rng.uniform(1.0, 1.3, one).astype(np.float32)
    distance = np.hypot(along / stretch, across * stretch)
    excess = distance - mean * outline
    # A few nuclei are dense and dark throughout, most are open with the chromatin along the membrane.
    dense = (rng.random(one) < 0.18).astype(np.float32)
    depth = np.where(dense > 0, rng.uniform(0.65, 0.9, one), rng.uniform(0.30, 0.55, one)).astype(np.float32)
    stain = depth + _clumps(rng, count, size, 5) * (0.12 - 0.06 * dense)
    stain += (1 - dense) * 0.26 * np.exp(-(((excess + 1.3) / 1.3) ** 2))
    for chance in (0.7, 0.3):
        spot = rng.uniform(-0.45, 0.45, (2, count, 1, 1)).astype(np.float32) * mean
        blob = np.exp(-((along - spot[0]) ** 2 + (across - spot[1]) ** 2) / rng.uniform(1.5, 4.5, one))
        stain += (rng.random(one) < chance) * 0.32 * blob.astype(np.float32)
    return Bank(_bytes(np.clip(stain, 0.2, 1) * _inside(excess, 2.2)))


def fibroblasts(rng: np.random.Generator, bearings: int = 32, variants: int = 6) -> Bank:
    """Draw thin dark spindles; stamp `b * variants + i` lies along the bearing `b * pi / bearings`."""
    angles = np.repeat(np.arange(bearings, dtype=np.float32) * np.float32(np.pi / bearings), variants)
    count = len(angles)
    one = (count, 1, 1)
    along, across, outline = _polar(rng, angles, 52, 0.10)
    half_length = rng.uniform(9, 21, one).astype(np.float32)
    half_width = rng.uniform(1.5, 3.4, one).astype(np.float32)
    bend = rng.normal(0, 0.006, one).astype(np.float32)
    taper = np.clip(1 - (along / half_length) ** 2, 0, 1)
    excess = np.abs(across + bend * along**2) - half_width * outline * taper**0.8
    depth = rng.uniform(0.5, 0.85, one).astype(np.float32) + _clumps(rng, count, 52, 4) * 0.08
    return Bank(_bytes(depth * _inside(excess, 1.8) * (taper > 0)))


def lymphocytes(rng: np.random.Generator, count: int = 96) -> Bank:
    """Draw small, round, dark nuclei with coarse clumps."""
    one = (count, 1, 1)
    along, across, outline = _polar(rng, rng.uniform(0, np.pi, count).astype(np.float32), 22, 0.07)
    stretch = rng.uniform(1, 1.15, one).astype(np.float32)
    radius = rng.uniform(5.0, 7.2, one).astype(np.float32)
    excess = np.hypot(along / stretch, across * stretch) - radius * outline
    depth = rng.uniform(0.7, 0.95, one).astype(np.float32) + _clumps(rng, count, 22, 3) * 0.12
    return Bank(_bytes(depth * _inside(excess, 1.8)))


def cell_bodies(rng: np.random.Generator, radius: float, count: int = 64) -> Bank:
    """Draw cell bodies that thin out outwards: stamped by maximum, neighbours meet in a pale border line."""
    size = 2 * int(radius * 1.4) + 2
    along, across, outline = _polar(rng, rng.uniform(0, np.pi, count).astype(np.float32), size, 0.10)
    fall = np.hypot(along, across) / (np.float32(radius) * outline)
    return Bank(_bytes(1 - np.clip(fall, 0, 1) ** 3))


def stamp(
    plane: ByteArray, bank: Bank, margin: int, ys: FloatArray, xs: FloatArray, which: npt.NDArray[np.intp]
) -> None:
    """Stamp cells into a plane, keeping the darker of what is there and what comes.

    Parameters
    ----------
    plane : uint8 array (height + 2 margin, width + 2 margin)
        Changed in place.
    bank : Bank
        Its reach must not be above `margin`.
    margin : int
        Border around the picture, so that nothing has to be clipped.
    ys, xs : float arrays (n,)
        Centres in the picture's pixels, within the picture.
    which : int array (n,)
        Stamp of each cell.
    """
    size, offset = bank.stamps.shape[1], margin - bank.reach
    tops, lefts = (ys.astype(np.intp) + offset).tolist(), (xs.astype(np.intp) + offset).tolist()
    for top, left, index in zip(tops, lefts, which.tolist(), strict=True):
        view = plane[top : top + size, left : left + size]
        np.maximum(view, bank.stamps[index], out=view)
