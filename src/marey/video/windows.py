"""Where to look in time: windows over a video, and which frames inside a window. Arithmetic only.

for window in windows(video.duration, length=window_length(input, video.fps)):
    pick(window, input, video.fps).times
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Literal

from marey.errors import VideoError
from marey.types import Input, Window

Short = Literal["repeat", "loop", "refuse"]
"""What to do where a window holds too few frames: repeat its last one, start over, or refuse."""

# A remainder below this part of a window goes to the last window: one of its own would show the
# same frames again. Cameras at 29.97 frames a second leave such remainders in every whole second.
_REMAINDER = 0.05


@dataclass(frozen=True, slots=True)
class Picks:
    """The moments of one clip, in seconds; `padded` of them repeat others for want of frames."""

    times: tuple[float, ...]
    padded: int = 0


def windows(
    duration: float, length: float, step: float | None = None, *, start: float = 0.0
) -> Iterator[Window]:
    """Windows of `length` seconds, each `step` (by default `length`) after the one before.

    None runs over: the last one is moved back to end at the end, so that, with `step <= length`,
    every moment is covered. All have the full length, but for a remainder of less than a twentieth,
    which the last one takes in. A video no longer than `length` is one window. `duration=math.inf`
    never ends. Raises ValueError for lengths that are not positive.
    """
    step = length if step is None else step
    for name, value in (("duration", duration), ("length", length), ("step", step)):
        if not value > 0 or (name != "duration" and math.isinf(value)):
            raise ValueError(f"{name} must be a positive number of seconds, got {value}")
    if not math.isfinite(start):
        raise ValueError(f"start must be a finite number of seconds, got {start}")
    return _windows(duration, length, step, start)


def _windows(duration: float, length: float, step: float, start: float) -> Iterator[Window]:
    little = _REMAINDER * min(step, length)
    if duration <= length + little:
        yield Window(start, start + duration)
        return
    k = 0
    while (remainder := duration - (k * step + length)) > little:
        # From k, not by adding up: a thousand additions drift.
        yield Window(start + k * step, start + k * step + length)
        k += 1
    first = k * step if remainder >= 0 else duration - length
    yield Window(start + first, start + duration)


def window_length(input: Input, fps: Fraction | float | None) -> float:
    """Seconds that one clip of a network spans, on a video of rate `fps`."""
    if input.seconds is not None:
        return input.seconds
    return input.frames * input.every / _rate(input, fps)


def grid(input: Input, fps: Fraction | float | None) -> tuple[float, float]:
    """Seconds from a clip's start to its first frame, and from one frame to the next.

    Clips whose starts are whole steps apart have frames in common. ValueError for a sampling that
    has no even steps (`linspace`, bursts).
    """
    if input.burst > 1 or input.sampling == "linspace":
        raise ValueError(f"the frames do not lie evenly, got {input}")
    if input.seconds is not None:
        step = input.seconds / input.frames
        return step / 2, step
    rate = _rate(input, fps)
    return 0.5 / rate, input.every / rate


def usual_stride(input: Input, fps: Fraction | float | None) -> float:
    """Seconds from one window of features to the next: a quarter of a clip of that network."""
    return window_length(input, fps) / 4


def views(
    duration: float, input: Input, fps: Fraction | float | None, clips: int, *, start: float = 0.0
) -> list[Window]:
    """The windows of the multi-view test protocol: `clips` of them, evenly from start to end.

    One alone stands in the middle (Wang et al. 2018, Non-local Neural Networks, test with 10). A
    video that is no longer than a window gives one: more would be equal and average to the same.
    """
    if clips < 1:
        raise ValueError(f"clips must be positive, got {clips}")
    length = window_length(input, fps)
    room = duration - length
    if room <= 0:
        return [Window(start, start + duration)]
    places = [room / 2] if clips == 1 else [room * k / (clips - 1) for k in range(clips)]
    return [Window(start + place, start + place + length) for place in places]


def pick(
    window: Window,
    input: Input,
    fps: Fraction | float | None,
    *,
    rng: Random | None = None,
    short: Short = "repeat",
) -> Picks:
    """The moments at which a network wants its frames inside `window`, in the order of the clip.

    Frame i at rate r is asked for at `start + (i + 0.5) / r`, the middle of the time it is shown:
    no rounding then picks its neighbour. r is the network's own rate, else the video's `fps`. With
    `rng`, `dense` and `segments` choose their places at random, as in training.
    """
    rate = _rate(input, fps)
    n = max(1, round((window.end - window.start) * rate))
    if input.sampling == "dense":
        indices = dense(n, input.frames, input.every, short=short, rng=rng)
        distinct = 1 + (n - 1) // input.every
    else:
        if short == "refuse":
            _refuse(n, input.frames)
        spread = input.sampling == "segments"
        places = input.frames // input.burst
        indices = segments(n, places, rng) if spread else linspace(n, places)
        indices = bursts(indices, input.burst, n)
        distinct = n
    times = tuple(window.start + (i + 0.5) / rate for i in indices)
    return Picks(times, padded=max(0, input.frames - distinct))


def around(time: float, input: Input, fps: Fraction | float | None) -> tuple[Window, Picks]:
    """The window of a clip in whose middle, frame T // 2, is what is shown at `time`.

    It may begin before the video does, and outlast it.
    """
    length = window_length(input, fps)
    middle = pick(Window(0.0, length), input, fps).times[input.frames // 2]
    # Times of frames are often rounded: the middle of the time it is shown is what is asked for.
    shown = 1 / max(_rate(input, fps), float(fps or 0))
    start = time + shown / 2 - middle
    window = Window(start, start + length)
    return window, pick(window, input, fps)


def dense(
    n: int, frames: int, every: int = 1, *, short: Short = "repeat", rng: Random | None = None
) -> tuple[int, ...]:
    """`frames` of n, every `every`-th, from the middle or, with `rng`, from anywhere.

    The habit of C3D, I3D, SlowFast and most 3D networks. VideoError if n is too small and `short`
    is "refuse".
    """
    room = max(0, n - frames * every)
    offset = rng.randint(0, room) if rng else room // 2
    wanted = range(offset, offset + frames * every, every)
    if short == "refuse":
        _refuse(n, wanted[-1] + 1)
    return tuple(i % n if short == "loop" else min(i, n - 1) for i in wanted)


def segments(n: int, frames: int, rng: Random | None = None) -> tuple[int, ...]:
    """One of each of `frames` equal parts of n: its middle or, with `rng`, a random place in it.

    Wang et al. 2016, Temporal Segment Networks; also TSM, TAM. With n below `frames`, some repeat.
    """
    if rng is None:
        return tuple((2 * k + 1) * n // (2 * frames) for k in range(frames))
    return tuple(min(n - 1, int((k + rng.random()) * n / frames)) for k in range(frames))


def linspace(n: int, frames: int) -> tuple[int, ...]:
    """From the first to the last of n in `frames` equal steps, cut to whole frames.

    How SlowFast's and pytorchvideo's loaders subsample (`linspace(0, n - 1, frames)`), exactly:
    floating point can come out one lower where a step falls on a whole number.
    """
    return tuple(k * (n - 1) // max(1, frames - 1) for k in range(frames))


def bursts(indices: tuple[int, ...], burst: int, n: int) -> tuple[int, ...]:
    """Around each index `burst` neighbours of n in a row (Wang et al. 2021, TDN)."""
    around = range(-(burst // 2), burst - burst // 2)
    return tuple(min(max(i + k, 0), n - 1) for i in indices for k in around)


def _rate(input: Input, fps: Fraction | float | None) -> float:
    rate = input.fps or fps
    if rate is None:
        raise VideoError("states no frame rate", do="Re-encode it at a constant rate.")
    return float(rate)


def _refuse(n: int, needed: int) -> None:
    if n < needed:
        raise VideoError(
            f"too short: the network wants {needed} frames, the window holds {n}",
            do='Use short="repeat" or "loop" to fill up.',
        )
