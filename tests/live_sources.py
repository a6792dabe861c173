"""What tests of live video share: a clock that they turn, and servers that drop their clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

from marey.errors import VideoError
from marey.types import Frame
from marey.video.clock import Clock
from marey.video.live import LiveReader, Manner, Stretch, Tap
from marey.video.sources import find_source


class TurnedClock(Clock):
    """Stands still unless somebody waits, or turns it."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1.7e9 + self.time

    def wait(self, until: float, stop: Event) -> None:
        self.time = max(self.time, until)


class Reading:
    """A `LiveReader` with everything that it says."""

    def __init__(
        self,
        source: object,
        *,
        clock: Clock | None = None,
        crop: tuple[int, int] = (32, 48),
        tap: Tap | None = None,
        **manner: object,
    ) -> None:
        self.clock = clock or TurnedClock()
        self.stop = Event()
        self.said: list[str] = []
        self.gaps = 0
        self.error: VideoError | None = None
        self.reader = LiveReader(
            find_source(source),  # type: ignore[arg-type]
            crop,
            manner=Manner(**manner),  # type: ignore[arg-type]
            clock=self.clock,
            stop=self.stop,
            tell=self.said.append,
            gap=self._gap,
            tap=tap,
        )

    def _gap(self) -> None:
        self.gaps += 1

    def stretches(self) -> list[tuple[Stretch, list[Frame]]]:
        """All stretches, with every frame of each; `error` is what ended them, if anything did."""
        found: list[tuple[Stretch, list[Frame]]] = []
        try:
            for stretch in self.reader.stretches():
                found.append((stretch, []))
                for frame in every_frame(stretch):
                    found[-1][1].append(frame)
        except VideoError as error:
            self.error = error
        return found


def every_frame(stretch: Stretch) -> Iterator[Frame]:
    """Each frame of a stretch of constant rate, once."""
    rate = float(stretch.video.fps or 25)
    times = (stretch.video.start + (k + 0.5) / rate for k in range(10**9))
    last = None
    for frame in stretch.frames(times=times, size=(32, 48)):
        if frame is not last:
            yield frame
        last = frame


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The address of a server on this machine that gives `answer` to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, kind: str, data: bytes) -> None:
    """Answer with `data` and hang up, saying nothing of its length."""
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.end_headers()
    handler.wfile.write(data)


def sends(*files: Path) -> Answer:
    """Each request gets the next of the files; those after the last are refused."""
    left = list(files)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if left:
            send(handler, "video/mp2t", left.pop(0).read_bytes())
        else:
            handler.send_error(503)

    return answer
