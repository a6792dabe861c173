"""A network as a file that runs elsewhere, checked by running the file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from marey.errors import MissingExtraError, ModelError, OutputError
from marey.models._net import Net
from marey.models._registry import create_model, default_weights
from marey.runtime.file import FORMAT, FileRuntime
from marey.runtime.openvino import FromFrames

BOUND = 1e-3
"""How far the file's logits may be from the network's, relative to the largest of them."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how far its answers are from the network's, on noise."""

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
    frames = _noise(2, net)
    program = _exported(module, frames, net.name)
    with torch.inference_mode():
        expected = {n: module(_noise(n, net)) for n in (1, 2)}
    with _whole(path) as made:
        writers[path.suffix](program, made, _about(net))
        run = _runner(made)
        found = {n: run(_noise(n, net)) for n in expected}
        largest = max(float(logits.abs().max()) for logits in expected.values())
        difference = max(float((found[n] - expected[n]).abs().max()) for n in expected) / largest
        if not difference <= BOUND:
            raise ModelError(
                f"the file's answers differ from the network's by {difference:.2g} of the largest, "
                f"{BOUND:g} may be",
                where=path,
                do="Take another format.",
            )
    return Exported(path, difference, net.report.warnings)


def _noise(clips: int, net: Net) -> Tensor:
    generator = torch.Generator().manual_seed(clips)
    shape = (clips, net.input.frames, *net.input.size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _exported(module: FromFrames, frames: Tensor, name: str) -> torch.export.ExportedProgram:
    clips = torch.export.Dim("clips", min=1)
    try:
        with torch.no_grad():
            return torch.export.export(module, (frames,), dynamic_shapes={"frames": {0: clips}})
    except (
        Exception
    ) as error:  # whatever the compiler raises, it is the network that it cannot take
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
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_torch(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    torch.export.save(program, path, extra_files={"marey.json": about})


def _runner(path: Path) -> Callable[[Tensor], Tensor]:
    """The written file as a function of frames."""
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda frames: module(frames).detach()
    runtime = FileRuntime(path, "f32")
    return lambda frames: torch.from_numpy(runtime(frames.numpy()))


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path in a folder beside `path`; what is written there is moved when the block ends well."""
    try:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".marey-"))
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            do="Check that its folder exists and may be written to.",
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tools, about their own code
            yield folder / path.name
        # The file that names the others comes last.
        for made in sorted(folder.iterdir(), key=lambda made: made.name == path.name):
            made.chmod(0o644)
            made.replace(path.parent / made.name)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", where=path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
