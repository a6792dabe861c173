"""What a command of marey's leaves: exit code, stdout, stderr. The fixture is in conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Marey = Callable[..., Done]
