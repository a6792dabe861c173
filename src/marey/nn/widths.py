"""Widths that processors like."""

from __future__ import annotations


def eights(width: float) -> int:
    """The multiple of 8 nearest to `width`, the next one up if that is more than 10 % below.

    As in MobileNetV2 and what came of it.
    """
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8
