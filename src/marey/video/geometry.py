"""From a coded frame to the upright RGB image that a person would see, scaled once."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from marey.errors import VideoError
from marey.types import Image, Interpolation

# A pixel this much wider than high, or higher than wide, is a damaged header, not a film format.
_ODDEST_PIXEL = 10


@dataclass(frozen=True, slots=True)
class Display:
    """How frames `coded` H W are shown: mirrored, turned left `turns` times, `height` x `width`."""

    coded: tuple[int, int]
    height: int
    width: int
    turns: int = 0
    mirror: bool = False

    def size(self, wanted: tuple[int, int] | int | None) -> tuple[int, int]:
        """H W to scale to: as displayed, exactly `wanted`, or with `wanted` as the short side.

        The long side is cut to whole pixels, as torchvision's Resize does.
        """
        if wanted is None:
            return self.height, self.width
        if isinstance(wanted, tuple):
            size = wanted
        elif self.height <= self.width:
            size = (wanted, wanted * self.width // self.height)
        else:
            size = (wanted * self.height // self.width, wanted)
        if min(size) < 1:
            raise ValueError(f"size must be positive, got {wanted}")
        return size


def display(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[Display, list[str]]:
    """How `frame` is meant to be shown, and what of its wishes is not honoured, in words."""
    notes = []
    aspect = pixel_aspect or Fraction(1)
    if not Fraction(1, _ODDEST_PIXEL) <= aspect <= _ODDEST_PIXEL:
        notes.append(f"pixels {aspect} times as wide as high are not believed; taken as square")
        aspect = Fraction(1)
    angle, mirror = frame.rotation, _mirrored(frame)
    if mirror:
        angle += 180  # FFmpeg's angle is that of the first axis, and it is the one mirrored here
    if angle % 90:
        notes.append(f"rotated by {angle % 360} degrees: shown to the nearest quarter turn")
    turns = round(angle / 90) % 4
    height, width = frame.height, max(1, round(frame.width * aspect))
    if turns % 2:
        height, width = width, height
    return Display((frame.height, frame.width), height, width, turns, mirror), notes


def _mirrored(frame: VideoFrame) -> bool:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))  # type: ignore[call-overload]
    return bool(a * d < b * c)


class Converter:
    """Coded frames to upright uint8 RGB images, H W 3, all of one size.

    `where` they come from is named by the VideoError for a frame that cannot be shown.
    """

    def __init__(
        self,
        shown: Display,
        size: tuple[int, int] | int | None,
        interpolation: Interpolation,
        lost: Counter[str],
        where: str,
    ) -> None:
        self._shown, self._lost, self._where = shown, lost, where
        self._height, self._width = shown.size(size)
        if shown.turns % 2:
            self._height, self._width = self._width, self._height
        self._interpolation = interpolation.upper()
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Image:
        if (frame.height, frame.width) != self._shown.coded:
            self._lost["frames of another size, scaled to that of the first"] += 1
        # One thread: FFmpeg's threads cost five times what they save at the sizes of networks.
        try:
            image = self._scaler.reformat(
                frame,
                width=self._width,
                height=self._height,
                format="rgb24",
                interpolation=self._interpolation,
                threads=1,
            ).to_ndarray()
        except av.FFmpegError as error:
            raise VideoError(
                f"has frames in a pixel format that cannot be shown ({frame.format.name})",
                where=self._where,
                do="Convert it, e.g. to H.264 in mp4.",
            ) from error
        if self._shown.mirror:
            image = np.fliplr(image)
        return np.ascontiguousarray(np.rot90(image, self._shown.turns), dtype=np.uint8)
