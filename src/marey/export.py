"""A network as a file that runs elsewhere, checked by running the file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from marey.errors import MissingExtraError, ModelError
from marey.files import whole_files
from marey.models._net import Net
from marey.models._registry import create_model, default_weights
from marey.runtime._openvino import save
from marey.runtime.file import FORMAT, FileRuntime
from marey.runtime.openvino import FromFrames, difference, example

BOUND = 1e-3
"""How far the file's logits may be from the network's, relative to the largest of them."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how far its answers are from the network's, on a made clip."""

    path: Path
    difference: float
    warnings: tuple[str, ...]


def export(model: str | os.PathLike[str] | Net, path: str | os.PathLike[str]) -> Exported:
    """Write `model` as `.onnx`, OpenVINO's `.xml` (and `.bin`) or torch's `.pt2`.

    The file takes frames as they are decoded, uint8 N T H W 3, any N, of the T, H and W that the
    network's `input` has, and gives logits, N K. Labels, `input` and licence are in it: `.onnx` and
    `.xml` are models by their path wherever a model's name is taken, without torch. It is written
    whole or not at all. Raises ModelError for another suffix, a network that cannot be exported,
    and a file that does not answer as the network does.
    """
    path = Path(path)
    writers = {".onnx": _write_onnx, ".xml": _write_openvino, ".pt2": _write_torch}
    if path.suffix not in writers:
        raise ModelError(
            f"no format is called {path.suffix!r}",
            where=path,
            do=f"Choose one of: {', '.join(writers)}.",
        )
    if isinstance(model, str | os.PathLike):
        model = create_model(default_weights(model))
    net = model.cpu().eval()
    module = FromFrames(net).eval()
    program = _exported(module, _frames(2, net), net.name)
    # What the tools warn of, they warn of their own code.
    with whole_files(path) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writers[path.suffix](program, made, _about(net))
        run = _runner(made)
        with torch.inference_mode():
            clips = [_frames(count, net) for count in (1, 2)]
            apart = max(difference(run(frames), module(frames)) for frames in clips)
        if not apart <= BOUND:
            raise ModelError(
                f"the file's answers differ from the network's by {apart:.2g} of the largest, "
                f"{BOUND:g} may be",
                where=path,
                do="Take another format.",
            )
    return Exported(path, apart, net.report.warnings)


def _frames(clips: int, net: Net) -> Tensor:
    return example(torch.uint8, (clips, net.input.frames, *net.input.size, 3))


def _exported(module: FromFrames, frames: Tensor, name: str) -> torch.export.ExportedProgram:
    clips = torch.export.Dim("clips", min=1)
    try:
        with torch.no_grad():
            return torch.export.export(module, (frames,), dynamic_shapes={"frames": {0: clips}})
    except Exception as error:  # whatever the compiler raises, it cannot take the network
        raise ModelError(
            f"torch.export cannot take it ({next(iter(str(error).splitlines()), '')})", where=name
        ) from error


def _about(net: Net) -> str:
    return json.dumps(
        {
            "format": FORMAT,
            "name": net.name,
            "licence": net.licence,
            "classes": net.classes,
            "labels": net.labels,
            "multilabel": net.multilabel,
            "input": net.input.to_dict(),
        }
    )


def _write_onnx(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401  # what torch writes the file with
    except ImportError as error:
        raise MissingExtraError(
            "ONNX files need more libraries", do="Run: pip install 'marey[onnx]'"
        ) from error
    torch.onnx.export(
        program,
        f=path,
        input_names=["frames"],
        output_names=["logits"],
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    model = onnx.load(path)
    model.metadata_props.add(key="marey", value=about)
    onnx.save(model, path)


def _write_openvino(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    import openvino

    model = openvino.convert_model(program)
    model.set_rt_info(about, ["marey"])
    save(model, path)


def _write_torch(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    torch.export.save(program, path, extra_files={"marey.json": about})


def _runner(path: Path) -> Callable[[Tensor], Tensor]:
    """The written file as a function of frames."""
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda frames: module(frames).detach()
    runtime = FileRuntime(path, "f32")
    return lambda frames: torch.from_numpy(runtime(frames.numpy()))
