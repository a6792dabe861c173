"""Making the next items while the present one is used: decoding beside the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_POLL = 0.1  # seconds until a waiting maker looks whether it is still wanted


class _End:
    """Follows the last item; `error` is what ended the source, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(source: Iterable[T], most: int) -> Generator[T]:
    """The items of `source` in order, made in a thread of its own, `most` of them ahead.

    An error of the source comes where its item would have come. When the generator ends or is
    closed the thread has ended too: what the source uses may be closed then.
    """
    items: Queue[T | _End] = Queue(most)
    unwanted = Event()
    maker = Thread(target=_make, args=(source, items, unwanted), daemon=True)
    maker.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error:
            raise item.error
    finally:
        unwanted.set()
        maker.join()


def _make(source: Iterable[T], items: Queue[T | _End], unwanted: Event) -> None:
    try:
        for item in source:
            if not _put(items, item, unwanted):
                return
        end = _End()
    except BaseException as error:  # it is raised where the items are used
        end = _End(error)
    _put(items, end, unwanted)


def _put(items: Queue[T | _End], item: T | _End, unwanted: Event) -> bool:
    """Whether there was room before nobody wanted it any more."""
    while not unwanted.is_set():
        try:
            items.put(item, timeout=_POLL)
        except Full:
            continue
        return True
    return False
