from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from marey.tasks._ahead import ahead


def counted(n: int, made: list[int]) -> Iterator[int]:
    for k in range(n):
        made.append(k)
        yield k


def test_items_come_in_order_and_all() -> None:
    assert list(ahead(range(1000), 3)) == list(range(1000))
    assert list(ahead([], 1)) == []


def test_no_more_are_made_than_asked_for() -> None:
    made: list[int] = []
    items = ahead(counted(100, made), 3)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5  # the one in use, three in the queue, and one that waits for room
    items.close()


def test_they_are_made_while_one_is_used() -> None:
    used = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        assert used.wait(5)
        yield 1

    items = ahead(source(), 1)
    assert next(items) == 0
    used.set()
    assert next(items) == 1
    assert list(items) == []


def test_an_error_comes_in_its_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("damaged here")

    items = ahead(source(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged here"):
        next(items)


def test_closing_ends_the_thread_whatever_it_waits_for() -> None:
    before = threading.active_count()
    for most in (1, 2, 50):
        items = ahead(iter(range(10**6)), most)
        next(items)
        assert threading.active_count() == before + 1
        items.close()
        assert threading.active_count() == before
