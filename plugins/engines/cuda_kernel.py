"""Mixing, normalising, casting and HWC -> CHW in one pass over the pixels, as a CUDA kernel: one launch per batch.

A thread makes 4 neighbouring pixels of one row (float16: 8), and writes 16 bytes into each of the three planes; the
writes of a warp are then whole lines of memory. It reads the 12 (24) bytes of its pixels as 4-byte words where they lie
in one cell of the plan's table and are aligned, byte by byte otherwise. Which region covers a pixel was worked out on
the host (`_cell_table`): nothing is searched for here.

The kernel sees raw addresses and plain sizes only. Its source runs in numba's CUDA simulator, too, on addresses of the
host. Results are those of the compiled pass on the CPU, to the bit: a subtraction and a product in float32, which
cannot be fused to one rounding, and a cast to the nearest even.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import cuda

from .cuda_memory import (
    load_i32,
    load_i64,
    load_u8,
    load_u32,
    store_eight_halves,
    store_float,
    store_four_floats,
    store_half,
)

__all__ = ["BLOCK", "GROUP", "grid", "mix_float32", "mix_float16"]

#: Threads of a block, (groups of a row, rows).
BLOCK = (32, 8)
#: Pixels that a thread makes.
GROUP = {"float32": 4, "float16": 8}


def grid(batch: int, height: int, width: int, dtype: str) -> tuple[int, int, int]:
    """Return the number of blocks a launch: along a row, down the rows, samples."""
    along = -(-width // GROUP[dtype])
    return -(-along // BLOCK[0]), -(-height // BLOCK[1]), batch


#: Written into their callers before anything is typed, so that the kernels can be compiled where there is no GPU.
inlined = cuda.jit(device=True, inline="always")


@inlined
def _source(addresses, batch, sample, y, x, height, width, mixing):
    """Address of the pixel that comes to (y, x) of a sample."""
    place = 3 * (y * width + x)
    if mixing == 0:
        return load_i64(addresses + 8 * sample) + place
    table = load_i64(addresses + 8 * (batch + sample))
    cell = load_i32(table + 4 * y) + load_i32(table + 4 * (height + x))
    entry = table + 4 * (height + width) + 8 * cell
    return load_i64(addresses + 8 * load_i32(entry)) + place + load_i32(entry + 4)


@inlined
def _one_cell(addresses, batch, sample, x, height, mixing):
    """Whether the four pixels from `x` on come from the same place: their columns lie in one cell."""
    if mixing == 0:
        return True
    columns = load_i64(addresses + 8 * (batch + sample)) + 4 * (height + x)
    return load_i32(columns) == load_i32(columns + 12)


@inlined
def _four(addresses, batch, sample, y, x, height, width, mixing):
    """The 12 bytes of four pixels as three words; past the row's end its last pixel again."""
    if x + 3 < width and _one_cell(addresses, batch, sample, x, height, mixing):
        first = _source(addresses, batch, sample, y, x, height, width, mixing)
        if first % 4 == 0:
            return load_u32(first), load_u32(first + 4), load_u32(first + 8)
    end = width - 1
    a = _source(addresses, batch, sample, y, min(x, end), height, width, mixing)
    b = _source(addresses, batch, sample, y, min(x + 1, end), height, width, mixing)
    c = _source(addresses, batch, sample, y, min(x + 2, end), height, width, mixing)
    d = _source(addresses, batch, sample, y, min(x + 3, end), height, width, mixing)
    return (
        np.uint32(load_u8(a) | load_u8(a + 1) << 8 | load_u8(a + 2) << 16 | load_u8(b) << 24),
        np.uint32(load_u8(b + 1) | load_u8(b + 2) << 8 | load_u8(c) << 16 | load_u8(c + 1) << 24),
        np.uint32(load_u8(c + 2) | load_u8(d) << 8 | load_u8(d + 1) << 16 | load_u8(d + 2) << 24),
    )


@inlined
def _number(word, which, mean, factor):
    """A byte of a word, normalised."""
    return (np.float32((word >> 8 * which) & 255) - mean) * factor


@inlined
def _floats(place, count, a, b, c, d):
    """Write up to four numbers."""
    if count > 3 and place % 16 == 0:
        store_four_floats(place, a, b, c, d)
    else:
        store_float(place, a)
        if count > 1:
            store_float(place + 4, b)
        if count > 2:
            store_float(place + 8, c)
        if count > 3:
            store_float(place + 12, d)


@inlined
def _halves(place, count, a, b, c, d):
    """Write up to four numbers as float16, one by one."""
    if count > 0:
        store_half(place, a)
    if count > 1:
        store_half(place + 2, b)
    if count > 2:
        store_half(place + 4, c)
    if count > 3:
        store_half(place + 6, d)


@inlined
def _eight_halves(place, count, a, b, c, d, e, f, g, h):
    """Write up to eight numbers as float16."""
    if count > 7 and place % 16 == 0:
        store_eight_halves(place, a, b, c, d, e, f, g, h)
    else:
        _halves(place, count, a, b, c, d)
        _halves(place + 8, count - 4, e, f, g, h)


@cuda.jit
def mix_float32(target, addresses, batch, height, width, mixing, m0, m1, m2, f0, f1, f2):
    """Make a batch of normalised images, float32 (batch, 3, height, width).

    Parameters
    ----------
    target : int64
        Address of the result.
    addresses : int64
        Address of int64 addresses: of the images, uint8 (height, width, 3) each, (batch,); and, where a plan is
        applied, of the samples' tables (see `_cell_table`), (batch,).
    batch, height, width : int64
        Sizes.
    mixing : int64
        Whether a plan is applied.
    m0, m1, m2, f0, f1, f2 : float32
        What is subtracted of each channel, and by what the difference is multiplied.
    """
    x, y, sample = cuda.grid(3)
    x = 4 * x
    if x >= width or y >= height:
        return
    u, v, w = _four(addresses, batch, sample, y, x, height, width, mixing)
    place = target + 4 * ((3 * sample * height + y) * width + x)
    plane, count = 4 * height * width, width - x
    _floats(place, count, _number(u, 0, m0, f0), _number(u, 3, m0, f0), _number(v, 2, m0, f0), _number(w, 1, m0, f0))
    place += plane
    _floats(place, count, _number(u, 1, m1, f1), _number(v, 0, m1, f1), _number(v, 3, m1, f1), _number(w, 2, m1, f1))
    place += plane
    _floats(place, count, _number(u, 2, m2, f2), _number(v, 1, m2, f2), _number(w, 0, m2, f2), _number(w, 3, m2, f2))


@cuda.jit
def mix_float16(target, addresses, batch, height, width, mixing, m0, m1, m2, f0, f1, f2):
    """Make the same as float16."""
    x, y, sample = cuda.grid(3)
    x = 8 * x
    if x >= width or y >= height:
        return
    a, b, c = _four(addresses, batch, sample, y, x, height, width, mixing)
    # Where the row ends before, this reads its last pixel, and nothing of it is written.
    d, e, f = _four(addresses, batch, sample, y, x + 4, height, width, mixing)
    place = target + 2 * ((3 * sample * height + y) * width + x)
    plane, count = 2 * height * width, width - x
    _eight_halves(
        place, count,
        _number(a, 0, m0, f0), _number(a, 3, m0, f0), _number(b, 2, m0, f0), _number(c, 1, m0, f0),
        _number(d, 0, m0, f0), _number(d, 3, m0, f0), _number(e, 2, m0, f0), _number(f, 1, m0, f0),
    )  # fmt: skip
    place += plane
    _eight_halves(
        place, count,
        _number(a, 1, m1, f1), _number(b, 0, m1, f1), _number(b, 3, m1, f1), _number(c, 2, m1, f1),
        _number(d, 1, m1, f1), _number(e, 0, m1, f1), _number(e, 3, m1, f1), _number(f, 2, m1, f1),
    )  # fmt: skip
    place += plane
    _eight_halves(
        place, count,
        _number(a, 2, m2, f2), _number(b, 1, m2, f2), _number(c, 0, m2, f2), _number(c, 3, m2, f2),
        _number(d, 2, m2, f2), _number(e, 1, m2, f2), _number(f, 0, m2, f2), _number(f, 3, m2, f2),
    )  # fmt: skip
