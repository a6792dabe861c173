"""Frames a second of reading video: decoding alone, with scaling, and sparse picks, in one run.

    python bench/decode.py [VIDEO] [--threads N]

Without a video one is generated: 720p H.264, 20 s at 25 fps, a key frame every 2 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av

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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.video or make_video(
            Path(folder) / "a.mp4",
            frames=500,
            size=(720, 1280),
            gop=50,
            options={"preset": "veryfast"},
        )
        run(path, options.threads, options.repeats)


def run(path: Path, threads: int, repeats: int) -> None:
    video = open_video(path).video
    print(f"{video.width}x{video.height} {video.codec}, {video.duration:.1f} s")
    print(f"{platform.machine()}, {os.cpu_count()} cores, threads={threads}, PyAV {av.__version__}")
    ways: dict[str, Callable[[], int]] = {
        "decode": lambda: decode_only(path, threads),
        "decode + RGB": lambda: through_reader(path, threads, None, lambda _: None),
        "decode + scale to 128": lambda: through_reader(path, threads, 128, lambda _: None),
        f"{PICKS} sparse picks at 128": lambda: through_reader(path, threads, 128, spread),
    }
    whole = 0.0
    for name, action in ways.items():
        seconds, frames = best(action, repeats)
        whole = whole or seconds
        print(
            f"{name:24} {seconds:7.2f} s {frames:6} frames {frames / seconds:8.0f} frames/s"
            f"   {seconds / whole:5.2f} x the time of decode"
        )


if __name__ == "__main__":
    main()
