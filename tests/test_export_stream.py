"""A step of a stream as a file: frames and a state in, logits and a state out, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from stream_nets import LABELS, SIZE, network

import marey.export as export_module
from marey.errors import ModelError
from marey.export import export
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._openvino import core
from marey.runtime.live import compile_live, compile_stream
from marey.runtime.stream import StreamRuntime
from marey.tasks.classify import classify
from marey.tasks.watch import watch
from marey.testing.videos import make_video

KINDS = ("shift", "lstm", "movinet")


@pytest.fixture(scope="module", params=[(k, s) for k in KINDS for s in (".onnx", ".xml")])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Net, Path]:
    kind, suffix = request.param
    net = network(kind)
    net.licence = "CC0"
    path: Path = tmp_path_factory.mktemp("exports") / f"step{suffix}"
    done = export(net, path, stream=True)
    assert (done.path, done.warnings) == (path, ())
    assert done.difference < 1e-5
    return net, path


def frames(streams: int = 1, count: int = 8) -> NDArray[np.uint8]:
    shape = (streams, count, SIZE, SIZE, 3)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def expected(net: Net, given: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return net(normalise(torch.from_numpy(given), net.input)).numpy()


def answers(live: StreamRuntime, given: NDArray[np.uint8]) -> NDArray[np.float32]:
    logits, state = live.step(given[:, :3])
    more, _ = live.step(given[:, 3:], state)
    logits = np.concatenate([logits, more], 1)
    return logits.mean(1) if live.answer == "mean" else logits[:, -1]


def test_the_file_answers_as_the_network_to_a_clip(written: tuple[Net, Path]) -> None:
    net, path = written
    for runtime in ("auto", "onnx") if path.suffix == ".onnx" else ("auto",):
        live = compile_stream(path, runtime=runtime)
        for given in (frames(), frames(2)):
            np.testing.assert_allclose(answers(live, given), expected(net, given), atol=1e-4)
        assert (live.labels, live.input, live.multilabel) == (LABELS, net.input, False)
        card = live.card()
        assert (card.name, card.licence, card.precision) == (str(path), "CC0", "float32")


def test_any_engine_finds_inputs_and_outputs_by_their_names(written: tuple[Net, Path]) -> None:
    net, path = written
    given = frames()
    run: Callable[[dict[str, Any]], list[NDArray[np.float32]]]
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path)
        shapes = {one.name: one.shape for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        run = partial(session.run, None)
    else:
        model = core().read_model(path)
        shapes = {one.any_name: list(one.shape) for one in model.inputs}
        names = ["logits", *(f"next_{name}" for name in list(shapes)[1:])]
        request = core().compile_model(model, "CPU").create_infer_request()
        run = lambda feed: [np.array(request.infer(feed)[name]) for name in names]  # noqa: E731
    states = [f"state_{k}" for k in range(len(shapes) - 1)]
    assert list(shapes) == ["frames", *states]
    assert names == ["logits", *(f"next_{name}" for name in states)]
    assert shapes["frames"] == [1, 1, SIZE, SIZE, 3]
    state = [np.zeros(shapes[name], np.float32) for name in states]
    found = []
    for k in range(given.shape[1]):
        feed = dict(zip(states, state, strict=True))
        logits, *state = run({"frames": given[:, k : k + 1], **feed})
        found.append(logits[:, 0])
    answer = found[-1] if "movinet" in net.name else np.mean(found, 0)
    np.testing.assert_allclose(answer, expected(net, given), atol=1e-4)


def test_it_runs_without_torch(written: tuple[Net, Path]) -> None:
    _, path = written
    code = (
        "import sys, numpy as np\nfrom marey.runtime.live import compile_live\n"
        f"live, state = compile_live({str(path)!r}), None\n"
        "for _ in range(3):\n"
        f"    logits, state = live.step(np.zeros((1, 1, {SIZE}, {SIZE}, 3), np.uint8), state)\n"
        "assert logits.shape == (1, 1, 3)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_watch_takes_it_and_what_takes_clips_names_watch(
    written: tuple[Net, Path], tmp_path: Path
) -> None:
    _, path = written
    video = make_video(tmp_path / "walk.mp4", frames=60, size=(SIZE, SIZE))
    moments = list(watch(video, str(path), fast=True, step=0.2))
    # 60 frames at 25 a second, of which the network wants five a second.
    assert [round(m.end, 2) for m in moments[:-1]] == [round(0.2 * k, 2) for k in range(1, 13)]
    assert {top.label for m in moments for top in m.top} == set(LABELS)
    for refused in (compile, lambda path: classify(video, model=str(path))):
        with pytest.raises(ModelError, match=r"is a step of a stream: .* `marey watch`"):
            refused(path)
    with pytest.raises(ModelError, match="is a step of a stream"):
        compile_live(path, windows=True)


def test_a_file_of_clips_is_watched_by_windows(tmp_path: Path) -> None:
    net = network("none")
    export(net, tmp_path / "clips.xml")
    assert compile_live(tmp_path / "clips.xml")(frames(1, net.input.frames)).shape == (1, 3)  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"takes whole clips.*`marey export --stream`"):
        compile_stream(tmp_path / "clips.xml")


@pytest.mark.parametrize(
    "options", [{"time": "any"}, {"precision": "int8", "calibrate": "clips"}, {"suffix": ".pt2"}]
)
def test_a_step_is_of_one_frame_in_float32(options: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / f"step{options.pop('suffix', '.xml')}"
    with pytest.raises(ModelError, match="a step of a stream is of one frame, in float32"):
        export(network("none"), path, stream=True, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_stream_or_answers_otherwise_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="cannot run as a stream: it looks ahead"):
        export(create_model("movinet_a0", classes=2), tmp_path / "a.xml", stream=True)
    monkeypatch.setattr(export_module, "BOUND", -1.0)
    with pytest.raises(ModelError, match="differ from the network's"):
        export(network("shift"), tmp_path / "b.xml", stream=True)
    assert list(tmp_path.iterdir()) == []
