"""What several verbs of the command line take: said once, so that it means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Videos = Annotated[
    list[Path], typer.Argument(help="Video files, or folders of them.", show_default=False)
]
ModelName = Annotated[
    str, typer.Option("--model", "-m", help="Model name, unique tag, or checkpoint folder.")
]
Window = Annotated[
    float | None, typer.Option(min=0.01, help="Seconds a window (default: the model's clip).")
]

Runtime = Annotated[str, typer.Option(help="What computes: auto, openvino, onnx or torch.")]
Precision = Annotated[str, typer.Option(help="In what: auto, f32, bf16 or int8.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads for the network, and for each decoder.")
]
Decode = Annotated[
    Literal["all", "references", "keys"],
    typer.Option(help="Frames to decode: fewer is faster and less exact in time."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say what computes, and where time goes.")
]

Threshold = Annotated[float, typer.Option(min=0.001, max=1, help="Score that an event reaches.")]
Thresholds = Annotated[
    list[str] | None, typer.Option("--label-threshold", help="label=0.4 for one of them.")
]
Leave = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Score below which it ends (default: half the threshold)."),
]
Gap = Annotated[float, typer.Option(min=0, help="Seconds between two events that are one.")]
Shortest = Annotated[float, typer.Option(min=0, help="Seconds of the shortest event.")]
Background = Annotated[
    list[str] | None,
    typer.Option(help="Label that is no event (default: background, none, other …)."),
]

Data = Annotated[
    Path,
    typer.Argument(
        help="Folder with a folder a class, or CSV; for detectors CSV or ActivityNet's JSON; "
        "for actions AVA's lines, or a table of what ids do; for tracks MOT's text.",
        show_default=False,
    ),
]
Stride = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        help="Seconds between features (default: 1/4 of a clip), or key frames of tracks (1).",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Detectors: folder where features are kept (default: marey's cache)."),
]
Skip = Annotated[
    bool, typer.Option("--skip", help="Detectors, actions: leave out videos that cannot be read.")
]
VideoFolder = Annotated[
    Path | None, typer.Option(help="Actions: folder of the videos (default: DATA's own).")
]
Classes = Annotated[
    Path | None, typer.Option(help="Actions: a .pbtxt of those that count (default: AVA's).")
]
