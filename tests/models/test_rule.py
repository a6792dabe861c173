from __future__ import annotations

import doctest
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import marey.models._rule as module
from marey.errors import ModelError
from marey.models._rule import KINDS, Rule, joined, sequence


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_with_nothing_said_is_its_kind(kind: str) -> None:
    rule = Rule(kind)
    assert str(rule) == kind
    assert rule.options == dict(KINDS[kind])
    assert Rule.parse(kind) == rule


@given(
    stages=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    kernel=st.integers(1, 9),
    ends=st.sampled_from(["zeros", "replicate", "causal"]),
    relu=st.booleans(),
    match=st.sampled_from([None, "conv1$", r"layer[12]\."]),
)
def test_text_is_read_back(
    stages: tuple[int, ...], kernel: int, ends: str, relu: bool, match: str | None
) -> None:
    rule = Rule("tam", stages=stages or None, kernel=kernel, ends=ends, relu=relu, match=match)
    again = Rule.parse(str(rule))
    assert again == rule
    assert again.options == rule.options
    assert hash(again) == hash(rule)
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_rules_in_sequence() -> None:
    rules = sequence("tam:kernel=5+segments:parts=4")
    assert rules == (Rule("tam", kernel=5), Rule("segments", parts=4))
    assert sequence(joined(rules)) == rules == sequence(list(rules))
    assert sequence("none") == () == sequence(Rule())
    assert joined(()) == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tan", r"no rule is called 'tan'. Choose from .*tam"),
        ("", "no rule is called ''"),
        ("tam:kern=3", r"no option 'kern'. Its options are: .*kernel"),
        ("tam:kernel", "'kernel' in the rule 'tam:kernel' is no option"),
        ("tam:kernel=0", "kernel is 0. Give a whole number"),
        ("tam:kernel=x", "kernel is 'x'. Give a whole number"),
        ("tam:init=mean", r"init is 'mean'. Choose from identity, shift, difference, paper"),
        ("full:init=identity", r"Choose from centre, mean, difference, paper"),
        ("tam:ends=mirror", "Choose from zeros, replicate, causal"),
        ("full:stages=a", "stages is .* Give numbers of stages"),
        ("tam:match=(", "match is '.'.*Give a regex"),
        ("rnn:cell=elman", "Choose from lstm, gru"),
        ("rnn:both=1", "both is 1. Give true or false"),
        ("none:kernel=3", "Its options are: none"),
        ("segments+tam", "a head over time is the last rule"),
        ("segments+rnn", "a head over time is the last rule"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        sequence(text)


def test_what_a_rule_does_not_say_can_be_said_for_it() -> None:
    given = {"init": "difference", "stages": "last"}
    assert str(Rule("full").otherwise(given)) == "full:stages=last:init=difference"
    assert str(Rule("full", stages=2, init="mean").otherwise(given)) == "full:stages=2,:init=mean"
    assert str(Rule("gate").otherwise(given)) == "gate:stages=last"
    assert Rule("rnn").otherwise(given) == Rule("rnn")


def test_options_are_attributes_and_there_are_no_others() -> None:
    assert Rule("shift").share == 8
    assert not hasattr(Rule("shift"), "relu")


def test_examples_run() -> None:
    assert doctest.testmod(module) == (0, 3)
