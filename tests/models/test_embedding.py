"""A network without its last layer, and the hash by which its features are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.models._embedding import Embedding
from marey.models._net import Net, digest, replace_head
from marey.nn.heads import Mean

SMALL = {"size": (32, 32), "resize": 32, "frames": 8}


def network(name: str = "r3d_hara_10", seed: int = 0, **options: object) -> Net:
    torch.manual_seed(seed)
    net = create_model(name, classes=3, **options)
    net.input = replace(net.input, **SMALL)  # type: ignore[arg-type]
    return net


# A body of one 3D network, a head with layers of its own, means of two pathways, frames folded.
NAMES = ["r3d_hara_10", "movinet_a0", "slowfast_r50", "efficientnet_lite0+segments:parts=2"]


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_the_head_sees_averaged_over_time(name: str) -> None:
    net = network(name)
    if name == "slowfast_r50":
        net.input = replace(net.input, frames=32)
    clip = torch.randn(2, 3, net.input.frames, 32, 32)
    made = Embedding(net)
    with torch.inference_mode():
        found, frames = made(clip), net.head.per_frame(net.body(clip))
        assert torch.equal(found, frames.mean(2))
        assert found.shape == (2, made.classes)
        if isinstance(net.head, Mean):
            torch.testing.assert_close(net.head.linear(found), net(clip))
    assert (made.labels, made.name, made.input) == (None, net.name, net.input)
    assert not made.training


def test_the_hash_is_of_all_that_the_features_depend_on(tmp_path: Path) -> None:
    net = network()
    known = Embedding(net).network
    assert known == Embedding(network()).network
    assert known != digest(net)
    save_checkpoint(net, tmp_path / "net")
    assert Embedding(create_model(tmp_path / "net")).network == known
    other = network()
    replace_head(other, 5)
    assert Embedding(other).network == known
    other.input = replace(other.input, gamma=0.4)
    assert Embedding(other).network != known
    assert Embedding(network(seed=1)).network != known
    twin = network()
    with torch.no_grad():
        next(twin.body.parameters())[0, 0, 0, 0, 0] += 1
    assert Embedding(twin).network != known


def test_batches_that_norms_have_seen_do_not_count() -> None:
    net = network()
    known = Embedding(net).network
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value += 1
    assert Embedding(net).network == known
