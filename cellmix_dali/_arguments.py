"""Checks of arguments: each returns the plain value or says which argument is wrong and what is allowed."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from cellmix_dali._urls import BY_FSSPEC, KNOWN_SCHEMES, SCHEMES, is_url, objects_folder, parts_of, url_of
from cellmix_dali.errors import ArgumentError

__all__ = [
    "IGNORED",
    "SHARE_TOLERANCE",
    "byte_count",
    "fitting_patch_size",
    "integer",
    "local_only",
    "mean_loss",
    "number",
    "path_of",
    "path_of_url",
    "tile_shape",
    "writable_place",
]

#: By how much the shares of a soft label may miss 1.
SHARE_TOLERANCE = 1e-3

#: The class of a mask's pixels that no loss counts: those beyond a slide, those that were overwritten by a constant.
IGNORED = 255

_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]i?)?b?", re.IGNORECASE)


def byte_count(name: str, value: Any) -> int:
    """Return a number of bytes, given as such or as text: "512MB" (10^6 bytes each), "2GiB" (2^30), "1.5 GB"."""
    found = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        unit = (found[2] or "").lower()
        value = int(float(found[1]) * (1024 if unit.endswith("i") else 1000) ** " kmgt".index(unit[:1] or " "))
    elif isinstance(value, str):
        raise ArgumentError(f'{name}={value!r} cannot be used: give a number of bytes, such as "512MB" or "2GiB".')
    return integer(name, value, low=0)


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` as an int between `low` and `high`, both included."""
    allowed = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
    try:
        whole = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = None
    if whole is None or whole < low or (high is not None and whole > high):
        raise ArgumentError(f"{name}={value!r} cannot be used: it must be {allowed}.")
    return whole


def number(name: str, value: Any, low: float, high: float = math.inf, above_low: bool = False) -> float:
    """Return `value` as a finite float between `low` and `high`; `above_low` leaves `low` itself out."""
    least = f"above {low:g}" if above_low else f"{low:g} or more"
    allowed = f"a number {least}" if math.isinf(high) else f"a number {least} and at most {high:g}"
    if math.isinf(low):
        allowed = "a finite number"
    try:
        real = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # an int too large for a float
        real = math.nan
    if not (math.isfinite(real) and low <= real <= high) or (above_low and real == low):
        raise ArgumentError(f"{name}={value!r} cannot be used: it must be {allowed}.")
    return real


def path_of(what: str, path: Any) -> Path:
    """Return a path that was given as text or as a path; `what` begins the error for anything else.

    For a URL it is the path that stands for it, see `cellmix_dali._urls`.
    """
    if is_url(path):
        return path_of_url(path)
    if isinstance(path, str | os.PathLike) and not isinstance(os.fspath(path), bytes):
        return Path(path)
    raise ArgumentError(f"{what} must be named by a path, text or pathlib.Path, not by {path!r}.")


def path_of_url(place: str | os.PathLike[str]) -> Path:
    """Return the path that stands for a URL; nothing is there before it is asked for.

    Raises
    ------
    ArgumentError
        If the scheme is not known, there is no name in the URL, or it holds what may be a secret.
    """
    scheme, rest = parts_of(place)
    if scheme == "file":
        return Path("/" + rest)
    host, _, key = rest.partition("/")
    # Nothing of what may be a secret is repeated here.
    if "?" in rest or "#" in rest or "@" in host:
        raise ArgumentError(
            f"A URL {scheme}://{host.rpartition('@')[2].partition('?')[0]}/... holds a query, a fragment or a "
            "password. Such things would end in tables and logs: name the object alone, and give credentials by the "
            "environment, such as AWS_ACCESS_KEY_ID or AZURE_STORAGE_SAS_TOKEN."
        )
    if scheme not in KNOWN_SCHEMES:
        raise ArgumentError(
            f"{scheme}://{rest} cannot be read: its scheme is not one of {', '.join(SCHEMES)}, nor one of those that "
            f"fsspec reads ({', '.join(sorted(BY_FSSPEC))})."
        )
    names = key.strip("/").split("/") if key.strip("/") else []
    if not host or any(name in ("", ".", "..") or "\0" in name for name in names):
        raise ArgumentError(f"{scheme}://{rest} does not name an object or a folder of objects. Check the URL.")
    return objects_folder().joinpath(scheme, host, *names)


def local_only(what: str, path: Any) -> Path:
    """Return the path of something that is written; refuse a URL. `what` begins the error."""
    found = path_of(what, path)
    if url_of(found) is not None:
        raise ArgumentError(
            f"{what} cannot be written to {url_of(found)}: results go to folders of this machine. Name one, and copy "
            "it to the store afterwards."
        )
    return found


def writable_place(what: str, path: Any) -> Path:
    """Return the path of a folder that is written, which may be in an object store; refuse other URLs."""
    found = path_of(what, path)
    url = url_of(found)
    if url is not None and url.partition("://")[0] not in ("s3", "gs", "az"):
        raise ArgumentError(
            f"{what} cannot be written to {url}: results go to folders of this machine and to object stores. Name one "
            "of these (s3://, gs://, az://)."
        )
    return found


def tile_shape(tile_size: Any) -> tuple[int, int]:
    """Return a tile size given as one side or as (height, width) as (height, width), in pixels."""
    if not isinstance(tile_size, Sequence):
        side = integer("tile_size", tile_size, low=1)
        return side, side
    if isinstance(tile_size, str) or len(tile_size) != 2:
        raise ArgumentError(
            f"tile_size={tile_size!r} cannot be used: it must be one whole number for a square tile or "
            "(height, width), in pixels."
        )
    height, width = tile_size
    return integer("tile_size (height)", height, low=1), integer("tile_size (width)", width, low=1)


def fitting_patch_size(name: str, value: Any, height: int, width: int) -> int:
    """Return a patch size that cuts a tile of height x width into two patches or more."""
    size = integer(name, value, low=1)
    if height % size or width % size or height == width == size:
        common = math.gcd(height, width)
        fitting = [s for s in range(1, common + 1) if common % s == 0 and not height == width == s]
        offer = f"one of {', '.join(map(str, fitting))}" if fitting else "none, so use a larger tile"
        raise ArgumentError(
            f"{name}={value!r} cannot be used: it must divide both sides of the tile of {height}x{width} "
            f"pixels (height x width) into more than one patch. Allowed: {offer}."
        )
    return size


def mean_loss(loss: Any) -> float:
    """Return a loss as a finite float; one number of any kind will do, such as a tensor of one element."""
    try:
        value = None if isinstance(loss, (bool, str, bytes)) else float(loss)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a torch tensor of several
        value = None
    if value is None:
        raise ArgumentError(
            f"loss={loss!r} is not one number: pass the epoch's mean loss per sample, the summed loss of the "
            "samples divided by their number."
        )
    if not math.isfinite(value):
        raise ArgumentError(
            f"loss={loss!r} is not finite: the training has diverged, and the curriculum was not stepped. Go "
            "back to the last good checkpoint, then lower the learning rate, clip the gradients, or train "
            "without mixed precision."
        )
    return value
