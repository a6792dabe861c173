"""D-FINE and RT-DETR through transformers: frames in, COCO's things out, without suppression.

D-FINE (Peng et al. 2024, arXiv 2410.13842) and RT-DETRv2 (Lv et al. 2024, arXiv 2407.17140), as
transformers has them (Apache-2.0), with the weights that ustc-community and PekingU converted and
published on the Hugging Face hub (Apache-2.0). Pictures are scaled to 640x640, whatever their
shape, and not normalised; of all pairs of a query and a label the surest count, one a query.

The table below holds what differs from the defaults of transformers. Networks made of it fill, to
the byte, files of the size of those published for `dfine_nano`, `dfine_small` and `rtdetr_v2_r18`;
none was ever run with published weights here. Hashes are those that others wrote down; where that
was the beginning only, it is the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import MissingExtraError, WeightsError
from marey.models._fetch import fetch
from marey.models._weights import Weights, read_state
from marey.runtime._torch_detector import COCO, Found, TorchDetector
from marey.types import Input

SIZE = (640, 640)
_LEAST = 0.01  # a score below says nothing; there are always 300 boxes


def _hub(repo: str, revision: str, sha256: str) -> Weights:
    return Weights(
        source=f"hf:{repo}/model.safetensors@{revision}",
        sha256=sha256,
        licence="Apache-2.0",
        layout="transformers",
        classes=len(COCO),
    )


WEIGHTS = {
    "dfine_nano": _hub(
        "ustc-community/dfine-nano-coco",
        "066438d3d8f0da137a37b38fdf3368fd4afceced",
        "19e06bdc873da819920a8d373b879721a5b9759d822f8213220bb09abbdab58b",
    ),
    "dfine_small": _hub(
        "ustc-community/dfine-small-coco",
        "f79e65b5fbb33ceb9d3ebba042955d7410c608f8",
        "a144baff3a27bfd538fe37b11fa8d4fca5744b8c054b5301e7c699a1379cd18f",
    ),
    "dfine_medium": _hub(
        "ustc-community/dfine-medium-coco", "4ab9f5e466432f4fcf9a9a023da6aa5ecc9c9829", "5a53154f"
    ),
    "rtdetr_v2_r18": _hub(
        "PekingU/rtdetr_v2_r18vd",
        "5650961749fa93567c0d46fc7f43ea4f9e914107",
        "d18309d0d7ea57048138885c4c6ecfcb1e24506fc6153b94ad484f8ab62c7115",
    ),
    "rtdetr_v2_r34": _hub(
        "PekingU/rtdetr_v2_r34vd", "5d60d8fb5eb2a3ee5575bf200ecbce4e2cfa420c", "d67528a6"
    ),
    "rtdetr_v2_r50": _hub(
        "PekingU/rtdetr_v2_r50vd",
        "282494075698cab9faa1096ae26856890030c817",
        "3331d977dbc0c7a6cdae9ec0b0b6ad156eb6720d65b7cf0fa710dcc541d88d71",
    ),
}
"""The detectors there are, and where their weights come from."""


def _hgnet(stem: int, widths: list[int], mids: list[int], blocks: int, layers: int) -> Any:
    """HGNetV2 with learnable scales; the third stage has `blocks`, the others one."""
    return {
        "stem_channels": [3, stem, widths[0]],
        "stage_in_channels": widths[:-1],
        "stage_mid_channels": mids,
        "stage_out_channels": widths[1:],
        "hidden_sizes": widths[1:],
        "stage_num_blocks": [1, 1, blocks, 1],
        "stage_numb_of_layers": [layers] * 4,
        "use_learnable_affine_block": True,
        "out_indices": [2, 3, 4],
    }


_B0 = _hgnet(16, [16, 64, 256, 512, 1024], [16, 32, 64, 128], 2, 3)
_B2 = _hgnet(24, [32, 96, 384, 768, 1536], [32, 64, 128, 256], 3, 4)
_POINTS = {"decoder_n_points": [3, 6, 3]}
_BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "out_indices": [2, 3, 4]}
_SLIM = {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5}

CONFIGS: dict[str, dict[str, Any]] = {
    "dfine_nano": {
        "backbone": _B0 | {"out_indices": [3, 4]},
        "encoder_in_channels": [512, 1024],
        "decoder_in_channels": [128, 128],
        "feat_strides": [16, 32],
        "encode_proj_layers": [1],
        "num_feature_levels": 2,
        "decoder_n_points": [6, 6],
        "encoder_hidden_dim": 128,
        "d_model": 128,
        "encoder_ffn_dim": 512,
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
    },
    "dfine_small": {
        "backbone": _B0,
        "encoder_in_channels": [256, 512, 1024],
        "decoder_layers": 3,
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        **_POINTS,
    },
    "dfine_medium": {
        "backbone": _B2,
        "encoder_in_channels": [384, 768, 1536],
        "decoder_layers": 4,
        "depth_mult": 0.67,
        **_POINTS,
    },
    "rtdetr_v2_r18": {"backbone": {**_BASIC, "depths": [2] * 4}, **_SLIM, "decoder_layers": 3},
    "rtdetr_v2_r34": {"backbone": _BASIC, **_SLIM, "decoder_layers": 4},
    "rtdetr_v2_r50": {"backbone": {"out_indices": [2, 3, 4]}},
}
"""What differs from the defaults of transformers, and, under `backbone`, from its backbone's."""


class DetrDetector(TorchDetector):
    """Transformers' own network between its own preparation and choice of boxes.

    The whole network is fixed: pictures of any size are scaled to one. Its 300 queries are the
    surest places of its maps, and rounding decides which of two equals comes first, or comes last
    in: so a graph's queries are compared with those that are nearest, and one in a hundred is free.
    """

    def __init__(self, name: str, *, runtime: str = "auto", threads: int | None = None) -> None:
        _need_transformers(name)
        from transformers import RTDetrImageProcessor

        path, pinned = fetch(WEIGHTS[name])
        self._processor = RTDetrImageProcessor()
        super().__init__(
            f"{name}.coco",
            WEIGHTS[name].licence,
            ScoresAndBoxes(made(name, path)),
            path,
            Input(1, SIZE, SIZE, mean=(0.0,) * 3, std=(1.0,) * 3),
            runtime=runtime,
            threads=threads,
            libraries=("transformers",),
            pinned=pinned,
        )

    def find(self, frames: Tensor) -> Found:
        """By transformers' `RTDetrImageProcessor`, before and after."""
        shown = self._processor(images=list(frames), return_tensors="pt")["pixel_values"]
        logits, boxes = self.compute(shown)
        said = SimpleNamespace(logits=logits, pred_boxes=boxes)
        found: Found = self._processor.post_process_object_detection(
            said, _LEAST, [tuple(frames.shape[2:])] * len(frames)
        )
        return found

    def example(self, size: tuple[int, ...]) -> Tensor:
        return (super().example(size) + 2) / 4

    def apart(self, found: Any, expected: Any) -> float:
        """Of scores and boxes, both in [0, 1]; see above."""
        rows, others = (torch.cat([one.sigmoid(), boxes], 2)[0] for one, boxes in (found, expected))
        nearest = torch.cdist(rows, others, p=torch.inf).amin(1)
        return float(nearest.kthvalue(len(nearest) - len(nearest) // 100).values)


class ScoresAndBoxes(nn.Module):
    """Pictures N 3 640 640 in [0, 1] → logits N Q K, and boxes N Q 4 in parts of the picture."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        said = self.net(pixel_values=x)
        return said.logits, said.pred_boxes


def made(name: str, path: Path | None = None) -> Any:
    """The network `name` with the weights at `path`, all of them and no others; else untrained."""
    import transformers

    kind, backbone, net = (
        ("DFine", "HGNetV2", "DFineForObjectDetection")
        if name.startswith("dfine")
        else ("RTDetrV2", "RTDetrResNet", "RTDetrV2ForObjectDetection")
    )
    about = dict(CONFIGS[name])
    body = getattr(transformers, f"{backbone}Config")(**about.pop("backbone"))
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=body, num_labels=len(COCO), **about
    )
    cls = getattr(transformers, net)
    if path is None:
        return cls(config)
    with _quiet():
        made, said = cls.from_pretrained(
            None,
            config=config,
            state_dict=read_state(path),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    odd = sorted(str(one) for kind in said.values() for one in kind)
    if odd:
        raise WeightsError(
            f"does not fit {name}: {len(odd)} entries differ, such as {odd[0]}",
            where=WEIGHTS[name].source,
            do="Delete the file in the cache and run again.",
        )
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Meanwhile transformers shows no bar, and no table of what does not fit."""
    from transformers.utils import logging as theirs

    logging: Any = theirs
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _need_transformers(name: str) -> None:
    if find_spec("transformers") is None:
        raise MissingExtraError(
            f"the detector {name} needs the library transformers",
            do="Run: pip install 'marey[detr]'",
        )
