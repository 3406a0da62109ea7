"""Objects of stores: what they are, and their bytes, by obstore or fsspec; and what refusals mean for a person."""

from __future__ import annotations

import errno
import functools
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .._urls import BY_FSSPEC
from ..errors import ArgumentError, NotReadError, needing
from . import fsspec_stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore.store import ObjectStore, RetryConfig

__all__ = [
    "HEAD_BYTES",
    "STORE_SECONDS",
    "StoredObject",
    "all_below",
    "fetch_file",
    "listed",
    "look",
    "put",
    "read_range",
    "remove",
]

#: Bytes that the first look at an object brings with it.
HEAD_BYTES = 1 << 16
#: For how long a request is sent again, by default: CELLMIX_DALI_STORE_SECONDS says otherwise.
STORE_SECONDS = 30.0
_ONE_REQUEST, _PART_BYTES = 1 << 25, 1 << 23
_TIMEOUT = timedelta(seconds=30)  # of one request
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=5)
_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL where "
    "the store needs them), log in anew if they have expired, or set AWS_SKIP_SIGNATURE=true for a public bucket.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS to the file of a key, or run `gcloud auth application-default login`; "
    "set GOOGLE_SKIP_SIGNATURE=true for a public bucket.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN; set "
    "AZURE_SKIP_SIGNATURE=true for a public container.",
    "https": "The server asks for a login, or does not show this file to everybody: ask its owner for an object store.",
}
_ENDPOINTS = {  # variables that name another server than the vendor's
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_STATUS = re.compile(r"status code: (\d{3} ?[A-Za-z ]*)")
_NO_LOGIN = ("169.254.169.254", "metadata.google.internal", "MissingCredential", "Missing AccessKeyId")


@dataclass(frozen=True)
class StoredObject:
    """What a store says of an object.

    Attributes
    ----------
    url : str
        Where it is.
    size : int
        Its bytes.
    version : str
        What changes when the object does: its ETag, or, of a store without ETags, when it was written.
    """

    url: str
    size: int
    version: str


def look(url: str, *, head: bool = True) -> tuple[StoredObject, bytes]:
    """Ask a store for an object, in one request.

    Parameters
    ----------
    url : str
        The object.
    head : bool, default True
        Whether its first `HEAD_BYTES` come with the answer.

    Returns
    -------
    StoredObject
        What it is.
    bytes
        Its beginning; b"" without `head`.

    Raises
    ------
    FileNotFoundError
        If the store says that there is no such object.
    NotReadError
        If it cannot be asked just now, or not by this login.
    MissingDependencyError
        If obstore is not installed.
    """
    if _is_by_fsspec(url):
        of = StoredObject(url, *fsspec_stores.look(url, _seconds()))
        return of, fsspec_stores.read_range(url, 0, min(of.size, HEAD_BYTES), _seconds()) if head and of.size else b""
    store, key = _store_of(url)
    if not key:  # a bucket: what stores answer differs
        raise FileNotFoundError(errno.ENOENT, f"there is no such object: {url}")
    try:
        if not head:
            return _object(url, store.head(key)), b""
        try:
            found = store.get(key, options={"range": (0, HEAD_BYTES)})
            meta, data = found.meta, bytes(found.bytes())
        except Exception as error:
            if "416" not in _status(error):  # of an empty object there is no first byte
                raise
            return _object(url, store.head(key)), b""
    except Exception as error:  # obstore's errors have no common base with those of its runtime
        raise _refused(url, error) from None  # its own words may hold signed addresses
    return _object(url, meta), data


def read_range(of: StoredObject, start: int, end: int) -> bytes:
    """Read the bytes from `start` to before `end` of an object, of the version that it had.

    Raises
    ------
    FileNotFoundError
        If it is no longer there.
    NotReadError
        If they cannot be read just now, or the object has changed.
    """
    if _is_by_fsspec(of.url):
        data = fsspec_stores.read_range(of.url, start, end, _seconds())
    else:
        store, key = _store_of(of.url)
        options: dict[str, Any] = {"range": (start, end)}
        if of.version.startswith(('"', "W/")):
            options["if_match"] = of.version
        try:
            found = store.get(key, options=options)  # type: ignore[arg-type]
            meta, data = found.meta, bytes(found.bytes())
        except Exception as error:  # as above
            raise _refused(of.url, error) from None
        if _object(of.url, meta) != of:
            raise _changed(of.url)
    if len(data) != end - start:
        raise NotReadError(
            f"{of.url} was not read: the store sent {len(data)} bytes of {end - start} from byte {start} on. Nothing "
            "says that the file is damaged. Check the connection to the store, or what stands between."
        )
    return data


def listed(url: str) -> Iterator[StoredObject]:
    """List the objects directly in a folder of a store: those whose names go on without a further slash.

    Raises
    ------
    NotReadError
        If the store cannot be asked, or lists nothing, as web servers do.
    """
    if _is_by_fsspec(url):
        yield from (StoredObject(*each) for each in fsspec_stores.listed(url, _seconds()))
        return
    store, key = _store_of(url)
    try:
        found = store.list_with_delimiter(f"{key}/" if key else None)
    except Exception as error:  # as above
        raise _refused(url, error) from None
    root = url[: len(url) - len(key)] if key else f"{url}/"
    for meta in found["objects"]:
        yield _object(root + str(meta["path"]), meta)


def all_below(url: str) -> Iterator[StoredObject]:
    """List all objects whose names begin with a folder's, those of its folders among them.

    Raises
    ------
    NotReadError
        See `listed`.
    """
    store, key = _store_of(url)
    root = url[: len(url) - len(key)] if key else f"{url}/"
    try:
        for some in store.list(f"{key}/" if key else None):
            for meta in some:
                yield _object(root + str(meta["path"]), meta)
    except Exception as error:  # as above
        raise _refused(url, error) from None


def put(url: str, file: BinaryIO, size: int) -> str:
    """Write an object: it is there in full when this returns, and as it was before until then.

    Parameters
    ----------
    url : str
        The object.
    file : binary file
        From where it stands, `size` bytes are written.
    size : int
        At most `_ONE_REQUEST` bytes are sent in one request, more in parts.

    Returns
    -------
    str
        Its version, see `StoredObject`.

    Raises
    ------
    NotReadError
        If the store cannot be written to just now, or not by this login.
    """
    store, key = _store_of(url)
    try:
        if size <= _ONE_REQUEST:
            done = store.put(key, file.read(size), use_multipart=False)
        else:
            done = store.put(key, file, use_multipart=True, chunk_size=_PART_BYTES)
        return _version(url, done["e_tag"]) or _object(url, store.head(key)).version
    except Exception as error:  # as above
        raise _refused(url, error, "written") from None


def fetch_file(of: StoredObject, path: Path) -> None:
    """Write an object to a file; its folder must be there.

    Raises
    ------
    FileNotFoundError, NotReadError
        See `read_range`.
    """
    with path.open("wb") as file:
        for start in range(0, of.size, _PART_BYTES):
            file.write(read_range(of, start, min(start + _PART_BYTES, of.size)))


def remove(urls: Sequence[str]) -> None:
    """Remove objects, all of one store; those that are not there are no error.

    Raises
    ------
    NotReadError
        If the store refuses.
    """
    for url in urls:
        store, key = _store_of(url)
        try:
            store.delete(key)
        except FileNotFoundError:
            continue
        except Exception as error:  # as above
            raise _refused(url, error, "removed") from None


def _is_by_fsspec(url: str) -> bool:
    return url.partition("://")[0] in BY_FSSPEC


def _seconds() -> float:
    """For how long a request is sent again."""
    given = os.environ.get("CELLMIX_DALI_STORE_SECONDS")
    return STORE_SECONDS if given is None else float(given)


def _object(url: str, meta: Any) -> StoredObject:
    return StoredObject(url, int(meta["size"]), _version(url, meta["e_tag"]) or meta["last_modified"].isoformat())


def _version(url: str, etag: str | None) -> str:
    """An ETag as requests name it; "" of none. Azure's lists have it without its quotes."""
    if not etag or etag.startswith(('"', "W/")) or url.startswith("http"):
        return etag or ""
    return f'"{etag}"'


def _store_of(url: str) -> tuple[ObjectStore, str]:
    """The store of a URL, one for each bucket and process, and the object's name in it."""
    scheme, _, rest = url.partition("://")
    host, _, key = rest.partition("/")
    if _process and _process[0] != os.getpid():
        raise ArgumentError(
            f"{url} cannot be read in process {os.getpid()}: it is a fork of process {_process[0]}, which has read "
            "from a store, and the threads that do so are missing here. Start processes by spawn or forkserver, or "
            "read from stores only after the fork."
        )
    return _opened(scheme, host), key


_process: list[int] = []  # the one that uses obstore, whose threads do not live on in a fork: it would wait for ever


@functools.cache
def _opened(scheme: str, host: str) -> ObjectStore:
    with needing(f"Reading from {scheme}:// needs obstore", "Install it: pip install 'cellmix-dali[cloud]'."):
        from obstore import store
    _process[:] = [os.getpid()]
    seconds = _seconds()
    retry: RetryConfig = {
        "max_retries": 1000 if seconds > 0 else 0,
        "retry_timeout": timedelta(seconds=max(seconds, 0.001)),
        "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LONGEST_PAUSE, "base": 2},
    }
    endpoints = [os.environ.get(name, "") for name in _ENDPOINTS.get(scheme, ())]
    plain = scheme == "http" or any(endpoint.startswith("http://") for endpoint in endpoints)
    client: Any = {"timeout": _TIMEOUT, **({"allow_http": True} if plain else {})}
    if scheme in ("http", "https"):
        return store.HTTPStore.from_url(f"{scheme}://{host}", client_options=client, retry_config=retry)
    if scheme == "s3":
        return store.S3Store(host, client_options=client, retry_config=retry, **_aws_login())
    if scheme == "gs":
        return store.GCSStore(host, client_options=client, retry_config=retry)
    return store.AzureStore(host, client_options=client, retry_config=retry)


def _aws_login() -> dict[str, Any]:
    """The login of AWS's own files, where the environment has none: obstore leaves these to boto3."""
    known = ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    files = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials").expanduser()
    if any(map(os.environ.get, known)) or not ("AWS_PROFILE" in os.environ or Path(files).exists()):
        return {}
    with needing(
        "The login in AWS's own files (AWS_PROFILE, ~/.aws/credentials) is read by boto3",
        "Install it (pip install boto3), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ):
        from obstore.auth.boto3 import Boto3CredentialProvider
    return {"credential_provider": Boto3CredentialProvider()}


def _status(error: Exception) -> str:
    """The status that a store's answer had, such as "503 Service Unavailable"; "" without an answer."""
    match = _STATUS.search(str(error))
    return match[1].strip() if match else ""


def _changed(url: str) -> NotReadError:
    return NotReadError(
        f"{url} has changed since it was opened: the store has another version of it now. Nothing was taken from that; "
        "start again, so that all is read from one version. Bring an index that knows the former one up to date "
        "(cellmix-dali index)."
    )


def _refused(url: str, error: Exception, done: str = "read") -> Exception:
    """What a store's refusal means; never in its own words, which may hold addresses with signatures."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, f"there is no such object: {url}")
    kind, text, scheme = type(error).__name__, str(error), url.partition("://")[0]
    login = _CREDENTIALS["https" if scheme == "http" else scheme]
    if kind == "PreconditionError":
        return _changed(url)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or any(word in text for word in _NO_LOGIN):
        said = _status(error)
        return NotReadError(
            f"{url} was not {done}: the store does not take this login"
            f"{f' ({said})' if said else ', or there is none'}. {login}"
        )
    if kind == "NotSupportedError" or "NotPartial" in text:
        return NotReadError(
            f"{url} was not {done}: the server does not answer range requests, without which each tile would cost the "
            "whole file. Copy the file, or use another server."
        )
    why = _status(error) or ("no answer in time" if "imeout" in text or "TimedOut" in text else "the connection broke")
    return NotReadError(
        f"{url} was not {done}: {why}. It was tried again for as long as CELLMIX_DALI_STORE_SECONDS says "
        f"({STORE_SECONDS:g} by default). Nothing says that the file is damaged. Check the connection to the store."
    )
