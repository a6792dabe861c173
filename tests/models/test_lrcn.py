from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._net import Net

PARAMS = {"lstm": 28_960_208, "gru": 27_648_464}


@pytest.mark.parametrize("cell", PARAMS)
def test_parameters(cell: str) -> None:
    with torch.device("meta"):
        net = create_model(f"lrcn_resnet50_{cell}")
    assert cost(net, (1, 64, 64)).params == PARAMS[cell]


def by_hand(net: Net, cell: str, clip: Tensor) -> Tensor:
    """Frame by frame with a cell of torch's, an answer after each, and their mean."""
    kind = nn.LSTMCell if cell == "lstm" else nn.GRUCell
    one = kind(2048, 512)
    own = net.head.rnn.state_dict()
    one.load_state_dict({name.removesuffix("_l0"): value for name, value in own.items()})
    state, answers = None, []
    for frame in clip.split(1, 2):
        state = one(net.body(frame).mean((2, 3, 4)), state)
        hidden = state[0] if cell == "lstm" else state
        answers.append(net.head.linear(hidden))
    return torch.stack(answers).mean(0)


@pytest.mark.parametrize("cell", PARAMS)
@pytest.mark.parametrize("frames", [1, 4])
def test_equals_its_cell_step_by_step(cell: str, frames: int) -> None:
    torch.manual_seed(0)
    net = create_model(f"lrcn_resnet50_{cell}", classes=5)
    clip = torch.randn(2, 3, frames, 48, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(clip), by_hand(net, cell, clip), rtol=1e-4, atol=1e-5)
        if frames > 1:
            assert not torch.allclose(net(clip), net(clip.flip(2)), rtol=1e-3)
