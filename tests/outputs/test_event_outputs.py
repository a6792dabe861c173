"""Events in every format: for programs, players, evaluations and eyes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_outputs import make_report, schema

from marey.errors import MissingExtraError, OutputError
from marey.outputs import SUFFIXES, check_output, suffix_of, write
from marey.outputs.activitynet import video_id
from marey.outputs.overlay import write_overlay
from marey.outputs.strip import COLOURS, Strip
from marey.outputs.table import events as drawn
from marey.outputs.vtt import write_vtt
from marey.types import CORNERS, Event, Report
from marey.video.read import open_video
from marey.video.write import VideoWriter

SERVE, SMASH = Event("serve & volley", 0.75, 1.5, 0.875), Event("smash", 1.25, 2.5, 0.5)


def report(path: str = "a, b.mp4", events: tuple[Event, ...] = (SERVE, SMASH)) -> Report:
    return replace(make_report(path), events=events)


def bare(path: str) -> Report:
    """As for a very long video, or one without a shot boundary."""
    return replace(make_report(path), events=(), windows=(), top=())


def test_the_documented_schema_holds_events_and_needs_no_windows(tmp_path: Path) -> None:
    for one in (report(), bare("a.mp4")):
        write(one, tmp_path / "out.json")
        data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        jsonschema.validate(data, schema())
        assert Report.from_dict(data) == one


def test_the_longest_suffix_counts() -> None:
    assert suffix_of(Path("out.activitynet.json")) == ".activitynet.json"
    assert suffix_of(Path("out.v2.json")) == ".json"
    assert suffix_of(Path("out.vttx")) is None


def test_csv_and_parquet_have_the_same_rows(tmp_path: Path) -> None:
    reports = [report("1.mp4"), bare("2.mp4"), report("3.mp4", ())]
    assert write(reports, tmp_path / "out.csv") == write(reports, tmp_path / "out.parquet") == []
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(rows) == len(table) == 8 + 6
    events = [row for row in table if row["scope"] == "event"]
    assert events[0] == {
        "video": "1.mp4",
        "scope": "event",
        "start": 0.75,
        "end": 1.5,
        "rank": 1,
        "label": "serve & volley",
        "score": 0.875,
        **dict.fromkeys(("id", *CORNERS, "seen")),
    }
    for plain, typed in zip(rows, table, strict=True):
        written = {key: "" if value is None else str(value) for key, value in typed.items()}
        assert plain == written | {"score": plain["score"]}
        assert float(plain["score"]) == pytest.approx(typed["score"], abs=1e-6)


def test_a_table_of_nothing_is_a_table(tmp_path: Path) -> None:
    write([bare("1.mp4")], tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 0


def test_parquet_says_what_is_missing_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "marey.outputs.parquet.find_spec",
        lambda name: None if name == "pyarrow" else real(name),
    )
    with pytest.raises(MissingExtraError, match=r"marey\[parquet\]"):
        check_output(tmp_path / "out.parquet")


def test_vtt_counts_from_the_first_frame(tmp_path: Path) -> None:
    assert write(report(), tmp_path / "out.vtt") == []
    assert (tmp_path / "out.vtt").read_text(encoding="utf-8") == (
        "WEBVTT\n"
        "\n00:00:00.250 --> 00:00:01.000\nserve &amp; volley 0.88\n"
        "\n00:00:00.750 --> 00:00:02.000\nsmash 0.50\n"
    )


# The first draw of a session looks through all modules for constants.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.text("a&<>-;\n\r\x85\u2028\u3000 é", max_size=12),
            st.floats(0, 4e6),
            st.floats(0, 100),
            st.floats(0, 1),
        ),
        max_size=5,
    )
)
def test_vtt_holds_whatever_labels_and_times(rows: list[tuple[str, float, float, float]]) -> None:
    events = tuple(Event(label, start, start + length, p) for label, start, length, p in rows)
    file = io.StringIO()
    write_vtt([report(events=events)], file)
    head, *cues = re.split(r"\r\n\r\n|\n\n|\r\r", file.getvalue())
    assert head == ("WEBVTT" if cues else "WEBVTT\n")
    assert len(cues) == len(events)
    before = 0.0
    for cue in cues:
        times, text, *rest = re.split(r"[\r\n]", cue.removesuffix("\n"))
        assert not rest
        assert "-->" not in text
        assert "<" not in text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
        found = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d\.\d{3}) --> (\d{2,}):(..):(.{6})", times)
        assert found
        numbers = list(map(float, found.groups()))
        start, end = (3600 * numbers[k] + 60 * numbers[k + 1] + numbers[k + 2] for k in (0, 3))
        assert before <= start < end
        before = start


def test_vtt_has_hours_beyond_two_digits() -> None:
    file = io.StringIO()
    write_vtt([report(events=(Event("a", 400_000.5, 400_001.5, 1),))], file)
    assert "111:06:40.000 --> 111:06:41.000" in file.getvalue()


@pytest.mark.parametrize("suffix", [".vtt", ".mp4"])
def test_some_formats_hold_one_video(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match=rf"one \{suffix} cannot show 2 videos"):
        write([report("1.mp4"), report("2.mp4")], tmp_path / f"out{suffix}")


def test_activitynet_has_videos_by_name_and_seconds_from_the_first_frame(tmp_path: Path) -> None:
    reports = [report("x/day.one.mp4"), report("y/day.one.mp4"), report("v_-3Kb_8zAb0c.mp4", ())]
    assert write(reports, tmp_path / "out.activitynet.json") == []
    data = json.loads((tmp_path / "out.activitynet.json").read_text(encoding="utf-8"))
    assert list(data) == ["version", "results", "external_data"]
    assert list(data["results"]) == ["day.one", "y/day.one.mp4", "-3Kb_8zAb0c"]
    assert data["results"]["day.one"] == [
        {"label": "serve & volley", "segment": [0.25, 1.0], "score": 0.875},
        {"label": "smash", "segment": [0.75, 2.0], "score": 0.5},
    ]
    assert data["results"]["-3Kb_8zAb0c"] == []


def test_only_the_names_of_activitynet_lose_their_beginning() -> None:
    assert video_id("v_SoccerJuggling_g23_c01.avi") == "v_SoccerJuggling_g23_c01"
    assert video_id("folder/v_QOlSCBRmfWY.mkv") == "QOlSCBRmfWY"


@pytest.mark.parametrize("suffix", [".vtt", ".activitynet.json"])
def test_a_file_without_events_is_told(tmp_path: Path, suffix: str) -> None:
    assert "no events" in write(report(events=()), tmp_path / f"out{suffix}")[0]


def test_every_format_can_be_written(tmp_path: Path, video: Path) -> None:
    with open_video(video) as reader:
        one = replace(report(), video=reader.video)
    for suffix in SUFFIXES:
        write(one, tmp_path / f"out{suffix}")
        size = (tmp_path / f"out{suffix}").stat().st_size
        assert (size > 50) == (suffix != ".txt")  # which holds tracks only


def test_the_table_shows_where_events_lie() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(drawn(report(events=(*(SERVE, SMASH), Event("cut", 2.5, 2.5, 1.0))), width=8))
    text = console.export_text()
    assert "0:00.5 – 0:02.5" in text
    assert "3 events" in text
    rows = {
        row[1].strip(): row[-2].strip()
        for row in (x.split("│") for x in text.splitlines())
        if len(row) > 3
    }
    assert rows == {
        "0:00.8 – 0:01.5": "·███····",
        "0:01.2 – 0:02.5": "···█████",
        "0:02.5 – 0:02.5": "·······█",
    }


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "grey.mp4"
    with VideoWriter(path, 64, 48, Fraction(10)) as writer:
        for index in range(20):
            writer.write(np.full((48, 64, 3), 128, np.uint8), Fraction(index, 10))
    return path


def test_the_overlay_has_a_time_line_with_a_cursor(video: Path, tmp_path: Path) -> None:
    with open_video(video) as reader:
        source = reader.video
    events = (Event("a", 0.5, 1.0, 1.0), Event("b", 1.5, 1.5, 1.0))
    assert write_overlay(replace(report(events=events), video=source), tmp_path / "out.mp4") == []
    with open_video(tmp_path / "out.mp4") as reader:
        frames = list(reader.frames())
    assert len(frames) == 20
    height = 5 * 48
    line = height // 18
    assert frames[0].image.shape[:2] == (height + 3 * line + (height + 3 * line) % 2, 320)
    # The cursor, the only bright column of the time line's last row, moves from left to right.
    at = [int(f.image[height + 2 * line + line // 2].sum(-1).argmax()) for f in frames]
    assert at == sorted(at)
    assert at[0] < 100
    assert at[-1] > 290
    # What happens is written on the picture while it happens, a cut for half a second.
    shown = [f.image[height - line // 2, 310].astype(int) for f in frames]
    blue = [k for k, pixel in enumerate(shown) if pixel[2] - pixel[0] > 40]
    orange = [k for k, pixel in enumerate(shown) if pixel[0] - pixel[2] > 40]
    assert blue == list(range(5, 10))
    assert orange == list(range(15, 20))


def test_the_strip_gives_the_longest_labels_lanes_of_their_own() -> None:
    events = [Event(f"label {k}", k, k + 1 + k / 10, 1.0) for k in range(9)]
    strip = Strip(events, 0, 10, 400, 20)
    assert strip.height == 20 * (len(COLOURS) + 1)
    assert strip.colour("label 8") == COLOURS[len(COLOURS) - 2]
    assert {strip.colour(f"label {k}") for k in range(4)} == {COLOURS[-1]}
    picture = strip.at(5)
    assert picture.shape == (strip.height, 400, 3)
    for label in ("label 8", "label 0"):
        assert (picture == strip.colour(label)).all(-1).sum() > 20
    assert (strip.at(0) != strip.at(10)).any()


def test_a_strip_shows_even_what_takes_no_time() -> None:
    strip = Strip([Event("cut", 3600, 3600, 1.0)], 0, 7200, 320, 12)
    assert (strip.at(0) == COLOURS[0]).all(-1).any()
