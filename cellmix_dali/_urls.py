"""Where objects of stores stand among paths: each URL has one path below the folder of kept objects, and back.

So all code that takes names, suffixes and folders of files apart works for URLs, too. This module touches no file.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path

from cellmix_dali._user_cache import CACHE_VARIABLE, user_cache

__all__ = [
    "BY_FSSPEC",
    "KNOWN_SCHEMES",
    "SCHEMES",
    "cache_folder",
    "is_url",
    "objects_folder",
    "parts_of",
    "place_name",
    "url_of",
    "with_urls",
]

#: The schemes of URLs that are read, and the store of each.
SCHEMES = {
    "s3": "Amazon S3, and what speaks its protocol",
    "gs": "Google Cloud Storage",
    "az": "Azure Blob Storage",
    "https": "a web server that answers range requests",
    "http": "the same, unencrypted",
}
#: The schemes of further URLs, which fsspec reads: each where the package is installed that it needs for it.
BY_FSSPEC = frozenset(
    (
        *("box", "dbfs", "dropbox", "dvc", "ftp", "gdrive", "git", "github", "hdfs", "hf", "lakefs", "memory", "oci"),
        *("ocilake", "oss", "root", "sftp", "smb", "ssh", "tos", "wandb", "webdav", "webhdfs"),
    )
)
#: All of them.
KNOWN_SCHEMES = BY_FSSPEC | SCHEMES.keys()
_ALIASES = {"s3a": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az", "adl": "az"}
# pathlib makes one slash of two.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?P<rest>[^/].*|)", re.DOTALL)
_OBJECTS = "objects"


def is_url(place: object) -> bool:
    """Whether text or a path is a URL: a scheme of two letters or more, and "://", or what pathlib makes of it."""
    return isinstance(place, str | os.PathLike) and _URL.fullmatch(_text(place)) is not None


@functools.lru_cache(maxsize=8)
def _absolute(folder: str) -> Path:
    return Path(folder).expanduser().absolute()


def cache_folder() -> Path:
    """Return the folder of what is kept of objects: CELLMIX_DALI_STORE_CACHE, or one in the user's folder of caches."""
    given = os.environ.get("CELLMIX_DALI_STORE_CACHE")
    return _absolute(given) if given else _usual(*map(os.environ.get, (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME")))


@functools.lru_cache(maxsize=8)  # it is asked for with each path
def _usual(*_: str | None) -> Path:
    """The folder where none is given; the arguments are the variables that it goes by."""
    usual = user_cache() or Path(tempfile.gettempdir(), f"cellmix_dali-{os.getuid()}")
    return _absolute(str(usual / "stores"))


def objects_folder() -> Path:
    """Return the folder of the files that stand for objects: SCHEME/HOST/NAME."""
    return cache_folder() / _OBJECTS


def parts_of(place: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the scheme of a URL, by its usual name, and what follows it."""
    match = _URL.fullmatch(_text(place))
    assert match is not None
    said = match["scheme"].lower()
    return _ALIASES.get(said, said), match["rest"]


def url_of(path: str | os.PathLike[str]) -> str | None:
    """Return the URL that a path stands for, None for a path of its own."""
    text, root = os.fspath(path), f"{cache_folder()}/{_OBJECTS}/"
    if not isinstance(text, str) or not text.startswith(root):
        return None
    scheme, _, rest = text[len(root) :].partition("/")
    return f"{scheme}://{rest}" if scheme in KNOWN_SCHEMES and rest else None


def place_name(path: str | os.PathLike[str]) -> str:
    """Return a path as tables and reports name it: the URL that it stands for, else itself."""
    return url_of(path) or os.fspath(path)


def with_urls(text: str) -> str:
    """Return text with URLs in the place of the paths that stand for them."""
    root = f"{cache_folder()}/"
    if root not in text:
        return text
    # Folders of kept objects, and of results that are sent to a store: see `cellmix_dali.storage.sending`.
    kinds = "|".join(KNOWN_SCHEMES)
    return re.sub(re.escape(root) + rf"(?:{_OBJECTS}|(?:results|sent)/[^/]+)/({kinds})/", r"\1://", text)


def _text(place: str | os.PathLike[str]) -> str:
    text = os.fspath(place)
    return text if isinstance(text, str) else ""
