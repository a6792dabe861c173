from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import marey.testing.golden as golden_module
from marey.models._create import create_model
from marey.models._registry import list_models
from marey.testing.__main__ import main
from marey.testing.fill import clip, fill, relative_error, uniform
from marey.testing.golden import check

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.json"))

# Siblings of a network with a golden: they differ by constructor values, and are held to the
# parameters and MACs of the paper's table instead.
SIBLINGS = {
    *("rmc2_18", "rmc4_18", "rmc5_18"),
    *("i3d_resnet18", "i3d_resnet101", "s3d_resnet18", "tam_resnet18", "tam_resnet101"),
    *("tsn_resnet50", "tsm_resnet101", "tsm_mobilenetv2"),
    *("x3d_xs", "x3d_l", "x3d_xl", "ircsn_152", "ipcsn_152"),
    *("movinet_a1", "movinet_a2", "movinet_a3", "movinet_a4", "movinet_a5"),
    *("movinet_a1_stream", "movinet_a2_stream"),
    *(f"r3d_hara_{depth}" for depth in (10, 34, 101, 152, 200)),
    *("slowfast_r101", "slowfast_r101_16x8", "slowfast_r50_4x16_mm", "slowfast_r101_mm"),
    *("tpn_slow_r101", "tdn_resnet101", "i3d_flow", "blvnet_tam_101", "blvnet_tam_152"),
}
# timm's graph; held to timm's own answer and to the published weights' keys. Those that have no
# reference are held to their definition, which their own tests build another way.
ELSEWHERE = {
    "efficientnet_lite0",
    *(f"efficientnet3d_b{number}" for number in range(5)),
    *("lrcn_resnet50_gru", "lrcn_resnet50_lstm"),
    # Numbers of the authors' TensorFlow; IBM's own parts without the module over time.
    *("s3d_g", "blvnet_50"),
}


def test_the_generator_is_the_published_one() -> None:
    np.testing.assert_allclose(
        uniform("input", (3,)), [0.364813785, 0.53319916, 0.654524281], atol=1e-9
    )


def test_every_kind_of_entry_has_its_own_range() -> None:
    assert fill("bn.num_batches_tracked", (), "int64").dtype == np.int64
    assert 0.5 <= fill("scale", ()) < 1.5
    for name in ("bn.weight", "bn.running_var"):
        assert fill(name, (99,)).min() >= 0.5
    for name in ("bn.bias", "bn.running_mean"):
        assert np.abs(fill(name, (99,))).max() <= 0.1
    weight = fill("conv.weight", (8, 2, 1, 3, 3))
    assert np.abs(weight).max() <= np.sqrt(6 / 18)
    np.testing.assert_allclose(fill("conv.weight", weight.shape, gain=0.7), 0.7 * weight, rtol=1e-6)
    assert clip((2, 3)).min() >= -1


def test_relative_error_lets_no_nan_pass() -> None:
    assert relative_error([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert relative_error([float("nan"), 2.0], [1.0, 2.0]) == float("inf")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_equals_its_reference(path: Path) -> None:
    result = check(path)
    assert result.passed, result.failures
    assert set(result.errors) >= {"float64"}
    # Gates that saturate make some chaotic at gain 1; none may be so where they do not.
    assert min(result.errors["float64"], result.errors.get("tame", 1.0)) < 1e-12


def test_every_network_has_a_golden_or_a_stated_reason() -> None:
    proven = {json.loads(path.read_text())["model"] for path in FILES}
    assert proven | SIBLINGS | ELSEWHERE == set(list_models())
    assert not proven & (SIBLINGS | ELSEWHERE)


@pytest.fixture(scope="module")
def small() -> dict[str, object]:
    """A golden of a small clip, made by the model itself, to be spoilt in many ways."""
    net = create_model("mc2_18", classes=20)
    state = [
        (name.replace("head.linear", "fc").removeprefix("body."), list(value.shape), "float32")
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]
    golden: dict[str, object] = {
        "name": "small",
        "model": "mc2_18",
        "options": {"classes": 20},
        "fill": "v1",
        "published_layout": "torchvision",
        "inputs": [[2, 3, 2, 24, 16]],
        "input_layout": "NCTHW",
        "params": sum(p.numel() for p in net.parameters()),
        "compare_in": "float32",
        "state": state,
    }
    state = golden_module._state(golden, 1.0)
    logits = golden_module._logits(net, golden, state, torch.float64)
    outputs = {
        "logits": logits[:, :12].tolist(),
        "logits_sum": logits.sum(1).tolist(),
        "logits_abs_max": np.abs(logits).max(1).tolist(),
        "logits_l2": np.linalg.norm(logits, axis=1).tolist(),
    }
    return golden | outputs | {"float64": outputs}


def written(folder: Path, golden: dict[str, object], **changes: object) -> Path:
    path = folder / "changed.json"
    path.write_text(json.dumps(golden | changes))
    return path


def nudged(values: object, by: float) -> list[float]:
    first, *rest = values  # type: ignore[misc]
    return [first + by, *rest]


def test_the_small_golden_passes(tmp_path: Path, small: dict[str, object]) -> None:
    assert check(written(tmp_path, small)).passed


@pytest.mark.parametrize("key", ["logits_sum", "logits_abs_max", "logits_l2"])
def test_a_wrong_number_fails_and_says_where(
    tmp_path: Path, small: dict[str, object], key: str
) -> None:
    outputs: dict[str, object] = small["float64"]  # type: ignore[assignment]
    path = written(tmp_path, small, float64=outputs | {key: nudged(outputs[key], 1e-2)})
    result = check(path)
    assert [failure.split(" is off")[0] for failure in result.failures] == ["float64"]
    assert result.errors["float32"] < 1e-5


def test_tame_runs_are_judged_with_their_gain(tmp_path: Path, small: dict[str, object]) -> None:
    tame = {"gain": 0.7, "float64": small["float64"]}
    result = check(written(tmp_path, small, tame=tame))
    assert list(result.errors) == ["float32", "float64", "tame"]
    assert [failure.split(" is off")[0] for failure in result.failures] == ["tame"]
    assert check(written(tmp_path, small, tame=tame | {"gain": 1.0})).passed


def test_rounding_is_not_judged_where_the_reference_says_so(
    tmp_path: Path, small: dict[str, object]
) -> None:
    result = check(written(tmp_path, small, compare_in="float64", logits=None))
    assert result.passed
    assert list(result.errors) == ["float64"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fill": "v2"}, "fill v1"),
        ({"published_layout": "mmaction2"}, "cannot read the layout 'mmaction2'"),
        ({"state": []}, "missing"),
        ({"options": {"bogus": 1}}, "has no option 'bogus'"),
        ({"options": {"classes": 21}}, "(21, 512)"),
        ({"params": 1}, "parameters, and 0 are folded; the reference 1"),
        ({"inputs": [[1, 4, 2, 24, 16]]}, "takes clips N 3 T H W, got (1, 4, 2, 24, 16)"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, small: dict[str, object], changes: dict[str, object], reason: str
) -> None:
    assert reason in check(written(tmp_path, small, **changes)).failures[0]


def test_a_broken_file_fails_alone(
    tmp_path: Path,
    small: dict[str, object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, good = tmp_path / "broken.json", tmp_path / "good.json"
    broken.write_text('{"model": "mc2_18"')
    good.write_text(json.dumps(small))
    files = [broken, written(tmp_path, small, model="mc2_19"), tmp_path / "absent.json", good]
    monkeypatch.setattr("sys.argv", ["marey.testing", *map(str, files)])
    assert main() == 1
    rows = capsys.readouterr().out.splitlines()[1:]
    assert ["FAILED" in row for row in rows] == [True, True, True, False]
    assert "no model is called 'mc2_19'. Did you mean mc2_18" in rows[1]
    assert "No such file" in rows[2]
    assert rows[3].split()[:2] == ["mc2_18", "11,205,588"]
    monkeypatch.setattr("sys.argv", ["marey.testing", str(good)])
    assert main() == 0
