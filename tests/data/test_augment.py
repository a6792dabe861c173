from __future__ import annotations

from random import Random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.data.augment import Augment

SIZE = (24, 24)


def picture(seed: int = 0) -> torch.Tensor:
    """A smooth colourful picture, H W 3 uint8."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 5))).float()
    fine = torch.nn.functional.interpolate(coarse, (32, 40), mode="bilinear")
    return fine[0].permute(1, 2, 0).to(torch.uint8)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_all_frames_change_alike(seed: int) -> None:
    still = picture().expand(5, -1, -1, -1)
    changed = Augment(gamma=0.5)(still, SIZE, Random(seed))
    assert changed.shape == (5, *SIZE, 3)
    assert changed.dtype == torch.uint8
    assert (changed == changed[0]).all()


def test_chance_is_the_generators_alone() -> None:
    clip = torch.stack([picture(k) for k in range(3)])
    before = torch.random.get_rng_state()
    first = Augment()(clip, SIZE, Random("0/1/2"))
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is given back"
    torch.manual_seed(99)
    assert torch.equal(Augment()(clip, SIZE, Random("0/1/2")), first)
    assert not torch.equal(Augment()(clip, SIZE, Random("0/1/3")), first)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_time_keeps_its_order(seed: int) -> None:
    levels = torch.tensor([20, 60, 100, 140, 180], dtype=torch.uint8)
    clip = levels[:, None, None, None].expand(-1, 32, 40, 3)
    changed = Augment(gamma=0.5)(clip, SIZE, Random(seed))
    means = changed.float().mean((1, 2, 3))
    assert (means.diff() > 0).all()


def test_flip_only_where_asked() -> None:
    ramp = torch.linspace(0, 255, 40).to(torch.uint8)[None, None, :, None].expand(2, 32, -1, 3)

    def flipped(augment: Augment) -> set[bool]:
        clips = [augment(ramp, SIZE, Random(seed)) for seed in range(20)]
        return {bool(clip[0, 0, 0, 0] > clip[0, 0, -1, 0]) for clip in clips}

    assert flipped(Augment(flip=False)) == {False}
    assert flipped(Augment(flip=True)) == {True, False}


def test_nothing_asked_nothing_changed() -> None:
    clip = torch.stack([picture(k)[:32, :32] for k in range(3)])
    plain = Augment(crop=(1.0, 1.0), flip=False, colour=0.0)
    assert torch.equal(plain(clip, (32, 32), Random(0)), clip)


def test_gamma_brightens_and_darkens() -> None:
    clip = torch.full((2, 8, 8, 3), 100, dtype=torch.uint8)
    augment = Augment(crop=(1.0, 1.0), flip=False, colour=0.0, gamma=1.0)
    levels = [float(augment(clip, (8, 8), Random(k)).float().mean()) for k in range(40)]
    # Powers from 1/2 to 2.
    low, high = (255 * (100 / 255) ** power for power in (2.0, 0.5))
    assert low - 1 <= min(levels) < 80
    assert 120 < max(levels) <= high + 1
