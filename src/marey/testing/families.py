"""timm's network families, one small network of each kind, and how rules fare on them.

`CONVNETS` has, for each module of timm that makes convolutional networks, a small network of each
of its kinds of blocks; `HYBRIDS` those that also attend, but work on maps (C, H, W); `LEFT_OUT`
says of every other module why it is not tried.

    python -m marey.testing.families                        # prints the table
    python -m marey.testing.families --write docs/timed.md  # writes it between the page's markers
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from torch import nn

from marey.errors import ModelError
from marey.testing.sweep import RULES, SIZE, STILL, Row, Subject, sweep

CONVNETS: Final[Mapping[str, tuple[str, ...]]] = {
    "byobnet": (
        "repvgg_a0",
        "gernet_s",
        "mobileone_s0",
        "regnetz_b16",
        "regnetz_b16_evos",
        "resnext26ts",
        "seresnext26ts",
        "gcresnext26ts",
        "eca_resnext26ts",
        "resnet50_clip_gap",
    ),
    "convmixer": ("convmixer_768_32",),
    "convnext": (
        "convnext_atto",
        "convnext_atto_ols",
        "convnext_zepto_rms",
        "convnext_tiny_hnf",
        "convnextv2_atto",
    ),
    "cspnet": (
        "cspresnet50",
        "darknet17",
        "sedarknet21",
        "cs3darknet_s",
        "cs3darknet_focus_s",
    ),
    "cspnext": ("cspnext_tiny",),
    "densenet": ("densenet121", "densenetblur121d"),
    "dla": ("dla34", "dla60_res2net"),
    "dpn": ("dpn48b",),
    "efficientnet": (
        "efficientnet_b0",
        "efficientnet_b0_gn",
        "efficientnet_blur_b0",
        "efficientnet_lite0",
        "efficientnet_cc_b0_4e",
        "efficientnetv2_rw_t",
        "tf_efficientnet_b0",
        "tinynet_e",
        "mixnet_s",
        "mobilenetv1_100",
        "mobilenetv2_035",
        "mnasnet_small",
    ),
    "fasternet": ("fasternet_t0",),
    "fastvit": ("fastvit_t8",),
    "focalnet": ("focalnet_tiny_srf",),
    "ghostnet": ("ghostnet_050", "ghostnetv2_100", "ghostnetv3_050"),
    "hardcorenas": ("hardcorenas_a",),
    "hgnet": ("hgnet_tiny",),
    "hrnet": ("hrnet_w18_small",),
    "inception_next": ("inception_next_atto",),
    "inception_resnet_v2": ("inception_resnet_v2",),
    "inception_v3": ("inception_v3",),
    "inception_v4": ("inception_v4",),
    "lcnetv2": ("lcnetv2_small",),
    "mambaout": ("mambaout_femto",),
    "metaformer": ("convformer_s18", "poolformer_s12"),
    "mobilenetv3": (
        "mobilenetv3_small_050",
        "tf_mobilenetv3_small_minimal_100",
        "lcnet_035",
        "mobilenetv4_conv_small_035",
    ),
    "nasnet": ("nasnetalarge",),
    "nfnet": (
        "nf_resnet26",
        "nf_regnet_b0",
    ),
    "pnasnet": ("pnasnet5large",),
    "rdnet": ("rdnet_tiny",),
    "regnet": ("regnetx_002", "regnety_002"),
    "repghost": ("repghostnet_050",),
    "repvit": ("repvit_m1",),
    "res2net": ("res2net50_48w_2s",),
    "resnest": ("resnest14d",),
    "resnet": (
        "resnet18",
        "resnetblur18",
        "seresnet18",
        "ecaresnet26t",
        "resnet50_gn",
    ),
    "resnetv2": (
        "resnetv2_18",
        "resnetv2_50x1_bit",
        "resnetv2_50d_gn",
    ),
    "rexnet": ("rexnet_100",),
    "selecsls": ("selecsls42",),
    "senet": ("legacy_seresnet18",),
    "sknet": ("skresnet18",),
    "starnet": ("starnet_s050",),
    "tresnet": ("tresnet_m",),
    "vgg": ("vgg11_bn",),
    "vovnet": ("vovnet39a", "ese_vovnet19b_slim_dw"),
    "xception": ("legacy_xception",),
    "xception_aligned": ("xception41", "xception41p"),
}

HYBRIDS: Final[Mapping[str, tuple[str, ...]]] = {
    "byoanet": ("lambda_resnet26t",),
    "byobnet": ("resnet50_clip",),
    "cpubone": ("cpubone_nano",),
    "edgenext": ("edgenext_xx_small",),
    "efficientformer_v2": ("efficientformerv2_s0",),
    "efficientvit_mit": ("efficientvit_b0",),
    "efficientvit_msra": ("efficientvit_m0",),
    "fastvit": ("fastvit_sa12",),
    "iformer": ("iformer_t",),
    "levit": ("levit_conv_128s",),
    "lowformer": ("lowformer_b0",),
    "maxxvit": ("coatnet_pico_rw_224",),
    "metaformer": ("caformer_s18",),
    "mobilenetv3": ("mobilenetv4_hybrid_medium_075",),
    "mobilevit": ("mobilevit_xxs", "mobilevitv2_050"),
    "nextvit": ("nextvit_small",),
    "shvit": ("shvit_s1",),
    "swiftformer": ("swiftformer_xs",),
    "visformer": ("visformer_tiny",),
}

LEFT_OUT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "beit",
            "cait",
            "coat",
            "convit",
            "crossvit",
            "deepseek_vit",
            "deit",
            "eva",
            "gemma4_vit",
            "hiera",
            "mvitv2",
            "naflexvit",
            "pit",
            "qwen3_vit",
            "tnt",
            "twins",
            "vision_transformer",
            "vision_transformer_hybrid",
            "vision_transformer_relpos",
            "vision_transformer_sam",
            "vitamin",
            "volo",
            "xcit",
        ),
        "transformers on tokens",
    ),
    **dict.fromkeys(
        (
            "davit",
            "gcvit",
            "hieradet_sam2",
            "nest",
            "pvt_v2",
            "swin_transformer",
            "swin_transformer_v2",
            "swin_transformer_v2_cr",
            "tiny_vit",
        ),
        "transformers with windows or pyramids: they convolve only beside the attention",
    ),
    "csatv2": "frequencies for pixels, and attention over maps of one channel",
    "mlp_mixer": "no convolution but the one that cuts patches",
    "sequencer": "LSTMs over rows and columns",
    "efficientformer": "ends in tokens",
    "efficientvim": "a state-space model, whose features are several maps",
    "mobilenetv5": "300 million parameters, too large to be tried here",
}
"""The modules of timm without a network in the sweep, and why."""

SIZES: Final[Mapping[str, int]] = {
    "coatnet_pico_rw_224": 224,
    "convmixer_768_32": 28,
    "efficientformerv2_s0": 224,
    "efficientvit_m0": 128,
    "inception_resnet_v2": 96,
    "inception_v3": 96,
    "inception_v4": 96,
    "levit_conv_128s": 224,
    "shvit_s1": 96,
    "visformer_tiny": 224,
}
"""Pictures of another size than 64 x 64, for networks that need one."""

BEGIN, END = "<!-- families:begin -->", "<!-- families:end -->"
_SHORT = {
    "full:init=mean": "full mean",
    "split:init=paper": "split paper",
    "split:width=paper": "split wide",
    "tam:init=difference": "tam diff",
    "segments:parts=2": "segments",
}


def subject(name: str) -> Subject:
    """A network of timm's for the sweep, with seven classes."""
    return Subject(name, lambda: _made(name), SIZES.get(name, SIZE))


def _made(name: str) -> nn.Module:
    import timm

    net: nn.Module = timm.create_model(name, num_classes=7)
    return net


def grouped() -> Iterator[tuple[str, str]]:
    """Module and network, of all that are swept."""
    for group in (CONVNETS, HYBRIDS):
        for module, names in group.items():
            yield from ((module, name) for name in names)


def section(rows: Sequence[Row]) -> str:
    """The rows as Markdown: counts for each rule, the table, and the reasons of the refusals."""
    import timm

    rules = [rule for rule in RULES if any(row.rule == rule for row in rows)]
    found = {(row.name, row.rule): row for row in rows}
    notes: dict[str, str] = {}
    for row in rows:
        if row.verdict != "ok":
            notes.setdefault(_reason(row), _letter(len(notes)))
    modules = len({module for module, name in grouped() if (name, rules[0]) in found})
    text = (
        f"{len({row.name for row in rows})} networks of timm {timm.__version__}, small ones of "
        f"each kind of block in {modules} of its modules, each by {len(rules)} rules, on clips of "
        f"4 frames. *Still* is the largest difference of a still clip's logits from the image "
        f"network's, relative and in double precision, of all networks. Made by "
        f"`python -m marey.testing.families --write docs/timed.md`.\n\n"
    )
    text += _table(["rule", "works", "refused", "still"], (_count(rule, rows) for rule in rules))
    head = ["module", "network", *(_SHORT.get(rule, rule) for rule in rules)]
    for title, group in (("Convolutional networks", CONVNETS), ("With attention", HYBRIDS)):
        lines = [
            [module, f"`{name}`", *(_mark(found[name, rule], notes) for rule in rules)]
            for module, names in group.items()
            for name in names
            if (name, rules[0]) in found
        ]
        if lines:
            text += f"\n{title}:\n\n{_table(head, lines)}"
    return text + "".join(f"\n{letter}: {reason}  " for reason, letter in notes.items()) + "\n"


def _reason(row: Row) -> str:
    """Without the rule's name, which the table's column tells, and what torch said."""
    told = row.reason.replace(f"the rule {row.rule.partition(':')[0]!r}", "the rule")
    told = told.replace(f"the rule {row.rule!r}", "the rule").partition(" (")[0]
    return told if row.verdict == "refused" else f"FAILED, {told}"


def _letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[number]


def _mark(row: Row, notes: Mapping[str, str]) -> str:
    return "ok" if row.verdict == "ok" else notes[_reason(row)]


def _count(rule: str, rows: Iterable[Row]) -> Sequence[str]:
    own = [row for row in rows if row.rule == rule]
    works = [row for row in own if row.verdict == "ok"]
    still = [row.still for row in works if row.still is not None]
    refused = sum(row.verdict == "refused" for row in own)
    return (
        f"`{rule}`",
        f"{len(works)} of {len(own)}",
        str(refused or ""),
        f"{max(still):.0e}" if rule in STILL and still else "",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(page: Path, text: str) -> None:
    """Put `text` between the markers of the page; ModelError where it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ModelError(f"has no lines {BEGIN} and {END}", where=page)
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


def main() -> int:
    """Exit code 0: everything works or is refused; 1: something failed."""
    parser = argparse.ArgumentParser(prog="python -m marey.testing.families", description=__doc__)
    parser.add_argument("names", nargs="*", help="networks of timm; all of the table by default")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="the page that has the table")
    options = parser.parse_args()
    names = options.names or [name for _, name in grouped()]
    rows = []
    for row in sweep(map(subject, names)):
        rows.append(row)
        if row.verdict != "ok":
            sys.stderr.write(f"{row.name} {row.rule} {row.verdict}: {row.where} {row.reason}\n")
    if options.write:
        write(options.write, section(rows))
    else:
        sys.stdout.write(section(rows))
    return int(any(row.verdict == "FAILED" for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
