"""A camera that speaks RTSP, just enough of it: H.264 over RTP inside the TCP connection."""

from __future__ import annotations

import re
import socketserver
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

_MOST = 1400  # bytes of a packet


@contextmanager
def camera(*files: Path) -> Iterator[str]:
    """The address of a camera that sends one file to each who connects, and hangs up."""
    left = list(files)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            video = left.pop(0) if left else None
            while request := self._request():
                method, answer = request[0].partition(" ")[0], [_header(request, "CSeq")]
                body = b""
                if video is None:
                    self._answer(answer, body, "404 Not Found")
                    return
                if method == "DESCRIBE":
                    body = _description(video)
                    answer.append("Content-Type: application/sdp")
                if method == "SETUP":
                    answer += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
                if method == "OPTIONS":
                    answer.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
                self._answer(answer, body)
                if method == "PLAY":
                    for packet in _packets(video):
                        self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                    return

        def _request(self) -> list[str]:
            lines = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            return lines

        def _answer(self, headers: list[str], body: bytes, status: str = "200 OK") -> None:
            lines = [f"RTSP/1.0 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
            self.wfile.write("\r\n".join(lines).encode() + body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
        finally:
            server.shutdown()
            thread.join()


def _header(request: list[str], name: str) -> str:
    return next(line for line in request if line.startswith(name))


def _units(data: bytes) -> list[bytes]:
    """The NAL units of an Annex B stream."""
    return [unit for unit in re.split(rb"\x00\x00\x00?\x01", data) if unit]


def _description(video: Path) -> bytes:
    with av.open(str(video)) as container:
        sets = _units(bytes(container.streams.video[0].codec_context.extradata or b""))
    sprop = ",".join(b64encode(unit).decode() for unit in sets)
    lines = (
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}",
        "a=control:track1",
    )
    return "\r\n".join((*lines, "")).encode()


def _packets(video: Path) -> Iterator[bytes]:
    """RTP packets (RFC 6184): a unit each, or fragments (FU-A) of a large one."""
    sequence = 0
    with av.open(str(video)) as container:
        for coded in container.demux(video=0):
            if not coded.size or coded.pts is None:
                continue
            stamp = round(coded.pts * coded.time_base * 90_000)
            payloads = [part for unit in _units(bytes(coded)) for part in _fragments(unit)]
            for number, payload in enumerate(payloads, start=1):
                marked = 0x80 if number == len(payloads) else 0
                yield (
                    struct.pack(">BBHII", 0x80, 96 | marked, sequence & 0xFFFF, stamp, 1) + payload
                )
                sequence += 1


def _fragments(unit: bytes) -> Iterator[bytes]:
    if len(unit) <= _MOST:
        yield unit
        return
    kind, body = unit[0], unit[1:]
    pieces = [body[k : k + _MOST] for k in range(0, len(body), _MOST)]
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        yield bytes([kind & 0xE0 | 28, kind & 0x1F | first << 7 | last << 6]) + piece
