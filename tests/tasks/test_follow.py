"""Following: whole tracks, true times, one delay, and all that was left out is told."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving import Eye, make_joined, straight

from marey.errors import MissingExtraError, ModelError
from marey.tasks._collected import collect
from marey.tasks._followed import Followed
from marey.tasks._trackers import TRACKERS
from marey.tasks.follow import follow
from marey.testing.videos import make_video
from marey.types import Frame, Track
from marey.video.read import Reader, open_video

FPS = Fraction(10)
STILL = [name for name in TRACKERS if name != "botsort"]  # it follows the moving ground, too


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.mp4", frames=40, fps=FPS)


def followed(path: Path, eye: Eye, **how: Any) -> list[Followed]:
    with open_video(path) as reader:
        return list(follow(reader, eye, **how))


def tracks(path: Path, eye: Eye, **how: Any) -> tuple[Track, ...]:
    return collect(followed(path, eye, **how))


@pytest.mark.parametrize("tracker", STILL)
def test_two_things_are_two_tracks_from_first_to_last_frame(video: Path, tracker: str) -> None:
    eye = Eye([("person", straight(2, 5, 1)), ("person", straight(60, 40, -1))])
    found = tracks(video, eye, tracker=tracker)
    assert [track.id for track in found] == [1, 2]
    for track in found:
        assert len(track.times) == 40
        assert track.seen.all()
        assert np.allclose(track.times, np.arange(40) / 10)
    assert np.allclose(found[0].boxes[:, 0], 2 + np.arange(40), atol=1e-3)


def test_every_frame_comes_out_once_in_order(video: Path) -> None:
    found = followed(video, Eye([("person", straight(2, 5, 1, hidden=range(10, 15)))]), every=3)
    assert [float(one.frame.time) for one in found] == [k / 10 for k in range(40)]


@pytest.mark.parametrize("tracker", STILL)
def test_what_is_out_of_sight_for_less_than_the_patience_lies_between(
    video: Path, tracker: str
) -> None:
    eye = Eye([("person", straight(2, 5, 1, side=24, hidden=range(12, 17)))])
    (track,) = tracks(video, eye, tracker=tracker, smooth=0)
    assert len(track.times) == 40
    assert np.flatnonzero(~track.seen).tolist() == list(range(12, 17))
    assert np.allclose(track.boxes[:, 0], 2 + np.arange(40), atol=1e-3)


@pytest.mark.parametrize("tracker", STILL)
def test_after_more_than_the_patience_it_is_another_track(video: Path, tracker: str) -> None:
    eye = Eye([("person", straight(2, 5, 0.5, hidden=range(12, 23)))])
    first, second = tracks(video, eye, tracker=tracker)
    assert (first.times[-1], second.times[0]) == (1.1, 2.3)
    assert first.seen.all()
    assert second.seen.all()


@pytest.mark.parametrize("fps", [5, 30])
def test_patience_is_seconds_at_any_rate(tmp_path: Path, fps: int) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3 * fps, fps=Fraction(fps))
    short, long = range(fps, fps + fps * 4 // 5), range(fps, fps + fps * 7 // 5)
    assert len(tracks(path, Eye([("person", straight(9, 5, 0, hidden=short))]))) == 1
    assert len(tracks(path, Eye([("person", straight(9, 5, 0, hidden=long))]))) == 2


def test_frames_at_uneven_times_are_followed_as_the_same_motion(tmp_path: Path) -> None:
    """The thing moves 20 pixels a second, whenever it is looked at."""
    steps = np.random.default_rng(0).integers(20, 180, 60)
    times = [Fraction(int(t), 1000) for t in np.cumsum(steps)]
    path = make_video(tmp_path / "a.mp4", frames=60, times=times)

    def where(number: int) -> tuple[float, float, float, float]:
        left = 10 + 10 * float(times[number])
        return left, 5, left + 20, 40

    (track,) = tracks(path, Eye([("person", where)]))
    assert np.allclose(track.times, [float(t) for t in times], atol=1e-4)
    assert np.allclose(track.boxes[:, 0], 10 + 10 * track.times, atol=0.05)


def test_looking_at_every_third_frame_gives_boxes_in_all(video: Path) -> None:
    eye = Eye([("person", straight(2, 5, 1))])
    (track,) = tracks(video, eye, every=3)
    assert eye.asked == [*range(0, 40, 3)]
    assert len(track.times) == 40
    assert np.allclose(track.boxes[:, 0], 2 + np.arange(40), atol=1e-3)


def test_the_last_frame_is_looked_at(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=12, fps=FPS)
    eye = Eye([("person", straight(2, 5, 1))])
    (track,) = tracks(path, eye, every=5)
    assert eye.asked == [0, 5, 10, 11]
    assert len(track.times) == 12


def test_batches_give_the_same(video: Path) -> None:
    things = [("person", straight(2, 5, 1, hidden=range(9, 13))), ("person", straight(70, 40, -1))]
    alone, together = (
        tracks(video, Eye(things), every=2),
        tracks(video, Eye(things), every=2, batch=4),
    )
    for one, other in zip(alone, together, strict=True):
        assert one.to_dict() == other.to_dict()


def test_a_shifted_video_has_shifted_tracks(tmp_path: Path) -> None:
    things = [("person", straight(2, 5, 1, hidden=range(9, 13)))]
    plain = make_video(tmp_path / "a.mp4", frames=30, fps=FPS)
    late = make_video(tmp_path / "b.ts", frames=30, fps=FPS, start=Fraction(7))
    (one,), (two,) = tracks(plain, Eye(things)), tracks(late, Eye(things))
    shift = two.times[0] - one.times[0]
    assert shift > 1
    assert np.allclose(two.times - shift, one.times)
    assert np.allclose(one.boxes, two.boxes, atol=1e-3)


def test_cuts_end_all_tracks_and_ids_never_come_again(video: Path) -> None:
    eye = Eye([("person", straight(2, 5, 1)), ("person", straight(70, 40, -1))])
    found = tracks(video, eye, cuts=(2.0,))
    assert [track.id for track in found] == [1, 2, 3, 4]
    assert [track.times[0] for track in found] == [0, 0, 2.0, 2.0]
    assert [track.times[-1] for track in found] == [1.9, 1.9, 3.9, 3.9]


def test_a_gap_in_the_file_ends_all_tracks(tmp_path: Path) -> None:
    times = [Fraction(k, 10) + (2 if k >= 20 else 0) for k in range(40)]
    path = make_video(tmp_path / "a.mp4", frames=40, fps=FPS, times=times)
    found = tracks(path, Eye([("person", straight(2, 5, 0))]), patience=1.5)
    assert [(track.times[0], track.times[-1]) for track in found] == [(0, 1.9), (4.0, 5.9)]


def test_ended_tells_the_last_frame_of_each_track(video: Path) -> None:
    eye = Eye(
        [("person", straight(2, 5, 1, hidden=range(15, 40))), ("person", straight(70, 40, -1))]
    )
    found = followed(video, eye)
    last = {id: k for k, one in enumerate(found) for id in one.ids.tolist()}
    assert {id: k for k, one in enumerate(found) for id in one.ended} == last == {1: 14, 2: 39}


def test_no_frame_waits_longer_than_the_stated_delay(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=200, fps=FPS)
    read = 0

    def counted(reader: Reader) -> Iterator[Frame]:
        nonlocal read
        for frame in reader.frames():
            read += 1
            yield frame

    most = 0
    with open_video(path) as reader:
        frames = counted(reader)
        eye = Eye([("person", straight(2, 5, 0.2))])
        for k, _ in enumerate(follow(reader, eye, frames=frames, every=2, batch=2, patience=2.0)):
            most = max(most, read - k)
    # 20 frames of patience, a chunk of 4, and what is decoded ahead of it.
    assert 20 <= most <= 20 + 4 + 4 + 4


def test_a_track_begins_at_the_detections_that_it_grew_out_of(video: Path) -> None:
    eye = Eye([("person", straight(2, 5, 1, hidden=range(10)))])
    (track,) = tracks(video, eye, tracker="sort")  # which believes in the third
    assert track.times[0] == 1.0
    assert track.seen.all()


def test_one_false_detection_is_no_track_and_told(video: Path) -> None:
    eye = Eye(
        [
            ("person", straight(2, 5, 1)),
            ("person", lambda k: (70, 40, 90, 60) if k == 20 else None),
        ]
    )
    with open_video(video) as reader:
        found = collect(follow(reader, eye))
        assert [track.id for track in found] == [1]
        assert "detections that belong to no track: 1" in reader.warnings()


def test_things_of_two_labels_are_never_one(video: Path) -> None:
    """At frame 20 the one disappears where the other appears."""
    eye = Eye(
        [
            ("person", straight(2, 5, 1, hidden=range(20, 40))),
            ("car", straight(2, 5, 1, hidden=range(20))),
        ]
    )
    assert [(t.label, len(t.times)) for t in tracks(video, eye)] == [("person", 20), ("car", 20)]


def test_only_wanted_labels_are_followed(video: Path) -> None:
    things = [("person", straight(2, 5, 1)), ("car", straight(70, 40, -1))]
    assert [track.label for track in tracks(video, Eye(things), labels=("car",))] == ["car"]
    with pytest.raises(ModelError, match=r"eye: does not know 'dog'\. It knows: person, car"):
        followed(video, Eye(things), labels=("dog",))


def test_unsure_detections_go_on_with_tracks_and_begin_none(video: Path) -> None:
    sure = Eye([("person", straight(2, 5, 1))])

    class Doubting(Eye):
        def __call__(self, frames: Any, /) -> Any:
            self.score = 0.9 if len(self.asked) < 10 else 0.3
            return super().__call__(frames)

    (track,) = tracks(video, Doubting(sure.things))
    assert len(track.times) == 40
    assert tracks(video, Eye(sure.things, score=0.3)) == ()


def test_without_a_tracker_things_have_no_id_and_come_at_once(video: Path) -> None:
    eye = Eye([("person", straight(2, 5, 1)), ("car", straight(70, 40, -1))])
    found = followed(video, eye, tracker="none", every=2)
    assert all((one.ids == -1).all() for one in found)
    assert [len(one.ids) for one in found[:4]] == [2, 0, 2, 0]
    cars, people = sorted(collect(found), key=lambda track: track.label)
    assert (cars.id, cars.label, people.label) == (None, "car", "person")
    assert len(people.times) == 21  # every second one, and the last


def test_smoothing_takes_jitter_out_and_leaves_no_lag(video: Path) -> None:
    jitter = np.random.default_rng(0).normal(0, 1.0, (40, 4))

    def where(k: int) -> tuple[float, float, float, float]:
        a, b, c, d = np.array((5 + k, 10, 30 + k, 50)) + jitter[k]
        return a, b, c, d

    true = np.array([(5 + k, 10, 30 + k, 50) for k in range(40)])
    (rough,) = tracks(video, Eye([("person", where)]), smooth=0)
    (fine,) = tracks(video, Eye([("person", where)]), smooth=0.5)
    assert np.abs(fine.boxes - true).mean() < 0.6 * np.abs(rough.boxes - true).mean()
    assert abs((fine.boxes - true)[:, 0].mean() - jitter[:, 0].mean()) < 0.2


def test_boxes_outside_or_without_area_are_left_out_and_told(video: Path) -> None:
    eye = Eye(
        [
            ("person", straight(2, 5, 1)),
            ("person", lambda k: (200, 5, 230, 30)),
            ("person", lambda k: (20, 50, 20, 60)),
            ("person", lambda k: (float("nan"), 5, 20, 30)),
            ("person", lambda k: (-8, 30, 4, 60)),  # partly outside: kept as it is
        ]
    )
    with open_video(video) as reader:
        found = collect(follow(reader, eye))
        words = "boxes outside of the picture or without an area, left out: 120"
        assert words in reader.warnings()
    assert [track.boxes[0, 0] for track in found] == pytest.approx([2, -8], abs=1e-3)


def test_a_change_of_size_midway_goes_on_in_the_pixels_of_the_first_frame(tmp_path: Path) -> None:
    joined = make_joined(tmp_path / "joined.ts")
    with open_video(joined) as reader:
        (track,) = collect(follow(reader, Eye([("person", straight(2, 5, 1))])))
        assert any("of another size" in words for words in reader.warnings())
    assert track.boxes[-1, 0] == pytest.approx(2 + 49, abs=0.1)


def test_no_detections_are_no_tracks(video: Path) -> None:
    found = followed(video, Eye([]))
    assert len(found) == 40
    assert collect(found) == ()


def test_hundreds_of_things_are_all_followed(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=12, fps=FPS, size=(480, 640))
    places = [(20 * column, 24 * row) for column in range(20) for row in range(15)]
    found = tracks(path, Eye([("person", straight(x, y, 1)) for x, y in places]))
    assert len(found) == 300
    assert {len(track.times) for track in found} == {12}


@pytest.mark.parametrize(
    "how", [{"every": 0}, {"batch": 0}, {"patience": 0}, {"smooth": -1}, {"smooth": 2.0}]
)
def test_settings_that_do_not_go_together_are_refused(video: Path, how: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="do not go together"):
        followed(video, Eye([]), **how)


def test_an_unknown_tracker_is_refused_with_the_choices(video: Path) -> None:
    with pytest.raises(ModelError, match=r"no tracker is called 'deepsort'.*cbiou, none"):
        followed(video, Eye([]), tracker="deepsort")


def test_a_missing_libgl_is_named_with_its_cure(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("marey.opencv.import_module", broken)
    with pytest.raises(MissingExtraError, match=r"libGL\.so\.1.*apt-get install libgl1"):
        followed(video, Eye([]))


def test_a_missing_library_is_named_with_its_extra(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marey.opencv.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs trackers.*pip install 'marey\[track\]'"):
        followed(video, Eye([]))
