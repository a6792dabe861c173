"""What is measured is counted right; how long it took is the machine's affair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marey.benchmark import way
from marey.benchmark.machine import this_machine
from marey.benchmark.memory import Watch
from marey.benchmark.model import first_clip, is_file, made_clip, with_weights
from marey.benchmark.network import compiled, measure, measure_file
from marey.benchmark.result import Memory, Way
from marey.benchmark.start import first_label
from marey.benchmark.turns import in_turns, limits
from marey.errors import ModelError
from marey.models._create import create_model
from marey.runtime import compile


def test_runs_take_turns_after_a_first_that_is_not_counted() -> None:
    ran: list[str] = []
    seconds = in_turns({name: lambda name=name: ran.append(name) for name in "ab"}, 3)
    assert "".join(ran) == "ab" + 3 * "ab"
    assert set(seconds) == {"a", "b"}
    ran.clear()
    in_turns({"a": lambda: ran.append("a")}, 2, warm=False)
    assert ran == ["a", "a"]


def test_of_several_times_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1, 1, 10, 10, 13])  # takes 1, 9 and 3
    monkeypatch.setattr("marey.benchmark.turns.time.perf_counter", lambda: next(clock))
    assert in_turns({"a": lambda: None}, 3, warm=False) == {"a": 3}


def test_limits_count_what_they_compute() -> None:
    product, convolution = limits().values()
    assert product.run().numel() * 1536 == product.macs  # type: ignore[attr-defined]
    assert convolution.run().numel() * 256 * 9 == convolution.macs  # type: ignore[attr-defined]


def test_a_clip_goes_through_a_network_every_way(tiny: str, video: Path) -> None:
    net = create_model(tiny)
    clip = first_clip(video, net.input)
    assert (clip.shape, clip.dtype) == ((1, 4, 32, 32, 3), np.uint8)
    runtimes, refused = compiled(net)
    assert {*runtimes, *refused} == {"f32", "bf16"}
    ran: list[int] = []
    speed, beside = measure(net, runtimes, clip, repeats=2, beside={"peer": lambda: ran.append(0)})
    assert len(ran) == 3
    assert beside["peer"] > 0
    eager, exact = speed.clips[:2]
    assert (eager.runtime, eager.error) == ("torch cpu, eager", None)
    assert (exact.runtime, exact.precision) == ("openvino cpu", "float32")
    assert exact.error is not None
    assert exact.error < 1e-4
    assert speed.macs is not None
    assert speed.limit is not None
    assert exact.share == pytest.approx(speed.macs / exact.ms * 1e3 * 2e-9 / speed.limit)


def test_one_precision_is_the_only_one_and_an_unknown_one_an_error(tiny: str) -> None:
    net = create_model(tiny)
    assert list(compiled(net, "f32")[0]) == ["f32"]
    with pytest.raises(ModelError, match="f64"):
        compiled(net, "f64")


def test_a_file_is_measured_without_a_network(tiny_file: str, tmp_path: Path) -> None:
    runtime = compile(tiny_file)
    speed = measure_file(runtime, made_clip(runtime.input), repeats=1)
    assert (speed.shape, speed.macs, speed.limit) == ((4, 32, 32), None, None)
    assert [clip.precision for clip in speed.clips] == ["float32"]
    assert with_weights(tiny_file, tmp_path / "none") == tiny_file
    assert not (tmp_path / "none").exists()
    assert (is_file(tiny_file), is_file("x3d_s")) == (True, False)


def test_a_bare_name_gets_weights_that_are_always_the_same(tmp_path: Path, tiny: str) -> None:
    assert with_weights(tiny, tmp_path / "none") == tiny
    assert not (tmp_path / "none").exists()
    one, two = (create_model(with_weights("shufflenet_3d", tmp_path / x)) for x in "ab")
    for name, value in one.state_dict().items():
        assert value.equal(two.state_dict()[name]), name


def test_the_whole_way_counts_frames_and_clips(tiny: str, video: Path) -> None:
    ran: list[int] = []
    runtime = compile(tiny, precision="f32")
    found, beside = way.measure(video, runtime, repeats=2, beside={"other": lambda: ran.append(0)})
    assert (found.frames, found.clips) == (40, 10)
    assert (found.width, found.height, found.codec) == (96, 64, "h264")
    assert (found.runtime, found.precision) == ("openvino cpu", "float32")
    assert len(ran) == 2
    assert set(beside) == {"other"}
    assert found.warnings == ()
    assert Way.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_first_label_takes_one_clip(tiny: str, video: Path) -> None:
    runtime = compile(tiny, precision="f32")
    asked: list[int] = []

    class Counted:
        def __getattr__(self, name: str) -> object:
            return getattr(runtime, name)

        def __call__(self, frames: np.ndarray) -> np.ndarray:
            asked.append(len(frames))
            return runtime(frames)

    first_label(video, Counted())
    assert asked == [1]


def test_ratios_are_worked_out() -> None:
    one = Way(
        "a.mp4", 1280, 720, "h264", 1500, 20, "openvino cpu", "float32",
        decode=3, whole=4, clip=0.1, memory=Memory(100, 101),
    )  # fmt: skip
    row = one.to_dict()
    assert row["frames_per_s"] == 375
    assert row["decode_frames_per_s"] == 500
    assert row["clips_per_s"] == 5
    assert row["ratio"] == 0.75
    assert row["ratio_in_sequence"] == 0.6  # 3 s of decoding, then 2 s of the network


def test_memory_that_is_held_is_seen() -> None:
    with Watch() as watch:
        pass
    with Watch() as fuller:
        held = np.ones(64 * 2**20, np.uint8)
    before, after = watch.highest(), fuller.highest()
    assert before is not None
    assert after is not None
    assert len(held)
    assert max(after.early, after.late) - before.early > 32


def test_the_machine_is_named() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert {"torch", "openvino", "av"} <= set(machine.versions)
    assert "FP32" in machine.computes
