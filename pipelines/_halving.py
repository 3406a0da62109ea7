"""Images halved by compiled code: to the bit as DALI's resize on the CPU does it, in a fraction of its time."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._compiled import compiled

__all__ = ["halving"]

Halve = Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]


def halving(size: int) -> Halve | None:
    """Return a function that halves images as DALI does, or None where it would not do exactly that.

    Antialiased linear resizing to the half weighs four pixels across and four down by 1, 3, 3, 1, so its sums are whole
    numbers of 64ths. Only the way in which DALI rounds a half depends on its build, so that is tried with DALI itself.
    Then both are compared on noise, where a sixty-fourth of all sums are halves.

    Parameters
    ----------
    size : int
        Side of the halved images in pixels.

    Returns
    -------
    callable or None
        Takes a window, uint8 (2 size, 2 size, 3), and an array for the image, uint8 (size, size, 3). Any number of
        threads may call it.
    """
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (2, 2 * size, 2 * size, 3), np.uint8)
    # Rows of 0 and 1 in turn: their mean, 1/2, goes to the even 0, or up to 1.
    stripes = np.zeros((1, 2 * size, 2 * size, 3), np.uint8)
    stripes[:, 1::2] = 1
    resized = _resized(np.concatenate([stripes, noise]), size)
    # At the rim, which is repeated, the mean is another: there it is rounded as beside it.
    up = resized[0]
    if size > 2:
        up[0], up[-1] = up[1], up[-2]
    even = np.ascontiguousarray(up.reshape(size, -1) == 0).astype(np.uint16)

    def halve(window: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        _halve(window.reshape(2 * size, -1), even, image.reshape(size, -1))

    for window, want in zip(noise, resized[1:], strict=True):
        image = np.empty((size, size, 3), np.uint8)
        halve(window, image)
        if not np.array_equal(image, want):
            return None
    return halve


def _resized(windows: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """By DALI, as in cellmix_dali.plugins.tiles."""
    from cellmix_dali.plugins.dali import Pipeline, fn, types  # DALI takes long to import

    pipeline = Pipeline(batch_size=len(windows), num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        images = fn.external_source(name="windows", dtype=types.UINT8, ndim=3, layout="HWC")
        pipeline.set_outputs(fn.resize(images, size=[size, size], antialias=True))
    pipeline.build()
    (resized,) = pipeline.run(windows=windows)
    return np.array(resized.as_tensor())


@compiled()
def _halve(window, even, image):
    """Halve an image of three channels, rows of it flat; beyond its rim are its outermost pixels.

    `even` is 1 where a half goes to the even neighbour, 0 where it goes up.
    """
    high, wide = image.shape
    last = window.shape[0] - 1
    # With a pixel more on both sides.
    down = np.empty(2 * wide + 6, np.uint16)
    across = np.empty(2 * wide, np.uint16)
    sums = np.empty(wide, np.uint16)
    three, half, odd = np.uint16(3), np.uint16(32), np.uint16(1)
    for y in range(high):
        a, b, c, d = window[max(2 * y - 1, 0)], window[2 * y], window[2 * y + 1], window[min(2 * y + 2, last)]
        for i in range(2 * wide):
            down[i + 3] = np.uint16(a[i]) + three * (np.uint16(b[i]) + np.uint16(c[i])) + np.uint16(d[i])
        for i in range(3):
            down[i], down[2 * wide + 3 + i] = down[i + 3], down[2 * wide + i]
        for i in range(2 * wide - 3):
            across[i] = down[i] + three * (down[i + 3] + down[i + 6]) + down[i + 9]
        for x in range(wide // 3):
            sums[3 * x] = across[6 * x]
            sums[3 * x + 1] = across[6 * x + 1]
            sums[3 * x + 2] = across[6 * x + 2]
        row, rule = image[y], even[y]
        for i in range(wide):
            rounded = (sums[i] + half) >> np.uint16(6)
            tie = np.uint16((sums[i] & np.uint16(63)) == half)
            row[i] = rounded - (tie & rounded & rule[i] & odd)
