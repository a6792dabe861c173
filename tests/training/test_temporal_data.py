from __future__ import annotations

import numpy as np
import torch

from marey.models._temporal_head import Features
from marey.nn.temporal import points
from marey.training.temporal_data import Example, collate, epoch_of, steps_of, usual_count
from marey.types import Event


def example(cells: int, *spans: tuple[float, float, int]) -> Example:
    """Values are the numbers of the cells, so that a stretch tells where it is from."""
    values = torch.arange(float(cells)).expand(2, -1)
    times = torch.tensor([span[:2] for span in spans], dtype=torch.float64).reshape(-1, 2)
    return Example(values, times, torch.tensor([span[2] for span in spans], dtype=torch.int64))


def test_seconds_become_cells() -> None:
    features = Features("a", np.zeros((2, 20), np.float32), 10.0, 0.5, "0123")
    # 12 s is 4 columns after the start, which is the edge between columns 3 and 4.
    one = Example.of(features, [Event("b", 12.0, 13.25, 1.0)], ["a", "b"])
    assert one.spans.tolist() == [[3.5, 6.0]]
    assert one.labels.tolist() == [1]


def test_a_whole_video_is_left_as_it_is() -> None:
    one = example(10, (-3.0, 4.0, 0), (6.0, 12.0, 1))  # beyond the first and last feature's middle
    stretch = one.stretch(0, 10)
    assert stretch.spans.tolist() == [[-3, 4], [6, 12]]
    assert stretch.labels.tolist() == [0, 1]
    assert len(stretch.doubtful) == 0


def test_a_stretch_cuts_events_and_leaves_out_what_is_doubtful() -> None:
    one = example(40, (5, 14, 0), (15, 17, 1), (18, 28, 0), (30, 35, 1))
    stretch = one.stretch(10, 12)  # 9.5 to 21.5
    assert stretch.values[0].tolist() == list(range(10, 22))
    # Of 5..14 half is left (4.5 of 9), of 18..28 a third.
    assert stretch.spans.tolist() == [[-0.5, 4], [5, 7]]
    assert stretch.labels.tolist() == [0, 1]
    assert stretch.doubtful.tolist() == [[8, 11.5]]
    batch = collate([stretch], 2, 1)
    assert (~batch.counted[0]).nonzero()[:, 0].tolist() == [8, 9, 10, 11]
    assert batch.targets.answering[0].nonzero()[:, 0].tolist() == [1, 2, 3, 5, 6, 7]


def test_an_epoch_sees_every_video_as_often_as_it_is_long() -> None:
    examples = [example(10), example(25), example(3)]
    places = [place for batch in epoch_of(examples, 10, 2, (0, 0)) for place in batch]
    assert sorted((p.example, p.length) for p in places) == [(0, 10), *[(1, 10)] * 3, (2, 3)]
    assert steps_of(examples, 10, 2) == len(list(epoch_of(examples, 10, 2, (0, 0)))) == 3
    starts = {
        place.start
        for epoch in range(30)
        for batch in epoch_of(examples, 10, 2, (0, epoch))
        for place in batch
    }
    assert starts == set(range(16)), "a stretch may begin wherever it fits"


def test_epochs_are_drawn_from_the_seed() -> None:
    examples = [example(k) for k in range(5, 15)]

    def lengths(*seed: int) -> list[int]:
        return [place.length for batch in epoch_of(examples, 99, 3, seed) for place in batch]

    assert lengths(0, 1) == lengths(0, 1)
    assert lengths(0, 1) != lengths(0, 2)
    assert lengths(0, 1) != lengths(1, 1)


def test_a_batch_is_filled_up_to_the_longest() -> None:
    examples = [example(6, (1, 4, 1)), example(9)]
    batch = collate([e.stretch(0, 9) for e in examples], 2, 2)
    assert batch.values.shape == (2, 2, 9)
    assert batch.mask.sum(1).tolist() == [6, 9]
    assert not batch.values[0, :, 6:].any()
    assert batch.targets.labels.shape == (2, 2, len(points(9, 2).position))
    answering = batch.targets.answering.sum(1).tolist()
    assert answering == [4, 0]
    assert usual_count(examples, 2, 2, 99) == 2.0
    assert usual_count(examples[:1], 2, 2, 3) == 2.0, "of two stretches"
    assert usual_count(examples[1:], 2, 2, 99) == 1.0, "never nothing: the loss is divided by it"
