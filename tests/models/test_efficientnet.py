from __future__ import annotations

import pytest
import timm
import torch

from marey.errors import ModelError, WeightsError
from marey.models._net import Net
from marey.models._registry import create_model
from marey.nn.time import TemporalAggregation


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
    report = image_net.report
    assert report is not None
    assert (report.loaded, report.fresh, report.dropped) == (247, (), ())
    assert image_net.labels is not None
    assert len(set(image_net.labels)) == 1000
    assert image_net.labels[:2] == ("tench", "goldfish")
    assert image_net.licence == "Apache-2.0"


def test_time_starts_from_the_image_networks_answer(image_net: Net) -> None:
    timed = create_model("efficientnet_lite0.in1k", time="tam")
    mixes = [m for m in timed.modules() if isinstance(m, TemporalAggregation)]
    assert len(mixes) == 9
    assert timed.report is not None
    assert len(timed.report.fresh) == 27
    assert all(".mix." in name for name in timed.report.fresh)
    assert torch.equal(timed(clip()), image_net(clip()))
    with torch.no_grad():
        mixes[0].prev += 1
    assert not torch.allclose(timed(clip()), image_net(clip()))
    assert not torch.allclose(timed(clip()), timed(clip().flip(2)), atol=1e-4)


def test_segments_start_from_the_published_head(image_net: Net) -> None:
    net = create_model("efficientnet_lite0.in1k", head="segments")
    assert net.head.linear.in_features == 3 * 1280
    torch.testing.assert_close(net(clip()), image_net(clip()), atol=1e-5, rtol=1e-5)


def test_a_head_without_weights_needs_classes_of_its_own() -> None:
    with pytest.raises(WeightsError, match="give `classes` to start a new one"):
        create_model("efficientnet_lite0.in1k", head="recurrent")
    net = create_model("efficientnet_lite0.in1k", head="recurrent", classes=["sit", "stand"])
    assert net.report is not None
    assert net.report.new_head
    assert all(name.startswith("head.") for name in net.report.fresh)
    assert "untrained" in net.report.warnings[0]
    assert net(clip()).shape == (2, 2)


@pytest.mark.parametrize("option", ["time", "head"])
def test_an_unknown_value_names_the_choices(option: str) -> None:
    with pytest.raises(ModelError, match=r"must be .*(tam|segments).* got 'lstm'"):
        create_model("efficientnet_lite0", **{option: "lstm"})


def test_stages_follow_the_clip(image_net: Net) -> None:
    names = [name for name, _ in image_net.stages()]
    assert names == ["stem", *(f"stage{n}" for n in range(1, 8)), "last", "head"]
