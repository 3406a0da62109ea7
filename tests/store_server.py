"""A small object store on 127.0.0.1: ranges, conditions, listings, parts as S3, Google, Azure and the web have them."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from loopback import Loopback


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    range: tuple[int, int] | None
    length: int


@dataclass
class StoreServer:
    """Objects by "bucket/name"; `fault` says what happens to a request, by its number and itself."""

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    latency: float = 0.0
    etags: bool = True
    fault: Callable[[int, Asked], str | None] = lambda _, __: None
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Loopback = field(init=False)

    def __post_init__(self) -> None:
        self._server = Loopback(self.answer)

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def sent(self) -> int:
        """Bytes of objects that were asked for."""
        return sum(each.length for each in self.asked if each.method == "GET")

    def close(self) -> None:
        self._server.close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        name = unquote(parts.path).strip("/")
        if request.command in ("PUT", "POST", "DELETE"):
            self._change(request, name, parts.query)
            return
        if "list-type" in parts.query:
            self._reply(request, 200, {"Content-Type": "application/xml"}, self._listing(name, parts.query))
            return
        if "comp=list" in parts.query:
            self._reply(request, 200, {"Content-Type": "application/xml"}, self._azure_listing(name, parts.query))
            return
        data = self.objects.get(name)
        said = request.headers.get("Range")
        start, end = 0, len(data or b"")
        if said is not None:
            first, last = said.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1, end)
        asked = Asked(request.command, name, None if said is None else (start, end), max(end - start, 0))
        with self._lock:
            self.asked.append(asked)
            fault = self.fault(len(self.asked) - 1, asked)
        time.sleep(self.latency)
        if fault == "cut":
            request.close_connection = True
            request.connection.close()
            return
        if fault == "hang":
            time.sleep(5)
        if fault is not None and fault.isdigit():
            self._reply(request, int(fault), {"Retry-After": "0"}, b"")
            return
        if data is None:
            self._reply(request, 404, {}, b"")
            return
        wanted = request.headers.get("If-Match")
        if wanted is not None and wanted != _etag(data):
            self._reply(request, 412, {}, b"")
            return
        if said is not None and start >= len(data):
            self._reply(request, 416, {}, b"")
            return
        headers = {"Last-Modified": formatdate(1.7e9, usegmt=True), "Accept-Ranges": "bytes"}
        if self.etags:
            headers["ETag"] = _etag(data)
        if said is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        body = data[start:end]
        if fault == "short":  # a whole answer of fewer bytes
            body = body[: len(body) // 2]
        self._reply(request, 200 if said is None else 206, headers, body, truncated=fault == "truncate")

    def _change(self, request: BaseHTTPRequestHandler, name: str, query: str) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.asked.append(Asked(request.command, name, None, len(body)))
            fault = self.fault(len(self.asked) - 1, self.asked[-1])
        asked = {key: of[0] for key, of in parse_qs(query, keep_blank_values=True).items()}
        if fault is not None:
            self._reply(request, int(fault), {"Retry-After": "0"}, b"")
        elif asked.get("comp") == "batch":
            self._remove_by_batch(request, body)
        elif "comp" in asked:
            self._change_in_blocks(request, name, asked, body)
        elif "uploadId" in asked or "uploads" in asked:
            self._change_in_parts(request, name, asked, body)
        elif request.command == "PUT":
            self.objects[name] = body
            self._reply(request, 200, {"ETag": _etag(body)}, b"")
        elif request.command == "DELETE":
            self.objects.pop(name, None)
            self._reply(request, 204, {}, b"")
        elif "delete" in asked:
            keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", body.decode())]
            for key in keys:
                self.objects.pop(f"{name}/{key}", None)
            gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._reply(
                request, 200, {"Content-Type": "application/xml"}, f"<DeleteResult>{gone}</DeleteResult>".encode()
            )
        else:
            self._reply(request, 400, {}, b"")

    def _change_in_parts(self, request: BaseHTTPRequestHandler, name: str, asked: dict[str, str], body: bytes) -> None:
        key, xml = f"{name} {asked.get('uploadId', 'one')}", {"Content-Type": "application/xml"}
        if request.command == "PUT":
            with self._lock:
                self.parts[key][int(asked["partNumber"])] = body
            self._reply(request, 200, {"ETag": _etag(body)}, b"")
        elif request.command == "DELETE":
            self.parts.pop(key)
            self._reply(request, 204, {}, b"")
        elif "uploads" in asked:
            self.parts[key] = {}
            said = f"<InitiateMultipartUploadResult><UploadId>one</UploadId><Key>{escape(name)}</Key>"
            self._reply(request, 200, xml, f"{said}</InitiateMultipartUploadResult>".encode())
        else:
            self.objects[name] = b"".join(of for _, of in sorted(self.parts.pop(key).items()))
            said = f"<CompleteMultipartUploadResult><ETag>{escape(_etag(self.objects[name]))}</ETag>"
            self._reply(request, 200, xml, f"{said}</CompleteMultipartUploadResult>".encode())

    def _change_in_blocks(self, request: BaseHTTPRequestHandler, name: str, asked: dict[str, str], body: bytes) -> None:
        """As Azure has it: blocks by names, and then their list."""
        with self._lock:
            blocks = self.blocks.setdefault(name, {})
        if asked["comp"] == "block":
            blocks[asked["blockid"]] = body
        else:
            names = re.findall("<Uncommitted>(.*?)</Uncommitted>", body.decode())
            self.objects[name] = b"".join(blocks[each] for each in names)
        self._reply(request, 201, {"ETag": _etag(self.objects.get(name, b""))}, b"")

    def _remove_by_batch(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """As Azure has it: requests in the parts of one, each with an answer in the parts of one."""
        answers = []
        for part in body.decode().split("--batch_")[1:-1]:
            number, path = re.search(r"Content-ID: (\d+)", part), re.search("DELETE (.*?) HTTP", part)
            assert number is not None
            assert path is not None
            self.objects.pop(unquote(urlsplit(path[1]).path).strip("/"), None)
            head = f"--batch_of\r\nContent-Type: application/http\r\nContent-ID: {number[1]}\r\n\r\n"
            answers.append(f"{head}HTTP/1.1 202 Accepted\r\nx-ms-request-id: 1\r\n\r\n")
        said = f"{''.join(answers)}--batch_of--\r\n".encode()
        self._reply(request, 202, {"Content-Type": "multipart/mixed; boundary=batch_of"}, said)

    def _reply(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        body: bytes,
        truncated: bool = False,
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body[: len(body) // 2] if truncated else body)
        if truncated:
            request.wfile.flush()
            request.close_connection = True

    def _found(self, bucket: str, query: str) -> tuple[str, dict[str, bytes], list[str]]:
        """The prefix that is asked for, the objects and the folders that a listing has."""
        asked = parse_qs(query)
        prefix, delimiter = asked.get("prefix", [""])[0], asked.get("delimiter")
        found, folders = {}, set()
        for name, data in sorted(self.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if name.startswith(f"{bucket}/{prefix}"):
                inner, slash, _ = key[len(prefix) :].partition("/")
                if slash and delimiter:
                    folders.add(prefix + inner + "/")
                else:
                    found[key] = data
        return prefix, found, sorted(folders)

    def _listing(self, bucket: str, query: str) -> bytes:
        prefix, found, folders = self._found(bucket, query)
        objects = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
            f"<ETag>{escape(_etag(data))}</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in found.items()
        )
        below = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders)
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}'
            f"</Prefix><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>{objects}{below}"
            "</ListBucketResult>"
        ).encode()

    def _azure_listing(self, bucket: str, query: str) -> bytes:
        """As Azure lists: its ETags stand without their quotes."""
        _, found, folders = self._found(bucket, query)
        objects = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>Tue, 14 Nov 2023 22:13:20 GMT</Last-Modified>"
            f"<Etag>{_etag(data)[1:-1]}</Etag><Content-Length>{len(data)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for key, data in found.items()
        )
        below = "".join(f"<BlobPrefix><Name>{escape(each)}</Name></BlobPrefix>" for each in folders)
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{objects}{below}</Blobs><NextMarker />'
            "</EnumerationResults>"
        ).encode()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'
