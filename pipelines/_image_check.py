"""Which image files cannot be decoded, and why: DALI says only that a batch failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from cellmix_dali.slides.jp2 import JP2_SIGNATURE
from cellmix_dali.storage.paths import path_problem

__all__ = ["IMAGE_SUFFIXES", "in_jp2_boxes", "unreadable_images"]

#: Formats, as Pillow calls them, that DALI 2.4.0 decodes, too, and what their files are called. MPO is a JPEG followed
#: by others; of JPEG 2000 bare code streams alone are read.
_DECODED = {
    "BMP": (".bmp",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "JPEG2000": (".j2k", ".j2c", ".jpc"),
    "MPO": (".mpo",),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
#: How files of images are called that are looked for in folders, in small letters.
IMAGE_SUFFIXES = tuple(suffix for suffixes in _DECODED.values() for suffix in suffixes)
JP2_REASON = "JPEG 2000 in JP2 boxes, on which DALI's decoder can crash when they are damaged: convert it to PNG"
_NOT_IN_TIFF = ("1", "I")  # one bit, or an integer of 32, a sample


def unreadable_images(
    files: Sequence[str | Path], *, num_threads: int = 2, progress: Callable[[int, int], None] | None = None
) -> dict[int, str]:
    """Decode all files once and return those that fail.

    Pillow decodes them, not DALI: a process in which DALI has met many broken images cannot be trusted with the
    training that follows (seen with DALI 2.4.0: crashes in pipelines built after failed ones). Damage that leaves a
    stream decodable is not seen: wrong pixels are pixels. What only Pillow decodes is unreadable, too.

    Parameters
    ----------
    files : sequence of path
        The images.
    num_threads : int, default 2
        Threads that decode.
    progress : callable, optional
        Called with (files done, files).

    Returns
    -------
    dict of int to str
        Place in `files` of each one that is unreadable, and what is wrong.
    """
    bad: dict[int, str] = {}
    with ThreadPoolExecutor(num_threads, thread_name_prefix="cellmix-dali-check") as workers:
        for number, reason in enumerate(workers.map(_reason, files)):
            if reason is not None:
                bad[number] = reason
            if progress is not None:
                progress(number + 1, len(files))
    return bad


def _reason(file: str | Path) -> str | None:
    """Why a file cannot be decoded, if so."""
    problem = path_problem(file)
    if problem is not None:
        return problem
    try:
        if in_jp2_boxes(file):  # before any decoder sees it
            return JP2_REASON
        with Path(file).open("rb") as opened:
            if not opened.read(1):
                return "the file is empty"
            opened.seek(0)
            with Image.open(opened) as image:
                image.load()
                return _foreign(image)
    except OSError as error:
        if error.errno is not None:
            return f"the file cannot be opened ({error.strerror})"
        return f"damaged, cut short, or no image ({error})"
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them meet
        return f"damaged, cut short, or no image ({error})"


def in_jp2_boxes(file: str | Path) -> bool:
    """Whether a file is JPEG 2000 in JP2 boxes: DALI's decoder can die of damaged ones, see `slides.jp2`."""
    with Path(file).open("rb") as opened:
        return opened.read(len(JP2_SIGNATURE)) == JP2_SIGNATURE


def _foreign(image: Image.Image) -> str | None:
    """Why DALI does not decode what Pillow does, if so."""
    if image.format not in _DECODED:
        return f"DALI does not decode {image.format}: convert it to PNG"
    if image.format == "TIFF" and image.mode in _NOT_IN_TIFF:
        bits = "1" if image.mode == "1" else "32"
        return f"DALI does not decode TIFF of {bits} bit a sample: convert it to PNG"
    return None
