"""How much a media file may ask of the machine that reads it."""

from __future__ import annotations

from dataclasses import dataclass

from marey.errors import VideoError


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for one video, held before and while it is decoded, whatever its header says.

    `pixels` of one frame, coded or displayed (by default 8192 x 8192, twice 8K video); `seconds`
    from the first frame on (a day); `frames` decoded in one pass (a day at 115 a second); `bytes`
    of the file (256 GiB).
    """

    pixels: int = 2**26
    seconds: float = 24 * 3600.0
    frames: int = 10_000_000
    bytes: int = 2**38

    def __post_init__(self) -> None:
        if min(self.pixels, self.seconds, self.frames, self.bytes) <= 0:
            raise ValueError(f"every limit must be positive, got {self}")

    @property
    def decoder_options(self) -> dict[str, str]:
        """A backstop inside FFmpeg, before it allocates a frame that `check` would refuse after.

        Its count is of padded lines, so it is wider than the limit proper.
        """
        return {"max_pixels": str(max(2 * self.pixels, 2**20))}

    def check(self, path: str, name: str, value: float, what: str) -> None:
        """Raise VideoError if `value` exceeds the limit `name`; `what` says what has that value."""
        limit = getattr(self, name)
        if value > limit:
            raise VideoError(
                f"{what}, more than the limit of {limit:,} {name}",
                where=path,
                do=f"If you trust the file, open it with limits=Limits({name}=…) raised.",
            )
