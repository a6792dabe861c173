"""Who does what, by networks whose answers are known."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from actor_streams import CLIP, FPS, SIZE, Bright, BrightBoxes, Player, drain, stream, video

from marey.errors import ModelError
from marey.tasks._actor_looks import BATCH
from marey.tasks._followed import Followed
from marey.tasks.actors import Acting
from marey.tasks.classify import score
from marey.testing.videos import numbered
from marey.types import Event, Scores
from marey.video.read import open_video
from marey.video.tubes import SMOOTH
from marey.video.windows import windows

LONG = 40  # frames: 4 s, whose windows of 0.8 s lie 0.4 s apart
WINDOWS = len(list(windows(LONG / float(FPS), 0.8, 0.4)))


class Ear:
    """Keeps what is told of each actor."""

    def __init__(self) -> None:
        self.scores: dict[int, list[Scores]] = {}

    def __call__(self, actor: int, scores: Scores) -> None:
        self.scores.setdefault(actor, []).append(scores)

    def spans(self, actor: int) -> list[tuple[float, float]]:
        return [(s.window.start, s.window.end) for s in self.scores.get(actor, [])]


def lossless(path: Path, images: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        made = container.add_stream("ffv1", rate=FPS)
        made.height, made.width = images[0].shape[:2]
        made.pix_fmt = "bgr0"
        for image in images:
            container.mux(made.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(made.encode(None))
    return path


def test_a_tube_that_stands_still_is_the_video_cut_beforehand(tmp_path: Path) -> None:
    images = [numbered(k, SIZE) for k in range(LONG)]
    whole = lossless(tmp_path / "whole.mkv", images)
    # A box of 40 pixels, padded to 48.
    part = lossless(tmp_path / "part.mkv", [image[26:74, 56:104] for image in images])
    prepare = replace(CLIP, size=(48, 48), resize=48)
    expected, found, ear = Bright(prepare), Bright(prepare), Ear()
    with open_video(part) as reader:
        said = list(score(reader, expected, window=0.8, step=0.4))
    with open_video(whole) as reader:
        acting = Acting(found, reader.video, heard=ear)
        boxes = np.array([[60, 30, 100, 70]], np.float32)
        seen, ones = np.array([True]), np.ones(1, np.float32)
        frames = reader.frames()
        one = (Followed(frame, np.array([7]), ("person",), boxes, ones, seen) for frame in frames)
        assert drain(acting(one)) == LONG
    assert len(said) == len(ear.scores[7]) == WINDOWS
    for theirs, ours in zip(said, ear.scores[7], strict=True):
        assert (theirs.window.start, theirs.window.end) == pytest.approx(
            (ours.window.start, ours.window.end)
        )
        np.testing.assert_array_equal(theirs.p, ours.p)
    np.testing.assert_array_equal(np.concatenate(found.given), np.concatenate(expected.given))


def test_frames_pass_by_at_once_and_unchanged() -> None:
    given = list(stream({1: Player(60, 255)}, 12))
    taken: list[int] = []

    def source() -> Iterator[Followed]:
        for k, one in enumerate(given):
            taken.append(k)
            yield one

    for k, one in enumerate(Acting(Bright(), video(12))(source())):
        assert one is given[k]
        assert taken[-1] == k


@pytest.mark.parametrize("count", [1, 3, BATCH + 1])
def test_the_network_is_asked_once_an_actor_and_window_several_at_a_time(count: int) -> None:
    players = {k: Player(14 * k, 250) for k in range(count)}
    net = Bright()
    drain(Acting(net, video(LONG))(stream(players, LONG)))
    assert sum(map(len, net.given)) == count * WINDOWS
    assert len(net.given) == -(-count // BATCH) * WINDOWS


def test_nobody_in_the_picture_costs_nothing() -> None:
    net = Bright()
    acting = Acting(net, video(LONG))
    assert drain(acting(stream({}, LONG))) == LONG
    assert (net.given, acting.events, acting.warnings()) == ([], (), [])


def test_actors_do_not_mix() -> None:
    players = {3: Player(0, 255), 1: Player(100, 0), 8: Player(50, {0: 0, 20: 255})}
    ear = Ear()
    acting = Acting(Bright(), video(LONG), heard=ear)
    drain(acting(stream(players, LONG)))
    found = {(e.actor, e.label, e.start, e.end) for e in acting.events}
    assert {(3, "bright", 0, 4), (1, "dark", 0, 4)} <= found
    assert all(s.p[0] > 0.9 for s in ear.scores[3])
    assert all(s.p[0] < 0.2 for s in ear.scores[1])
    (dark,) = [e for e in acting.events if e.actor == 8 and e.label == "dark"]
    (bright,) = [e for e in acting.events if e.actor == 8 and e.label == "bright"]
    assert (dark.start, bright.end) == (0, 4)
    assert dark.end == pytest.approx(2, abs=0.4)
    assert bright.start == pytest.approx(2, abs=0.4)


def test_actors_alone_have_the_scores_that_they_have_together() -> None:
    players = {1: Player(0, 200), 2: Player(60, 90, first=5), 3: Player(110, 30, last=31)}
    together, alone = Ear(), Ear()
    drain(Acting(Bright(), video(LONG), heard=together)(stream(players, LONG)))
    for actor in players:
        only = map(lambda one, a=actor: _without(one, a), stream(players, LONG))
        drain(Acting(Bright(), video(LONG), heard=alone)(only))
    assert together.scores.keys() == alone.scores.keys()
    for actor in players:
        assert together.spans(actor) == alone.spans(actor)
        for a, b in zip(together.scores[actor], alone.scores[actor], strict=True):
            np.testing.assert_array_equal(a.p, b.p)


def _without(one: Followed, actor: int) -> Followed:
    keep = one.ids == actor
    return replace(
        one,
        ids=one.ids[keep],
        labels=("person",) * int(keep.sum()),
        boxes=one.boxes[keep],
        scores=one.scores[keep],
        seen=one.seen[keep],
    )


def test_shifting_the_video_shifts_the_events() -> None:
    players = {1: Player(0, {0: 20, 13: 240}), 2: Player(90, 255, first=7, last=29)}

    def events(start: int) -> list[Event]:
        acting = Acting(Bright(), video(LONG, start))
        drain(acting(stream(players, LONG, Fraction(start))))
        return [replace(e, start=e.start - start, end=e.end - start) for e in acting.events]

    at_once, later = events(0), events(64)
    assert len(at_once) == 3
    for a, b in zip(at_once, later, strict=True):
        assert (a.label, a.actor, a.score) == (b.label, b.actor, b.score)
        assert (a.start, a.end) == pytest.approx((b.start, b.end))


def test_an_actor_counts_while_it_is_there() -> None:
    ear = Ear()
    players = {1: Player(60, 255, first=9, last=25)}
    acting = Acting(Bright(), video(LONG), heard=ear)
    drain(acting(stream(players, LONG)))
    # Windows start at 0, 0.4, … and show their frames 0, 2, 4 and 6; that from 0.4 s has frame 10.
    expected = [(0.9, 1.6), (1.2, 2.0), (1.6, 2.4), (2.0, 2.5)]
    np.testing.assert_allclose(ear.spans(1), expected)
    (event,) = acting.events
    assert (event.start, event.end, event.actor) == (pytest.approx(0.9), pytest.approx(2.5), 1)
    (told,) = acting.warnings()
    assert told.startswith("frames of actors' clips repeated, as the actor was not there: ")


def test_what_is_repeated_is_the_nearest_that_there_is() -> None:
    net = Bright()
    players = {1: Player(60, {0: 10, 6: 200}, first=4, last=8)}
    drain(Acting(net, video(16))(stream(players, 16)))
    # The first window's frames are 0, 2, 4 and 6; the second one shows no more of the actor.
    levels = [clip.mean((1, 2, 3)).round().tolist() for clip in np.concatenate(net.given)]
    assert levels == [[10, 10, 10, 200]]


def test_who_is_seen_for_less_than_half_a_clip_is_counted_and_not_judged() -> None:
    net = Bright()
    acting = Acting(net, video(LONG))
    drain(acting(stream({1: Player(60, 255, first=10, last=12)}, LONG)))
    assert (net.given, acting.events) == ([], ())
    assert acting.warnings() == ["actors seen too short to tell what they do: 1"]


def test_gaps_in_a_track_are_filled_and_counted() -> None:
    ear = Ear()
    players = {1: Player(60, 255, absent=frozenset({16, 17}))}
    acting = Acting(Bright(), video(LONG), heard=ear)
    drain(acting(stream(players, LONG)))
    assert len(ear.scores[1]) == WINDOWS
    (event,) = acting.events
    assert (event.start, event.end) == (0, 4)
    assert acting.warnings()[0].startswith("frames of actors' clips repeated")


def test_a_gap_in_the_video_is_nobodys() -> None:
    """Frames 20 to 59 are missing: the actor ends with the last frame before."""
    players = {1: Player(60, 255, last=20), 2: Player(60, 255, first=60)}
    ear = Ear()
    acting = Acting(Bright(), video(80), heard=ear)
    shown = stream(players, 80)
    drain(acting(one for k, one in enumerate(shown) if not 20 <= k < 60))
    spans = [(event.actor, event.start, event.end) for event in acting.events]
    assert spans == [(1, 0, pytest.approx(2)), (2, 6, pytest.approx(8))]
    assert ear.spans(1)[-1] == (pytest.approx(1.6), pytest.approx(2))


@pytest.mark.parametrize("step", [0.1, 0.8, 1.5])
def test_the_step_is_seconds_between_windows(step: float) -> None:
    net = Bright()
    drain(Acting(net, video(LONG), step=step)(stream({1: Player(60, 255)}, LONG)))
    assert sum(map(len, net.given)) == len(list(windows(4, 0.8, step)))


def test_what_cannot_act_is_left_out_and_told() -> None:
    net = Bright()
    players = {
        -1: Player(0, 255),
        1: Player(60, 255, label="car"),
        2: Player(-60, 255),
        3: Player(100, 255),
    }
    acting = Acting(net, video(LONG), only=("person",))
    drain(acting(stream(players, LONG)))
    assert sum(map(len, net.given)) == WINDOWS
    assert {event.actor for event in acting.events} == {3}
    assert sorted(acting.warnings()) == [
        f"boxes outside of the picture, or empty, left out: {LONG}",
        f"boxes that nothing follows, of which no action is told: {LONG}",
    ]


@pytest.mark.parametrize("end", [True, False])
def test_a_video_shorter_than_a_clip_is_one_window(end: bool) -> None:
    net = Bright()
    acting = Acting(net, video(5, end=end))
    drain(acting(stream({1: Player(60, 255)}, 5)))
    assert sum(map(len, net.given)) >= 1
    (event,) = acting.events
    assert (event.start, event.end) == (0, pytest.approx(0.5))
    assert acting.warnings()


def test_pictures_smaller_than_the_video_are_cut_at_the_same_place() -> None:
    players = {1: Player(20, 255), 2: Player(100, 40)}
    full, half = Ear(), Ear()
    drain(Acting(Bright(), video(LONG), heard=full)(stream(players, LONG)))
    drain(Acting(Bright(), video(LONG), heard=half)(stream(players, LONG, scale=2)))
    for actor in players:
        for a, b in zip(full.scores[actor], half.scores[actor], strict=True):
            np.testing.assert_allclose(a.p, b.p, atol=0.01)


def test_exclusive_classes_keep_the_surer_of_two_events() -> None:
    players = {1: Player(60, 150)}
    acting = Acting(Bright(multilabel=False), video(LONG), threshold=0.1)
    drain(acting(stream(players, LONG)))
    assert [event.label for event in acting.events] == ["bright"]
    acting = Acting(Bright(multilabel=True), video(LONG), threshold=0.1)
    drain(acting(stream(players, LONG)))
    assert {event.label for event in acting.events} == {"bright", "dark"}


def test_thresholds_and_background_are_those_of_detect() -> None:
    players = {1: Player(60, {0: 150, 20: 255})}
    acting = Acting(Bright(), video(LONG), thresholds={"bright": 0.99}, background=("dark",))
    drain(acting(stream(players, LONG)))
    (event,) = acting.events
    assert (event.label, event.actor) == ("bright", 1)
    with pytest.raises(ModelError, match="no label 'jump'"):
        Acting(Bright(), video(LONG), thresholds={"jump": 0.5})


@pytest.mark.parametrize("net", [Bright(), BrightBoxes()])
def test_memory_is_that_of_the_present(net: Bright) -> None:
    """A hundred actors, one after the other; whole pictures are held for the look ahead only."""
    players = {k: Player(60, 255, first=6 * k, last=6 * k + 6) for k in range(100)}
    frames = 600
    acting = Acting(net, video(frames))
    images: list[weakref.ref[np.ndarray]] = []

    def source() -> Iterator[Followed]:
        for one in stream(players, frames):
            images.append(weakref.ref(one.frame.image))
            yield one

    held, actors = 0, 0
    for one in acting(source()):
        net.given.clear()
        del one
        images[:] = [image for image in images if image() is not None]
        held, actors = max(held, len(images)), max(actors, len(acting._actors))
    gc.collect()
    assert held <= float(FPS) * SMOOTH + 4
    assert actors <= 4
    assert not acting._actors
    assert {event.actor for event in acting.events} == set(players)


def test_boxes_share_one_clip_of_the_whole_picture() -> None:
    net, ear = BrightBoxes(replace(CLIP, resize=48)), Ear()
    players = {1: Player(0, 255), 4: Player(100, 0), 9: Player(60, 255, first=20)}
    acting = Acting(net, video(LONG), heard=ear)
    drain(acting(stream(players, LONG)))
    assert len(net.given) == WINDOWS
    assert {frames.shape for frames in net.given} == {(1, 4, 48, 80, 3)}
    np.testing.assert_allclose(net.boxes[0], [[0, 0, 15, 20, 35], [0, 50, 15, 70, 35]])
    assert ear.spans(1)[0] == (0, pytest.approx(0.8))
    assert ear.spans(9)[0] == (pytest.approx(2.0), pytest.approx(2.4))
    labels = {(e.actor, e.label) for e in acting.events}
    assert labels == {(1, "bright"), (4, "dark"), (9, "bright")}
    assert acting.warnings() == []


def test_of_boxes_who_is_in_the_middle_frame_is_judged() -> None:
    net = BrightBoxes()
    # The first window's frames are 0, 2, 4 and 6; its middle one is 4.
    acting = Acting(net, video(8))
    drain(acting(stream({1: Player(60, 255, last=4), 2: Player(100, 255, first=4)}, 8)))
    assert [boxes[:, 0].size for boxes in net.boxes] == [1]
    assert {event.actor for event in acting.events} == {2}
    assert acting.warnings() == ["actors seen too short to tell what they do: 1"]
