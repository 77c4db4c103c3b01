"""Data as TOML: what is written is read back as the same data, by Python's own reader."""

from __future__ import annotations

import datetime
import math
import random
import tomllib

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.matrixon.ops.plugins.plugin_utils.toml import to_toml

NASTY = 'quote " back\\slash \b\t\n\f\r nul\0 delete\x7f unicode é 🦀 \'single\' # no comment = """ {{ x }} [t]'


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": 1, "b": -5, "c": True, "d": False, "e": "", "f": [], "g": 2**63 - 1, "h": -(2**63)},
        {"text": NASTY, NASTY: NASTY, "": "empty key", "a.b": 1, "a b": 2, "é": 3},
        {"x": 0.5, "y": 1e16, "z": -1e-9, "n": 5.0, "i": math.inf, "m": -math.inf},
        {"list": ["a", NASTY], "nested": [[1, 2], ["x"]], "mixed": [1, "a", True, {"k": [1.5]}]},
        {"empty": {}, "deep": {"er": {"est": {"k": 1}}, "and": {}}},
        # A plain value that comes after a table in the data must not slip into that table.
        {"first": {"k": 1, "inner": {"k": 2}, "late": 3}, "last": "of the document"},
        {"tables": [{"k": 1}, {}, {"k": 2, "in": {"k": 3}, "list": [{"a": 1}, {"b": {"c": 2}}]}]},
        {"only": {"lists": [{"k": 1}]}},
        {"day": datetime.date(2026, 1, 2), "at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)},
    ],
)
def test_comes_back_as_it_was(data: dict) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


def test_types_are_kept() -> None:
    back = tomllib.loads(to_toml({"bool": True, "int": 1, "float": 1.0, "text": "1"}))
    assert [type(value) for value in back.values()] == [bool, int, float, str]


def test_random_documents_come_back() -> None:
    draw = random.Random(20260101)

    def value(depth: int) -> object:
        kind = draw.randrange(8 if depth else 5)
        if kind >= 6:
            return {text(): value(depth - 1) for dummy in range(draw.randrange(4))}
        if kind == 5:
            return [value(depth - 1) for dummy in range(draw.randrange(4))]
        return [draw.randrange(-9, 9), draw.random(), text(), True, False][kind]

    def text() -> str:
        return "".join(draw.choice('ab"\\\n\t\0.# =[]{}é🦀') for dummy in range(draw.randrange(5)))

    for dummy in range(500):
        data = {text(): value(4) for dummy in range(5)}
        assert tomllib.loads(to_toml(data)) == data


def test_reads_well() -> None:
    data = {"global": {"server_name": "example.com", "tls": {"on": True}}, "audit": {"events": ["a", "b"]}}
    assert to_toml(data) == (
        '[global]\nserver_name = "example.com"\n\n[global.tls]\non = true\n\n[audit]\nevents = ["a", "b"]\n'
    )


def test_null_takes_a_key_away() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": 1}, "e": {"f": None}})) == {"b": {"d": 1}, "e": {}}


def test_a_vaulted_text_is_a_text() -> None:
    class Vaulted(list):
        """As ansible-core up to 2.18 has it: a sequence that is no str."""

        __ENCRYPTED__ = True

        def __str__(self) -> str:
            return 'pass"word'

    assert tomllib.loads(to_toml({"password": Vaulted("pass")})) == {"password": 'pass"word'}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "a TOML document is a mapping, and this is a list"),
        (None, "this is null"),
        ({"a": {"b": [1, None]}}, "a.b.1: TOML has nothing for null"),
        ({"a": {8008: "x"}}, "a: the key 8008 is not text; put it in quotes"),
        ({"a": {"b": object()}}, "a.b: TOML has nothing for a object"),
        ({"a": 2**63}, "a: 9223372036854775808 does not fit into 64 bits"),
        ({"a": "\ud800 secret"}, "a: the text is not valid Unicode"),
    ],
)
def test_refuses_with_the_place_of_it(data: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        to_toml(data)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
