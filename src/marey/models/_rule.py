"""Rules: in words, how an image network comes to see time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from marey.errors import ModelError

Where = dict[str, Any]


def _where(layers: str, stages: tuple[int, ...] | None = None) -> Where:
    return {"layers": layers, "stages": stages, "every": 1, "match": None}


_KERNEL: Final = {"kernel": 3, "dilation": 1, "ends": None}

KINDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "none": {},
        "full": {**_where("spatial"), **_KERNEL, "init": "centre", "stride": ()},
        "mixed": {**_where("spatial", (0, 1)), **_KERNEL, "init": "centre", "stride": ()},
        "split": {
            **_where("spatial"),
            **_KERNEL,
            "init": "identity",
            "order": "space-time",
            "width": "same",
            "between": None,
            "stride": (),
        },
        "shift": {**_where("first"), "ends": None, "share": 8},
        "tam": {**_where("first"), **_KERNEL, "init": "identity", "relu": False, "learn": True},
        "gate": {**_where("middle"), "kernel": 3, "ends": None, "init": "mean"},
        "pool": {"stages": (2,), "op": "max"},
        "clip": {},
        "segments": {"parts": 3},
        "rnn": {"cell": "lstm", "width": 512, "both": False},
        "conv1d": {"width": 128, "kernel": 3},
    }
)
"""Each kind of rule, and its options with their defaults. `docs/timed.md` explains them."""

LAST: Final = "last"
"""As `stages`: the last of the network's stages, whichever number it has."""

HEADS: Final = ("segments", "rnn", "conv1d")
"""The kinds that are heads: they keep the order of the frames' features."""

_INITS: Final = {
    "full": ("centre", "mean", "difference", "paper"),
    "mixed": ("centre", "mean", "difference", "paper"),
    "split": ("identity", "difference", "paper"),
    "tam": ("identity", "shift", "difference", "paper"),
    "gate": ("mean", "paper"),
}
_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "layers": ("spatial", "depthwise", "pointwise", "first", "middle", "last", "all"),
    "ends": (None, "zeros", "replicate", "causal"),
    "order": ("space-time", "time-space"),
    "op": ("max", "mean", "pick"),
    "cell": ("lstm", "gru"),
    "between": (None, True, False),
}


class Rule:
    """How an image network comes to see time: a kind, and options that say where and how.

    >>> Rule("tam", kernel=5, stages=(3, 4))
    Rule('tam:stages=3,4:kernel=5')
    >>> Rule.parse("tam:stages=3,4:kernel=5").kernel
    5

    Its options are attributes. Raises ModelError for a kind or an option that does not exist, or a
    value out of range.
    """

    __slots__ = ("_options", "kind")

    def __init__(self, kind: str = "none", **options: Any) -> None:
        if kind not in KINDS:
            near = get_close_matches(kind, KINDS, n=3, cutoff=0.5) or list(KINDS)
            raise ModelError(f"no rule is called {kind!r}", do=f"Choose from {', '.join(near)}.")
        defaults = KINDS[kind]
        for name in options:
            if name not in defaults:
                raise ModelError(
                    f"the rule {kind!r} has no option {name!r}",
                    do=f"Its options are: {', '.join(defaults) or 'none'}.",
                )
        self.kind = kind
        self._options = {
            name: _checked(kind, name, options.get(name, default))
            for name, default in defaults.items()
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._options:
            raise AttributeError(name)
        return self._options[name]

    def __str__(self) -> str:
        changed = (
            f":{name}={_text(value)}"
            for name, value in self._options.items()
            if value != KINDS[self.kind][name]
        )
        return self.kind + "".join(changed)

    def __repr__(self) -> str:
        return f"Rule({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def otherwise(self, options: Mapping[str, Any]) -> Rule:
        """The rule with these options where it has them, and where it does not say its own.

        >>> Rule("tam", kernel=5).otherwise({"init": "difference", "kernel": 7, "parts": 2})
        Rule('tam:kernel=5:init=difference')
        """
        defaults = KINDS[self.kind]
        said = {name: value for name, value in self._options.items() if value != defaults[name]}
        fitting = {
            name: value
            for name, value in options.items()
            if name in defaults and (name != "init" or value in _INITS[self.kind])
        }
        return Rule(self.kind, **{**fitting, **said})

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that `str` wrote: KIND, or KIND:option=value:option=value."""
        kind, *settings = text.split(":")
        options = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise ModelError(
                    f"{setting!r} in the rule {text!r} is no option",
                    do="Write KIND:option=value, as in tam:kernel=5.",
                )
            options[name] = _value(value)
        return cls(kind, **options)

    @property
    def options(self) -> dict[str, Any]:
        """All options, those left at their defaults too."""
        return dict(self._options)

    @property
    def is_head(self) -> bool:
        return self.kind in HEADS


Rules = Rule | str | Sequence[Rule]


def sequence(rules: Rules) -> tuple[Rule, ...]:
    """One rule, several, or their text joined by "+", as a tuple; at most one head, the last."""
    if isinstance(rules, Rule):
        rules = [rules]
    elif isinstance(rules, str):
        rules = [Rule.parse(part) for part in rules.split("+")]
    found = tuple(rule for rule in rules if rule.kind != "none")
    heads = [rule for rule in found if rule.is_head]
    if len(heads) > 1 or (heads and found[-1] is not heads[0]):
        raise ModelError(
            f"{joined(found)!r}: a head over time is the last rule, and the only head",
            do="Leave one of them out.",
        )
    return found


def joined(rules: Sequence[Rule]) -> str:
    """The text of several rules, which `sequence` reads back."""
    return "+".join(map(str, rules)) or "none"


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(,\d+)*,?", text):
        return tuple(int(part) for part in text.split(",") if part)
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value)) + ("," if len(value) == 1 else "")
    return str(value)


def _checked(kind: str, name: str, value: Any) -> Any:
    """`value` in the form that its option has; ModelError says what would be allowed."""
    default = KINDS[kind][name]
    where = f"rule {kind}"
    choices = _INITS[kind] if name == "init" else _CHOICES.get(name)
    if name == "width" and kind == "split":
        choices = ("same", "paper")
    if choices is not None:
        if value not in choices:
            raise ModelError(
                f"{name} is {value!r}",
                where=where,
                do=f"Choose from {', '.join(str(c) for c in choices if c is not None)}.",
            )
        return value
    if name == "stages" and value == LAST:
        return value
    if name in ("stages", "stride"):
        if isinstance(value, int) and not isinstance(value, bool):
            value = (value,)
        if value is None and default is None:
            return None
        value = tuple(value) if isinstance(value, Sequence | range) else ()
        if not all(isinstance(stage, int) and stage >= 0 for stage in value):
            raise ModelError(f"{name} is {value!r}", where=where, do="Give numbers of stages.")
        return value
    if name == "match":
        return _pattern(value, where)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ModelError(f"{name} is {value!r}", where=where, do="Give true or false.")
        return value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{name} is {value!r}", where=where, do="Give a whole number from 1 up.")
    return value


def _pattern(value: Any, where: str) -> Any:
    if value is None:
        return None
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        raise ModelError(
            f"match is {value!r} ({error})", where=where, do="Give a regex."
        ) from error
    return value
