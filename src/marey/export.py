"""A network as a file that runs elsewhere, checked by running the file."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError
from marey.files import whole_files
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._registry import default_weights
from marey.quantise import CLIPS, Quantised, quantise
from marey.runtime._nncf import need_nncf
from marey.runtime._openvino import converted, save
from marey.runtime._steps import OneStep
from marey.runtime.file import FORMAT, INT8, FileRuntime
from marey.runtime.onnx import graph_of
from marey.runtime.openvino import FromFrames, difference, example, graph_names
from marey.runtime.stream import Streamed

BOUND = 1e-3
"""How far the file's logits may be from the network's, relative to the largest of them."""

PRECISIONS = ("f32", "int8")
TIMES = ("fixed", "any")


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how far its answers are from the network's.

    `difference` is that of its float32 graph on made clips. `quantised` says what int8 lost beside
    it, and `least_frames` from how many frames on a clip will do, where any number does.
    """

    path: Path
    difference: float
    warnings: tuple[str, ...]
    quantised: Quantised | None = None
    least_frames: int | None = None


def export(
    model: str | os.PathLike[str] | Net,
    path: str | os.PathLike[str],
    *,
    precision: str = "f32",
    calibrate: str | os.PathLike[str] | None = None,
    clips: int = CLIPS,
    time: str = "fixed",
    stream: bool = False,
) -> Exported:
    """Write `model` as `.onnx`, OpenVINO's `.xml` (and `.bin`) or torch's `.pt2`.

    The file takes frames as they are decoded, uint8 N T H W 3, any N, of the T, H and W that the
    network's `input` has, and gives logits, N K. With `time` `any` it takes any T from some number
    on, if the graph allows that. Labels, `input` and licence are in it: `.onnx` and `.xml` are
    models by their path wherever a model's name is taken, without torch.

    With `stream` the file is a step of a network that looks at frames as they come, for `marey
    watch`: a frame, uint8 1 1 H W 3, and the state before (zeros at first) give logits, 1 1 K, and
    the state, each of its tensors an input and an output, in order.

    `precision` `int8`, for `.xml`, quantises the network on `clips` clips of the footage at
    `calibrate`: a folder of videos, or a CSV table of labelled spans.

    It is written whole or not at all. Raises ModelError for another suffix, a network that cannot
    be exported, and a file that does not answer as the network does; DataError for footage that
    cannot be read.
    """
    path = Path(path)
    _refuse(path, precision, calibrate, time, stream)
    if isinstance(model, str | os.PathLike):
        model = create_model(default_weights(model))
    net = model.cpu().eval()
    if stream:
        return _export_step(net, path)
    module = FromFrames(net).eval()
    # What the tools warn of, they warn of their own code.
    with whole_files(path) as made, warnings.catch_warnings(), _folder() as folder:
        warnings.simplefilter("ignore")
        program = _exported(module, (_frames(net, 2),), net.name, _open(time))
        least = _least(program, net) if time == "any" else None
        full = made if calibrate is None else Path(folder) / path.name
        _WRITE[path.suffix](program, full, _about(net, least))
        apart = _checked(full, module, net, least, path)
        told, quantised = net.report.warnings, None
        if calibrate is not None:
            quantised, lost = quantise(full, made, Path(calibrate), clips)
            told = (*told, *lost)
    return Exported(path, apart, told, quantised, least)


def _export_step(net: Net, path: Path) -> Exported:
    step = OneStep(net)
    with whole_files(path) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = _exported(step.module, step.given, net.name)
        _WRITE[path.suffix](program, made, _about(net, stream=step.streamed))
        apart = step.apart(FileRuntime(made, "f32").stream().step)
        _judge(apart, "the file's answers", path, "Take another format.")
    return Exported(path, apart, net.report.warnings)


def _refuse(
    path: Path,
    precision: str,
    calibrate: str | os.PathLike[str] | None,
    time: str,
    stream: bool,
) -> None:
    """What can be told to be wrong before any work."""
    for what, given, known in (
        ("format", path.suffix, tuple(_WRITE)),
        ("precision", precision, PRECISIONS),
        ("time", time, TIMES),
    ):
        if given not in known:
            raise ModelError(
                f"no {what} is called {given!r}",
                where=path,
                do=f"Choose one of: {', '.join(known)}.",
            )
    if stream and (path.suffix == ".pt2" or precision != "f32" or time != "fixed"):
        raise ModelError(
            "a step of a stream is of one frame, in float32, and written as .onnx or .xml",
            where=path,
            do="Leave out the other options.",
        )
    if precision == "int8":
        if calibrate is None:
            raise ModelError("int8 needs clips to calibrate on", where=path, do=INT8)
        if path.suffix != ".xml":
            raise ModelError(
                f"NNCF quantises OpenVINO's graphs: int8 is written as .xml, not as {path.suffix}",
                where=path,
                do="Choose .xml, or precision f32.",
            )
        if time == "any":
            raise ModelError(
                "int8 is judged on clips of one length", where=path, do="Choose time fixed, or f32."
            )
        need_nncf()
    elif calibrate is not None:
        raise ModelError(
            "float32 is not calibrated", where=path, do="Choose precision int8, or leave clips out."
        )


def _folder() -> TemporaryDirectory[str]:
    # A file that the engine still has open may refuse to go, on Windows.
    return TemporaryDirectory(prefix="marey-", ignore_cleanup_errors=True)


def _frames(net: Net, clips: int, frames: int | None = None) -> Tensor:
    return example(torch.uint8, (clips, frames or net.input.frames, *net.input.size, 3))


def _open(time: str) -> dict[str, Any]:
    """The sizes of `frames` that are left open."""
    shape: dict[int, Any] = {0: torch.export.Dim("clips", min=1)}
    if time == "any":
        shape[1] = torch.export.Dim.DYNAMIC
    return {"frames": shape}


def _exported(
    module: nn.Module, given: tuple[Tensor, ...], name: str, sizes: dict[str, Any] | None = None
) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(module, given, dynamic_shapes=sizes)
    except Exception as error:  # whatever the compiler raises, it cannot take the network
        do = "Export it with time 'fixed'." if sizes and 1 in sizes["frames"] else ""
        raise ModelError(
            f"torch.export cannot take it ({_why(error)})", where=name, do=do
        ) from error


def _why(error: Exception) -> str:
    """The reason among torch's many lines: the first point of its list, or the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    points = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    return next(iter(points or lines), type(error).__name__)


def _least(program: torch.export.ExportedProgram, net: Net) -> int:
    """The fewest frames that the graph takes; ModelError where those are more than a clip has."""
    (given,) = (node.meta["val"] for node in program.graph.nodes if node.name == "frames")
    proven = program.range_constraints[given.shape[1].node.expr].lower
    least = max(net.least[0], int(proven))
    if least > net.input.frames:
        raise ModelError(
            f"its graph takes {least} frames or more, and its clips have {net.input.frames}",
            where=net.name,
            do="Export it with time 'fixed'.",
        )
    return least


def _checked(full: Path, module: FromFrames, net: Net, least: int | None, path: Path) -> float:
    """The largest difference of the file's answers from the network's; ModelError if too large."""
    run = _runner(full)
    usual = net.input.frames
    lengths = {usual} if least is None else {least, usual, usual + 1, 2 * usual}
    apart = 0.0
    for clips, length in [(2, usual), *((1, length) for length in sorted(lengths))]:
        found = _apart(run, module, _frames(net, clips, length))
        what, do = "the file's answers", "Take another format."
        if length != usual:
            what = f"clips of {length} frames will not do: {what}"
            do = "Export it with time 'fixed'."
        _judge(found, what, path, do)
        apart = max(apart, found)
    return apart


def _judge(apart: float, what: str, path: Path, do: str) -> None:
    # Written so that a NaN fails.
    if not apart <= BOUND:
        what += f" differ from the network's by {apart:.2g} of the largest, {BOUND:g} may be"
        raise ModelError(what, where=path, do=do)


@torch.inference_mode()
def _apart(run: Callable[[Tensor], Tensor], module: FromFrames, frames: Tensor) -> float:
    expected = module(frames)
    try:
        found = run(frames)
    except (RuntimeError, AssertionError):  # as engines refuse a length that they were not made for
        return math.inf
    return difference(found, expected) if found.shape == expected.shape else math.inf


def _about(net: Net, least: int | None = None, stream: Streamed | None = None) -> str:
    return json.dumps(
        {
            "format": FORMAT,
            "name": net.name,
            "licence": net.licence,
            "classes": net.classes,
            "labels": net.labels,
            "multilabel": net.multilabel,
            "input": net.input.to_dict(),
            "least_frames": least,
            "stream": stream and stream.to_dict(),
        }
    )


def _write_onnx(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    path.write_bytes(graph_of(program, about))


def _write_openvino(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    model = converted(program)
    given = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.name in given]
    sizes = {k: list(node.meta["val"].shape) for k, node in enumerate(nodes)}
    # A step's are all known, which the converter leaves open; OpenVINO plans faster with them.
    if all(isinstance(size, int) for shape in sizes.values() for size in shape):
        model.reshape(sizes)
    for ports, names in zip((model.inputs, model.outputs), graph_names(program), strict=True):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().add_names({name})
    model.set_rt_info(about, ["marey"])
    save(model, path)


def _write_torch(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    torch.export.save(program, path, extra_files={"marey.json": about})


_WRITE = {".onnx": _write_onnx, ".xml": _write_openvino, ".pt2": _write_torch}


def _runner(path: Path) -> Callable[[Tensor], Tensor]:
    """The written file as a function of frames."""
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda frames: module(frames).detach()
    runtime = FileRuntime(path, "f32")
    return lambda frames: torch.from_numpy(runtime(frames.numpy()))
