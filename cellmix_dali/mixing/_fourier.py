"""Fourier transforms of 64 numbers, eight at a time, as compiled code; for `quick_saliency`.

NumPy's transforms need the interpreter, and numba has none.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, call-arg"

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .._compiled import compiled

__all__ = ["LANES", "LENGTH", "transform"]

LENGTH = 64  # numbers of a transform
LANES = 8  # transforms that are worked out at once

# Stockham's way in three stages of radix 4 (no digits to reverse): of each stage the powers 1 to 3 of the twiddle.
_STAGES = ((16, 1), (4, 4), (1, 16))
_TWIDDLES = np.zeros((3, 16, 6), np.float32)
for _stage, (_quarter, _) in enumerate(_STAGES):
    for _place in range(_quarter):
        _powers = np.exp(-2j * np.pi * _place * np.array([1, 2, 3]) / (4 * _quarter))
        _TWIDDLES[_stage, _place, ::2], _TWIDDLES[_stage, _place, 1::2] = _powers.real, _powers.imag


@intrinsic
def _butterfly(context, source, step, target, stride, imaginary, twiddles):  # noqa: ARG001 (numba's way to write one)
    """Four rows of `source`, `step` bytes apart, make four of `target`, `stride` bytes apart; eight lanes of each."""

    def code(context, builder, signature, arguments):  # noqa: ARG001
        source, step, target, stride, imaginary, twiddles = arguments
        vector = ir.VectorType(ir.FloatType(), LANES)
        empty = ir.Constant(vector, ir.Undefined)

        def at(base, distance, number):
            address = builder.add(base, builder.mul(distance, ir.Constant(distance.type, number)))
            return [builder.inttoptr(each, vector.as_pointer()) for each in (address, builder.add(address, imaginary))]

        def load(number):
            return [builder.load(place, align=4) for place in at(source, step, number)]

        def spread(value):
            first = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

        def store(number, real, imag):
            if number:
                turn, tilt = (spread(builder.extract_value(twiddles, 2 * number - 2 + part)) for part in (0, 1))
                real, imag = (
                    builder.fsub(builder.fmul(real, turn), builder.fmul(imag, tilt)),
                    builder.fadd(builder.fmul(real, tilt), builder.fmul(imag, turn)),
                )
            for place, values in zip(at(target, stride, number), (real, imag), strict=True):
                builder.store(values, place, align=4)

        (ar, ai), (br, bi), (cr, ci), (dr, di) = map(load, range(4))
        sum_r, sum_i, less_r, less_i = (
            builder.fadd(ar, cr),
            builder.fadd(ai, ci),
            builder.fsub(ar, cr),
            builder.fsub(ai, ci),
        )
        odd_r, odd_i = builder.fadd(br, dr), builder.fadd(bi, di)
        turned_r, turned_i = builder.fsub(di, bi), builder.fsub(br, dr)  # i (b - d)
        store(0, builder.fadd(sum_r, odd_r), builder.fadd(sum_i, odd_i))
        store(1, builder.fsub(less_r, turned_r), builder.fsub(less_i, turned_i))
        store(2, builder.fsub(sum_r, odd_r), builder.fsub(sum_i, odd_i))
        store(3, builder.fadd(less_r, turned_r), builder.fadd(less_i, turned_i))
        return context.get_dummy_value()

    address = numba.types.int64
    return numba.types.void(*[address] * 5, numba.types.UniTuple(numba.types.float32, 6)), code


@compiled()
def transform(numbers, spare):
    """Transform along the middle axis; give the array, of the two, that holds the result.

    Both are float32, (2, 64, lanes), real and imaginary parts, lanes a multiple of 8. For the inverse, without its
    factor 1 / 64, take real parts for imaginary ones and the reverse.
    """
    lanes = numbers.shape[2]
    row = 4 * lanes
    imaginary = LENGTH * row
    for stage in range(3):
        quarter, stride = _STAGES[stage]
        source, target = numbers.ctypes.data, spare.ctypes.data
        for place in range(quarter):
            own = _TWIDDLES[stage, place]
            twiddles = (own[0], own[1], own[2], own[3], own[4], own[5])
            for inner in range(stride):
                of = source + (inner + stride * place) * row
                to = target + (inner + 4 * stride * place) * row
                for lane in range(0, row, 4 * LANES):
                    _butterfly(of + lane, stride * quarter * row, to + lane, stride * row, imaginary, twiddles)
        numbers, spare = spare, numbers
    return numbers
