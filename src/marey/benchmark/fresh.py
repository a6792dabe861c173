"""Questions answered in processes of their own, which inherit neither memory nor threads.

A child is `python COMMAND PART QUESTION`, both in JSON; it says what it has reached, and answers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any, NamedTuple

import marey.errors
from marey.errors import MareyError

OURS = ("-P", "-m", "marey.benchmark")  # -P: a file `av.py` of the person's is not imported

Part = Callable[..., Any]
"""Called with `reached`, a function that tells the parent of a stage, and the question."""


class Answer(NamedTuple):
    """What a part returned, and after how many seconds it had reached what."""

    value: Any
    reached: dict[str, float]


def ask(
    part: str,
    question: Mapping[str, object],
    *,
    command: Sequence[str] = OURS,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """What `part` answers in a fresh process; MareyErrors of the child are raised here."""
    reached: dict[str, float] = {}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, *command, part, json.dumps(question)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        with child:
            try:
                for line in child.stdout or ():
                    said = json.loads(line)
                    if "reached" in said:
                        reached[said["reached"]] = time.perf_counter() - began
                    elif "error" in said:
                        raise _error(**said["error"])
                    else:
                        return Answer(said["answer"], reached)
            except BaseException:
                child.kill()
                raise
        errors.seek(0)
        raise RuntimeError(f"{part} ended with {child.returncode}:\n{errors.read()}")


def serve(parts: Mapping[str, Part], part: str, question: str) -> None:
    """The child's side; what libraries print goes to stderr."""
    say = partial(_say, file=sys.stdout)
    with redirect_stdout(sys.stderr):
        try:
            found = parts[part](lambda stage: say(reached=stage), **json.loads(question))
        except MareyError as error:
            kind = type(error).__name__
            say(error={"kind": kind, "what": error.what, "where": error.where, "do": error.do})
            return
        say(answer=found)


def _say(file: Any, **what: object) -> None:
    print(json.dumps(what), file=file, flush=True)


def _error(kind: str, what: str, where: str | None, do: str) -> MareyError:
    made = getattr(marey.errors, kind, MareyError)
    error: MareyError = made(what, where=where, do=do)
    return error
