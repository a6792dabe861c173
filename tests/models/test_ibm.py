from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._image_nets import image_net
from marey.models._info import model_info
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import default_weights
from marey.models._weights import load_state
from marey.models.ibm import from_ibm
from marey.nn.mix import TemporalAggregation
from marey.nn.time import fold

# Parameters, and GMACs of one clip of T x 224 x 224, of the reference's own networks.
TABLE = {
    "i3d_resnet18": (33_371_472, 32, 172.9),
    "i3d_resnet50": (46_980_944, 32, 256.7),
    "i3d_resnet101": (86_027_088, 32, 501.3),
    "s3d_resnet18": (15_586_128, 32, 85.3),
    "s3d_resnet50": (28_126_416, 32, 158.1),
    "tam_resnet18": (11_386_128, 8, 14.53),
    "tam_resnet50": (24_366_992, 8, 32.84),
    "tam_resnet101": (43_411_344, 32, 250.5),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    params, frames, gmacs = TABLE[name]
    with torch.device("meta"):
        net = create_model(name)
    found = cost(net, (frames, 224, 224))
    assert found.params == params
    # The reference answers after every frame, and takes the mean of the answers.
    answers = (frames - 1) * net.head.linear.weight.numel()
    assert (found.macs + answers) / 1e9 == pytest.approx(gmacs, abs=0.06 if gmacs > 50 else 0.006)


@pytest.mark.parametrize(("kind", "layers"), [("i3d", 17), ("s3d", 17), ("tam", 16)])
def test_time_is_put_where_the_reference_has_it(kind: str, layers: int) -> None:
    with torch.device("meta"):
        net = create_model(f"{kind}_resnet50")
    report = net.report.time
    assert report is not None
    names = [change.name for change in report.changes]
    within = "conv1" if kind == "tam" else "conv2"
    blocks = [(1, 3), (2, 4), (3, 6), (4, 3)]
    expected = [f"layer{n}.{k}.{within}" for n, depth in blocks for k in range(depth)]
    assert names == [*["conv1"][: layers - 16], *expected]


@pytest.mark.parametrize("name", ["i3d_resnet18", "i3d_resnet50", "s3d_resnet18", "s3d_resnet50"])
def test_temporal_stride_halves_time_three_times(name: str) -> None:
    with torch.device("meta"):
        plain, strided = create_model(name), create_model(name, temporal_stride=True)
        clip = torch.empty(1, 3, 16, 32, 32)
        assert plain.body(clip).shape[2] == 16
        assert strided.body(clip).shape[2] == 2
        assert strided.body(clip[:, :, :13]).shape[2] == 2
    assert strided.options["temporal_stride"]
    assert cost(strided, (32, 64, 64)).macs < cost(plain, (32, 64, 64)).macs / 1.5
    assert cost(strided, (8, 32, 32)).params == cost(plain, (8, 32, 32)).params


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    entries = (state[f"{name}.{e}"] for e in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *entries)


def block(x: Tensor, state: dict[str, Tensor], stride: int) -> Tensor:
    """A residual block of a published state, in 3D: kernels and names say which kind it is."""
    branch, strides = x, iter([stride, 1])
    last = 3 if "conv3.weight" in state else 2
    for number in range(1, last + 1):
        kernel = state[f"conv{number}.weight"]
        step = next(strides) if kernel.shape[-1] == 3 else 1
        over_time = state.get(f"conv{number}_t.weight")
        first = 1 if over_time is not None else step
        around = [size // 2 for size in kernel.shape[2:]]
        branch = F.conv3d(branch, kernel, stride=(first, step, step), padding=around)
        branch = norm(branch, state, f"bn{number}")
        if over_time is not None:
            branch = F.conv3d(branch.relu(), over_time, stride=(step, 1, 1), padding=(1, 0, 0))
            branch = norm(branch, state, f"bn{number}_t")
        if number < last:
            branch = branch.relu()
    way = norm(F.conv3d(x, state["downsample.0.weight"], stride=stride), state, "downsample.1")
    return (branch + way).relu()


def published(kind: str, inputs: int, width: int, outputs: int) -> dict[str, Tensor]:
    """A block's random state under the names of the reference."""
    deep = outputs > width
    shapes: dict[str, tuple[int, ...]] = {"downsample.0": (outputs, inputs, 1, 1, 1)}
    k = 3 if kind == "i3d" else 1
    if deep:
        shapes |= {"conv1": (width, inputs, 1, 1, 1), "conv2": (width, width, k, 3, 3)}
        shapes |= {"conv3": (outputs, width, 1, 1, 1)}
    else:
        shapes |= {"conv1": (width, inputs, k, 3, 3), "conv2": (width, width, k, 3, 3)}
    if kind == "s3d":
        for name in ("conv2",) if deep else ("conv1", "conv2"):
            shapes[f"{name}_t"] = (width, width, 3, 1, 1)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape) * (2 / shape[1] / sum(shape[2:])) ** 0.5
        after = "downsample.1" if name == "downsample.0" else name.replace("conv", "bn")
        state[f"{after}.weight"] = torch.rand(shape[0]) + 0.5
        state[f"{after}.bias"] = torch.randn(shape[0])
        state[f"{after}.running_mean"] = torch.randn(shape[0])
        state[f"{after}.running_var"] = torch.rand(shape[0]) + 0.5
    return state


@pytest.mark.parametrize("kind", ["i3d", "s3d"])
@pytest.mark.parametrize(("depth", "sizes"), [(18, (64, 128, 128)), (50, (256, 128, 512))])
@pytest.mark.parametrize("frames", [8, 5])
def test_a_strided_block_is_the_same_in_3d(
    kind: str, depth: int, sizes: tuple[int, int, int], frames: int
) -> None:
    torch.manual_seed(0)
    state = published(kind, *sizes)
    net = create_model(f"{kind}_resnet{depth}", classes=2, temporal_stride=True)
    own = net.convert({f"layer2.0.{name}": value for name, value in state.items()}, "ibm")
    assert not net.load_state_dict(own, strict=False).unexpected_keys
    x = torch.randn(2, sizes[0], frames, 9, 6)
    net.body.clock.clips = 2
    with torch.inference_mode():
        ours = net.body.net.layer2[0](fold(x))
    torch.testing.assert_close(ours, fold(block(x, state, 2)), rtol=1e-4, atol=1e-4)


def test_the_taps_of_tam_are_the_frame_before_this_one_and_the_next() -> None:
    state = {
        f"layer1.0.tam.{tap}_se.fc1.weight": torch.full((64, 1, 1, 1), value)
        for tap, value in (("next", 4.0), ("prev", 1.0), ("curr", 2.0))
    }
    (found,) = from_ibm(state).items()
    assert found[0] == "body.net.layer1.0.conv1.mix.weight"
    assert found[1][0].tolist() == [[1, 2, 4]]
    net = create_model("tam_resnet18", classes=2)
    mix = net.body.net.layer1[0].conv1.mix
    assert isinstance(mix, TemporalAggregation)
    with torch.no_grad():
        mix.weight.copy_(found[1])
    frames = torch.tensor([1.0, 10.0, 100.0])[:, None, None, None].expand(3, 64, 1, 1)
    assert mix(frames)[:, 0, 0, 0].tolist() == [42, 421, 210]
    assert (mix(-frames) == 0).all()


def test_an_incomplete_aggregation_is_refused() -> None:
    net = create_model("tam_resnet18", classes=3)
    state = {
        f"layer1.0.tam.{tap}_se.fc1.weight": torch.ones(64, 1, 1, 1) for tap in ("prev", "curr")
    }
    with pytest.raises(WeightsError, match=r"2 unknown \(layer1.0.tam.prev_se"):
        load_state(net, state, source="file", layout="ibm")


def drawn(net: Net) -> dict[str, float]:
    """The spread of the kernels over time, as a share of what He et al. prescribe (fan out)."""
    return {
        name: float(value.detach().std()) / (2 / (value.shape[0] * value[0, 0].numel())) ** 0.5
        for name, value in net.named_parameters()
        if value.ndim == 5 or name.endswith("time.weight")
    }


@pytest.mark.parametrize(("name", "count"), [("i3d_resnet18", 17), ("s3d_resnet18", 17)])
def test_new_kernels_are_drawn_as_the_authors_do(name: str, count: int) -> None:
    shares = drawn(create_model(name, classes=2))
    assert len(shares) == count
    assert all(0.95 < share < 1.05 for share in shares.values()), shares


def test_an_image_networks_weights_are_inflated_to_their_mean() -> None:
    image = image_net("resnet18", 3)
    net = create_model("i3d_resnet18", classes=3)
    report = load_state(net, image.state_dict(), source="image", layout="image")
    assert report.fresh == report.dropped == ()
    kernel = net.state_dict()["body.net.layer3.0.conv1.weight"]
    torch.testing.assert_close(kernel.sum(2), image.get_parameter("layer3.0.conv1.weight"))


def test_published_weights_say_what_they_are() -> None:
    info = model_info("i3d_resnet50.k400")
    assert (info.labels, info.shape) == (kinetics400(), (32, 256, 256))
    assert info.macs / 1e9 == pytest.approx(335.3, abs=0.5)  # 256.7 x (256/224)²
    assert default_weights("tam_resnet101") == "tam_resnet101.k400"
    info = model_info("tam_resnet50.ssv2")
    assert (info.classes, info.labels, info.input.sampling) == (174, None, "segments")
    assert isinstance(create_model("tam_resnet18", classes=2).head.linear, nn.Linear)
