"""Questions to fresh processes: answers, stages and errors come back, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from marey.benchmark.fresh import ask
from marey.errors import MareyError, VideoError

CHILD = """
import os, sys, time
from marey.benchmark.fresh import serve
from marey.errors import VideoError

def add(reached, a, b):
    print("a library talks")
    reached("added")
    return {"sum": a + b, "process": os.getpid(), "said": os.environ.get("SAID")}

def fail(reached):
    raise VideoError("cannot be read", where="a.mp4", do="Copy it again.")

def die(reached):
    sys.exit("out of luck")

serve({"add": add, "fail": fail, "die": die}, *sys.argv[1:])
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str]:
    path = tmp_path / "child.py"
    path.write_text(CHILD, encoding="utf-8")
    return (str(path),)


def test_answers_come_from_another_process_with_what_it_reached(command: tuple[str]) -> None:
    environment = os.environ | {"SAID": "yes"}
    answer = ask("add", {"a": 1, "b": 2}, command=command, environment=environment)
    assert answer.value["sum"] == 3
    assert answer.value["said"] == "yes"
    assert answer.value["process"] != os.getpid()
    assert list(answer.reached) == ["added"]
    assert answer.reached["added"] > 0


def test_an_error_that_a_person_can_mend_comes_back_as_it_was(command: tuple[str]) -> None:
    with pytest.raises(VideoError) as caught:
        ask("fail", {}, command=command)
    error = caught.value
    assert (error.what, error.where, error.do) == ("cannot be read", "a.mp4", "Copy it again.")


@pytest.mark.parametrize(("part", "said"), [("die", "out of luck"), ("nothing", "KeyError")])
def test_a_bug_in_the_child_says_where(command: tuple[str], part: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said) as caught:
        ask(part, {}, command=command)
    assert not isinstance(caught.value, MareyError)
