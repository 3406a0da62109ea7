"""Memory that is used again only when nobody has it any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cellmix_dali.storage.buffers import BufferPool


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def test_memory_is_given_again_when_the_last_view_is_gone() -> None:
    pool = BufferPool(1 << 22)
    whole = pool.take(1 << 20)
    first, view = address(whole), whole[5:10]
    del whole
    other = pool.take(1 << 20)
    assert address(other) != first
    bare = memoryview(view)
    del view
    assert address(pool.take(1 << 20)) != first
    del bare
    again = pool.take(1_000_000)
    assert address(again) == first
    assert again.shape == (1_000_000,)


def test_sizes() -> None:
    pool = BufferPool(1 << 20)
    for size in (0, 1, 1 << 16, (1 << 16) + 1, 1 << 20, (1 << 20) + 1):
        array = pool.take(size)
        assert array.shape == (size,)
        assert array.dtype == np.uint8
        assert array.flags.writeable


def test_no_more_is_kept_than_is_allowed() -> None:
    pool = BufferPool(1 << 18)
    for size in (1 << 17, 1 << 16, 1 << 18, (1 << 16) + 1):
        held = [pool.take(size) for _ in range(5)]
        assert len({address(array) for array in held}) == 5
        held.clear()
        kept = sum(memory.size for free in pool._free.values() for memory in free)
        assert 0 < kept == pool._kept <= 1 << 18
        # What was used last is there.
        known = {address(memory) for free in pool._free.values() for memory in free}
        assert address(pool.take(size)) in known


def test_threads_never_share() -> None:
    pool = BufferPool(1 << 22)

    def use(number: int) -> bool:
        array = pool.take(1 << 17)
        array[:] = number % 251
        return bool((array == number % 251).all())

    with ThreadPoolExecutor(8) as workers:
        assert all(workers.map(use, range(2000)))
