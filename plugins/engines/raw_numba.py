"""Compiled operators on DALI's CPU buffers, compiled once per machine.

`nvidia.dali.plugin.numba` compiles a frame around every operator, which takes seconds in each process. Here compiled
functions take what DALI's backend hands over (addresses, see `RUN` and `SETUP`), and numba keeps them on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numba import types as numba_types
from nvidia.dali.plugin.numba import NumbaFunction

from cellmix_dali._compiled import Callback

from ..dali import DataNode, types

__all__ = ["RUN", "RUN_SAMPLE", "SETUP", "Array", "compiled_callback", "raw_operator"]

#: Type and number of dimensions of an input or output.
Array = tuple[types.DALIDataType, int]

_U64, _I32 = numba_types.uint64, numba_types.int32
#: Addresses of the outputs' data (outputs, samples), of their shapes (outputs, samples) and of their numbers of
#: dimensions (outputs,), and how many outputs there are; the same of the inputs; the number of samples. Addresses and
#: shapes are int64, the rest is int32.
RUN = numba_types.void(_U64, _U64, _U64, _I32, _U64, _U64, _U64, _I32, _I32)
#: The same of one sample at a time, which DALI's threads share among themselves.
RUN_SAMPLE = numba_types.void(_U64, _U64, _U64, _I32, _U64, _U64, _U64, _I32)
#: The same without the data; the outputs' shapes are to be filled in.
SETUP = numba_types.void(_U64, _U64, _I32, _U64, _U64, _I32, _I32)


def compiled_callback(signature: Any) -> Callable[[Callable[..., None]], Callback]:
    """Have a function compiled for DALI's backend when it is used first; nothing in it may raise."""
    return lambda function: Callback(function, signature)


class _RawNumbaFunction(NumbaFunction):  # type: ignore[misc]
    """DALI's operator without its frame: the callbacks are compiled already."""

    def _get_run_fn_cpu(self, run_fn: Callback, *_: object) -> int:
        return run_fn.address

    def _get_setup_fn_cpu(self, setup_fn: Callback) -> int:
        return setup_fn.address


def raw_operator(
    run: Callback,
    setup: Callback,
    *,
    inputs: Sequence[Array],
    output: Array,
    batch: bool,
) -> Callable[..., DataNode]:
    """Make an operator on the CPU with one output.

    Parameters
    ----------
    run, setup
        Made by `compiled_callback`, of the signatures `RUN` (or `RUN_SAMPLE`) and `SETUP`.
    inputs, output
        Type and number of dimensions of each.
    batch : bool
        Whether it is called once per batch, or once per sample in DALI's threads.
    """
    operator: Callable[..., DataNode] = _RawNumbaFunction(
        run_fn=run,
        setup_fn=setup,
        out_types=[output[0]],
        in_types=[dtype for dtype, _ in inputs],
        outs_ndim=[output[1]],
        ins_ndim=[dimensions for _, dimensions in inputs],
        batch_processing=batch,
        device="cpu",
    )
    return operator
