"""Logarithms and powers as polynomials, and the curves of LAB and sRGB, for compiled code.

What comes out is off by less than 0.01 levels. LLVM makes vectors of loops that call these.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable, var-annotated"

from __future__ import annotations

import numpy as np

from cellmix_dali._compiled import compiled

from ..colour_stages import DARKEST
from .vectors import as_float, as_int

__all__ = ["FAST", "exp2", "level", "levels", "light", "log2", "root", "rough_log2", "unlight", "unroot"]

_f = np.float32
#: Numbers are never NaN or infinite.
FAST = {"contract", "nnan", "ninf", "nsz"}

# Least greatest errors (Remez), over a power of two's middle: 1.6e-6 of log2(1 + t) / t, 2.6e-6 of 2 ** t.
_L0, _L1, _L2 = _f(1.442696306775401), _f(-0.7213676920124945), _f(0.4806486923650528)
_L3, _L4, _L5 = _f(-0.35918487747351846), _f(0.2951000483589263), _f(-0.2709767569537153)
_L6 = _f(0.17616500085285444)
_E0, _E1, _E2 = _f(1.0000001510392669), _f(0.6931210358515351), _f(0.24021865626096153)
_E3, _E4 = _f(0.05592202572692417), _f(0.009685706143177389)
# The same with fewer terms: 7.3e-5 and 7.6e-5, the second times 255.
_R0, _R1, _R2 = _f(1.4426558411656538), _f(-0.7204624659593566), _f(0.4846485981816497)
_R3, _R4 = _f(-0.39246081361958063), _f(0.2611670007056694)
_S0, _S1 = _f(255 * 0.9999244964938641), _f(255 * 0.6931053259455691)
_S2, _S3 = _f(255 * 0.24263996251465175), _f(255 * 0.0560058094958945)
_ROUNDING = _f(1.5 * 2**23)  # added and taken away again, it leaves a whole number
_HALF_ROOT = np.int32(0x3F3504F3)  # the bits of sqrt(0.5)

_DARK, _PER_LEVEL, _LEVELS = _f(DARKEST), _f(1 / 255), _f(255)
_LINEAR, _TENTH = _f(0.04045), _f(1 / 12.92)


@compiled(inline="always", fastmath=FAST)
def log2(x):
    """The logarithm of a number that is above 0 and normal."""
    bits = as_int(x)
    power = np.int32(np.int32(bits - _HALF_ROOT) >> np.int32(23))
    t = as_float(np.int32(bits - np.int32(power << np.int32(23)))) - _f(1)
    return _f(power) + t * (
        _L0 + t * (_L1 + t * (_L2 + t * (_L3 + t * (_L4 + t * (_L5 + t * _L6)))))
    )  # fmt: skip


@compiled(inline="always", fastmath=FAST)
def exp2(x):
    """A power of two; what is below 2 ** -126 becomes that, what is above 2 ** 126 too."""
    x = min(max(x, _f(-126)), _f(126))
    shifted = x + _ROUNDING
    t = x - (shifted - _ROUNDING)
    value = _E0 + t * (_E1 + t * (_E2 + t * (_E3 + t * _E4)))
    return as_float(as_int(value) + (as_int(shifted) << np.int32(23)))


@compiled(inline="always", fastmath=FAST)
def rough_log2(x):
    """The logarithm of a number that is above 0 and normal, to 3e-5."""
    bits = as_int(x)
    power = np.int32(np.int32(bits - _HALF_ROOT) >> np.int32(23))
    t = as_float(np.int32(bits - np.int32(power << np.int32(23)))) - _f(1)
    return _f(power) + t * (_R0 + t * (_R1 + t * (_R2 + t * (_R3 + t * _R4))))


@compiled(inline="always", fastmath=FAST)
def levels(x):
    """255 times a power of two, at most 255, to 0.02."""
    x = min(max(x, _f(-100)), _f(0))
    shifted = x + _ROUNDING
    t = x - (shifted - _ROUNDING)
    value = _S0 + t * (_S1 + t * (_S2 + t * _S3))
    return as_float(as_int(value) + (as_int(shifted) << np.int32(23)))


@compiled(inline="always", fastmath=FAST)
def level(x):
    """A number that a pixel may have, from 0 to 255."""
    return min(max(x, _f(0)), _LEVELS)


@compiled(inline="always", fastmath=FAST)
def root(x):
    """What LAB takes of X, Y and Z."""
    cube = exp2(log2(max(x, _f(1e-6))) * _f(1 / 3))
    return cube if x > _f(0.008856) else _f(7.787) * x + _f(16 / 116)


@compiled(inline="always", fastmath=FAST)
def unroot(x):
    """The reverse of `root`."""
    return x * x * x if x > _f(6 / 29) else (x - _f(16 / 116)) * _f(1 / 7.787)


@compiled(inline="always", fastmath=FAST)
def light(x):
    """How much light a level stands for (sRGB), from 0 to 1."""
    x *= _PER_LEVEL
    curved = exp2(_f(2.4) * log2(max((x + _f(0.055)) * _f(1 / 1.055), _DARK)))
    return curved if x > _LINEAR else x * _TENTH


@compiled(inline="always", fastmath=FAST)
def unlight(x):
    """The reverse of `light`."""
    x = min(max(x, _f(0)), _f(1))
    curved = _f(1.055) * exp2(_f(1 / 2.4) * log2(max(x, _DARK))) - _f(0.055)
    return _LEVELS * (curved if x > _f(0.0031308) else x * _f(12.92))
