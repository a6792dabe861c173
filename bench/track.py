"""Tracking: how right on people that were marked, and how fast. Writes docs/results/track.md.

    python bench/track.py MEDIA [--repeats 3] [--out runs/track]

MEDIA is the folder of footage that MAREY_MEDIA names. What was found in `--out` is not measured
again, but times are. Accuracy is of PETS09-S2L1's frames 1 to 69,
with the detections that come with it and with the embedded detector. Time is of the same video at
640x480 in H.264, in turns with decoding alone, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from itertools import islice
from pathlib import Path
from textwrap import fill
from typing import Any

from marey.benchmark.machine import this_machine
from marey.benchmark.memory import Watch
from marey.benchmark.turns import in_turns
from marey.benchmark.way import decode_only
from marey.data.box_files import BoxFile
from marey.files import whole_file
from marey.runtime.detector import PEDESTRIANS, Detector, make_detector
from marey.tasks._collected import collect
from marey.tasks._trackers import TRACKERS
from marey.tasks.follow import DEFAULT_TRACKER, follow
from marey.tasks.track import track
from marey.training.track_metrics import TrackMetrics, evaluate_tracks
from marey.types import Report
from marey.video.read import open_video
from marey.video.write import VideoWriter

PAGE = Path(__file__).parents[1] / "docs" / "results" / "track.md"
READ = 90  # frames: those marked, and what comes within the delay after them
SIZE = (480, 640)
EVERY = (1, 2, 3)

Way = tuple[str, Detector | BoxFile, dict[str, Any]]
Row = tuple[str, str, TrackMetrics]


def measure(media: Path, detector: Detector | BoxFile, **how: Any) -> TrackMetrics:
    """Of the frames that are marked; the video is read as far as they need it."""
    with open_video(media / "clips" / "ocv_vtest.avi") as reader:
        frames = islice(reader.frames(), READ)
        found = collect(follow(reader, detector, frames=frames, **how))
        report = Report(reader.video, detector.card(), (), (), tracks=found)
    return evaluate_tracks(report, media / "pets09_s2l1" / "gt_001-069.txt").metrics


def ways(given: BoxFile, own: Detector) -> list[Way]:
    """What stands in the table, row by row."""
    rows: list[Way] = []
    for name, detector, every in (("given", given, 1), ("own", own, 1), ("own, every 2nd", own, 2)):
        rows += [(name, detector, {"tracker": one, "every": every}) for one in TRACKERS]
    plain = {"tracker": DEFAULT_TRACKER, "smooth": 0.0}
    rows.append(("given, not smoothed", given, plain))
    rows.append(("given, gaps not filled either", given, {**plain, "patience": 0.2}))
    return rows


def accuracy(media: Path, own: Detector, path: Path) -> list[Row]:
    """Each row of the table, from `path` if it is there."""
    if not path.exists():
        given, found = BoxFile(media / "pets09_s2l1" / "det.txt"), []
        for name, detector, how in ways(given, own):
            metrics = measure(media, detector, **how)
            found.append((name, str(how["tracker"]), asdict(metrics)))
            print(name, how, f"MOTA {metrics.mota:.3f}, {metrics.switches} switches", flush=True)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [(name, tracker, TrackMetrics(**found)) for name, tracker, found in rows]


def street(media: Path, path: Path) -> Path:
    """The video of PETS at 640x480, H.264, 10 frames a second."""
    if not path.exists():
        with (
            open_video(media / "clips" / "ocv_vtest.avi") as reader,
            VideoWriter(path, SIZE[1], SIZE[0], Fraction(10)) as writer,
        ):
            for frame in reader.frames(size=SIZE):
                writer.write(frame.image, frame.time)
    return path


def speed(video: Path, own: Detector, repeats: int) -> dict[str, Any]:
    """Frames a second, medians: decoding alone, and tracking with the detector now and then."""
    load, frames = os.getloadavg()[0], decode_only(video)
    with Watch() as watch:
        track(video, own, every=2)
    runs = {f"every {k}": (lambda k=k: track(video, own, every=k)) for k in EVERY}
    seconds = in_turns({"decode": lambda: decode_only(video), **runs}, repeats, warm=False)
    rates = {name: frames / spent for name, spent in seconds.items()}
    return {"frames": frames, "rates": rates, "load": load, "held": max(watch.seen, default=None)}


def accuracy_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| detections | tracker | MOTA | IDF1 | HOTA | recall | precision | switches |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, tracker, m in rows:
        bold = "**" if tracker == DEFAULT_TRACKER else ""
        lines.append(
            f"| {name} | {bold}{tracker}{bold} | {m.mota:.3f} | {m.idf1:.3f} | {m.hota:.3f} "
            f"| {m.recall:.3f} | {m.precision:.3f} | {m.switches} |"
        )
    return lines


def speed_table(found: Mapping[str, Any]) -> list[str]:
    decode = found["rates"]["decode"]
    lines = ["| | frames a second | of decoding alone |", "|---|---|---|"]
    for name, rate in found["rates"].items():
        which = {"every 1": "every frame", "every 2": "every second", "every 3": "every third"}
        told = f"tracking, the detector at {which[name]}" if name in which else "decoding alone"
        lines.append(f"| {told} | {rate:.1f} | {100 * rate / decode:.0f} % |")
    return lines


def page(rows: Sequence[Row], found: Mapping[str, Any]) -> str:
    machine = this_machine()
    best = next(m for name, one, m in rows if (name, one) == ("given", DEFAULT_TRACKER))
    rate = found["rates"]["every 2"]
    held = "" if found["held"] is None else f" The process held {found['held']:.0f} MiB at most."
    lines = [
        "# Tracking",
        "",
        f"`python bench/track.py $MAREY_MEDIA` on {machine.cores} cores of {machine.cpu}.",
        "",
        "People on a street, PETS09-S2L1 (768x576, 10 frames a second): frames 1 to 69, in which "
        f"{best.marked} boxes of {best.marked_ids} people are marked. `given` are the detections "
        f"that come with it, `own` are those of `{PEDESTRIANS}`. Measured by TrackEval; MOTA and "
        "IDF1 at an overlap of one half.",
        "",
        *accuracy_table(rows),
        "",
        f"The default is `{DEFAULT_TRACKER}`, gaps up to 1 s filled and boxes smoothed over half a "
        "second to both sides: every frame is final 1 s after it was read. It was chosen on "
        "reason: looks may lie far apart, a step takes half a second, and a detection jitters by "
        f"parts of a box. Aim: MOTA 0.60 and fewer than 5 switches on the given detections; "
        f"reached are {best.mota:.2f} and {best.switches}. Trackers, and windows of 0.25 to 1 s, "
        "were looked at on these same frames.",
        "",
        "One video, and most of its errors are of place: where the truth and the detector "
        "disagree by more than half a box, it counts twice.",
        "",
        "## Time",
        "",
        f"The same street at 640x480 in H.264, {found['frames']} frames, by `{PEDESTRIANS}` and "
        f"`{DEFAULT_TRACKER}`; in turns, medians. Aim: more than 25 frames a second with the "
        f"detector at every second one; measured are {rate:.0f}, at a load average of "
        f"{found['load']:.1f} before it began.{held}",
        "",
        *speed_table(found),
    ]
    return "\n".join(line if line[:1] in "|#" else fill(line, 118) for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("media", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/track"))
    options = parser.parse_args()
    media: Path = options.media
    options.out.mkdir(parents=True, exist_ok=True)
    own = make_detector(PEDESTRIANS)
    rows = accuracy(media, own, options.out / "accuracy.json")
    times = speed(street(media, options.out / "street.mp4"), own, options.repeats)
    print(json.dumps(times), flush=True)
    with whole_file(PAGE) as temporary:
        temporary.write_text(page(rows, times), encoding="utf-8")


if __name__ == "__main__":
    main()
