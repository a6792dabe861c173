from __future__ import annotations

import pytest
import torch

from marey.nn.temporal import TemporalDetector, points


def detector(levels: int = 4, classes: int = 3) -> TemporalDetector:
    torch.manual_seed(0)
    net = TemporalDetector(6, classes, width=16, levels=levels, dropout=0.5).eval()
    net.mean.fill_(0.5)
    net.std.fill_(2.0)
    return net


@pytest.mark.parametrize("cells", [1, 2, 7, 8, 33])
def test_an_answer_for_every_point(cells: int) -> None:
    answers = detector()(torch.randn(2, 6, cells))
    grid = points(cells, 4)
    assert answers.logits.shape == (2, 3, len(grid.position))
    assert answers.distances.shape == (2, 2, len(grid.position))
    assert answers.mask.all()
    assert (answers.distances > 0).all()


def test_points_by_hand() -> None:
    grid = points(5, 3)
    assert grid.position.tolist() == [0, 1, 2, 3, 4, 0, 2, 4, 0, 4]
    assert grid.stride.tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 4, 4]


@pytest.mark.parametrize("cells", [1, 5, 12, 13])
def test_padding_changes_nothing(cells: int) -> None:
    """A batch equals its members, whatever the longest of them."""
    net, x = detector(), torch.randn(1, 6, cells)
    padded = torch.cat((x, torch.full((1, 6, 21 - cells), 9.0)), 2)
    mask = torch.arange(21)[None] < cells
    alone, among = net(x), net(padded, mask)
    grid = points(21, 4)
    assert among.mask[0].tolist() == (grid.position < cells).tolist()
    inside = among.mask[0]
    torch.testing.assert_close(among.logits[..., inside], alone.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(among.distances[..., inside], alone.distances, rtol=0, atol=1e-5)


def test_a_shift_by_the_coarsest_stride_shifts_the_answers() -> None:
    net = detector(levels=3)
    x = torch.full((1, 6, 64), 0.5)
    x[..., 24:40] = torch.randn(1, 6, 16)
    moved, grid = net(x.roll(4, 2)), points(64, 3)
    still = net(x)
    for level in (1, 2, 4):
        rows = grid.stride == level
        for before, after in zip(still[:2], moved[:2], strict=True):
            before, after = before[..., rows], after[..., rows]
            shift = 4 // level
            # Where the edges of the video are not seen.
            torch.testing.assert_close(
                after[..., 3 + shift : -3], before[..., 3 : -3 - shift], rtol=0, atol=1e-5
            )


def test_answers_depend_on_features_by_their_standard() -> None:
    net, x = detector(), torch.randn(1, 6, 9)
    other = detector()
    other.mean.fill_(5.0)
    other.std.fill_(20.0)
    torch.testing.assert_close(other(x * 10).logits, net(x).logits, rtol=0, atol=1e-5)


def test_nothing_is_likely_before_it_is_learnt() -> None:
    p = detector()(torch.randn(1, 6, 50)).logits.sigmoid()
    assert p.min() > 0.001
    assert p.max() < 0.05
