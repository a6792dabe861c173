"""Events in untrimmed video: windows, and trained heads, on videos whose events are known exactly.

    OMP_NUM_THREADS=1 python bench/detect.py MEDIA [--out runs/detect]

MEDIA is the folder of footage that MAREY_MEDIA names. Makes the videos (`detect_videos.py`), trains
what has to be trained, and writes `docs/results/detect.md` with a picture. What is finished in
`--out` is not done again, and what was stopped goes on. All thresholds and settings are chosen on
the training videos; the test videos are looked at once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import detect_page
import motions6
from detect_videos import background, make_videos

from marey.data.annotations import Annotations
from marey.data.formats import write_csv
from marey.data.manifest import Manifest
from marey.files import whole_file
from marey.runtime import Runtime, compile
from marey.tasks.classify import score
from marey.tasks.detect import detect, made_ready
from marey.tasks.events import Rules, find_events, suppress
from marey.training.detector import HEAD, evaluate_detector, train_detector
from marey.training.event_metrics import (
    EventMetrics,
    by_label,
    in_time,
    match,
    measure_events,
)
from marey.training.loop import train_from
from marey.training.recipe import Recipe
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Event, Scores
from marey.video.read import open_video

Found = dict[str, tuple[Event, ...]]
Result = dict[str, Any]

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
LEAVES = (0.25, 0.5, 0.75)  # of the threshold
SMOOTHS = (0.0, 0.8, 1.6)
STEP = 0.6  # seconds between windows, a quarter of one
STRIDE = 0.3  # seconds between features: as far as the frames of a window lie apart
FEW = 3  # every third clip of background teaches: about as many as two motions have
EPOCHS = 8
ALONE = TemporalRecipe()
TOGETHER = ALONE.replace({"network_epochs": 3, "freeze": 4, "save_every": 8})

SIX = "window scores of the network for six motions"
SEVEN = "window scores of the same network, taught `background` as a seventh label"
IMAGENET = "head on features of the image network, never trained on these videos"
TAUGHT = "head on features of the network with seven labels"
BOTH = "the same head, then head and network together, end to end"


@dataclass(frozen=True, slots=True)
class Settings:
    """How events are made of window scores."""

    threshold: float
    leave: float
    smooth: float

    def __str__(self) -> str:
        return f"threshold {self.threshold:g}, leave {self.leave:g}, smooth {self.smooth:g} s"


def windows_of(videos: Iterable[Path], net: Runtime) -> dict[str, list[Scores]]:
    """The scores of every window of each video."""
    scores = {}
    for path in videos:
        with open_video(path) as reader, closing(score(reader, net, step=STEP)) as scored:
            scores[path.name] = list(scored)
    return scores


def events_of(scores: Sequence[Scores], labels: Sequence[str], how: Settings) -> tuple[Event, ...]:
    rules = Rules.of(labels, threshold=how.threshold, leave=how.leave * how.threshold)
    return tuple(suppress(find_events(scores, rules, smooth=how.smooth), 0.5, across=True))


def by_windows(net: Runtime, train: Annotations, test: Annotations) -> tuple[Found, Settings]:
    """What windows find in the test videos, with the settings that are best on the training ones.

    Best by the mean of average precision over tIoU 0.3 to 0.7.
    """
    labels = net.labels or ()
    seen = windows_of((video.path for video in train.videos), net)
    choices = [Settings(*values) for values in product(THRESHOLDS, LEAVES, SMOOTHS)]

    def worth(how: Settings) -> float:
        found = {video: events_of(scores, labels, how) for video, scores in seen.items()}
        return measure_events(found, train.truth).loose

    best = max(choices, key=worth)
    tested = windows_of((video.path for video in test.videos), net)
    return {video: events_of(scores, labels, best) for video, scores in tested.items()}, best


def with_background(motions: Manifest, street: Manifest, out: Path) -> Path:
    """The recipe of motions6, shorter, with a seventh label: some of the clips between."""
    table = out / "clips.csv"
    write_csv([*motions.samples, *street.samples[::FEW]], table)
    recipe = Recipe.read(motions6.RECIPE).replace({"epochs": EPOCHS})
    return train_from(table, recipe, out=out / "with-background", resume=True).last


def by_head(
    model: str | Path, table: Path, out: Path, features: Path, recipe: TemporalRecipe = ALONE
) -> Path:
    """A head trained on the features of `model` in all training videos."""
    how = {"stride": STRIDE, "cache": features, "resume": True}
    return train_detector(model, table, recipe, out=out, **how).last  # type: ignore[arg-type]


def end_to_end(model: Path, table: Path, out: Path, features: Path, head: Path) -> Path:
    """The head in `head` and the network under it, trained on together."""
    if not (out / HEAD).exists():  # the same settings and seed give the same head
        shutil.copytree(head, out / HEAD)
    return by_head(model, table, out, features, TOGETHER)


def result(way: str, about: str, found: Found, metrics: EventMetrics, test: Annotations) -> Result:
    """What the page tells of a way; `found` are the events that a person is told of."""
    first = test.videos[0]
    return {
        "way": way,
        "about": about,
        "metrics": metrics.to_dict(),
        "f1": f1(found, test.truth),
        "shown": [[e.label, e.start, e.end, e.score] for e in found[first.name]],
    }


def f1(found: Found, truth: Mapping[str, tuple[Event, ...]]) -> float:
    """Of what a person is told, at tIoU 0.5, all labels together."""
    marked = by_label(truth)
    right = sum(
        int(match(events, marked.get(label, []), (0.5,), in_time).right.sum())
        for label, events in by_label(found).items()
    )
    return 2 * right / (sum(map(len, found.values())) + sum(map(len, truth.values())))


def windows(way: str, about: str, net: Runtime, both: tuple[Annotations, Annotations]) -> Result:
    train, test = both
    began = time.perf_counter()
    found, settings = by_windows(net, train, test)
    told = f"{about}; {settings}"
    print(f"{way}: {time.perf_counter() - began:.0f} s", flush=True)
    return result(way, told, found, measure_events(found, test.truth), test)


def head(way: str, about: str, folder: Path, table: Path, features: Path) -> Result:
    test = Annotations.read(table).split("test")
    measured = evaluate_detector(folder, table, split="test", cache=features)
    net = made_ready(folder)
    found = {video.name: detect(video.path, net).events for video in test.videos}
    return result(way, about, found, measured.metrics, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("media", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/detect"))
    options = parser.parse_args()
    out: Path = options.out
    plain = out.parent / "folds" / "order-0"
    motions6.run(options.media / "motions6", "order", 0, plain)
    motions, street = Manifest.read(plain / "split.csv"), background(options.media)
    table = make_videos(motions, street, out / "videos")
    aware = with_background(motions, street, out)
    annotations = Annotations.read(table)
    both = annotations.split("train"), annotations.split("test")
    features = out / "features"

    def once(way: str, do: Callable[[], Result]) -> Result:
        """What was measured, or is there from an earlier run."""
        path = out / f"{way}.json"
        if not path.exists():
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(do(), indent=1) + "\n", encoding="utf-8")
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found

    results = [
        once("windows-six", lambda: windows("windows-six", SIX, compile(plain / "last"), both)),
        once("windows", lambda: windows("windows", SEVEN, compile(aware), both)),
    ]
    image = by_head("efficientnet_lite0.in1k", table, out / "head-imagenet", features)
    taught = by_head(aware, table, out / "head", features)
    both_taught = end_to_end(aware, table, out / "head-end-to-end", features, out / "head")
    for way, about, folder in (
        ("head-imagenet", IMAGENET, image),
        ("head", TAUGHT, taught),
        ("head-end-to-end", BOTH, both_taught),
    ):
        results.append(once(way, partial(head, way, about, folder, table, features)))
    detect_page.write(results, *both)


if __name__ == "__main__":
    main()
