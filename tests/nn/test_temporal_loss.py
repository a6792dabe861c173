from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marey.nn.temporal import Answers, points
from marey.nn.temporal_loss import Targets, assign, distance_iou_loss, temporal_loss


def spans(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)


def test_who_answers_by_hand() -> None:
    grid = points(16, 3)
    # 2 to 8 has its middle at 5. On the finest level points up to 1.5 cells from there answer, if
    # no edge is further than 4 cells.
    found = assign(grid, spans((2, 8)), torch.tensor([1]), 2)
    where = found.answering.nonzero()[:, 0].tolist()
    assert [(grid.position[k].item(), grid.stride[k].item()) for k in where] == [
        *((4.0, 1.0), (5.0, 1.0), (6.0, 1.0)),
        # On the second, up to 3 cells from there, if the further edge is 4 to 8 cells away.
        *((2.0, 2.0), (4.0, 2.0), (6.0, 2.0), (8.0, 2.0)),
    ]
    assert found.labels[:, where].tolist() == [[0.0] * 7, [1.0] * 7]
    assert found.distances[:, where].tolist() == [[2, 3, 4, 0, 2, 4, 6], [4, 3, 2, 6, 4, 2, 0]]
    assert not found.labels[:, ~found.answering].any()


def test_the_shorter_of_two_events_counts_and_equals_share() -> None:
    grid = points(16, 1)
    found = assign(grid, spans((0, 15), (6, 9)), torch.tensor([0, 1]), 3)
    assert found.labels[:, 7].tolist() == [0, 1, 0]
    assert found.distances[:, 7].tolist() == [1, 2]
    found = assign(grid, spans((6, 9), (6, 9)), torch.tensor([0, 2]), 3)
    assert found.labels[:, 7].tolist() == [1, 0, 1]


def test_a_video_without_events() -> None:
    found = assign(points(8, 2), spans(), torch.zeros(0, dtype=torch.int64), 2)
    assert found.labels.shape == (2, 12)
    assert found.distances.shape == (2, 12)
    assert not found.answering.any()
    assert not found.labels.any()


@given(st.integers(1, 300), st.integers(1, 7), st.data())
def test_every_event_of_a_cell_or_more_has_a_point(
    cells: int, levels: int, data: st.DataObject
) -> None:
    start = data.draw(st.floats(-0.5, cells - 1.5), "start")
    end = data.draw(st.floats(min(start + 1.001, cells - 0.5), cells - 0.5), "end")
    grid = points(cells, levels)
    found = assign(grid, spans((start, end)), torch.tensor([0]), 1)
    assert found.answering.any()
    position = grid.position[found.answering]
    left, right = found.distances[:, found.answering].double()
    torch.testing.assert_close(position - left, torch.full_like(left, start), rtol=0, atol=1e-3)
    torch.testing.assert_close(position + right, torch.full_like(left, end), rtol=0, atol=1e-3)


def test_distance_iou_by_hand() -> None:
    said = torch.tensor([[1.0, 3.0], [1.0, 1.0], [2.0, 0.0]])
    right = torch.tensor([[1.0, 3.0], [3.0, 1.0], [0.0, 2.0]])
    # equal; 2 of 4 common, middles 1 apart in a hull of 4; 0 of 4 common, middles 2 apart.
    expected = [0.0, 1 - 0.5 + 1 / 16, 1 + 1 / 4]
    assert distance_iou_loss(said, right).tolist() == pytest.approx(expected)


def test_the_loss_by_hand_and_padding_is_left_out() -> None:
    logits = torch.zeros(1, 1, 3)  # p = 0.5 everywhere
    distances = torch.ones(1, 2, 3)
    targets = Targets(
        torch.tensor([[[1.0, 0.0, 0.0]]]),
        torch.tensor([[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]]),
        torch.tensor([[True, False, False]]),
    )
    answers = Answers(logits, distances, torch.tensor([[True, True, False]]))
    # Focal: (1 - p)² log 2, a quarter of it for what is there, three quarters for what is not;
    # the third point is padding. Edges: 2 of 4 common, middles 1 apart in a hull of 4.
    focal = 0.25 * math.log(2) * (0.25 + 0.75)
    edges = 1 - 2 / 4 + (1 / 4) ** 2
    assert float(temporal_loss(answers, targets, 2.0)) == pytest.approx((focal + edges) / 2)


def test_a_batch_without_events_has_a_gradient() -> None:
    logits = torch.zeros(2, 1, 4, requires_grad=True)
    targets = Targets(
        torch.zeros(2, 1, 4), torch.zeros(2, 2, 4), torch.zeros(2, 4, dtype=torch.bool)
    )
    answers = Answers(logits, torch.ones(2, 2, 4), torch.ones(2, 4, dtype=torch.bool))
    temporal_loss(answers, targets, 1.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad > 0).all()
