"""Loads and stores at raw addresses of the GPU's memory, for `_cuda_kernel`: one instruction each.

In numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1, for tests) addresses are the host's, and the same names stand for
plain Python functions.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, import-untyped, unused-ignore"

from __future__ import annotations

import ctypes

import numpy as np
from numba import config

__all__ = [
    "load_i32",
    "load_i64",
    "load_u8",
    "load_u32",
    "store_float",
    "store_four_floats",
    "store_eight_halves",
    "store_half",
]

if config.ENABLE_CUDASIM:

    def _peek(kind):
        return lambda address: kind.from_address(int(address)).value

    load_i64, load_i32, load_u32, load_u8 = map(
        _peek, (ctypes.c_int64, ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint8)
    )

    def _poke(address, values, dtype):
        ctypes.memmove(int(address), np.array(values, dtype).tobytes(), len(values) * np.dtype(dtype).itemsize)

    def store_float(address, value):
        """One number."""
        _poke(address, (value,), np.float32)

    def store_half(address, value):
        """One number, rounded to the nearest even."""
        _poke(address, (value,), np.float16)

    def store_four_floats(address, *values):
        """Four numbers, in one piece of 16 bytes."""
        assert address % 16 == 0
        _poke(address, values, np.float32)

    def store_eight_halves(address, *values):
        """Eight numbers, rounded to the nearest even, in one piece of 16 bytes."""
        assert address % 16 == 0
        _poke(address, values, np.float16)

else:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    _GLOBAL = 1  # the address space of the GPU's main memory: LLVM then need not find it out for each access

    def _pointer(builder, address, kind):
        return builder.inttoptr(address, ir.PointerType(kind, _GLOBAL))

    def _load(result, bits):
        """An intrinsic that gives the integer at an address, which is a multiple of its size."""

        def load(context, address):  # noqa: ARG001
            def code(context, builder, signature, arguments):  # noqa: ARG001
                pointer = _pointer(builder, arguments[0], ir.IntType(bits))
                return builder.load(pointer, align=bits // 8)

            return result(address), code

        load.__name__ = f"load_{result}"
        return intrinsic(load)

    load_i64, load_i32 = _load(types.int64, 64), _load(types.int32, 32)
    load_u32, load_u8 = _load(types.uint32, 32), _load(types.uint8, 8)

    def _store(half):
        """Code that writes one float32, or 16 bytes of them in one piece; as float16 if `half`."""

        def code(context, builder, signature, arguments):  # noqa: ARG001
            values = [_bits_of_half(builder, value) for value in arguments[1:]] if half else arguments[1:]
            if len(values) == 1:
                whole, size = values[0], 2 if half else 4
            else:
                words = [_word(builder, *values[at : at + 2]) for at in (0, 2, 4, 6)] if half else values
                whole, size = ir.Constant(ir.VectorType(words[0].type, 4), ir.Undefined), 16
                for place, word in enumerate(words):
                    whole = builder.insert_element(whole, word, ir.Constant(ir.IntType(32), place))
            builder.store(whole, _pointer(builder, arguments[0], whole.type), align=size)
            return context.get_dummy_value()

        return code

    def _bits_of_half(builder, value):
        """The bits of a float32 as float16, rounded to the nearest even, as IEEE 754 says."""
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), ir.IntType(16))

    def _word(builder, low, high):
        """Two times 16 bits as one word: a vector of 8 times 16 would be written in two pieces."""
        low, high = (builder.zext(part, ir.IntType(32)) for part in (low, high))
        return builder.or_(low, builder.shl(high, ir.Constant(ir.IntType(32), 16)))

    @intrinsic
    def store_float(context, address, value):  # noqa: ARG001
        """One number."""
        return types.void(address, types.float32), _store(half=False)

    @intrinsic
    def store_half(context, address, value):  # noqa: ARG001
        """One number, rounded to the nearest even."""
        return types.void(address, types.float32), _store(half=True)

    @intrinsic
    def store_four_floats(context, address, a, b, c, d):  # noqa: ARG001
        """Four numbers, in one piece of 16 bytes."""
        return types.void(address, *[types.float32] * 4), _store(half=False)

    @intrinsic
    def store_eight_halves(context, address, a, b, c, d, e, f, g, h):  # noqa: ARG001
        """Eight numbers, rounded to the nearest even, in one piece of 16 bytes."""
        return types.void(address, *[types.float32] * 8), _store(half=True)
