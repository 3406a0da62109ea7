"""A store on 127.0.0.1 whose answers come late: ranges of files in a folder, as S3 and web servers give them.

``python benchmarks/slow_store.py FOLDER PORT SECONDS [MEGABYTES]``, the last for all answers per second.
``/BUCKET/NAME@12`` is the file NAME under another name: a few files are as many objects as are wanted. ``/~counted``
tells the requests and bytes since it was last asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from urllib.parse import unquote


class _Store:
    def __init__(self, folder: Path, latency: float, bandwidth: float) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.etags = {name: f'"{hashlib.md5(data).hexdigest()}"' for name, data in self.files.items()}
        self.bandwidth, self.free_at = bandwidth * 1e6, 0.0
        self.latency, self.requests, self.bytes, self.flying, self.most = latency, 0, 0, 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                writer.write(await self.answer(method, unquote(path.partition("?")[0]), headers))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        """Return a whole answer, after the latency."""
        if path == "/~counted":
            told = json.dumps({"requests": self.requests, "bytes": self.bytes, "in_flight": self.most}).encode()
            self.requests = self.bytes = self.most = 0
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(self.latency)
        self.flying -= 1
        name = path.rpartition("/")[2].partition("@")[0]
        data = self.files.get(name)
        self.requests += 1
        if data is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        start, end, status = 0, len(data), b"200 OK"
        if "range" in headers:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last or end) + 1, end), b"206 Partial Content"
        body = b"" if method == "HEAD" else data[start:end]
        self.bytes += len(body)
        if self.bandwidth:  # one wire: an answer waits until those before it are through
            now = asyncio.get_running_loop().time()
            self.free_at = max(self.free_at, now) + len(body) / self.bandwidth
            await asyncio.sleep(self.free_at - now)
        said = f"Content-Length: {end - start}\r\nETag: {self.etags[name]}\r\nAccept-Ranges: bytes\r\n"
        said += "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        if "range" in headers:
            said += f"Content-Range: bytes {start}-{end - 1}/{len(data)}\r\n"
        return b"HTTP/1.1 " + status + b"\r\n" + said.encode() + b"\r\n" + body


async def _main(folder: Path, port: int, latency: float, bandwidth: float) -> None:
    server = await asyncio.start_server(_Store(folder, latency, bandwidth).serve, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float([*sys.argv, "0"][4])))
