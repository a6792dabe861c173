"""Samples from videos and from the cache, and the datasets over them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import marey.data.cache
from marey.data.augment import Augment
from marey.data.cache import Cache
from marey.data.dataset import EpochSampler, TestClips, TrainClips, collate, fixed_views
from marey.data.formats import Sample
from marey.data.manifest import Manifest
from marey.data.source import Source, open_source
from marey.data.survey import survey
from marey.errors import DataError, OutputError, VideoError
from marey.testing.videos import frame_number, make_video
from marey.types import Image, Input

PREPARE = Input(
    frames=4,
    size=(32, 32),
    resize=32,
    sampling="segments",
    seconds=1.0,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)
DENSE = Input(frames=4, size=(32, 32), resize=32, every=2, mean=(0.5,) * 3, std=(0.5,) * 3)
STILL = Augment(crop=(1.0, 1.0), flip=False, colour=0.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 a second; frames say their number at 32 x 32."""
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=50, size=(32, 32))


def numbers(clip: Image | torch.Tensor) -> list[int]:
    return [frame_number(np.asarray(frame)) for frame in clip]


def source(
    video: Path, prepare: Input = PREPARE, cache: Cache | None = None, **span: float
) -> Source:
    return open_source(Sample(video, "a", **span), 1, prepare, cache)


def train_clips(sources: Sequence[Source], prepare: Input = PREPARE, seed: int = 0) -> TrainClips:
    return TrainClips(sources, prepare, STILL, seed=seed)


def test_the_span_is_what_the_video_has(video: Path) -> None:
    whole = source(video)
    assert (whole.span.start, whole.span.end) == (0.0, pytest.approx(2.0))
    part = source(video, start=0.5, end=9.0)
    assert (part.span.start, part.span.end) == (0.5, pytest.approx(2.0))
    with pytest.raises(VideoError, match=r"span begins at 3 s, the video ends at 2 s"):
        source(video, start=3.0)


def test_times_are_the_containers_own(tmp_path: Path) -> None:
    late = make_video(tmp_path / "late.mkv", frames=50, size=(32, 32), start=Fraction(10))
    clip = fixed_views(source(late, start=11.0, end=12.0), PREPARE, (1, 1))[0]
    assert numbers(clip) == [28, 34, 40, 46]  # the middles of four quarters of frames 25 to 50


@pytest.mark.parametrize("prepare", [PREPARE, DENSE])
@pytest.mark.parametrize("cached", [False, True])
def test_no_frame_from_outside_the_span(
    video: Path, tmp_path: Path, prepare: Input, cached: bool
) -> None:
    cache = Cache(tmp_path, 25.0) if cached else None
    clips = train_clips([source(video, prepare, cache, start=0.4, end=1.6)], prepare)
    seen = [numbers(clips[epoch, 0][0]) for epoch in range(30)]
    assert all(10 <= n < 40 for clip in seen for n in clip)
    assert all(clip == sorted(clip) for clip in seen)
    assert len({tuple(clip) for clip in seen}) > 10


def test_a_sample_shorter_than_a_clip_is_filled_from_itself(video: Path) -> None:
    short = source(video, DENSE, start=0.4, end=0.52)
    assert numbers(train_clips([short], DENSE)[0, 0][0]) == [10, 12, 12, 12]


def test_clips_depend_on_seed_epoch_and_sample_alone(video: Path) -> None:
    clips = train_clips([source(video)] * 2)
    first = numbers(clips[3, 1][0])
    random.seed(7)
    torch.manual_seed(7)
    assert numbers(clips[3, 1][0]) == first
    others = [clips[4, 1], clips[3, 0], train_clips([source(video)] * 2, seed=1)[3, 1]]
    assert all(numbers(clip) != first for clip, _ in others)


def test_workers_change_nothing(video: Path) -> None:
    """Two epochs with none and with two workers, kept alive: the same batches in the same order."""
    sources = [source(video, start=k / 10) for k in range(6)]

    def epochs(workers: int) -> list[list[int]]:
        sampler = EpochSampler(6, seed=0)
        loader = DataLoader(
            TrainClips(sources, PREPARE, Augment(crop=(1.0, 1.0)), seed=0),
            sampler=sampler,
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
        )
        seen = []
        for epoch in range(2):
            sampler.begin(epoch)
            seen.extend(clips.long().sum((2, 3, 4)).flatten().tolist() for clips, _ in loader)
        return seen

    alone = epochs(0)
    assert alone[:3] != alone[3:]
    assert epochs(2) == alone


def test_sampler_parts_an_epoch_where_it_was_interrupted() -> None:
    sampler = EpochSampler(7, seed=1)
    sampler.begin(5)
    whole = list(sampler)
    assert sorted(whole) == [(5, k) for k in range(7)]
    sampler.begin(5, skip=4)
    assert list(sampler) == whole[4:]
    assert len(sampler) == 3
    sampler.begin(6)
    assert [k for _, k in sampler] != [k for _, k in whole]


def test_views(tmp_path: Path) -> None:
    wide = source(make_video(tmp_path / "wide.mp4", frames=75, size=(32, 48)))
    views = fixed_views(wide, PREPARE, (3, 3))
    assert views.shape == (9, 4, 32, 32, 3)
    # The left crop of the wide picture shows the lowest ten bits of the number: enough.
    assert (fixed_views(wide, PREPARE, (3, 3)) == views).all()
    clip, target = TestClips([wide], PREPARE, (3, 3))[0]
    assert torch.equal(clip, torch.from_numpy(views))
    assert target == 1


def test_a_short_sample_gives_one_clip_in_time(video: Path) -> None:
    assert fixed_views(source(video, end=0.5), PREPARE, (10, 1)).shape[0] == 1
    assert fixed_views(source(video), PREPARE, (10, 1)).shape[0] == 10


def test_a_cache_at_the_videos_rate_is_the_video(tmp_path: Path) -> None:
    # Two seconds and a frame: the windows of three views begin with a frame, not between two.
    video = make_video(tmp_path / "a.mp4", frames=51, size=(32, 32))
    cached, plain = source(video, cache=Cache(tmp_path, 25.0)), source(video)
    assert cached.cached is not None
    assert (cached.span, cached.fps) == (plain.span, plain.fps)
    for shape in [(1, 1), (3, 1)]:
        both = [fixed_views(one, PREPARE, shape) for one in (plain, cached)]
        assert (both[0] == both[1]).all()
    assert torch.equal(train_clips([cached])[2, 0][0], train_clips([plain])[2, 0][0])


def test_a_cached_video_is_not_opened_again(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 10.0)
    first = source(video, cache=cache)
    assert np.load(first.cached).shape == (20, 32, 32, 3)
    monkeypatch.setattr("marey.data.source.open_video", None)
    again = source(video, cache=cache)
    assert again == first
    assert len(numbers(train_clips([again])[0, 0][0])) == 4


def test_the_cache_notices_changes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=20, size=(32, 32))
    cache = Cache(tmp_path / "cache", 10.0)
    files = {source(path, cache=cache).cached}
    files.add(source(path, cache=cache, start=0.2).cached)
    files.add(source(path, cache=Cache(cache.folder, 5.0)).cached)
    os.utime(path, (0, 0))
    files.add(source(path, cache=cache).cached)
    assert len(files) == 4


def test_frames_without_their_description_do_not_count(video: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10.0)
    stored = source(video, cache=cache)
    next(tmp_path.glob("*.json")).unlink()
    assert cache.find(Sample(video, "a"), PREPARE) is None
    assert source(video, cache=cache) == stored


def test_memory_of_caching_is_one_frame(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, ...]] = []
    real = np.lib.format.open_memmap

    def spy(path: Path, mode: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        made.append(shape)
        return real(path, mode, dtype, shape)

    monkeypatch.setattr(marey.data.cache.np.lib.format, "open_memmap", spy)
    source(video, cache=Cache(tmp_path, 10.0))
    assert made == [(20, 32, 32, 3)]


def manifest(*videos: Path) -> Manifest:
    samples = tuple(Sample(video, "ab"[k % 2]) for k, video in enumerate(videos))
    return Manifest(samples, ("a", "b"), videos[0].parent)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_survey_leaves_out_what_cannot_be_read(
    video: Path, tmp_path: Path, workers: int, cached: bool
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:200])
    cache = Cache(tmp_path / "cache", 5.0) if cached else None
    ticks: list[None] = []
    found = survey(
        manifest(video, broken, video, video),
        PREPARE,
        cache=cache,
        workers=workers,
        progress=lambda: ticks.append(None),
    )
    assert [s.target for s in found.sources] == [0, 0, 1]
    assert [lost.video for lost in found.lost] == [broken]
    (warning,) = found.warnings()
    assert warning.startswith("1 of 4 samples left out: ")
    assert "broken.mp4" in warning
    assert len(ticks) == 4


def test_survey_tells_of_odd_videos_that_are_used(tmp_path: Path) -> None:
    cut = make_video(tmp_path / "cut.mkv", frames=100, size=(32, 32))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    found = survey(manifest(cut), PREPARE)
    (warning,) = found.warnings()
    assert warning.startswith("1 videos are used but odd: cut.mkv (")


def test_survey_of_nothing_readable(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of 2 videos can be read; the first: .*broken.mp4"):
        survey(manifest(broken, broken), PREPARE)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_stops_the_survey(video: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cache: cannot be made") as error:
        survey(manifest(video), PREPARE, cache=Cache(tmp_path / "cache", 5.0), workers=workers)
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_vanishes_is_named_without_a_traceback(tmp_path: Path, workers: int) -> None:
    path = make_video(tmp_path / "a.mp4", frames=30, size=(32, 32))
    clips = train_clips([source(path)])
    path.unlink()
    sampler = EpochSampler(1, seed=0)
    (batch,) = DataLoader(clips, 1, sampler=sampler, num_workers=workers, collate_fn=collate)
    assert isinstance(batch, VideoError)
    assert str(batch).startswith(f"{path}: cannot be opened")
