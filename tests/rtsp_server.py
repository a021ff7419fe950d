"""An RTSP camera: JPEG over RTP (RFC 2435), interleaved in its TCP connection, as IP cameras send it."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import cv2
import numpy as np

from support import free_port

SIZE = (64, 48)
RATE_HZ = 50.0
_PACKET_BYTES = 1200
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\nc=IN IP4 0.0.0.0\r\n"
    f"a=framerate:{RATE_HZ:g}\r\na=control:track0\r\n"
)


class RtspServer:
    """Pictures grow brighter from one to the next, by four grey levels, and begin anew at black.

    It can be switched off and on again, like a camera that loses its power.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"rtsp://operator:secret@127.0.0.1:{self.port}/stream"
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.mute = threading.Event()

    def start(self) -> None:
        self._stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._listener)

    def stop(self) -> None:
        self._stopping.set()
        for each in [self._listener, *self._connections]:
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        for thread in self._threads:
            thread.join(5)
        self._connections.clear()
        self._threads.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, what: object, *args: object) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while not self._stopping.is_set():
                connection, _ = listener.accept()
                self._connections.append(connection)
                self._run(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            for method, number in _requests(connection):
                extra, body = "", ""
                if method == "DESCRIBE":
                    extra, body = "Content-Type: application/sdp\r\n", _SDP
                if method == "SETUP":
                    extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                if method == "OPTIONS":
                    extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
                connection.sendall((head + body).encode())
                if method == "PLAY":
                    self._run(self._play, connection)

    def _play(self, connection: socket.socket) -> None:
        sequence, began_s = 0, time.monotonic()
        with suppress(OSError):
            for number in range(1_000_000):
                if self._stopping.wait(max(0.0, began_s + number / RATE_HZ - time.monotonic())):
                    return
                if self.mute.is_set():
                    continue
                for packet, last in _packets(_jpeg(4 * number % 256)):
                    marker = 0x80 if last else 0
                    stamp = round(number * 90_000 / RATE_HZ) % 2**32
                    rtp = struct.pack(">BBHII", 0x80, marker | 26, sequence % 2**16, stamp, 7) + packet
                    connection.sendall(b"$\x00" + struct.pack(">H", len(rtp)) + rtp)
                    sequence += 1


def _requests(connection: socket.socket) -> Iterator[tuple[str, str]]:
    with connection.makefile("rb") as lines:
        request: list[str] = []
        for line in lines:
            if line.strip():
                request.append(line.decode("latin-1").strip())
                continue
            number = next(each.split(":")[1].strip() for each in request if each.lower().startswith("cseq"))
            yield request[0].split()[0], number
            request = []


def _jpeg(level: int) -> bytes:
    picture = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _packets(jpeg: bytes) -> Iterator[tuple[bytes, bool]]:
    """The tables and the scan of a baseline JPEG, 4:2:0, with RFC 2435's header before each piece."""
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at : at + 4])
        if marker == 0xFFDB:
            segment = jpeg[at + 4 : at + 2 + length]
            tables += b"".join(segment[i + 1 : i + 65] for i in range(0, len(segment), 65))
        at += 2 + length
        if marker == 0xFFDA:
            break
    scan = jpeg[at:-2]
    for offset in range(0, len(scan), _PACKET_BYTES):
        header = struct.pack(">I", offset) + bytes([1, 255, SIZE[0] // 8, SIZE[1] // 8])
        quantization = struct.pack(">BBH", 0, 0, len(tables)) + tables if offset == 0 else b""
        yield header + quantization + scan[offset : offset + _PACKET_BYTES], offset + _PACKET_BYTES >= len(scan)
