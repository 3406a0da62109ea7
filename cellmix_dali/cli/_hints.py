"""What somebody meant who gave a folder, a list, or a command of a former version."""

from __future__ import annotations

import itertools
from pathlib import Path

from ..errors import ArgumentError
from ..storage.moment import is_folder

__all__ = ["expect", "former_command"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2")
_LOOKED_AT = 200
_COMMANDS = {
    "slides": "a list of slides (CSV)",
    "tiles": "a folder of tiles that `cellmix-dali tile` wrote",
    "images": "a folder of images",
}


def expect(kind: str, path: Path, command: str = "train") -> None:
    """Refuse a path that another subcommand takes, naming that one.

    Raises
    ------
    ArgumentError
        If what lies there is of another kind.
    """
    found = _kind(path)
    if found is None or found == kind:
        return
    if found == "slide files":
        raise ArgumentError(
            f"{path} {'holds slide files' if is_folder(path) else 'is a slide'}. "
            f"`cellmix-dali {command} slides` takes a list of slides: a CSV with the columns slide and label."
        )
    raise ArgumentError(f"{path} is {_COMMANDS[found]}: type `cellmix-dali {command} {found} {path}`.")


def former_command(arguments: list[str], command: str = "train") -> ArgumentError:
    """Say what to type now for a command of the former version, which had no subcommands."""
    for former in ("images", "tiles"):
        if f"--{former}" in arguments:
            place = arguments.index(f"--{former}") + 1
            given = arguments[place] if place < len(arguments) else "DIR"
            return ArgumentError(
                f"--{former} is a command of its own now: type `cellmix-dali {command} {former} {given}`."
            )
    first = arguments[0]
    kind = _kind(Path(first)) or ("slides" if first.endswith(".csv") else None)
    if kind in _COMMANDS:
        return ArgumentError(f"Say what {first} is: type `cellmix-dali {command} {kind} {first}`.")
    named = "; ".join(f"`cellmix-dali {command} {each}` for {what}" for each, what in _COMMANDS.items())
    return ArgumentError(f"{first!r} is not a kind of data to {command} on. Type {named}.")


def _kind(path: Path) -> str | None:
    """What lies at a path: one of the commands, "slide files", or None where nothing tells."""
    suffix, folder = path.suffix.lower(), is_folder(path)
    if not folder and (suffix == ".csv" or not path.exists()):
        return "slides" if path.exists() else None
    if folder and (path / "tiles.parquet").exists():
        return "tiles"
    from ..slides import slide_suffixes  # takes a while to import, and what is wrong with the options is said first

    suffixes = slide_suffixes()
    if not folder:
        return "slide files" if suffix in suffixes and suffix not in _IMAGES else None
    try:
        if any(file.suffix.lower() in suffixes for file in path.iterdir() if file.is_file()):
            return "slide files"
        some = itertools.islice(path.rglob("*"), _LOOKED_AT)  # a whole tree may be large
        return "images" if any(file.suffix.lower() in _IMAGES for file in some) else None
    except OSError:  # whoever opens it says what is wrong
        return None
