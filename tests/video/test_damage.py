"""Damaged files: what decodes is used, the loss is told, and nothing hangs or crashes.

They are read in another process with a time limit: damage has found deadlocks in decoders.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]

READ = """
import json, sys
from marey.errors import VideoError
from marey.testing.videos import frame_number
from marey.video.read import open_video
for path in sys.argv[1:]:
    try:
        with open_video(path) as reader:
            video = reader.video
            numbers = [frame_number(frame.image) for frame in reader.frames(size=64)]
            times = [video.start + k * video.duration / 9 for k in range(9)]
            sparse = [frame_number(frame.image) for frame in reader.frames(times=times, size=64)]
            print(json.dumps(dict(
                numbers=numbers, sparse=sparse, end=video.end, warnings=reader.warnings())))
    except VideoError as error:
        print(json.dumps(dict(error=str(error))))
"""


def read(*paths: Path, seconds: float = 60) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, timeout=seconds, check=True, text=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


MAKES: dict[str, dict[str, Any]] = {
    "a.mp4": {"container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "a.avi": {"codec": "mpeg4"},
    "a.ts": {},
    "a.mpg": {"codec": "mpeg2video"},
    "a.flv": {},
}


def made(name: str, make: Make) -> bytes:
    return make(name, **({"frames": 200, "gop": 25} | MAKES[name])).read_bytes()


def test_cut_short(make: Make, tmp_path: Path) -> None:
    for name in MAKES:
        data = made(name, make)
        (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    results = read(*(tmp_path / name for name in MAKES))
    for name, result in zip(MAKES, results, strict=True):
        numbers, end = result["numbers"], result["end"]
        assert 70 < len(numbers) < 150, name
        assert numbers[:60] == list(range(60)), name
        assert len(numbers) / 25 - 0.2 < end < len(numbers) / 25 + 1, name
        assert len(result["sparse"]) >= 8, name
        if name not in ("a.ts", "a.mpg"):  # no header there that could be contradicted
            assert any("the header claims" in warning for warning in result["warnings"]), name


def test_damaged_in_the_middle(make: Make, tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(4000)
    for name in MAKES:
        data = made(name, make)
        half = len(data) // 2
        (tmp_path / name).write_bytes(data[:half] + noise + data[half + len(noise) :])
    results = read(*(tmp_path / name for name in MAKES))
    for name, result in zip(MAKES, results, strict=True):
        numbers = result["numbers"]
        assert 60 < len(numbers) < 200, name
        assert numbers[:60] == list(range(60)), name
        assert result["warnings"], name
        assert result["sparse"][0] == 0, name


def test_an_index_cut_off_is_one_clear_error(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(make("a.mp4").read_bytes()[:-200])
    (result,) = read(path)
    assert "or not a video" in result["error"]


def test_a_stream_that_damage_makes_appear_midway(make: Make, tmp_path: Path) -> None:
    data = bytearray(made("a.ts", make))
    # Late packets of 188 bytes that begin a frame of stream 0x100; this one goes to 0x1700.
    begins = range(60 * len(data) // 100 // 188 * 188, len(data), 188)
    at = next(at for at in begins if data[at + 1 : at + 3] == b"\x41\x00")
    data[at + 1] = 0x57
    path = tmp_path / "a.ts"
    path.write_bytes(data)
    (result,) = read(path)
    assert 190 < len(result["numbers"]) < 200


@pytest.mark.parametrize("name", MAKES)
def test_random_damage_gives_frames_or_one_error(name: str, make: Make, tmp_path: Path) -> None:
    rng = random.Random(name)
    data = made(name, make)
    paths = []
    for k in range(12):
        broken = bytearray(data)
        # Mostly in the header and index, where the structure is.
        for _ in range(rng.choice([1, 5, 50])):
            edge = rng.random() < 0.7
            broken[rng.randrange(1500 if edge else len(broken))] = rng.randrange(256)
        path = tmp_path / f"{k}-{name}"
        path.write_bytes(broken[: rng.choice([len(broken), rng.randrange(1, len(broken))])])
        paths.append(path)
    assert len(read(*paths)) == len(paths)
