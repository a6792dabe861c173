"""Every file of the clip manifest: frames, size, rate, losses or the one error, as documented."""

from __future__ import annotations

import csv
import itertools
import os
import random
from bisect import bisect_right
from pathlib import Path

import numpy as np
import pytest

from marey.errors import VideoError
from marey.video.read import open_video

CLIPS = Path(os.environ.get("MAREY_MEDIA", "")) / "clips"
MANIFEST = CLIPS / "MANIFEST.tsv"
TEXT = MANIFEST.read_text(encoding="utf-8") if MANIFEST.exists() else ""
ROWS = list(csv.DictReader(TEXT.splitlines(), delimiter="\t"))
READABLE = [row for row in ROWS if row["frames"] != "-"]
UNREADABLE = [row for row in ROWS if row["frames"] == "-"]

# The manifest has coded sizes; these differ when displayed, by aspect ratio or rotation. W H.
DISPLAYED = {
    "decord_video_90.mov": (320, 568),
    "los_test1.mp4": (660, 480),
    "mma_test.mp4": (455, 256),
    "mp4p_bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": (256, 144),
    "mp4p_h264_white_frame_sar_16_9.mp4": (1138, 480),
    "skv_carphone_distorted.mp4": (193, 144),
    "skv_carphone_pristine.mp4": (193, 144),
}
ROTATION = {"decord_video_90.mov": 90, "decord_video_180.mov": 180, "mpy_fire2.mp4": 180}
WARNINGS = {
    "RATRACE_wave_f_nm_np1_fr_goo_37.avi": ["the header claims 73 frames, 72 were decoded"],
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": [
        "the header claims 75 frames, 74 were decoded"
    ],
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": [
        "the header claims 84 frames, 83 were decoded"
    ],
    "ocv_tree.avi": ["the header claims 444 frames, 68 were decoded"],
    "made_truncated_half.avi": [
        "the header claims 8.01 s, the video ends after 4.00 s",
        "the header claims 240 frames, 121 were decoded",
        "damaged frames skipped: 1",
    ],
}
ERRORS = {
    "tc_nasa_13013.mp4.audio.mp3": "is not in a container that marey opens",
    "mp4p_chunk_out_of_range.mp4": "or not a video",
    "mp4p_bipbop_audioinit.mp4": "holds audio only",
    "made_truncated_half.mp4": "or not a video",
    "made_empty.mp4": "is empty",
}


def test_the_manifest_names_every_clip(media: Path) -> None:
    files = {path.name for path in (media / "clips").iterdir()} - {"MANIFEST.tsv"}
    assert {row["file"] for row in ROWS} == files


@pytest.mark.parametrize("row", READABLE, ids=lambda row: row["file"])
def test_readable(row: dict[str, str]) -> None:
    name = row["file"]
    with open_video(CLIPS / name) as reader:
        video = reader.video
        coded = int(row["w"]), int(row["h"])
        assert (video.width, video.height) == DISPLAYED.get(name, coded)
        assert video.rotation == ROTATION.get(name, 0)
        assert float(video.fps or 0) == pytest.approx(float(row["fps"]), abs=6e-4)
        frames = list(reader.frames(size=48))
        skipped = 1 if name == "made_truncated_half.avi" else 0
        assert reader.counts.decoded == int(row["frames"])
        assert len(frames) == int(row["frames"]) - skipped
        assert all(frame.image.shape == frames[0].image.shape for frame in frames)
        assert all(a.time < b.time for a, b in itertools.pairwise(frames))
        assert float(frames[0].time) == video.start
        assert video.end is not None
        assert float(frames[-1].time) < video.end <= float(frames[-1].time) + 1.01
        assert video.audio == ("audio" in row["note"])
        assert reader.warnings() == WARNINGS.get(name, [])

        shown = [float(frame.time) for frame in frames]
        rng = random.Random(name)
        for _ in range(3):
            times = sorted(rng.uniform(video.start, video.end - 1e-3) for _ in range(3))
            for time, frame in zip(times, reader.frames(times=times, size=48), strict=True):
                wanted = frames[bisect_right(shown, time) - 1]
                assert frame.time == wanted.time
                assert np.array_equal(frame.image, wanted.image)


@pytest.mark.parametrize("row", UNREADABLE, ids=lambda row: row["file"])
def test_unreadable(row: dict[str, str]) -> None:
    path = CLIPS / row["file"]
    with pytest.raises(VideoError, match=ERRORS[row["file"]]) as caught:
        open_video(path)
    assert caught.value.where == str(path)
    assert caught.value.do


def test_sparse_picks_of_a_long_trailer_cost_little(media: Path) -> None:
    with open_video(media / "clips" / "los_sintel_trailer-720p.mp4", threads=1) as reader:
        list(reader.frames(times=[9.5, 35.0, 45.0], size=64))
        assert reader.counts.converted == 3
        assert reader.counts.seeks >= 2
        assert reader.counts.decoded < 400  # of 1253
