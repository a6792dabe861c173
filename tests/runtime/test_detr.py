"""D-FINE and RT-DETR: transformers' own answers, from a file as it is published, compiled."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Marey

from marey.errors import MissingExtraError, WeightsError
from marey.runtime import _detr
from marey.runtime.detector import make_detector
from marey.runtime.openvino import example
from marey.testing.fill import fill
from marey.testing.videos import make_video

pytest.importorskip("transformers")

BACKBONE = {
    "embedding_size": 8,
    "layer_type": "basic",
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1] * 4,
}
SMALL = {
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "d_model": 32,
    "decoder_ffn_dim": 32,
    "decoder_layers": 2,
    "num_queries": 50,
}
CONFIGS = {
    "dfine_small": _detr.CONFIGS["dfine_nano"]
    | SMALL
    | {
        "backbone": _detr._hgnet(8, [8, 16, 16, 24, 32], [8] * 4, 1, 1) | {"out_indices": [3, 4]},
        "encoder_in_channels": [24, 32],
        "decoder_in_channels": [32, 32],
    },
    "rtdetr_v2_r18": SMALL
    | {
        "backbone": BACKBONE | {"out_indices": [2, 3, 4]},
        "encoder_in_channels": [16, 24, 32],
        "decoder_in_channels": [32] * 3,
        "hidden_expansion": 0.5,
    },
}
Publish = Callable[[str], Path]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """A small network of a name, filled, where its file is looked for."""

    def made(name: str) -> Path:
        monkeypatch.setitem(_detr.CONFIGS, name, CONFIGS[name])
        net = _detr.made(name)
        with torch.no_grad():
            for key, value in net.state_dict().items():
                value.copy_(torch.from_numpy(fill(key, value.shape, str(value.dtype))))
        with _detr._quiet():
            net.save_pretrained(tmp_path / name)
        path = tmp_path / name / "model.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        here = replace(_detr.WEIGHTS[name], source=path.as_uri(), sha256=digest)
        monkeypatch.setitem(_detr.WEIGHTS, name, here)
        return path

    return made


@pytest.mark.parametrize(
    "name", ["dfine_small", pytest.param("rtdetr_v2_r18", marks=pytest.mark.slow)]
)
def test_equal_to_transformers_own_call(name: str, publish: Publish) -> None:
    import transformers
    from PIL import Image

    path = publish(name)
    frames = example(torch.uint8, (1, 2, 90, 160, 3))[0].numpy()
    theirs = transformers.AutoModelForObjectDetection.from_pretrained(path.parent).eval()
    processor = transformers.RTDetrImageProcessor()
    given = processor(images=[Image.fromarray(frame) for frame in frames], return_tensors="pt")
    with torch.inference_mode():
        said = theirs(**given)
    expected = processor.post_process_object_detection(said, 0.01, [(90, 160)] * 2)
    plain, compiled = make_detector(name, runtime="torch"), make_detector(f"{name}.coco")
    for one, own, other in zip(plain(frames), compiled(frames), expected, strict=True):
        assert len(one) == len(own) == 50
        assert np.allclose(one.boxes, other["boxes"].numpy(), atol=1e-3)
        assert np.allclose(one.scores, other["scores"].numpy(), atol=1e-5)
        assert one.labels == tuple(_detr.COCO[k] for k in other["labels"].tolist())
        near = np.abs(own.boxes[:, None] - one.boxes).max(2) < 0.2
        near &= np.abs(own.scores[:, None] - one.scores) < 1e-3
        assert near.any(0).mean() >= 0.96
    card = compiled.card()
    assert (card.name, card.runtime, card.classes) == (f"{name}.coco", "openvino cpu", 80)
    assert card.difference is not None
    assert 0 < card.difference < 1e-3
    assert compiled.warnings == plain.warnings == ()


def test_published_names_are_read_whole_or_not_at_all(publish: Publish) -> None:
    """As files on the hub have it, not as the library calls it today."""
    from safetensors.torch import load_file, save_file

    path = publish("dfine_small")
    state = load_file(path)
    assert any("self_attn.out_proj" in key for key in state)
    own, value = next((key, value) for key, value in state.items() if value.ndim == 4)
    cases = {
        "lacks one": {key: value for key, value in state.items() if key != own},
        "has one too many": state | {"more.weight": value.clone()},
        "has another shape": state | {own: value[:1].clone()},
    }
    for state in cases.values():
        save_file(state, path.with_name("other.safetensors"))
        with pytest.raises(WeightsError, match="does not fit dfine_small: 1 entries differ"):
            _detr.made("dfine_small", path.with_name("other.safetensors"))


def test_tracked_from_the_command_line(marey: Marey, publish: Publish, tmp_path: Path) -> None:
    publish("dfine_small")
    video = make_video(tmp_path / "street.mp4", frames=4, fps=Fraction(10))
    how = ("--tracker", "none", "--threshold", "0.05")
    done = marey("track", video, "--detector", "dfine_small.coco", *how)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"]["name"] == "dfine_small.coco"
    assert report["model"]["runtime"] == "openvino cpu"
    assert report["tracks"]
    assert {track["label"] for track in report["tracks"]} <= set(_detr.COCO)


def test_every_published_file_is_named_whole() -> None:
    assert _detr.CONFIGS.keys() == _detr.WEIGHTS.keys()
    for weights in _detr.WEIGHTS.values():
        where, _, revision = weights.source.partition("@")
        assert where.startswith("hf:")
        assert where.endswith("/model.safetensors")
        assert len(revision) == 40
        assert len(weights.sha256 or "") >= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [("dfine_nano", 15278996), ("dfine_small", 41497620), ("rtdetr_v2_r18", 80904640)],
)
def test_files_of_the_published_sizes(name: str, size: int, tmp_path: Path) -> None:
    """Sizes as others wrote them down of the files on the hub."""
    with _detr._quiet():
        _detr.made(name).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size == size


def test_a_missing_library_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_detr, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marey\[detr\]'"):
        make_detector("dfine_small.coco")


def test_transformers_is_loaded_when_it_is_asked_for() -> None:
    from subprocess import run

    code = (
        "from marey.runtime.detector import detector_names; import sys; detector_names(); "
        "sys.exit('transformers' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
