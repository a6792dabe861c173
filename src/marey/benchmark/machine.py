"""Which machine it was: numbers of speed say nothing without."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from marey.benchmark.result import Machine

_CPUINFO = Path("/proc/cpuinfo")
# What decides how fast convolutions are, of x86 and of Arm, as Linux names them.
_MATTER = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "sve", "bf16", "i8mm"),
)
_LIBRARIES = ("marey", "torch", "openvino", "av")


def this_machine() -> Machine:
    """The processor, its instruction sets, and the versions of what computes and decodes."""
    flags = set(next(_cpuinfo("flags"), next(_cpuinfo("Features"), "")).split())
    return Machine(
        cpu=cpu_name(),
        cores=cores(),
        instructions=tuple(name for name in _MATTER if name in flags),
        computes=_openvino_computes(),
        system=f"{platform.system()} {platform.machine()}",
        versions={name: version(name) for name in _LIBRARIES if find_spec(name)},
    )


def cpu_name() -> str:
    """The processor's name, as Linux tells it."""
    return next(_cpuinfo("model name"), platform.processor() or platform.machine())


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo(key: str) -> Iterator[str]:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                yield value.strip()


def _openvino_computes() -> tuple[str, ...]:
    """The kinds of numbers that OpenVINO computes in here, as it names them."""
    if find_spec("openvino") is None:
        return ()
    from marey.runtime._openvino import core

    return tuple(sorted(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
