"""Untrimmed videos whose events are known to the frame: real clips joined, background between.

The motions are those of motions6, the background street videos (`fights`), darkened to the same
level, so that brightness gives nothing away. No clip stands in both training and test, and no scene
of the background does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np

from marey.data.formats import COLUMNS, Sample
from marey.data.manifest import Manifest
from marey.files import make_folder, whole_file
from marey.types import Event, Image
from marey.video.read import open_video
from marey.video.write import VideoWriter

BACKGROUND = "background"
SIZE = (240, 320)
RATE = Fraction(30)
EVENTS = 6  # in a video
TOUCHING = 0.2  # of the events follow the one before without background
MOST = 3  # clips of background in a row, of about two seconds each
TIMES = {"train": 1, "val": 2}  # each clip stands in so many videos of its split, beside others

# Every so many groups of the street videos, one is for the test.
_TEST_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One clip of a video; a label of None is background."""

    clip: Path
    label: str | None


def background(media: Path) -> Manifest:
    """The street videos, all under one label, split by group: no scene is on both sides."""
    table = Manifest.read(media / "fights" / "groups.csv")
    groups = sorted({sample.group or "" for sample in table.samples})
    test = set(groups[::_TEST_GROUPS])
    return table.with_samples(
        Sample(
            sample.video,
            BACKGROUND,
            split="val" if sample.group in test else "train",
            group=sample.group,
        )
        for sample in table.samples
    )


def make_videos(motions: Manifest, street: Manifest, folder: Path) -> Path:
    """Write the videos and `annotations.csv`; what is there already is not made again."""
    make_folder(folder)
    rows = []
    for split, name in (("train", "train"), ("val", "test")):
        clips = motions.split(split).samples
        between = [sample.video for sample in street.split(split).samples]
        plans = _plans(clips, between, TIMES[split], Random(f"videos {split}"))
        for number, parts in enumerate(plans):
            video = folder / f"{name}{number:02d}.mp4"
            for event in _joined(parts, video):
                row = {"video": video.name, "start": event.start, "end": event.end}
                rows.append(row | {"label": event.label, "split": name})
    path = folder / "annotations.csv"
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def _plans(
    clips: tuple[Sample, ...], between: list[Path], times: int, rng: Random
) -> Iterator[tuple[Part, ...]]:
    """The parts of each video: every clip stands in `times` of them, background is drawn."""
    for _ in range(times):
        order = rng.sample(clips, len(clips))
        for first in range(0, len(order), EVENTS):
            parts: list[Part] = []
            for sample in order[first : first + EVENTS]:
                if not parts or rng.random() >= TOUCHING:
                    many = rng.randint(1, MOST)
                    parts += [Part(clip, None) for clip in rng.sample(between, many)]
                parts.append(Part(sample.video, sample.label))
            parts.append(Part(rng.choice(between), None))
            yield tuple(parts)


def _joined(parts: tuple[Part, ...], path: Path) -> list[Event]:
    """Write the video, unless it is there, and give its events."""
    events: list[Event] = []
    frames = 0
    pictures: list[list[Image]] = []
    for part in parts:
        images = _images(part.clip)
        if part.label:
            start, end = frames / RATE, (frames + len(images)) / RATE
            events.append(Event(part.label, float(start), float(end), 1.0))
        frames += len(images)
        pictures.append(images)
    if path.exists():
        return events
    dark = np.mean([np.mean(p) for p, part in zip(pictures, parts, strict=True) if part.label])
    with VideoWriter(path, SIZE[1], SIZE[0], RATE) as writer:
        number = 0
        for images, part in zip(pictures, parts, strict=True):
            share = 1.0 if part.label else float(dark / max(1.0, float(np.mean(images))))
            for image in images:
                writer.write(_darker(image, share), number / RATE)
                number += 1
    return events


def _images(clip: Path) -> list[Image]:
    """The clip's frames at `RATE`."""
    with open_video(clip) as reader:
        video = reader.video
        count = round((video.duration or 0) * RATE)
        times = [video.start + float((k + Fraction(1, 2)) / RATE) for k in range(count)]
        return [frame.image for frame in reader.frames(times=times, size=SIZE)]


def _darker(image: Image, share: float) -> Image:
    return image if share == 1 else (image * share).clip(0, 255).round().astype(np.uint8)
