"""A Gaussian blur of 64 x 64 numbers, eight at a time, as compiled code; for `quick_saliency`."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, call-arg"

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .._compiled import compiled
from ._saliency_sizes import MAP_SIDE as SIDE, SIGMA

__all__ = ["REACH", "blurred"]

REACH = 14  # of a Gaussian beyond lies a part of 1e-8
_LANES = 8
_WEIGHTS = (np.exp(-0.5 * (np.arange(REACH + 1) / SIGMA) ** 2) / (SIGMA * np.sqrt(2 * np.pi))).astype(np.float32)


@intrinsic
def _weighted(context, source, step, target):  # noqa: ARG001 (numba's way to write one)
    """Eight numbers at `source` and those `step` bytes apart before and after, weighted, make eight at `target`."""

    def code(context, builder, signature, arguments):  # noqa: ARG001
        source, step, target = arguments
        vector = ir.VectorType(ir.FloatType(), _LANES)

        def load(number):
            address = builder.add(source, builder.mul(step, ir.Constant(step.type, number)))
            return builder.load(builder.inttoptr(address, vector.as_pointer()), align=4)

        def weight(number):
            return ir.Constant(vector, [float(_WEIGHTS[number])] * _LANES)

        total = builder.fmul(load(0), weight(0))
        for number in range(1, REACH + 1):
            both = builder.fadd(load(-number), load(number))
            total = builder.fadd(total, builder.fmul(both, weight(number)))
        builder.store(total, builder.inttoptr(target, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return numba.types.void(*[numba.types.int64] * 3), code


@compiled()
def blurred(padded):
    """Blur what lies in the middle of (64 + 2 * REACH, 64) float32, with zeros above and below: (64, 64).

    Beside it, too, lies nothing.
    """
    found, line = np.empty((SIDE, SIDE), np.float32), np.zeros(SIDE + 2 * REACH, np.float32)
    row = 4 * SIDE
    for y in range(SIDE):
        middle = line.ctypes.data + 4 * REACH
        source, target = padded.ctypes.data + (y + REACH) * row, found.ctypes.data + y * row
        for at in range(0, row, 4 * _LANES):
            _weighted(source + at, row, middle + at)
        for at in range(0, row, 4 * _LANES):
            _weighted(middle + at, 4, target + at)
    return found
