"""Reports in every format, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from marey.errors import OutputError
from marey.outputs import check_output, write
from marey.outputs.overlay import draw
from marey.outputs.table import clock, properties, stretches, timeline
from marey.types import Input, ModelCard, Ranked, Report, Score, Video
from marey.video.read import open_video
from marey.video.write import VideoWriter

INPUT = Input(frames=4, size=(8, 8), resize=8, mean=(0, 0, 0), std=(1, 1, 1))


def ranked(start: float, end: float, *labels: str) -> Ranked:
    return Ranked(start, end, tuple(Score(name, 0.5 / n) for n, name in enumerate(labels, 1)))


def make_report(path: str = "a, b.mp4") -> Report:
    return Report(
        video=Video(path, "mp4", "h264", 64, 48, Fraction(30000, 1001), 0.5, 2.5, 60, audio=True),
        model=ModelCard("net.tag", "MIT", 3, "torch", "float32", INPUT),
        top=(Score("naïve", 0.5), Score("tie", 0.25)),
        windows=(ranked(0.5, 1.5, "naïve", "tie"), ranked(1.5, 2.5, "tie", "naïve")),
        warnings=("1 frame lost",),
    )


def schema() -> dict[str, object]:
    page = Path(__file__).parents[2] / "docs" / "report.md"
    found = re.search(r"```json schema\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    parsed: dict[str, object] = json.loads(found[1])
    return parsed


def test_the_documented_schema_holds_and_round_trips(tmp_path: Path) -> None:
    report = make_report()
    write(report, tmp_path / "out.json")
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schema())
    assert Report.from_dict(data) == report
    for wrong in ({"windows": [{"start": 0}]}, {"events": [{"label": "a", "start": 0, "end": 1}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | wrong, schema())


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=r"marey\.report/9"):
        Report.from_dict({"schema": "marey.report/9"})


def test_json_lines_hold_a_report_each(tmp_path: Path) -> None:
    write([make_report("1.mp4"), make_report("2.mp4")], tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["video"]["path"] for line in lines] == ["1.mp4", "2.mp4"]


def test_csv_has_a_row_a_label(tmp_path: Path) -> None:
    write([make_report()], tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3
    assert rows[0] | {"score": ""} == {
        "video": "a, b.mp4",
        "scope": "video",
        "start": "0.5",
        "end": "2.5",
        "rank": "1",
        "label": "naïve",
        "score": "",
        **dict.fromkeys(("id", "x1", "y1", "x2", "y2", "seen"), ""),
    }


@pytest.mark.parametrize("name", ["out.xyz", "out", "missing/out.json"])
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        check_output(tmp_path / name)


def test_one_mp4_holds_one_video(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="2 videos"):
        write([make_report(), make_report()], tmp_path / "out.mp4")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond 4 KiB."""
    target = tmp_path / "out.json"
    target.write_text("before")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_outputs import make_report
from marey.errors import OutputError
from marey.outputs import write
try:
    write([make_report()] * 100, {str(target)!r})
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "out.json" in done.stdout
    assert "disk has room" in done.stdout
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "grey.mp4"
    with VideoWriter(path, 66, 50, Fraction(10)) as writer:
        for index in range(20):
            writer.write(np.full((50, 66, 3), 128, np.uint8), Fraction(index, 10))
    return path


def test_overlay_draws_the_labels_of_the_moment(video: Path, tmp_path: Path) -> None:
    with open_video(video) as reader:
        source = reader.video
    report = Report(
        video=source,
        model=make_report().model,
        top=(Score("a", 1.0),),
        windows=(Ranked(0, 1, (Score("a", 1.0),)), Ranked(1, 2, (Score("b", 0.0),))),
    )
    assert write(report, tmp_path / "out.mp4") == []
    with open_video(tmp_path / "out.mp4") as reader:
        frames = list(reader.frames())
    assert len(frames) == 20
    assert frames[0].image.shape == (250, 330, 3)  # enlarged, so that the text can be read
    blue = [float(f.image[-6:-2, -8:, 2].mean() - f.image[-6:-2, -8:, 0].mean()) for f in frames]
    assert min(blue[:10]) > 30  # the bar of a sure label reaches the right edge
    assert max(blue[10:]) < 10


def test_draw_leaves_the_frame_alone() -> None:
    image = np.full((90, 160, 3), 200, np.uint8)
    drawn = draw(image, [Score("tie", 0.5)], 0.5)
    assert image.min() == 200
    assert (drawn[:40] == 200).all()
    assert drawn[60:].min() < 150


def test_stretches_join_neighbours_with_the_same_label() -> None:
    rows = [ranked(0, 1, "a"), ranked(1, 2, "a"), ranked(2, 3, "b"), ranked(3, 4, "a")]
    assert [(s.start, s.end, s.top[0].label) for s in stretches(rows)] == [
        (0, 2, "a"),
        (2, 3, "b"),
        (3, 4, "a"),
    ]


def test_tables_show_what_the_report_says() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(timeline(make_report()))
    console.print(properties(make_report().to_dict()))
    text = console.export_text()
    assert "0:00.5 – 0:01.5" in text
    assert "naïve" in text
    assert "30000/1001" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (7.46, "0:07.5"), (59.96, "1:00.0"), (3723.4, "1:02:03.4")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
