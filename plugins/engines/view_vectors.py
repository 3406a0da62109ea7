"""Weighed sums of pixels, several at once, as a view's filters need them: in LLVM's own terms, see `vectors`.

Addresses are whole numbers (int64), steps are in bytes, weights lie one after the other (float32).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# ruff: noqa: ARG001 (numba's way to write one)

from __future__ import annotations

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import EIGHT, integers

__all__ = ["SIXTEEN", "WIDE", "cross_eight", "weigh_columns", "weigh_pairs", "weigh_rows", "widen"]

#: Numbers that `weigh_pairs` works out at once.
SIXTEEN = 16
#: Numbers of a row that `widen` and `weigh_rows` work out at once.
WIDE = 2 * SIXTEEN

_RGB = 3
_ADDRESS = numba.types.int64
_FUSED = ["contract", "nnan", "ninf", "nsz"]


def _floats(length: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), length)


def _at(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """A number or a vector at an address."""
    found = builder.load(builder.inttoptr(address, kind.as_pointer()))
    found.align = 1 if kind == integers(8, SIXTEEN) else 4
    return found


def _put(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 4


def _plus(builder: ir.IRBuilder, address: ir.Value, count: ir.Value | int, step: ir.Value | int = 1) -> ir.Value:
    """An address so many steps on."""
    count, step = (of if isinstance(of, ir.Value) else ir.Constant(address.type, of) for of in (count, step))
    return builder.add(address, builder.mul(count, step))


def _spread(builder: ir.IRBuilder, number: ir.Value, length: int) -> ir.Value:
    """Return a vector of the same number."""
    empty = ir.Constant(ir.VectorType(number.type, length), ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(integers(32, length), [0] * length))


def _add(builder: ir.IRBuilder, total: ir.Value, weight: ir.Value, values: ir.Value) -> None:
    """Add weighed numbers to a variable."""
    product = builder.fmul(weight, values, flags=_FUSED)
    builder.store(builder.fadd(builder.load(total), product, flags=_FUSED), total)


def _zeros(builder: ir.IRBuilder, length: int) -> ir.Value:
    """A variable of so many zeros."""
    total = cgutils.alloca_once(builder, _floats(length))
    builder.store(ir.Constant(_floats(length), [0.0] * length), total)
    return total


@intrinsic
def widen(context, source, target):
    """Write `WIDE` bytes as numbers (float32)."""

    def code(context, builder, signature, arguments):
        source, target = arguments
        for part in range(0, WIDE, SIXTEEN):
            levels = _at(builder, _plus(builder, source, part), integers(8, SIXTEEN))
            _put(builder, builder.uitofp(levels, _floats(SIXTEEN)), _plus(builder, target, 4 * part))
        return context.get_dummy_value()

    return numba.types.void(*[_ADDRESS] * 2), code


@intrinsic
def weigh_rows(context, source, weights, count, target):
    """Add up so many rows of `WIDE` numbers (float32), which follow one another, each by its weight."""

    def code(context, builder, signature, arguments):
        source, weights, count, target = arguments
        totals = [_zeros(builder, SIXTEEN) for _ in range(WIDE // SIXTEEN)]
        with cgutils.for_range(builder, count) as loop:
            row = _plus(builder, source, loop.index, 4 * WIDE)
            weight = _spread(builder, _at(builder, _plus(builder, weights, loop.index, 4), ir.FloatType()), SIXTEEN)
            for part, total in enumerate(totals):
                _add(builder, total, weight, _at(builder, _plus(builder, row, 4 * SIXTEEN * part), _floats(SIXTEEN)))
        for part, total in enumerate(totals):
            _put(builder, builder.load(total), _plus(builder, target, 4 * SIXTEEN * part))
        return context.get_dummy_value()

    return numba.types.void(*[_ADDRESS] * 4), code


@intrinsic
def cross_eight(context, source, step, target, step_of_target):
    """Read eight rows of eight numbers (float32), and write their columns as rows, one after the other."""

    def code(context, builder, signature, arguments):
        source, step, target, step_of_target = arguments
        rows = [_at(builder, _plus(builder, source, row, step), _floats(EIGHT)) for row in range(EIGHT)]
        for apart in (4, 2, 1):  # squares of numbers that lie across the diagonal change their places
            changed = list(rows)
            for row in range(EIGHT):
                if row & apart:
                    continue
                upper, lower = [], []
                for place in range(EIGHT):
                    other = place & apart > 0
                    upper.append(EIGHT + place - apart if other else place)
                    lower.append(EIGHT + place if other else place + apart)
                for own, order in ((row, upper), (row + apart, lower)):
                    mask = ir.Constant(integers(32, EIGHT), order)
                    changed[own] = builder.shuffle_vector(rows[row], rows[row + apart], mask)
            rows = changed
        for row, values in enumerate(rows):
            _put(builder, values, _plus(builder, target, row, step_of_target))
        return context.get_dummy_value()

    return numba.types.void(*[_ADDRESS] * 4), code


@intrinsic
def weigh_columns(context, source, weights, count, target, step):
    """Add up pixels of eight rows, each pixel by its weight, and round them to whole levels from 0 to 255.

    A pixel is eight numbers (float32) of red, one for each row, eight of green and eight of blue; the sums are written
    a step apart.
    """

    def code(context, builder, signature, arguments):
        source, weights, count, target, step = arguments
        floats = _floats(EIGHT)
        low, high, half = (ir.Constant(floats, [level] * EIGHT) for level in (0.0, 255.0, 0.5))
        totals = [_zeros(builder, EIGHT) for _ in range(_RGB)]
        with cgutils.for_range(builder, count) as loop:
            pixel = _plus(builder, source, loop.index, 4 * _RGB * EIGHT)
            weight = _spread(builder, _at(builder, _plus(builder, weights, loop.index, 4), ir.FloatType()), EIGHT)
            for channel, total in enumerate(totals):
                _add(builder, total, weight, _at(builder, _plus(builder, pixel, channel, 4 * EIGHT), floats))
        for channel, total in enumerate(totals):
            values = builder.load(total)
            values = builder.select(builder.fcmp_ordered(">", values, low), values, low)
            values = builder.select(builder.fcmp_ordered("<", values, high), values, high)
            values = builder.fptosi(builder.fadd(values, half), integers(32, EIGHT))
            _put(builder, builder.sitofp(values, floats), _plus(builder, target, channel, step))
        return context.get_dummy_value()

    return numba.types.void(*[_ADDRESS] * 5), code


@intrinsic
def weigh_pairs(context, source, step, weights, radius, target):
    """Add up `SIXTEEN` numbers (float32), and those so many steps before and after them, by the weights of pairs."""

    def code(context, builder, signature, arguments):
        source, step, weights, radius, target = arguments
        floats = _floats(SIXTEEN)
        total = cgutils.alloca_once(builder, floats)
        first = _spread(builder, _at(builder, weights, ir.FloatType()), SIXTEEN)
        builder.store(builder.fmul(first, _at(builder, source, floats)), total)
        with cgutils.for_range(builder, radius) as loop:
            away = builder.add(loop.index, ir.Constant(loop.index.type, 1))
            weight = _spread(builder, _at(builder, _plus(builder, weights, away, 4), ir.FloatType()), SIXTEEN)
            far = builder.mul(away, step)
            before, after = (_at(builder, of, floats) for of in (builder.sub(source, far), builder.add(source, far)))
            _add(builder, total, weight, builder.fadd(before, after, flags=_FUSED))
        _put(builder, builder.load(total), target)
        return context.get_dummy_value()

    return numba.types.void(*[_ADDRESS] * 5), code
