"""The sizes A0 to A5 of MoViNet: the widths and kernels that the search found, and the clips.

As tensorflow/models has them in `official/projects/movinet`, `modeling/movinet.py` and the
`…_k600_8x8.yaml` of `configs/yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass

Kernel = tuple[int, int]
"""Of time, and of height and width."""

K13: Kernel = (1, 3)
K15: Kernel = (1, 5)
K33: Kernel = (3, 3)
K53: Kernel = (5, 3)


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one output width; `expanded` and `kernels` have an entry a block."""

    width: int
    expanded: tuple[int, ...]
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """A network, and the clips it is tested on: `frames` of ten seconds, `pixels` a side.

    `stem` and `top` are the widths of conv1 and conv7; `stages` are block2 to block6. The clips
    are cut from pictures whose short side is `resize`.
    """

    frames: int
    pixels: int
    resize: int
    stem: int
    stages: tuple[Stage, ...]
    top: int


A0 = Size(
    frames=50,
    pixels=172,
    resize=192,
    stem=8,
    stages=(
        Stage(8, (24,), (K15,)),
        Stage(32, (80, 80, 80), (K33,) * 3),
        Stage(56, (184, 112, 184), (K53, K33, K33)),
        Stage(56, (184, 184, 184, 184), (K53, K33, K33, K33)),
        Stage(104, (384, 280, 280, 344), (K53, K15, K15, K15)),
    ),
    top=480,
)
A1 = Size(
    frames=50,
    pixels=172,
    resize=192,
    stem=16,
    stages=(
        Stage(16, (40, 40), (K15, K33)),
        Stage(40, (96, 120, 96, 96), (K33,) * 4),
        Stage(64, (216, 128, 216, 168, 216), (K53, *[K33] * 4)),
        Stage(64, (216, 216, 216, 128, 128, 216), (K53, K33, K33, K33, K15, K33)),
        Stage(136, (456, 360, 360, 360, 456, 456, 544), (K53, *[K15] * 4, K33, K13)),
    ),
    top=600,
)
A2 = Size(
    frames=50,
    pixels=224,
    resize=256,
    stem=16,
    stages=(
        Stage(16, (40, 40, 64), (K15, K33, K33)),
        Stage(40, (96, 120, 96, 96, 120), (K33,) * 5),
        Stage(72, (240, 160, 240, 192, 240), (K53, *[K33] * 4)),
        Stage(72, (240, 240, 240, 240, 144, 240), (K53, K33, K33, K33, K15, K33)),
        Stage(144, (480, 384, 384, 480, 480, 480, 576), (K53, *[K15] * 4, K33, K13)),
    ),
    top=640,
)
A3 = Size(
    frames=120,
    pixels=256,
    resize=288,
    stem=16,
    stages=(
        Stage(16, (40, 40, 64, 40), (K15, K33, K33, K33)),
        Stage(48, (112, 144, 112, 112, 144, 144), (K33, K33, K33, K15, K33, K33)),
        Stage(80, (240, 152, 240, 192, 240), (K53, *[K33] * 4)),
        Stage(
            88,
            (264, 264, 264, 264, 160, 264, 264, 264),
            (K53, K33, K33, K33, K15, K33, K33, K33),
        ),
        Stage(
            168,
            (560, 448, 448, 560, 560, 560, 448, 448, 560, 672),
            (K53, *[K15] * 4, K33, K15, K15, K33, K13),
        ),
    ),
    top=744,
)
A4 = Size(
    frames=80,
    pixels=290,
    resize=320,
    stem=24,
    stages=(
        Stage(24, (64, 64, 96, 64, 96, 64), (K15, *[K33] * 5)),
        Stage(56, (168, 168, 136, 136, 168, 168, 168, 136, 136), (*[K33] * 7, K15, K33)),
        Stage(96, (320, 160, 320, 192, 320, 160, 320, 256, 320), (K53, *[K33] * 8)),
        Stage(
            96,
            (320, 320, 320, 320, 192, 320, 320, 192, 320, 320),
            (K53, K33, K33, K33, K15, *[K33] * 5),
        ),
        Stage(
            192,
            (640, 512, 512, 640, 640, 640, 512, 512, 640, 768, 640, 640, 768),
            (K53, *[K15] * 4, K33, *[K15] * 5, K33, K33),
        ),
    ),
    top=856,
)
A5 = Size(
    frames=120,
    pixels=320,
    resize=368,
    stem=24,
    stages=(
        Stage(24, (64, 64, 96, 64, 96, 64), (K15, K15, *[K33] * 4)),
        Stage(64, (192, 152, 152, 152, 192, 192, 192, 152, 152, 192, 192), (K53, *[K33] * 10)),
        Stage(
            112,
            (376, 224, 376, 376, 296, 376, 224, 376, 376, 296, 376, 376, 376),
            (K53, *[K33] * 12),
        ),
        Stage(
            120,
            (376, 376, 376, 376, 224, 376, 376, 224, 376, 376, 376),
            (K53, K33, K33, K33, K15, *[K33] * 6),
        ),
        Stage(
            224,
            (744, 744, 600, 600, *[744] * 3, 896, 600, 600, 896, 744, 744, 896, 600, 600, 744, 744),
            (K53, K33, *[K15] * 4, K33, *[K15] * 5, K33, *[K15] * 4, K33),
        ),
    ),
    top=992,
)
