"""One pass over a video for all that is asked of it: what it shows, its shots, who is where, and
what each of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from marey.data.box_files import BoxFile
from marey.outputs.journal import Journal
from marey.runtime import Runtime
from marey.runtime.detector import Detector
from marey.tasks._actor_looks import JudgesBoxes
from marey.tasks._collected import collect
from marey.tasks._followed import Followed
from marey.tasks._remembered import remembered, remembered_looks
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._shot_tracks import split_at
from marey.tasks._spent import Spent
from marey.tasks.actors import Acting
from marey.tasks.classify import score
from marey.tasks.detect import KEPT
from marey.tasks.follow import follow, told
from marey.tasks.shots import cuts, judged
from marey.types import Event, Ranked, Report, Score, Track
from marey.video.branches import Branches
from marey.video.read import Reader, nothing_decoded

_TOP = 3  # labels a window
_SURE = 0.5  # of a cut


@dataclass(frozen=True, slots=True)
class Asked:
    """The networks of a pass, None where nothing is asked: what is seen, who is where, where shots
    end, what everybody does.
    """

    tags: Runtime | None = None
    detector: Detector | BoxFile | None = None
    shots: Runtime | None = None
    actions: Runtime | JudgesBoxes | None = None

    @property
    def nets(self) -> list[Runtime | Detector | BoxFile | JudgesBoxes]:
        """Those that are; the first is the report's model."""
        every = (self.tags, self.detector, self.shots, self.actions)
        return [net for net in every if net is not None]

    @property
    def warnings(self) -> list[str]:
        """Of all, each once."""
        return list(dict.fromkeys(note for net in self.nets for note in net.warnings))


class _Aside(NamedTuple):
    """Who hears of a part besides: how far it is, what it takes, what its networks say."""

    progress: Progress | None
    spent: Spent
    journal: Journal | None


@dataclass(slots=True)
class Pass:
    """What is found in one video by the networks that are `asked`.

    `following` is what `follow` takes besides. No track goes on over a cut that is found.
    """

    asked: Asked
    tracker: str
    following: Mapping[str, Any]
    action_threshold: float
    top: tuple[Score, ...] = ()
    windows: tuple[Ranked, ...] = ()
    cuts: tuple[Event, ...] = ()
    tracks: tuple[Track, ...] = ()
    acts: tuple[Event, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def over(
        self,
        reader: Reader,
        *,
        progress: Progress | None = None,
        spent: Spent | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Asks of all of `reader`, in one decoding; the first part tells `progress`."""
        spent = spent or Spent()
        spent.frames = reader.counts
        doing: list[Callable[[_Aside, Reader], None]] = []
        if self.asked.tags is not None:
            doing.append(partial(self._see, self.asked.tags))
        if self.asked.detector is not None:
            doing.append(partial(self._follow, self.asked.detector))
        if self.asked.shots is not None:
            doing.append(partial(self._find_shots, self.asked.shots))
        each = [Spent() for _ in doing]
        parts = [
            partial(do, _Aside(None if k else progress, own, journal))
            for k, (do, own) in enumerate(zip(doing, each, strict=True))
        ]
        _together(reader, parts)
        if not reader.counts.converted:
            raise nothing_decoded(reader.video.path)
        spent.network = sum(own.network for own in each)
        spent.clips = sum(own.clips for own in each)
        spent.waiting = max(own.waiting for own in each)
        starts = [cut.start for cut in self.cuts]
        self.tracks, self.acts = split_at(self.tracks, self.acts, starts)

    def report(self, reader: Reader, missing: Sequence[str] = ()) -> Report:
        """What was found; `missing` says what could not be asked."""
        model, *also = (net.card() for net in self.asked.nets)
        events = sorted((*self.cuts, *self.acts), key=lambda e: (e.start, e.end, e.label))
        followed = self.asked.detector is not None
        return Report(
            video=reader.video,
            model=model,
            top=self.top,
            windows=self.windows,
            warnings=(*missing, *self.asked.warnings, *reader.warnings(), *self.warnings),
            events=tuple(events),
            tracks=self.tracks,
            also=tuple(also),
            tracking=told(self.tracker, **self.following) if followed else None,
        )

    def _see(self, net: Runtime, aside: _Aside, reader: Reader) -> None:
        seen = Seen(labels_of(net), _TOP, most=KEPT)
        with (
            remembered(net, aside.journal, "tags") as tags,
            closing(score(reader, tags, spent=aside.spent)) as scored,
        ):
            for _ in seen.passing(scored, reader.video, aside.progress):
                pass
        if not seen.count:
            raise nothing_decoded(reader.video.path)
        self.top, self.windows = seen.top, tuple(seen.windows)
        self.warnings += seen.warnings()

    def _find_shots(self, net: Runtime, aside: _Aside, reader: Reader) -> None:
        with (
            remembered(net, aside.journal, "shots") as finder,
            closing(judged(reader, finder, progress=aside.progress, spent=aside.spent)) as frames,
        ):
            self.cuts = tuple(cuts(frames, _SURE))

    def _follow(self, net: Detector | BoxFile, aside: _Aside, reader: Reader) -> None:
        acting, video, spent = None, reader.video, aside.spent
        with (
            remembered_looks(net, aside.journal) as eye,
            remembered(self.asked.actions, aside.journal, "actions") as judge,
            closing(follow(reader, eye, self.tracker, spent=spent, **self.following)) as found,
        ):
            shown: Iterator[Followed] = found
            if judge is not None:
                acting = Acting(judge, video, threshold=self.action_threshold, spent=spent)
                shown = acting(found)
            self.tracks = collect(_shown(shown, video.start, video.duration, aside.progress))
        if acting:
            self.acts = acting.events
            self.warnings += acting.warnings()


def _shown(
    found: Iterable[Followed], start: float, duration: float | None, progress: Progress | None
) -> Iterator[Followed]:
    """The frames, told to `progress` on their way."""
    for moment in found:
        if progress:
            progress(float(moment.frame.time) - start, duration)
        yield moment


def _together(reader: Reader, doing: Sequence[Callable[[Reader], None]]) -> None:
    """Each of `doing` on its own branch of the video; the first error ends all, and is raised."""
    if len(doing) == 1:
        doing[0](reader)
        return

    def on(do: Callable[[Reader], None], branch: Reader) -> None:
        with branch:
            do(branch)

    with Branches(reader, len(doing)) as branches, ThreadPoolExecutor(len(doing)) as pool:
        try:
            under_way = [pool.submit(on, do, one) for do, one in zip(doing, branches, strict=True)]
            done, _ = wait(under_way, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:  # Ctrl-C, too: the pool waits for its threads
            for branch in branches:
                branch.close()
            raise
