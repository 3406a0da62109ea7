"""Eight pixels at once: what LLVM does not find by itself, in its own terms."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# ruff: noqa: ARG001 (numba's way to write one)

from __future__ import annotations

import numba
from llvmlite import ir
from numba.extending import intrinsic

__all__ = [
    "EIGHT",
    "as_float",
    "as_int",
    "finish_eight",
    "finish_eight_halves",
    "integers",
    "join_eight",
    "prefetch",
    "settle",
    "split_eight",
    "spread",
    "stream_eight",
    "stream_eight_halves",
]

#: Pixels that are worked out at once.
EIGHT = 8
_RGB = 3
_BYTES = _RGB * EIGHT


def integers(bits: int, length: int) -> ir.VectorType:
    """Return the type of a vector of whole numbers."""
    return ir.VectorType(ir.IntType(bits), length)


def spread(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return a vector of eight times the same number."""
    empty = ir.Constant(ir.VectorType(value.type, EIGHT), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(integers(32, EIGHT), [0] * EIGHT))


@intrinsic
def split_eight(context, source, red, green, blue):
    """Read eight pixels, RGB by RGB, and write each channel's numbers (float32) one after the other."""

    def code(context, builder, signature, arguments):
        loaded = builder.load(builder.inttoptr(arguments[0], integers(8, _BYTES).as_pointer()))
        loaded.align = 1
        for channel in range(_RGB):
            every_third = ir.Constant(integers(32, EIGHT), list(range(channel, _BYTES, _RGB)))
            values = builder.shuffle_vector(loaded, ir.Constant(loaded.type, ir.Undefined), every_third)
            values = builder.uitofp(values, ir.VectorType(ir.FloatType(), EIGHT))
            builder.store(values, builder.inttoptr(arguments[1 + channel], values.type.as_pointer())).align = 4
        return context.get_dummy_value()

    address = numba.types.int64
    return numba.types.void(address, address, address, address), code


@intrinsic
def join_eight(context, target, red, green, blue):
    """Read eight numbers (float32, from 0 to 255) of each channel, and write eight pixels; halves are rounded up."""

    def code(context, builder, signature, arguments):
        floats = ir.VectorType(ir.FloatType(), EIGHT)
        channels = []
        for channel in range(_RGB):
            values = builder.load(builder.inttoptr(arguments[1 + channel], floats.as_pointer()))
            values.align = 4
            values = builder.fadd(values, ir.Constant(floats, [0.5] * EIGHT))
            channels.append(builder.trunc(builder.fptosi(values, integers(32, EIGHT)), integers(8, EIGHT)))
        pairs = builder.shuffle_vector(
            channels[0], channels[1], ir.Constant(integers(32, 2 * EIGHT), list(range(2 * EIGHT)))
        )
        third = builder.shuffle_vector(
            channels[2], ir.Constant(channels[2].type, ir.Undefined),
            ir.Constant(integers(32, 2 * EIGHT), [*range(EIGHT), *[0] * EIGHT]),
        )  # fmt: skip
        order = [EIGHT * channel + pixel for pixel in range(EIGHT) for channel in range(_RGB)]
        pixels = builder.shuffle_vector(pairs, third, ir.Constant(integers(32, _BYTES), order))
        builder.store(pixels, builder.inttoptr(arguments[0], pixels.type.as_pointer())).align = 1
        return context.get_dummy_value()

    address = numba.types.int64
    return numba.types.void(address, address, address, address), code


def _finishing(*, half: bool, streamed: bool):
    """Make what rounds eight numbers (float32) to whole levels, normalises and writes them, as one vector.

    Streamed, past the caches, the target must lie on a multiple of eight numbers.
    """

    @intrinsic
    def finish(context, source, target, mean, factor):
        def code(context, builder, signature, arguments):
            source, target, mean, factor = arguments
            floats = ir.VectorType(ir.FloatType(), EIGHT)
            values = builder.load(builder.inttoptr(source, floats.as_pointer()))
            values.align = 4
            values = builder.fadd(values, ir.Constant(floats, [0.5] * EIGHT))
            values = builder.sitofp(builder.fptosi(values, integers(32, EIGHT)), floats)
            values = builder.fmul(builder.fsub(values, spread(builder, mean)), spread(builder, factor))
            if half:  # rounds to the nearest even (IEEE 754)
                values = builder.fptrunc(values, ir.VectorType(ir.HalfType(), EIGHT))
            stored = builder.store(values, builder.inttoptr(target, values.type.as_pointer()))
            number = 2 if half else 4
            stored.align = number * EIGHT if streamed else number
            if streamed:
                stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            return context.get_dummy_value()

        address, number = numba.types.int64, numba.types.float32
        return numba.types.void(address, address, number, number), code

    return finish


finish_eight, finish_eight_halves = _finishing(half=False, streamed=False), _finishing(half=True, streamed=False)
stream_eight, stream_eight_halves = _finishing(half=False, streamed=True), _finishing(half=True, streamed=True)


@intrinsic
def as_float(context, bits):
    """Take the bits of a whole number (int32) for those of a float."""

    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return numba.types.float32(numba.types.int32), code


@intrinsic
def as_int(context, number):
    """Take the bits of a float (float32) for those of a whole number."""

    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return numba.types.int32(numba.types.float32), code


@intrinsic
def settle(context):
    """Let streamed numbers arrive before anything that follows: other threads look for them then."""

    def code(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return numba.types.void(), code


@intrinsic
def prefetch(context, address):
    """Ask for an address to be read soon; any address will do."""

    def code(context, builder, signature, arguments):
        pointer, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, integer, integer, integer])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        reading, often, data = (ir.Constant(integer, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), reading, often, data])
        return context.get_dummy_value()

    return numba.types.void(numba.types.int64), code
