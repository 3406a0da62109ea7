"""A proxy on 127.0.0.1 before a real server: it waits, cuts connections, answers 429 and 503, and truncates."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from loopback import Loopback

_OF_A_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class FaultProxy:
    """Hands requests on; `fault` says what happens to one, by its number: "429", "503", "cut", "truncate", or None.

    Parameters
    ----------
    port : int
        Of the real server, on this machine.
    """

    def __init__(self, port: int) -> None:
        self.fault: Callable[[int], str | None] = lambda _: None
        self.latency = 0.0
        self.happened: Counter[str] = Counter()
        self._port, self._count, self._lock = port, 0, threading.Lock()
        self._server = Loopback(self.hand_on)

    @property
    def address(self) -> str:
        return self._server.address

    def close(self) -> None:
        self._server.close()

    def hand_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            fault = self.fault(self._count)
            self._count += 1
            self.happened[fault or "handed on"] += 1
        time.sleep(self.latency)
        if fault == "cut":
            request.close_connection = True
            request.connection.close()
            return
        if fault in ("429", "503"):
            request.send_response(int(fault))
            request.send_header("Retry-After", "0")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        server = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        server.request(request.command, request.path, body, dict(request.headers))
        answer = server.getresponse()
        data = answer.read()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_HOP:
                request.send_header(name, value)
        length = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(data))
        request.send_header("Content-Length", length or "0")
        request.end_headers()
        server.close()
        if request.command != "HEAD":
            request.wfile.write(data[: len(data) // 2] if fault == "truncate" else data)
        if fault == "truncate":
            request.wfile.flush()
            request.close_connection = True
