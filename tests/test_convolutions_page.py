"""The page on convolutions says of each setting what torch and the zoo say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from marey import create_model
from marey.models._cost import Cost, cost
from marey.models.resnet3d import middle_width
from marey.nn.mix import TemporalShift
from marey.nn.time import Clock

PAGE = Path(__file__).parents[1] / "docs" / "convolutions.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
SHAPE, NET = (8, 10, 12), (16, 112, 112)

# How the page opens; a setting says what differs.
DEFAULTS: dict[str, Any] = {
    **{f"{axis}.{key}": 3 if key == "k" else 1 for axis in ("time", "space") for key in "kspd"},
    **{"in": 64, "out": 64, "layers": 3, "causal": 0, "alpha": 4, "beta": 8},
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"time.s": 2, "space.s": 2, "in": 64, "out": 128, "x": 2},
    {"time.k": 5, "time.p": 2, "space.k": 5, "space.p": 2, "weights": "mean", "x": 4},
    {"time.d": 2, "time.p": 2, "space.d": 3, "space.p": 3, "weights": "edge", "x": 5},
    {"time.k": 1, "time.p": 0, "in": 16, "out": 512, "x": 2, "reverse": 1, "layers": 1},
    {"time.k": 4, "space.k": 2, "space.s": 3, "space.p": 0, "reverse": 1, "causal": 1},
    {"time.k": 5, "time.p": 4, "time.s": 3, "space.p": 4, "x": 4, "reverse": 1, "layers": 5},
    {"time.k": 2, "time.p": 0, "space.k": 1, "in": 48, "out": 144, "x": 5, "reverse": 1},
    {"time.k": 5, "time.d": 3, "time.p": 0, "alpha": 2, "beta": 16},  # too long for the clip
    {"space.k": 5, "space.d": 3, "space.p": 0, "alpha": 8, "beta": 2},  # too high for it
]


# Takes the page through the settings, as following a link does, and notes what it then shows.
VISIT = """
<script type="module">
const noted = [];
for (const hash of HASHES) {
  const there = new Promise(there => addEventListener("hashchange", there, {once: true}));
  location.hash = hash;
  await there;
  const shown = [...document.querySelectorAll("data")].map(({id, value}) => [id, value]);
  const computed = [...document.querySelectorAll("#dump")].at(-1).textContent;
  noted.push({shown: Object.fromEntries(shown), computed: JSON.parse(computed)});
}
document.body.innerHTML = `<pre>${JSON.stringify(noted)}</pre>`;
</script>
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page shows and computes, by setting; one browser for all, as it starts slowly."""
    if BROWSER is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} on this machine")
    hashes = [urlencode({**setting, "t": 0, "dump": 1}) for setting in SETTINGS]
    visit = tmp_path_factory.mktemp("page") / "visit.html"
    page = PAGE.read_text(encoding="utf-8") + VISIT.replace("HASHES", json.dumps(hashes))
    visit.write_text(page, encoding="utf-8")
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command = [BROWSER, *flags, profile, "--dump-dom", visit.as_uri()]
    dom = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=100, check=True)
    found = re.search(r"<pre>(.*)</pre>", dom.stdout)
    assert found, dom.stderr
    return dict(zip(map(urlencode, SETTINGS), json.loads(found[1]), strict=True))


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\bimport\b|fetch\(|\bsrc=", text)
    assert re.findall(r'<link[^>]*href="([^"]*)"', text) == ["data:,"]


@pytest.mark.parametrize("setting", SETTINGS, ids=urlencode)
def test_page_and_torch_agree(setting: dict[str, Any], said: dict[str, Any]) -> None:
    values, computed = said[urlencode(setting)].values()
    now = DEFAULTS | setting

    for key, layers in kinds(now).items():
        sizes, params, macs = counted(layers, now["in"])
        assert int(values[f"params-{key}"]) == params, key
        assert int(values[f"macs-{key}"]) == macs, key
        if sizes is None:
            assert "0" in re.split(r"\W+", values[f"size-{key}"]), key
        else:
            assert values[f"size-{key}"] == sizes, key
    assert values["params"] == values["params-cube"]
    assert values["macs"] == values["macs-cube"]
    assert values["size"] == values["size-cube"]

    seen = [check_field(now, axis, int(values[f"field-{axis}"])) for axis in ("time", "space")]
    assert values["sees-cube"] == "{} {}".format(*seen)
    assert values["sees-plane"] == f"1 {seen[1]}"
    around = 1 + now["layers"] * (1 if now["causal"] else 2)
    assert values["sees-shift"] == f"{around} {seen[1]}"
    if now["time.k"] == now["space.k"] == 3:
        assert int(values["middle"]) == middle_width(now["in"], now["out"])

    check_nets(values, computed)
    check_outputs(now, computed)
    check_channels(now, computed)


def conv(now: dict[str, Any], *, inputs: int, outputs: int, time: bool, space: bool) -> nn.Conv3d:
    """A convolution along time, space or both, by the sliders."""

    def along(key: str, otherwise: int) -> tuple[int, int, int]:
        depth = now[f"time.{key}"] if time else otherwise
        side = now[f"space.{key}"] if space else otherwise
        return depth, side, side

    return nn.Conv3d(
        inputs, outputs, along("k", 1), along("s", 1), along("p", 0), along("d", 1), bias=False
    )


class SlowFast(nn.Module):
    """One layer of each pathway, and what passes from fast to slow in front of it."""

    def __init__(self, now: dict[str, Any]) -> None:
        super().__init__()
        inputs, outputs, self.alpha = now["in"], now["out"], now["alpha"]
        self.thin = inputs // now["beta"]
        self.fast = conv(
            now, inputs=self.thin, outputs=outputs // now["beta"], time=True, space=True
        )
        self.lateral = nn.Conv3d(
            self.thin, 2 * self.thin, (5, 1, 1), (self.alpha, 1, 1), (2, 0, 0), bias=False
        )
        self.slow = conv(
            now, inputs=inputs + 2 * self.thin, outputs=outputs, time=False, space=True
        )

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        picks = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // self.alpha).long()
        slow, fast = clip[:, :, picks], clip[:, : self.thin]
        return self.slow(torch.cat([slow, self.lateral(fast)], 1)), self.fast(fast)


def kinds(now: dict[str, Any]) -> dict[str, nn.Module]:
    inputs, outputs = now["in"], now["out"]
    k, t = now["space.k"], now["time.k"]
    middle = t * k * k * inputs * outputs // (k * k * inputs + t * outputs)
    with torch.device("meta"):
        plane = conv(now, inputs=inputs, outputs=outputs, time=False, space=True)
        return {
            "plane": plane,
            "cube": conv(now, inputs=inputs, outputs=outputs, time=True, space=True),
            "factored": nn.Sequential(
                conv(now, inputs=inputs, outputs=middle, time=False, space=True),
                conv(now, inputs=middle, outputs=outputs, time=True, space=False),
            ),
            "shift": plane,
            "tam": nn.Sequential(
                nn.Conv3d(inputs, inputs, (3, 1, 1), 1, (1, 0, 0), groups=inputs, bias=False),
                nn.ReLU(),
                plane,
            ),
            "slowfast": SlowFast(now),
        }


def counted(layers: nn.Module, inputs: int) -> tuple[str | None, int, int]:
    """Output size(s), None where torch refuses; parameters; multiply-accumulates."""
    params = sum(p.numel() for p in layers.parameters())
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            made = layers(torch.empty(1, inputs, *SHAPE, device="meta"))
    except RuntimeError:  # the kernel is larger than the padded input
        return None, params, 0
    made = made if isinstance(made, tuple) else (made,)
    sizes = ", ".join(" ".join(map(str, one.shape[2:])) for one in made)
    return sizes, params, counter.get_total_flops() // 2


def check_field(now: dict[str, Any], axis: str, said: int) -> int:
    """So many inputs, and no fewer, give one output behind the layers."""
    k, s, d = (now[f"{axis}.{key}"] for key in "ksd")
    layers = nn.Sequential(*[nn.Conv1d(1, 1, k, s, 0, d, device="meta")] * now["layers"])
    assert layers(torch.empty(1, 1, said, device="meta")).shape[2] == 1
    if said > 1:
        with pytest.raises(RuntimeError):
            layers(torch.empty(1, 1, said - 1, device="meta"))
    return said


def check_nets(values: dict[str, str], computed: dict[str, Any]) -> None:
    """The whole networks are the zoo's, and their stages have the zoo's frames."""
    for key, name in (("r3d", "r3d_18"), ("mixed", values["mixed-name"].lower() + "_18")):
        spent, sizes = net_of_the_zoo(name)
        assert int(values[f"params-{key}"]) == spent.params, name
        assert int(values[f"macs-{key}"]) == spent.macs, name
        assert values[f"size-{key}"] == " ".join(map(str, sizes[-1])), name
    assert computed["frames"] == [size[0] for size in sizes]


@cache
def net_of_the_zoo(name: str) -> tuple[Cost, list[tuple[int, ...]]]:
    """What it costs, and the T, H, W behind each stage."""
    with torch.device("meta"):
        net, clip = create_model(name, classes=400), torch.empty(1, 3, *NET)
    sizes = []
    for stage in net.body.children():
        clip = stage(clip)
        sizes.append(tuple(clip.shape[2:]))
    return cost(net, NET), sizes


def check_outputs(now: dict[str, Any], computed: dict[str, Any]) -> None:
    """What is painted is what the convolutions make of the clip."""
    clip = volume(computed["clip"])[None, None]
    wt, wy, wx = (torch.tensor(axis, dtype=torch.float64) for axis in computed["kernel"])
    steps = {
        "plane": [("space", wy[:, None] * wx)],
        "cube": [("both", wt[:, None, None] * wy[:, None] * wx)],
        "factored": [("space", wy[:, None] * wx), ("time", wt)],
    }
    for key, kernels in steps.items():
        made = clip
        for along, kernel in kernels:
            layer = conv(now, inputs=1, outputs=1, time=along != "space", space=along != "time")
            weight = kernel.reshape(1, 1, *layer.kernel_size)
            try:
                made = F.conv3d(made, weight, None, layer.stride, layer.padding, layer.dilation)
            except RuntimeError:
                made = made.new_empty(1, 1, 0, 0, 0)
                break
        shown = volume(computed[key])
        if made.numel() or shown.numel():
            torch.testing.assert_close(shown, made[0, 0], rtol=0, atol=1e-12)


def check_channels(now: dict[str, Any], computed: dict[str, Any]) -> None:
    """The shift is marey's, the aggregation a depthwise convolution and a ReLU."""
    numbered = torch.arange(1.0, 9).reshape(8, 1, 1, 1).expand(8, 8, 1, 1)
    shift = TemporalShift(Clock(1, 8), ends="causal" if now["causal"] else "zeros")
    sources = [[-1 if c is None else c for c in frame] for frame in computed["shift"]]
    assert (shift(numbered)[:, :, 0, 0] - 1).tolist() == sources

    rows = torch.tensor(computed["rows"], dtype=torch.float64)  # T W
    weights = torch.tensor(computed["AGGREGATES"], dtype=torch.float64)[:, None]
    made = F.conv1d(rows.T[:, None].expand(-1, 8, -1), weights, padding=1, groups=8).relu()
    shown = torch.tensor(computed["aggregated"], dtype=torch.float64)  # C T W
    torch.testing.assert_close(shown, made.permute(1, 2, 0), rtol=0, atol=1e-12)

    picks = torch.linspace(0, 31, 32 // now["alpha"]).long()
    assert computed["picks"] == picks.tolist()


def volume(said: dict[str, Any]) -> Tensor:
    return torch.tensor(said["data"], dtype=torch.float64).reshape(said["shape"])
