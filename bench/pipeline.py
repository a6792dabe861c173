"""Frames a second: decoding alone, with scaling, sparse picks, and the whole way to labels.

    python bench/pipeline.py [VIDEO] [--minutes M] [--threads N] [--repeats N] [--model MODEL]

All in one run, as ratios to decoding alone, the limit that no pipeline can beat. The whole way also
shows how much resident memory grows after its first tenth. Without a video one is generated: 720p
H.264, 25 frames a second, a key frame every 2 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av

from marey.runtime import Runtime, compile
from marey.tasks.classify import classify
from marey.testing.videos import make_video
from marey.video.decode import Counts, Decoder
from marey.video.limits import Limits
from marey.video.losses import Losses
from marey.video.read import Reader, open_video

PICKS = 40


def decode_only(path: Path, threads: int) -> int:
    decoder = Decoder(str(path), Limits(), Losses(), Counts(), threads=threads)
    try:
        return sum(1 for _ in iter(decoder.read, None))
    finally:
        decoder.close()


def through_reader(
    path: Path, threads: int, size: int | None, times: Callable[[Reader], Iterable[float] | None]
) -> int:
    with open_video(path, threads=threads) as reader:
        return sum(1 for _ in reader.frames(times=times(reader), size=size))


class Memory:
    """Resident memory of this process, MiB, watched from a thread; Linux only."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE") / 2**20
        while not self._done.wait(0.2):
            self.seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def growth(self) -> str:
        """The highest point of the first tenth of the time, and of the rest."""
        tenth = len(self.seen) // 10
        early, late = max(self.seen[: tenth + 1]), max(self.seen[tenth:])
        return f"resident memory, highest: {early:.0f} MiB in the first tenth, {late:.0f} MiB later"


def label(path: Path, runtime: Runtime) -> int:
    """The whole way; counts the frames of the video, not those that the network looked at."""
    video = classify(path, runtime).video
    return round((video.duration or 0) * float(video.fps or 0))


def spread(reader: Reader) -> list[float]:
    """The middles of `PICKS` equal parts of the video."""
    start, duration = reader.video.start, reader.video.duration or 0.0
    return [start + (k + 0.5) * duration / PICKS for k in range(PICKS)]


def best(action: Callable[[], int], repeats: int) -> tuple[float, int]:
    """Seconds of the fastest of some runs, and the frames given."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        frames = action()
        taken.append(time.perf_counter() - begin)
    return min(taken), frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--model", default="efficientnet_lite0.in1k")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.video or generate(Path(folder), round(options.minutes * 2))
        run(path, options.threads, options.repeats, options.model)


def generate(folder: Path, times: int) -> Path:
    """Half a minute of 720p, encoded once and repeated."""
    once = make_video(
        folder / "once.mp4", frames=750, size=(720, 1280), gop=50, options={"preset": "veryfast"}
    )
    path = folder / "repeated.mp4"
    with av.open(str(path), "w") as output:
        for k in range(times):
            with av.open(str(once)) as source:
                video = source.streams.video[0]
                copy = output.streams.video[0] if k else output.add_stream_from_template(video)
                offset = k * round(30 / (video.time_base or Fraction(1, 90_000)))
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue  # the mark of the end
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = copy
                    output.mux(packet)
    return path


def run(path: Path, threads: int, repeats: int, model: str) -> None:
    with open_video(path) as reader:
        video = reader.video
    runtime = compile(model)
    print(f"{video.width}x{video.height} {video.codec}, {video.duration:.1f} s")
    print(f"{platform.machine()}, {os.cpu_count()} cores, threads={threads}, PyAV {av.__version__}")
    ways: dict[str, Callable[[], int]] = {
        "decode": lambda: decode_only(path, threads),
        "decode + RGB": lambda: through_reader(path, threads, None, lambda _: None),
        "decode + scale to 128": lambda: through_reader(path, threads, 128, lambda _: None),
        f"{PICKS} sparse picks at 128": lambda: through_reader(path, threads, 128, spread),
        f"whole way, {model}": lambda: label(path, runtime),
    }
    whole = 0.0
    for name, action in ways.items():
        with Memory() as memory:
            seconds, frames = best(action, repeats)
        whole = whole or seconds
        print(
            f"{name:36} {seconds:7.2f} s {frames:6} frames {frames / seconds:8.0f} frames/s"
            f"   {seconds / whole:5.2f} x the time of decode"
        )
    print(memory.growth())


if __name__ == "__main__":
    main()
