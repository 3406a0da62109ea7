"""Mixing, normalising, casting and HWC -> CHW in one pass over the pixels, as compiled code on DALI's CPU buffers.

DALI runs the pass sample by sample in its own threads. A sample takes pixels from others of its batch; where those lie,
the operator `addresses` has written down before.

The pass is bound by memory: it reads each pixel once, eight at a time, from wherever the plan says, and writes past the
caches (streaming stores), which spares reading what is overwritten. On 2 cores it runs at 1.0 to 1.6 times the speed of
`numpy.copyto` of its result (benchmarks/kernel.py).

Nothing here can raise: an exception inside a compiled operator is printed and its output left as garbage. The loops see
raw addresses and plain sizes only.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.extending import intrinsic
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled, copy_bytes

from .raw_numba import RUN_SAMPLE, SETUP, compiled_callback
from .vectors import EIGHT as _EIGHT, integers, prefetch, settle, spread

__all__ = ["across", "edges_of", "planes", "run"]

_RGB = 3
_BYTES = _RGB * _EIGHT
_AHEAD = 2  # rows: other images' patches are no stream that the processor would see coming


def _writing(*, half: bool, streamed: bool) -> Any:
    """Make what normalises eight pixels at an address and writes their channels to planes, as vectors.

    Streamed, all targets must lie on multiples of eight numbers.
    """

    @intrinsic
    def write(context, source, target, plane, means, factors):
        def code(context, builder, signature, arguments):
            source, target, plane, means, factors = arguments
            loaded = builder.load(builder.inttoptr(source, integers(8, _BYTES).as_pointer()))
            loaded.align = 1
            for channel in range(_RGB):
                every_third = ir.Constant(integers(32, _EIGHT), list(range(channel, _BYTES, _RGB)))
                values = builder.shuffle_vector(loaded, ir.Constant(loaded.type, ir.Undefined), every_third)
                values = builder.uitofp(values, ir.VectorType(ir.FloatType(), _EIGHT))
                mean, factor = (spread(builder, builder.extract_value(of, channel)) for of in (means, factors))
                values = builder.fmul(builder.fsub(values, mean), factor)
                if half:  # rounds to the nearest even (IEEE 754)
                    values = builder.fptrunc(values, ir.VectorType(ir.HalfType(), _EIGHT))
                place = builder.add(target, builder.mul(plane, ir.Constant(plane.type, channel)))
                stored = builder.store(values, builder.inttoptr(place, values.type.as_pointer()))
                number = 2 if half else 4
                stored.align = number * _EIGHT if streamed else number
                if streamed:
                    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            return context.get_dummy_value()

        address, triple = numba.types.int64, numba.types.UniTuple(numba.types.float32, _RGB)
        return numba.types.void(address, address, address, triple, triple), code

    return write


_write, _write_half = _writing(half=False, streamed=False), _writing(half=True, streamed=False)
_stream, _stream_half = _writing(half=False, streamed=True), _writing(half=True, streamed=True)


@compiled()
def _eight(source, target, plane, means, factors, half, streamed):
    """Normalise eight pixels."""
    if half:
        if streamed:
            _stream_half(source, target, plane, means, factors)
        else:
            _write_half(source, target, plane, means, factors)
    elif streamed:
        _stream(source, target, plane, means, factors)
    else:
        _write(source, target, plane, means, factors)


@compiled()
def edges_of(places, sizes, height):
    """Mark the rows at which a region begins or ends: between two of them all rows are made alike."""
    edges = np.zeros(height + 1, np.uint8)
    edges[height] = 1
    for region in range(sizes.size // 2):
        edges[places[2 * region]] = 1
        edges[places[2 * region] + sizes[2 * region]] = 1
    return edges


@compiled()
def across(plan, region, top, line):
    """Where a region begins and ends in a row, and the address that its pixels in a band's first row count from."""
    images, sources, places, sizes = plan
    left = places[2 * region + 1]
    from_y = sources[2 * region] + top - places[2 * region]
    return left, left + sizes[2 * region + 1], images[region] + from_y * line + _RGB * (sources[2 * region + 1] - left)


@compiled()
def _lay_out(rows, own, width, plan, firsts, steps, row, pieces):
    """Find where the pixels of a band of rows lie; later regions win.

    Of each eight pixels (of a row's last ones too, where they are fewer), `firsts` takes the address in the first row,
    and `steps` the way to the next. Those that do not lie together are to be put together in `row`: `pieces` takes from
    where to where, and how many bytes. Gives the number of pieces.
    """
    top, bottom = rows
    images, _, places, sizes = plan
    line, eights, rest = _RGB * width, width // _EIGHT, width % _EIGHT
    pixels, active = np.empty(_EIGHT, np.int64), np.empty(images.size, np.int64)
    for eight in range(firsts.size):
        firsts[eight], steps[eight] = own + top * line + _BYTES * eight, line
    steps[eights:] = 0  # fewer than eight
    count = 0
    for region in range(images.size):
        if places[2 * region] > top or places[2 * region] + sizes[2 * region] < bottom:
            continue
        active[count] = region
        count += 1
        left, right, start = across(plan, region, top, line)
        whole, end = -(-left // _EIGHT), right // _EIGHT
        for eight in range(whole, end):
            firsts[eight], steps[eight] = start + _BYTES * eight, line
        if left % _EIGHT:
            steps[left // _EIGHT] = 0
        if right % _EIGHT:
            steps[end] = 0
    found = 0
    for eight in range(eights + (rest > 0)):
        if steps[eight]:
            continue
        firsts[eight] = row + _BYTES * eight
        begin = _EIGHT * eight
        length = min(_EIGHT, width - begin)
        for number in range(length):
            pixels[number] = own + top * line + _RGB * (begin + number)
        for region in active[:count]:
            left, right, start = across(plan, region, top, line)
            for x in range(max(left, begin), min(right, begin + length)):
                pixels[x - begin] = start + _RGB * x
        number = 0
        while number < length:
            piece = number
            number += 1
            while number < length and pixels[number] - pixels[number - 1] == _RGB:
                number += 1
            pieces[found, 0], pieces[found, 1] = pixels[piece], firsts[eight] + _RGB * piece
            pieces[found, 2] = _RGB * (number - piece)
            found += 1
    return found


@compiled(inline="always")
def _one_sample(target, own, plan, height, width, constants):
    """Band by band of rows that the same regions cover, each row eight pixels at a time."""
    means, factors = (constants[0], constants[1], constants[2]), (constants[3], constants[4], constants[5])
    half = constants[6] > 0
    size = 2 if half else 4
    plane, line = height * width * size, _RGB * width
    eights, rest = width // _EIGHT, width % _EIGHT
    streamed = target % (_EIGHT * size) == 0 and rest == 0
    firsts, steps = np.empty(eights + 1, np.int64), np.empty(eights + 1, np.int64)
    row, pieces = np.empty(_BYTES * (eights + 1), np.uint8), np.empty((width, 3), np.int64)
    last = np.empty(_BYTES * size, np.uint8)
    edges = edges_of(plan[2], plan[3], height)
    top = np.int64(0)  # not a literal: what takes it would be compiled for that, too
    while top < height:
        bottom = top + 1
        while not edges[bottom]:
            bottom += 1
        count = _lay_out((top, bottom), own, width, plan, firsts, steps, row.ctypes.data, pieces)
        for y in range(top, bottom):
            for piece in range(count):
                copy_bytes(pieces[piece, 1], pieces[piece, 0] + (y - top) * line, pieces[piece, 2])
            out = target + y * width * size
            for eight in range(eights):
                source = firsts[eight] + (y - top) * steps[eight]
                prefetch(source + _AHEAD * line)
                _eight(source, out + eight * _EIGHT * size, plane, means, factors, half, streamed)
            if rest:
                _eight(firsts[eights], np.int64(last.ctypes.data), _EIGHT * size, means, factors, half, np.bool_(False))
                for channel in range(_RGB):
                    place = out + channel * plane + eights * _EIGHT * size
                    copy_bytes(place, last.ctypes.data + channel * _EIGHT * size, rest * size)
        top = bottom
    if streamed:
        settle()


# Compiled at once, so everything they call stands above.
@compiled_callback(SETUP)
def planes(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that the outputs are the images' shapes, CHW."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    images = carray(address_as_void_pointer(in_shapes), samples, np.int64)
    for sample in range(samples):
        target = carray(address_as_void_pointer(out[sample]), 3, np.int64)
        shape = carray(address_as_void_pointer(images[sample]), 3, np.int64)
        target[0], target[1], target[2] = shape[2], shape[0], shape[1]


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Run the pass over a sample.

    Inputs are the image, uint8 HWC; constants, float32: 3 means, 3 reciprocals of deviations, and 1 for float16; and,
    where a plan is applied, the regions' images (int64 addresses), in_anchors, out_anchors and shapes (int32).
    """
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    constants = carray(address_as_void_pointer(given[1]), 7, np.float32)
    addresses, regions = np.empty(4, np.int64), 0
    for place in range(4):
        addresses[place] = given[2 + place] if inputs > 2 else given[0]  # any will do where there are no regions
    if inputs > 2:
        regions = carray(address_as_void_pointer(shapes[2]), 1, np.int64)[0]
    plan = (
        carray(address_as_void_pointer(addresses[0]), regions, np.int64),
        carray(address_as_void_pointer(addresses[1]), 2 * regions, np.int32),
        carray(address_as_void_pointer(addresses[2]), 2 * regions, np.int32),
        carray(address_as_void_pointer(addresses[3]), 2 * regions, np.int32),
    )
    _one_sample(target, given[0], plan, shape[0], shape[1], constants)
