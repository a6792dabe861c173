from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from marey.data.annotations import Annotations
from marey.errors import DataError, VideoError
from marey.testing.videos import make_video
from marey.types import Event, Video, Window

SPANS = {"a.mp4": (0.0, 60.0), "b.mp4": (0.0, 12.5), "late.ts": (1.4, 31.4)}


def find(name: str) -> Video:
    """Three videos that need no files, 25 frames a second."""
    if name not in SPANS:
        raise VideoError(f"there is no file of the name {name!r}")
    start, end = SPANS[name]
    return Video(f"/v/{name}", "mp4", "h264", 64, 48, Fraction(25), start, end, None)


def table(folder: Path, rows: str, header: str = "video,start,end,label") -> Path:
    path = folder / "events.csv"
    path.write_text(f"{header}\n{rows}")
    return path


def read(folder: Path, rows: str, **options: Any) -> Annotations:
    return Annotations.read(table(folder, rows), find=find, **options)


def problems(folder: Path, rows: str, **options: Any) -> list[str]:
    with pytest.raises(DataError) as error:
        read(folder, rows, **options)
    assert error.value.do
    first, *lines = error.value.what.split("\n  ")
    places = {line.split(":")[0] for line in lines}
    assert first == f"{len(places)} of {rows.count(chr(10))} annotations cannot be used:"
    return lines


def test_a_table(tmp_path: Path) -> None:
    rows = "a.mp4,10,12.5,serve,train,alice\na.mp4,1,2,smash,,\nb.mp4,,3,serve,val,\n"
    path = table(tmp_path, rows + "late.ts,,,,,\n", "video,start,end,label,split,group")
    annotations = Annotations.read(path, find=find)
    assert annotations.labels == ("serve", "smash")
    assert annotations.splits == ("train", "val")
    assert annotations.warnings == ()
    first, second, third = annotations.videos
    assert first.events == (Event("smash", 1, 2, 1.0), Event("serve", 10, 12.5, 1.0))
    assert (first.name, first.path, first.split, first.group) == (
        *("a.mp4", Path("/v/a.mp4"), "train", "alice"),
    )
    assert second.events == (Event("serve", 0, 3, 1.0),)  # from the video's own beginning
    assert third.events == ()  # a video in which nothing happens
    assert third.span == Window(1.4, 31.4)
    assert annotations.split("val").labels == annotations.labels
    with pytest.raises(DataError, match="no video is of split 'test'"):
        annotations.split("test")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = "a.mp4,10,12.5,serve\nlate.ts,,,\na.mp4,1,2,smash\n"
    annotations = read(tmp_path, rows).stratified(2)
    annotations.write(tmp_path / "split.csv")
    again = Annotations.read(
        tmp_path / "split.csv", find=lambda name: find(name.removeprefix("/v/"))
    )
    assert [(v.path, v.events, v.split) for v in again.videos] == [
        (v.path, v.events, v.split) for v in annotations.videos
    ]


def activitynet(folder: Path, database: Mapping[str, Any]) -> Path:
    path = folder / "events.json"
    path.write_text(json.dumps({"version": "1.3", "database": database}))
    return path


def test_activitynet(tmp_path: Path) -> None:
    events = [{"segment": [3, 4.5], "label": "serve"}, {"segment": [1.0, 2.0], "label": "smash"}]
    database = {
        "a.mp4": {"subset": "training", "duration": 60.0, "annotations": events},
        "b.mp4": {"subset": "Validation", "duration": 12.5, "annotations": events[:1]},
        "late.ts": {"subset": "testing", "duration": 30.0, "annotations": []},
    }
    annotations = Annotations.read(activitynet(tmp_path, database), find=find)
    assert annotations.splits == ("train", "val", "test")
    assert annotations.truth == {
        "a.mp4": (Event("smash", 1.0, 2.0, 1.0), Event("serve", 3, 4.5, 1.0)),
        "b.mp4": (Event("serve", 3, 4.5, 1.0),),
        "late.ts": (),
    }


def test_activitynets_places_are_named(tmp_path: Path) -> None:
    good = {"segment": [3, 4.5], "label": "serve"}
    bad = [good, {"segment": [2, 1], "label": "x"}, {"segment": [1]}, {**good, "segment": None}]
    bad += [{**good, "segment": [None, 3]}]
    database = {
        "a.mp4": {"subset": "training", "annotations": bad},
        "b.mp4": {"subset": "dev", "annotations": [good]},
        "gone": {"subset": "training", "annotations": []},
        "late.ts": {"subset": "training"},
    }
    with pytest.raises(DataError) as error:
        Annotations.read(activitynet(tmp_path, database), find=find)
    assert error.value.what.split("\n  ")[1:] == [
        "a.mp4, annotation 2: the event ends at 1 s, before it starts at 2 s; exchange the two",
        *(
            f'a.mp4, annotation {k}: is no event; write {{"segment": [START, END], "label": LABEL}}'
            for k in (3, 4)
        ),
        "a.mp4, annotation 5: the start is None; give seconds, such as 12.5",
        "b.mp4, annotation 1: unknown split 'dev'; choose from train, val, test",
        "gone: there is no file of the name 'gone'; mend its name or leave it out",
        'late.ts: has no list of annotations; write "annotations": []',
    ]


def test_every_line_that_is_wrong_is_in_one_report(tmp_path: Path) -> None:
    rows = """a.mp4,5,2,serve
a.mp4,3,3,serve
a.mp4,-1,3,serve
a.mp4,soon,3,serve
a.mp4,1,inf,serve
a.mp4,1,nan,serve
a.mp4,70,80,serve
b.mp4,12,14,serve
late.ts,0,2,serve
gone.mp4,1,2,serve
,1,2,serve
a.mp4,1,2,
a.mp4,30,31,serve
a.mp4,30.5,32,serve
a.mp4,30,31,serve
a.mp4,1,2
a.mp4,1,2,serve,extra
"""
    assert problems(tmp_path, rows) == [
        "line 2: the event ends at 2 s, before it starts at 5 s; exchange the two",
        "line 3: the event at 3 s has no length; make its end later",
        "line 4: the start is '-1'; give seconds, such as 12.5",
        "line 5: the start is 'soon'; give seconds, such as 12.5",
        "line 6: the end is 'inf'; give seconds, such as 12.5",
        "line 7: the end is 'nan'; give seconds, such as 12.5",
        "line 8: the event at 70 to 80 s is outside; the video lasts from 0 to 60 s; "
        "times are seconds on the video's own clock: mend them",
        "line 9: the event ends at 14 s, 1.5 s too late; the video lasts from 0 to 12.5 s; "
        "times are seconds on the video's own clock: mend them",
        "line 10: the event starts at 0 s, 1.4 s too early; the video lasts from 1.4 to 31.4 s; "
        "times are seconds on the video's own clock: mend them",
        "line 11: there is no file of the name 'gone.mp4'; mend its name or leave it out",
        "line 12: the line names no video; mend its name or leave it out",
        "line 13: the event has no label; name it, or leave its times out as well",
        "line 15: the event overlaps that of line 14, which has the same label; "
        "join them, or let one end earlier",
        "line 16: is the same as line 14; remove one of them",
        "line 17: has more or fewer cells than the header; quote cells that hold a comma",
        "line 18: has more or fewer cells than the header; quote cells that hold a comma",
    ]


def test_a_line_may_be_wrong_in_two_ways(tmp_path: Path) -> None:
    told = problems(tmp_path, "gone.mp4,5,2,srve\n", labels=["serve", "smash"])
    assert [line.split(";")[0] for line in told] == [
        "line 2: there is no file of the name 'gone.mp4'",
        "line 2: unknown label 'srve'",
        "line 2: the event ends at 2 s, before it starts at 5 s",
    ]


def test_given_labels_keep_their_order_and_no_other_is_allowed(tmp_path: Path) -> None:
    annotations = read(tmp_path, "a.mp4,1,2,serve\n", labels=["smash", "serve"])
    assert annotations.labels == ("smash", "serve")
    told = problems(tmp_path, "a.mp4,1,2,Serve\na.mp4,3,4,serve\n", labels=["smash", "serve"])
    assert told == ["line 2: unknown label 'Serve'; known are serve"]


def test_a_video_is_of_one_split_and_one_group(tmp_path: Path) -> None:
    header = "video,start,end,label,split,group"
    path = table(tmp_path, "a.mp4,1,2,x,train,g\na.mp4,3,4,x,val,g\na.mp4,5,6,x,,h\n", header)
    with pytest.raises(DataError) as error:
        Annotations.read(path, find=find)
    assert re.findall(r"line \d: [^;]*", error.value.what) == [
        "line 3: the split is 'val', but 'train' in a line before",
        "line 4: the group is 'h', but 'g' in a line before",
    ]


def test_what_is_only_odd_is_a_warning(tmp_path: Path) -> None:
    # A frame lasts 0.04 s here. Neighbours may touch, and events of two labels may overlap.
    rows = "b.mp4,11,12.54,serve\nb.mp4,10,11,serve\nlate.ts,1.37,3,serve\nb.mp4,9,12,smash\n"
    annotations = read(tmp_path, rows)
    assert annotations.warnings == (
        "events that go up to a frame beyond their video were cut: line 2, line 4",
    )
    assert annotations.truth["b.mp4"][-1] == Event("serve", 11, 12.5, 1.0)
    assert annotations.truth["late.ts"] == (Event("serve", 1.4, 3, 1.0),)
    assert problems(tmp_path, "b.mp4,11,12.55,serve\n")
    # Times that were written with three decimals are not even odd.
    assert read(tmp_path, "b.mp4,11,12.501,serve\n").warnings == ()


def test_videos_that_cannot_be_read_are_left_out_if_that_is_wanted(tmp_path: Path) -> None:
    rows = "a.mp4,1,2,serve\ngone.mp4,1,2,fly\ngone.mp4,3,4,fly\n"
    annotations = read(tmp_path, rows, skip=True)
    assert [video.name for video in annotations.videos] == ["a.mp4"]
    assert annotations.labels == ("serve",)
    (told,) = annotations.warnings
    assert told == "1 of 2 videos left out: gone.mp4 (there is no file of the name 'gone.mp4')"
    (line,) = problems(tmp_path, rows + "gone.mp4,5,4,fly\n,1,2,fly\n", skip=True)[:1]
    assert "before it starts" in line, "other mistakes still count"
    assert "names no video" in problems(tmp_path, "a.mp4,1,2,fly\n,1,2,fly\n", skip=True)[0]


def test_files_that_are_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Annotations.read(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="lacks column 'start'"):
        Annotations.read(table(tmp_path, "a,b\n", "video,label"))
    with pytest.raises(DataError, match="holds no event"):
        read(tmp_path, "a.mp4,,,\n")
    path = tmp_path / "events.json"
    for text in ("{", "[]", '{"database": []}', '{"videos": {}}'):
        path.write_text(text)
        with pytest.raises(DataError, match="not JSON in ActivityNet's layout"):
            Annotations.read(path)
    path.write_text('{"database": {}}')
    with pytest.raises(DataError, match="names no video"):
        Annotations.read(path)


def test_videos_are_found_by_path_by_name_and_as_activitynet_names_them(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in ("one.mp4", "v/two.mp4", "v/v_three.mp4"):
        make_video(tmp_path / name, frames=25, fps=Fraction(25))
    path = table(tmp_path, "one.mp4,0,0.5,x\ntwo,0.5,,x\nthree,0,1,x\n")
    annotations = Annotations.read(path)
    assert [v.path.name for v in annotations.videos] == ["one.mp4", "two.mp4", "v_three.mp4"]
    assert annotations.truth["two"] == (Event("x", 0.5, 1.0, 1.0),)  # to the end as measured
    make_video(tmp_path / "two.mp4", frames=2)
    with pytest.raises(DataError) as error:
        Annotations.read(table(tmp_path, "two,0,0.05,x\nfour,0,1,x\n"))
    two, four = error.value.what.split("\n")[1:]
    assert "line 2: there is" in two
    assert " and " in two, "both files are named"
    assert "line 3: there is no file of the name 'four'" in four
    two = Annotations.read(table(tmp_path, "two,0,1,x\n"), folder=tmp_path / "v").videos[0]
    assert two.path == tmp_path / "v" / "two.mp4"
