"""Versions of the software that decides over the bytes of a tiling job."""

from __future__ import annotations

from importlib import metadata

from .. import __version__

__all__ = ["versions"]

_PACKAGES = ("matplotlib", "pillow", "pyarrow", "openslide-bin")
_DALI = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")  # one of the two


def versions() -> dict[str, str]:
    """Return the names and versions, without importing anything."""
    found = {"cellmix_dali": __version__}
    for name in (*_PACKAGES, *_DALI):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found["nvidia-dali" if name in _DALI else name] = version
    return found
