from __future__ import annotations

from dataclasses import replace

import torch

from marey.nn.clip import normalise
from marey.types import Input

PREPARE = Input(
    frames=2, size=(4, 5), resize=4, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), gamma=0.5
)


def test_normalise_follows_the_input() -> None:
    clips = torch.randint(0, 256, (3, 2, 4, 5, 3), dtype=torch.uint8)
    kept = clips.clone()
    x = normalise(clips, PREPARE)
    assert x.shape == (3, 3, 2, 4, 5)
    assert x.dtype == torch.float32
    assert torch.equal(clips, kept)
    expected = ((clips[1, 0, 2, 3, 2].item() / 255) ** 0.5 - 0.3) / 0.6
    torch.testing.assert_close(x[1, 2, 0, 2, 3].item(), expected, atol=1e-5, rtol=1e-5)


def test_normalise_leaves_channels_last_memory_and_skips_gamma_one() -> None:
    clips = torch.full((1, 2, 4, 5, 3), 255, dtype=torch.uint8)
    x = normalise(clips, replace(PREPARE, gamma=1.0))
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(x[0, :, 0, 0, 0], torch.tensor([2.25, 1.6, 0.7 / 0.6]))
