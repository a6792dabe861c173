"""The errors that marey raises for a person's input: each says what, where, and what to do."""

from __future__ import annotations


class MareyError(Exception):
    """Base of all errors that a caller can mend; anything else that escapes is a bug of marey's.

    `where` is the file, model or field concerned; `do` is the next step, in the imperative.
    """

    def __init__(self, what: str, *, where: object = None, do: str = "") -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.do = do
        message = what if self.where is None else f"{self.where}: {what}"
        super().__init__(f"{message}. {do}" if do else message)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not survive pickling by themselves, and an error in a
        # data-loading worker reaches the caller as a pickle.
        return _rebuild, (type(self), self.what, self.where, self.do)


def _rebuild(kind: type[MareyError], what: str, where: str | None, do: str) -> MareyError:
    return kind(what, where=where, do=do)


class VideoError(MareyError):
    """A media file that cannot be opened, is refused, or holds no frame that can be decoded."""


class ModelError(MareyError):
    """An unknown model, an option it does not have, or a clip it cannot take."""


class WeightsError(MareyError):
    """Weights that cannot be fetched, fail verification, or do not fit the model."""


class DataError(MareyError):
    """A folder or table of clips that cannot be used as it stands."""


class RecipeError(MareyError):
    """A training recipe with an unknown key or a value out of range."""


class OutputError(MareyError):
    """A result that could not be written; nothing was left half-written."""


class MissingExtraError(MareyError):
    """A library that an optional part of marey needs and that is not installed."""
