"""The network that ships with marey: small, marked research-only, aware of the order of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marey.data.manifest import Manifest
from marey.models._fetch import find_packaged
from marey.models._info import model_info
from marey.models._registry import default_weights
from marey.runtime import Runtime, compile
from marey.types import Window
from marey.video.clips import clips
from marey.video.prepare import centre_crop
from marey.video.read import open_video
from marey.video.windows import pick

LABELS = ("jump", "run", "sit", "stand", "turn", "walk")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return compile("motions6")


def test_it_says_what_it_is(runtime: Runtime) -> None:
    assert runtime.labels == LABELS
    assert runtime.card().name == "efficientnet_lite0.motions6"
    assert any("research-only" in warning for warning in runtime.warnings)
    assert model_info("motions6").weights[0].licence.startswith("research-only")
    assert default_weights("efficientnet_lite0") == "efficientnet_lite0.in1k"


def test_it_is_small() -> None:
    path = find_packaged("marey/models/checkpoints/motions6/model.safetensors")
    assert path.stat().st_size < 12e6
    assert (path.parent / "README.md").is_file()


def frames_of(path: Path, runtime: Runtime) -> np.ndarray:
    """The clip that the network sees of a whole video, T H W 3."""
    with open_video(path) as reader:
        video, prepare = reader.video, runtime.input
        span = Window(video.start, video.end or video.start)
        plan = [(span, pick(span, prepare, video.fps))]
        (clip,) = clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation)
    return centre_crop(clip.frames, prepare.size)


@pytest.mark.slow
def test_sitting_played_backwards_is_standing_up(media: Path, runtime: Runtime) -> None:
    manifest = Manifest.read(media / "motions6")
    sitting = [sample.video for sample in manifest.samples if sample.label == "sit"]
    forwards = np.stack([frames_of(path, runtime) for path in sitting])
    sit, stand = LABELS.index("sit"), LABELS.index("stand")
    assert np.mean(runtime(forwards).argmax(1) == sit) > 0.9
    assert np.mean(runtime(forwards[:, ::-1]).argmax(1) == stand) > 0.6
