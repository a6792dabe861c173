"""Networks by name that were compiled here before: ready again without importing torch.

To import torch, build a network, load its weights and hash them takes seconds, only to find the
graph that was made last time. So `compile` leaves a note beside the graphs: for what was asked, in
which graph it ended, what reports say of it, and what all that depended on. Whatever is not as it
was then, the network is made as if there were no note, and the note is written anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError, OutputError
from marey.files import Stamp, cache_folder, make_folder, whole_file
from marey.runtime._cache import (
    WRITABLE,
    GraphCache,
    code,
    graph_name,
    hashed,
    made_by,
    step_name,
)
from marey.runtime._openvino import BOUNDS, NAMES, Request, compiled
from marey.runtime.stream import OneByOne, Streamed, StreamRuntime
from marey.types import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

    from marey.models._net import Net
    from marey.runtime._net import NetRuntime
    from marey.runtime._steps import OpenVinoSteps
    from marey.runtime.openvino import OpenVinoRuntime

# What may change which weights a name means, and whether torch finds a GPU, beside files.
_VARIABLES = (
    *("MAREY_MIRROR", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "XDG_CACHE_HOME"),
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
)
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "C:/Windows/System32/nvcuda.dll")


class Asked(NamedTuple):
    """What `compile` was asked for, as far as the answer depends on it."""

    model: str | os.PathLike[str]
    runtime: str
    precision: str
    batch: int
    options: str = "{}"  # JSON
    features: bool = False
    shared: tuple[int, int] | None = None  # a stretch of clips: frames from one to the next, clips
    step: bool = False  # a step of a stream, not clips

    def note(self) -> Path:
        """Where the note of it is; versions and processors have one each."""
        text = os.fspath(self.model)
        # A path may mean another folder elsewhere, and a name may one day be that of a folder.
        place = Path(text).absolute() if Path(text).exists() else None
        about = [text, isinstance(self.model, str), str(place), *self[1:], made_by()]
        return cache_folder() / "names" / f"{hashed(about)}.json"


@dataclass(frozen=True, slots=True)
class Note:
    """Where the graphs of a network are, what is said of it, and what that depended on."""

    folder: str
    precision: str
    batch: int
    card: ModelCard
    labels: tuple[str, ...] | None
    warnings: tuple[str, ...]
    files: tuple[Stamp, ...]
    code: str
    around: dict[str, Any]
    streams: bool  # whether the network could also run frame by frame
    step: Streamed | None = None  # of the graph of a step

    @classmethod
    def of(cls, made: OpenVinoRuntime | OpenVinoSteps, batch: int = 1) -> Note | None:
        """None where a later call would say something else, or where the files are not known."""
        load = made.net.report.load
        if load is None or not load.files or load.pinned:
            return None
        from marey.models._stream import obstacle

        (precision,) = (short for short, name in NAMES.items() if name == made.precision)
        return cls(
            folder=made.cache.folder.name,
            precision=precision,
            batch=batch,
            card=made.card(),
            labels=made.labels,
            warnings=made.warnings,
            files=load.files,
            code=code(),
            around=_around(),
            streams=obstacle(made.net) is None,
            step=getattr(made, "streamed", None),
        )

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """None where there is none, a damaged one, or one that is no longer true."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            said = kept["note"]
            if (
                kept["hash"] != hashed(said)
                or said["code"] != code()
                or said["around"] != _around()
            ):
                return None
            labels = None if said["labels"] is None else tuple(said["labels"])
            note = cls(
                **said
                | {
                    "card": ModelCard.from_dict(said["card"]),
                    "labels": labels,
                    "warnings": tuple(said["warnings"]),
                    "files": tuple(Stamp(*stamp) for stamp in said["files"]),
                    "step": said["step"] and Streamed.from_dict(said["step"]),
                }
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note if note.same_files() else None

    def write(self, path: Path) -> None:
        """Whole or not at all; OutputError where the cache cannot be written."""
        said = asdict(self)
        make_folder(path.parent, do=WRITABLE)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"note": said, "hash": hashed(said)}), encoding="utf-8")

    def same_files(self) -> bool:
        """Whether the files that the weights were read from are still the same."""
        return all(Stamp.of(stamp.path) == stamp for stamp in self.files)

    def request(self, name: str, threads: int | None) -> Request | None:
        """The graph of that name, ready; None where it is not there, or damaged."""
        found = GraphCache(cache_folder() / "graphs" / self.folder).read(name)
        if found is None or not found[1] <= BOUNDS[self.precision]:
            return None
        try:
            return Request(compiled(found[0], self.precision, threads))
        except RuntimeError:
            return None


def kept(
    asked: Asked, threads: int | None, make: Callable[[], NetRuntime]
) -> NetRuntime | KeptRuntime:
    """What `make` gives, or without calling it what an earlier call has left."""
    if (note := Note.read(asked.note())) and (found := KeptRuntime(note, threads, make)).ready():
        return found
    made = make()
    from marey.runtime.openvino import OpenVinoRuntime

    if isinstance(made, OpenVinoRuntime):
        leave_note(asked, made)
    return made


def leave_note(asked: Asked, made: OpenVinoRuntime | OpenVinoSteps) -> None:
    """So that the same is found the next time; that this could not be is noted in `made`."""
    if note := Note.of(made, asked.batch):
        try:
            note.write(asked.note())
        except OutputError as error:
            if not made.notes:  # where the graph could not be written either, that is said already
                made.notes.append(str(error))


def kept_stream(asked: Asked, threads: int | None) -> StreamRuntime | None:
    """The steps of a network that an earlier call has left."""
    note = Note.read(asked.note())
    if note is None or note.step is None:
        return None
    request = note.request(step_name(note.card.prepare.size, note.precision), threads)
    if request is None:
        return None
    steps = OneByOne(request, note.step.state)
    return StreamRuntime(steps, note.step, note.card, note.labels, note.warnings)


class KeptRuntime:
    """A network whose graphs are there from earlier; itself it is made when something needs it.

    That are tensors, normalised clips, frames of another shape than came before, and `net`.
    Answers are those of `OpenVinoRuntime`, whose graphs these are.
    """

    def __init__(self, note: Note, threads: int | None, make: Callable[[], NetRuntime]) -> None:
        self._note, self._threads, self._make = note, threads, make
        self._requests: dict[tuple[int, ...], Request | None] = {}
        self._made: NetRuntime | None = None
        self._making = Lock()
        self.input = note.card.prepare
        self.labels = note.labels
        self.multilabel = note.card.multilabel
        self.runtime, self.precision = note.card.runtime, note.card.precision
        self.difference = note.card.difference
        self.notes: list[str] = []

    def ready(self) -> bool:
        """Whether the graph for the clips of `input` is there, undamaged."""
        return self._request((self._note.batch, self.input.frames, *self.input.size, 3)) is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        later = () if self._made is None else self._made.warnings
        return tuple(dict.fromkeys((*self._note.warnings, *self.notes, *later)))

    @property
    def net(self) -> Net:
        return self._itself().net

    def card(self) -> ModelCard:
        return self._note.card

    @overload
    def __call__(self, given: Tensor, /) -> Tensor: ...
    @overload
    def __call__(self, given: NDArray[Any], /) -> NDArray[np.float32]: ...
    def __call__(self, given: Any, /) -> Any:
        """As of any network that was compiled: see `compile`."""
        if isinstance(given, np.ndarray) and (logits := self._run(given)) is not None:
            return logits
        return self._itself()(given)

    def _run(self, frames: NDArray[Any]) -> NDArray[np.float32] | None:
        """The answers, if these are frames of shapes that came before."""
        if (
            self._made is not None
            or frames.dtype != np.uint8
            or frames.ndim != 5
            or not len(frames)
        ):
            return None
        batch = self._note.batch
        parts = [frames[start : start + batch] for start in range(0, len(frames), batch)]
        requests = [request for part in parts if (request := self._request(part.shape))]
        if len(requests) < len(parts):
            return None
        return np.concatenate(
            [request(part) for request, part in zip(requests, parts, strict=True)]
        )

    def _request(self, shape: tuple[int, ...]) -> Request | None:
        with self._making:
            if shape not in self._requests:
                name = graph_name("frames", shape, self._note.precision)
                self._requests[shape] = self._note.request(name, self._threads)
            return self._requests[shape]

    def _itself(self) -> NetRuntime:
        with self._making:
            if self._made is None:
                if not self._note.same_files():
                    raise ModelError(
                        "its weights have changed since it was compiled",
                        where=self._note.card.name,
                        do="Compile it again.",
                    )
                self._made = self._make()
                self._requests.clear()  # it has its own
            return self._made


def _around() -> dict[str, Any]:
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    return {**variables, **{driver: Path(driver).exists() for driver in _DRIVERS}}
