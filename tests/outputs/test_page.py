"""A report as a page: what is in it, and what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.errors import OutputError
from marey.outputs import page, write
from marey.testing.videos import make_video
from marey.types import Event, Input, ModelCard, Ranked, Report, Score, Track, Tracking
from marey.video.read import open_video

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
VISIT = Path(__file__).with_name("visit_page.js")
EVIL = '</script><b>bold</b> & "quoted" <!-- \''
CARD = ModelCard(
    "net.tag",
    "Apache-2.0",
    2,
    "test",
    "float32",
    Input(frames=1, size=(8, 8), resize=8, mean=(0,) * 3, std=(1,) * 3),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("my videos") / "a #1?.mp4"
    make_video(path, frames=100, fps=Fraction(25), size=(64, 96))
    with open_video(path) as reader:
        video = reader.video
    times = video.start + np.arange(50) / 25
    left = np.linspace(0, 40, 50)
    boxes = np.stack([left, left * 0 + 8, left + 20, left * 0 + 50], 1)
    track = Track(
        1,
        "person",
        times,
        boxes.astype(np.float32),
        np.full(50, 0.9, np.float32),
        np.ones(50, bool),
    )
    windows = [(0, "car", 0.8), (1, "car", 0.9), (2, EVIL, 0.5), (3, "car", 0.1)]
    return Report(
        video=video,
        model=CARD,
        top=(),
        windows=tuple(
            Ranked(video.start + k, video.start + k + 1, (Score(label, score),))
            for k, label, score in windows
        ),
        events=(
            Event("cut", video.start + 1.2, video.start + 1.24, 0.9),
            Event("walk", video.start + 0.5, video.start + 1.5, 0.75, actor=1),
        ),
        tracks=(track,),
        warnings=("something was lost: 3",),
        also=(replace(CARD, name="other"),),
        tracking=Tracking("cbiou", 2, 0.5, 1.0, 0.5),
    )


def said(path: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="report">(.*?)</script>', path.read_text("utf-8")
    )
    assert found
    return dict(json.loads(found[1]))


def test_it_holds_the_report_and_loads_only_the_video(report: Report, tmp_path: Path) -> None:
    assert write(report, tmp_path / "a.html") == []
    found, text = said(tmp_path / "a.html"), (tmp_path / "a.html").read_text("utf-8")
    kinds = [item["kind"] for item in found["items"]]
    assert sorted(kinds) == ["cut", "event", "tag", "tag", "track"]
    assert {item["label"] for item in found["items"]} == {"cut", "walk", "car", EVIL, "person"}
    assert found["warnings"] == ["something was lost: 3"]
    assert [line.partition(":")[0] for line in found["networks"]] == ["net.tag", "other"]
    assert found["tracking"][0].startswith("cbiou: looks every 2 frames")
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|\bimport\b|fetch\(", text)


def test_times_count_from_the_first_frame(report: Report, tmp_path: Path) -> None:
    late = replace(report.video, start=report.video.start + 5, end=(report.video.end or 0) + 5)
    moved = replace(
        report,
        video=late,
        windows=(),
        events=tuple(replace(e, start=e.start + 5, end=e.end + 5) for e in report.events),
        tracks=tuple(replace(t, times=t.times + 5) for t in report.tracks),
    )
    write(replace(report, windows=()), tmp_path / "a.html")
    write(moved, tmp_path / "b.html")
    one, other = said(tmp_path / "a.html"), said(tmp_path / "b.html")
    assert one["items"] == other["items"]
    assert one["tracks"] == other["tracks"]


def test_windows_become_spans_of_labels(report: Report) -> None:
    assert [*page.tags(report.windows)] == [
        ("car", report.video.start, report.video.start + 2, 0.9),
        (EVIL, report.video.start + 2, report.video.start + 3, 0.5),
    ]


def test_a_thinned_track_lies_where_it_was() -> None:
    times = np.arange(1500) / 25
    x = 100 + 80 * np.sin(times) + np.where(times > 30, 25, 0)
    boxes = np.stack([x, x / 2, x + 30, x / 2 + 90], 1).astype(np.float32)
    kept = page.thinned(times, boxes)
    again = np.stack([np.interp(times, times[kept], boxes[kept, k]) for k in range(4)], 1)
    assert np.abs(again - boxes).max() <= 1.5 + 1e-3
    assert len(kept) < 250
    still = page.thinned(times, np.ones((1500, 4), np.float32))
    assert len(still) <= 2 + 2 * 60 / 20


def test_what_browsers_do_not_play_is_told_and_copied(report: Report, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", frames=30, size=(64, 96))
    with open_video(path) as reader:
        odd = replace(report, video=reader.video)
    (told,) = write(odd, tmp_path / "a.html")
    assert "--embed" in told
    assert said(tmp_path / "a.html")["video"]["src"] is None
    assert write(odd, tmp_path / "b.html", embed=True) == []
    assert said(tmp_path / "b.html")["video"]["src"].startswith("data:video/mp4;base64,")


def test_a_video_too_large_to_embed_is_an_error(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EMBEDDED", 100)
    with pytest.raises(OutputError, match="embed"):
        write(report, tmp_path / "a.html", embed=True)
    assert not (tmp_path / "a.html").exists()


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} on this machine")
@pytest.mark.parametrize("embed", [False, True])
def test_a_browser_plays_it_and_finds_its_events(
    embed: bool, report: Report, tmp_path: Path
) -> None:
    write(report, tmp_path / "a.html", embed=embed)
    visit = tmp_path / "visit.html"
    script = f'<script type="module">{VISIT.read_text("utf-8")}</script>'
    visit.write_text((tmp_path / "a.html").read_text("utf-8") + script, "utf-8")
    noted = json.loads(_left_by(visit, tmp_path))
    assert noted["title"] == "a #1?.mp4"
    assert noted["duration"] == pytest.approx(report.video.duration, abs=0.05)
    rows = {row[1]: row for row in noted["rows"]}
    assert set(rows) == {"car", "person · 1", "walk · 1", "cut", EVIL}
    assert rows["walk · 1"] == ["00:00.5", "walk · 1", "0.75"]
    assert noted["lanes"] == ["", "shots", "walk", "car", EVIL, "person"]
    assert noted["second"] == ["00:01.2", "cut", "0.90", pytest.approx(1.2, abs=0.01)]
    assert noted["drawn"]
    assert noted["hidden"]
    assert [row[1] for row in noted["searched"]] == ["walk · 1"]
    assert noted["none"] == []
    assert noted["bold"] == 0


def _left_by(page: Path, folder: Path) -> str:
    """What a visit leaves in the page.

    The browser's clock runs ahead while nothing happens, and may run out before the video has come
    on a machine that has much to do: it is given more then.
    """
    for budget in (20_000, 200_000, 2_000_000):
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--virtual-time-budget={budget}",
        ]
        command = [str(BROWSER), *flags, f"--user-data-dir={folder / str(budget)}", "--dump-dom"]
        dom = subprocess.run(
            [*command, page.as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=True,
        )
        # Not what stands in the script.
        if found := re.search(r"<pre>(.+)</pre>", dom.stdout):
            return found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    pytest.fail(f"the visit did not come to its end: {dom.stderr}")
