from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.nn.mix import TemporalAggregation
from marey.video.prepare import centre_crop
from marey.video.read import open_video


@pytest.fixture(scope="module")
def image_net() -> Net:
    return create_model("efficientnet_lite0.in1k")


def clip(frames: int = 6) -> torch.Tensor:
    return torch.randn(2, 3, frames, 64, 80, generator=torch.Generator().manual_seed(0))


def test_one_frame_is_timms_answer(image_net: Net) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    own = list(image_net.state_dict().values())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), own, strict=True)))
    frames = clip(1)
    torch.testing.assert_close(image_net(frames), theirs(frames[:, :, 0]))
    torch.testing.assert_close(
        image_net(clip()), torch.stack([theirs(x) for x in clip().unbind(2)]).mean(0)
    )


def test_every_published_entry_is_loaded(image_net: Net) -> None:
    report = image_net.report.load
    assert report is not None
    assert (report.loaded, report.fresh, report.dropped) == (247, (), ())
    assert image_net.labels is not None
    assert len(set(image_net.labels)) == 1000
    assert image_net.labels[:2] == ("tench", "goldfish")
    assert image_net.licence == "Apache-2.0"


def test_time_starts_from_the_image_networks_answer(image_net: Net) -> None:
    timed = create_model("efficientnet_lite0.in1k+tam")
    mixes = [m for m in timed.modules() if isinstance(m, TemporalAggregation)]
    assert len(mixes) == 9
    assert timed.report.load is not None
    assert len(timed.report.load.fresh) == 9
    assert timed.report.warnings == (
        "efficientnet_lite0.in1k+tam: these are an image network's weights; what the rule 'tam' "
        "has put into it is untrained",
    )
    assert create_model("efficientnet_lite0.in1k+shift").report.warnings
    assert image_net.report.warnings == ()
    assert all(".mix." in name for name in timed.report.load.fresh)
    torch.testing.assert_close(timed(clip()), image_net(clip()), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        mixes[0].weight[..., 0] += 1
    assert not torch.allclose(timed(clip()), image_net(clip()))
    assert not torch.allclose(timed(clip()), timed(clip().flip(2)), atol=1e-4)


def test_segments_start_from_the_published_head(image_net: Net) -> None:
    net = create_model("efficientnet_lite0.in1k+segments")
    assert net.head.linear.in_features == 3 * 1280
    torch.testing.assert_close(net(clip()), image_net(clip()), atol=1e-5, rtol=1e-5)


def test_a_head_without_weights_needs_classes_of_its_own() -> None:
    with pytest.raises(WeightsError, match="give `classes` to start a new one"):
        create_model("efficientnet_lite0.in1k+rnn")
    net = create_model("efficientnet_lite0.in1k+rnn", classes=["sit", "stand"])
    assert net.report.load is not None
    assert net.report.load.new_head
    assert all(name.startswith("head.") for name in net.report.load.fresh)
    assert "untrained" in net.report.warnings[0]
    assert net(clip()).shape == (2, 2)


@pytest.mark.parametrize(
    "rule", ["full", "full:init=mean", "mixed", "split", "tam", "tam:init=difference", "gate"]
)
def test_an_inflated_networks_first_label_is_the_image_networks(
    image_net: Net, rule: str, media: Path
) -> None:
    """On real frames, each shown as a still clip: the proof of inflation with real weights."""
    inflated = create_model(f"efficientnet_lite0.in1k+{rule}")
    prepare = image_net.input
    for name in ("v_SoccerJuggling_g23_c01.avi", "ocv_vtest.avi", "mpy_chaplin.mp4"):
        with open_video(media / "clips" / name) as reader:
            times = [float(reader.video.start) + k for k in (1, 2, 3)]
            frames = [
                frame.image
                for frame in reader.frames(
                    times=times, size=prepare.resize, interpolation=prepare.interpolation
                )
            ]
        for image in frames:
            still = centre_crop(np.repeat(image[None], 4, 0), prepare.size)
            x = normalise(torch.from_numpy(still.copy())[None], prepare)
            with torch.inference_mode():
                assert inflated(x).argmax() == image_net(x[:, :, :1]).argmax()


def test_stages_follow_the_clip(image_net: Net) -> None:
    names = [name for name, _ in image_net.stages()]
    assert names == ["conv_stem", *(f"blocks.{n}" for n in range(7)), "conv_head", "head"]
