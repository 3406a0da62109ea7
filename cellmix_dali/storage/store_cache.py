"""Where what is kept of objects of stores lies on this machine, and how much of it."""

from __future__ import annotations

import os
from pathlib import Path

from .._arguments import byte_count, local_only

__all__ = ["set_store_cache"]


def set_store_cache(folder: str | Path | None = None, size: int | str | None = None) -> None:
    """Say where what is kept of objects of stores lies, for this process and those that it starts.

    It sets the environment variables CELLMIX_DALI_STORE_CACHE and CELLMIX_DALI_STORE_CACHE_SIZE. Call it before the
    first URL is named.

    Parameters
    ----------
    folder : str or Path, optional
        A folder on a disk of this machine; several processes may share it. By default what the environment says, else
        ``~/.cache/cellmix_dali/stores``.
    size : int or str, optional
        Bytes that may be kept, as a number or such as "200GB"; what was used longest ago is let go of. By default what
        the environment says, else 50 GB.

    Raises
    ------
    ArgumentError
        If the folder is a URL, or the size is not a number of bytes.
    """
    most = None if size is None else byte_count("The size of the cache", size)
    if folder is not None:
        place = local_only("What is kept of objects", folder).expanduser().absolute()
        os.environ["CELLMIX_DALI_STORE_CACHE"] = str(place)
    if most is not None:
        os.environ["CELLMIX_DALI_STORE_CACHE_SIZE"] = str(most)
