from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import marey.models._registry as registry
from marey.errors import ModelError, WeightsError
from marey.models import _create
from marey.models._checkpoint import save_checkpoint
from marey.models._costs import FILE, text
from marey.models._create import create_model
from marey.models._fetch import fetch
from marey.models._info import model_info
from marey.models._page import page
from marey.models._registry import default_weights, list_models
from marey.models._weights import OWN_LAYOUT, Weights

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weights: Weights) -> tuple[Path, str | None]:
        if weights.source.startswith("package:"):
            return fetch(weights)
        pytest.fail(f"downloads {weights.source}")

    monkeypatch.setattr(_create, "fetch", refuse)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", list_models())
def test_a_bare_name_is_untrained_and_downloads_nothing(name: str) -> None:
    with torch.device("meta"):
        net = create_model(name, classes=3)
    assert (net.name, net.architecture, net.classes) == (name, name, 3)
    assert net.labels is net.report.load is net.licence is None
    assert not net.training


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", list_models() + list_models(weights=True))
def test_every_name_is_described_without_downloading(name: str) -> None:
    info = model_info(name)
    assert info.name == name
    assert info.params > 1_000_000
    assert info.shape == (info.input.frames, *info.input.size)
    for weights in info.weights:
        assert weights.licence
        assert weights.top1 is None or weights.protocol


def test_labels_fit_their_classes() -> None:
    for name in list_models():
        entry = registry.resolve(name).entry
        for weights in entry.weights.values():
            if weights.labels:
                assert len(set(weights.labels())) == (weights.classes or entry.classes)


def test_names_are_found_by_pattern() -> None:
    assert list_models("rmc*") == ["rmc2_18", "rmc3_18", "rmc4_18", "rmc5_18"]
    assert list_models("r3d*", weights=True) == ["r3d_18.k400"]
    assert list_models("z*") == []


def test_a_tag_alone_names_its_only_owner() -> None:
    asked = registry.resolve("in1k")
    assert (asked.entry.name, asked.tag) == ("efficientnet_lite0", "in1k")
    with pytest.raises(ModelError, match=r"Choose one of: .*r3d_18\.k400"):
        create_model("k400")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("r3d18", "r3d_18"),
        ("r3d_18.k40", "r3d_18.k400"),
        ("efficientnet_lite", "efficientnet_lite0"),
    ],
)
def test_an_unknown_name_brings_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=f"no model is called '{name}'. Did you mean .*{near}"):
        create_model(name)


def test_nothing_near_says_where_to_look() -> None:
    with pytest.raises(ModelError, match="`marey models` lists all"):
        create_model("zzz")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, "at least 1, got 0"),
        (-3, "at least 1, got -3"),
        ([], "at least one label"),
        (["a", "b", "a"], "'a' 2 times"),
        ("ab", "sequence of strings"),
        ([1, 2], "sequence of strings"),
    ],
)
def test_wrong_classes_are_refused(classes: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("mc2_18", classes=classes)  # type: ignore[arg-type]


def test_an_unknown_option_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"no option 'drop'. Its options are: dropout=0.0"):
        create_model("mc2_18", drop=0.5)
    net = create_model("mc2_18", dropout=0.5)
    assert net.options == {"dropout": 0.5}
    assert net.head.dropout.p == 0.5


def test_a_verb_takes_the_default_tag_or_refuses() -> None:
    assert default_weights("r3d_18") == "r3d_18.k400"
    assert default_weights("in1k") == "efficientnet_lite0.in1k"
    assert default_weights("runs/best") == "runs/best"
    with pytest.raises(ModelError, match="no weights that could label anything"):
        default_weights("rmc3_18")


def test_a_path_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a checkpoint folder"):
        create_model(tmp_path / "nothing")


def test_as_many_classes_keep_the_head_and_other_labels_do_not() -> None:
    for classes in (None, 1000):
        net = create_model("in1k", classes=classes)
        assert net.report.load is not None
        assert net.labels is not None
        assert not net.report.load.new_head
    other = create_model("in1k", classes=[f"class {k}" for k in range(1000)])
    assert other.report.load is not None
    assert other.report.load.new_head
    assert set(other.report.load.dropped) == {"head.linear.weight", "head.linear.bias"}


def test_a_checkpoint_can_come_with_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create_model("efficientnet_lite0+segments:parts=2", classes=["sit", "stand"])
    made.input = replace(made.input, frames=12)
    save_checkpoint(made, tmp_path / "weights_of_mine" / "doing", half=True)
    (tmp_path / "weights_of_mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    entry = registry.resolve("efficientnet_lite0").entry
    source = "package:weights_of_mine/doing/model.safetensors"
    weights = Weights(source=source, licence="research-only", layout=OWN_LAYOUT)
    monkeypatch.setitem(
        registry._ENTRIES,
        entry.name,
        replace(entry, weights={**entry.weights, "doing": weights}),
    )
    net = create_model("doing")
    assert (net.name, net.licence) == ("efficientnet_lite0.doing", "research-only")
    assert (net.labels, net.input, net.options) == (made.labels, made.input, made.options)
    assert create_model("doing", classes=3).classes == 3
    info = model_info("doing")
    assert (info.classes, info.input.frames) == (2, 12)
    assert info.options["rule"] == "segments:parts=2"
    assert info.weights[0].labels
    assert info.shape == (12, 224, 224)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/convnxt_tiny+tam", "timm has no network 'convnxt_tiny'. Did you mean convnext_tiny"),
        ("timm/resnet18.zz+tam", "timm/resnet18: has no weights 'zz'. Has "),
        ("r3d_18+tam", r"r3d_18: takes no rule, .* efficientnet_lite0 or timm/NAME"),
        ("efficientnet_lite0+tan", "no rule is called 'tan'"),
        ("efficientnet_lite0+tam:kern=3", "no option 'kern'"),
        ("timm/vit_tiny_patch16_224+tam", "transformers are out of scope"),
        ("timm/resnet18+tam:stages=9", "fits no layer"),
    ],
)
def test_a_wrong_name_with_a_rule_is_one_clear_error(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model(name, classes=2)


@pytest.mark.usefixtures("no_download")
def test_every_network_of_timms_has_a_name() -> None:
    net = create_model("timm/test_resnet+tam:kernel=5+segments", classes=["sit", "stand"])
    assert net.name == "timm/test_resnet+tam:kernel=5+segments"
    assert net.architecture == "timm/test_resnet"
    assert net.options == {
        "rule": "tam:kernel=5+segments",
        "frames": 8,
        "dropout": 0.0,
        "drop_path": 0.0,
    }
    assert net.input.size == (160, 160)
    assert create_model("timm/test_resnet", rule="tam", frames=3).input.frames == 3
    assert default_weights("timm/test_resnet+tam") == "timm/test_resnet.r160_in1k+tam"
    info = model_info("timm/test_resnet.r160_in1k+tam")
    assert (info.name, info.classes) == ("timm/test_resnet.r160_in1k+tam", 1000)
    assert info.labels is not None
    assert info.weights[0].source == "hf:timm/test_resnet.r160_in1k/model.safetensors@main"
    assert info.macs > model_info("timm/test_resnet").macs


def test_timms_weights_are_loaded_under_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is out of reach here: a file that timm's network saved stands in for its."""
    theirs = timm.create_model("test_resnet").eval()
    save_file(dict(theirs.state_dict()), tmp_path / "model.safetensors")
    monkeypatch.setattr(_create, "fetch", lambda weights: (tmp_path / "model.safetensors", None))
    net = create_model("timm/test_resnet.r160_in1k+tam")
    assert net.labels is not None
    assert net.labels[0] == "tench"
    clip = torch.randn(1, 3, 1, 64, 64).expand(-1, -1, 8, -1, -1)
    torch.testing.assert_close(net(clip), theirs(clip[:, :, 0]), rtol=1e-4, atol=1e-5)
    other = create_model("timm/test_resnet.r160_in1k+split", classes=2)
    assert other.report.load is not None
    assert other.report.load.new_head
    body = dict(other.body.net.named_parameters())
    assert torch.equal(body["layer1.0.conv1.space.weight"], theirs.layer1[0].conv1.weight)


def test_without_a_network_timms_weights_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="cannot be fetched from the hub"):
        create_model("timm/test_resnet.r160_in1k+tam")


def test_the_listed_costs_are_the_networks_own() -> None:
    assert FILE.read_text(encoding="utf-8") == text()


def test_the_models_page_is_up_to_date() -> None:
    assert (DOCS / "models.md").read_text(encoding="utf-8") == page()


def test_examples_run() -> None:
    assert doctest.testmod(_create) == (0, 1)
