from __future__ import annotations

import copy
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._image_nets import image_net
from marey.models._weights import load_state
from marey.nn.inflated import SpaceTimeConv
from marey.nn.time import fold, unfold

SIZES = {0: 224, 1: 240, 2: 260, 3: 300, 4: 380}


def test_parameters_and_macs_of_b0() -> None:
    with torch.device("meta"):
        net = create_model("efficientnet3d_b0")
    found = cost(net, (8, 224, 224))
    assert found.params / 1e6 == pytest.approx(4.89, abs=0.005)
    # The figure was measured with an answer after every frame.
    answers = 7 * net.head.linear.weight.numel()
    assert (found.macs + answers) / 1e9 == pytest.approx(3.81, abs=0.005)


@pytest.mark.parametrize("number", SIZES)
def test_the_stem_and_every_depthwise_layer_see_three_frames(number: int) -> None:
    with torch.device("meta"):
        net = create_model(f"efficientnet3d_b{number}", classes=10)
        image = image_net(f"efficientnet_b{number}", 10)
    assert net.input.size == (SIZES[number], SIZES[number])
    spatial = {
        name: module
        for name, module in image.named_modules()
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    }
    inflated = {
        name.removeprefix("body.net."): module
        for name, module in net.named_modules()
        if isinstance(module, SpaceTimeConv)
    }
    assert inflated.keys() == spatial.keys()
    assert all(m.groups > 1 for name, m in spatial.items() if name != "conv_stem")
    more = sum(2 * module.weight.numel() for module in spatial.values())
    assert cost(net, (8, 64, 64)).params == sum(p.numel() for p in image.parameters()) + more
    assert net.body(torch.empty(1, 3, 8, 64, 64, device="meta")).shape[2] == 8


Network = TypeVar("Network", bound=nn.Module)


def settled(net: Network, x: Tensor) -> Network:
    """With norms that have seen `x`: untrained, they would let nearly nothing through."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()
    with torch.no_grad():
        net(x)
    return net.eval()


class In3d(nn.Module):
    """What the definition says of a layer, by `nn.Conv3d`."""

    def __init__(self, layer: SpaceTimeConv) -> None:
        super().__init__()
        outputs, inputs, *size = layer.weight.shape
        self.conv = nn.Conv3d(
            inputs * layer.groups,
            outputs,
            size,  # type: ignore[arg-type]
            (1, *layer.strides[1:]),  # type: ignore[arg-type]
            [n // 2 for n in size],  # type: ignore[arg-type]
            groups=layer.groups,
            bias=False,
        )
        self.conv.weight = nn.Parameter(layer.weight.detach().clone())

    def forward(self, frames: Tensor) -> Tensor:
        return fold(self.conv(unfold(frames, 2)))


def test_equals_its_definition_in_3d_and_begins_as_the_image_network() -> None:
    torch.manual_seed(0)
    clip = torch.randn(2, 3, 5, 64, 48)
    image = settled(image_net("efficientnet_b0", 5), fold(clip))
    net = create_model("efficientnet3d_b0", classes=5)
    load_state(net, image.state_dict(), source="image", layout="image")
    with torch.inference_mode():
        frames = torch.stack([image(frame) for frame in clip.unbind(2)]).mean(0)
        torch.testing.assert_close(net(clip), frames, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for value in net.parameters():
            if value.ndim == 5:
                value += value.std() * torch.randn_like(value)
    twin = copy.deepcopy(settled(net, clip))
    for name, module in net.named_modules():
        if isinstance(module, SpaceTimeConv):
            twin.set_submodule(name, In3d(module))
    with torch.inference_mode():
        ours = net(clip)
        torch.testing.assert_close(ours, twin(clip), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(ours, net(clip.flip(2)), rtol=0.05)
        assert not torch.allclose(ours[0], ours[1], rtol=0.05)
