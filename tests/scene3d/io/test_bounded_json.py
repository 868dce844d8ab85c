"""JSON from outside: what is plain is read as the standard parser reads it, what is a trap is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import bounded_json
from scene3d.io.bounded_json import is_number, parse_json, read_json, read_json_object

NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_plain_json_is_read_unchanged(value: object) -> None:
    assert parse_json(json.dumps(value).encode(), where="here") == value


@given(st.text(alphabet='[]{}"\\,:1 ', max_size=60))
def test_random_brackets_and_quotes_give_a_value_or_an_input_error(text: str) -> None:
    try:
        value = parse_json(text.encode(), where="here")
    except InputError:
        return
    assert value == json.loads(text)


@given(st.text(alphabet='\\"[]', max_size=40))
def test_brackets_in_strings_do_not_count_as_nesting(text: str) -> None:
    assert parse_json(json.dumps([text, "[" * 100]).encode(), where="here") == [text, "[" * 100]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 33 + b"]" * 33, "deeper than 32"),
        (b"[" * 1_000_000, "deeper than 32"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
        (b'"\\\\" ' + b"[" * 40, "deeper than 32"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b"[1e999]", "too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        (b"", "not usable JSON"),
        (b'{"a": 1', "not usable JSON"),
        (b'{"a": 1} x', "not usable JSON"),
        (b"\xff\xfe[\x001\x00]\x00", "not usable JSON"),
        (b"9" * 10_000, "not usable JSON"),
        (b'"\\', "not usable JSON"),
    ],
)
def test_traps_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_json(content, where="here")
    assert caught.value.where == "here"
    assert caught.value.remedy


def test_a_key_that_appears_twice_among_very_many_is_found_at_once() -> None:
    pairs = ",".join(f'"{i}":0' for i in range(200_000))
    with pytest.raises(InputError, match="'199999' appears twice"):
        parse_json(f'{{{pairs},"199999":1}}'.encode(), where="here")


@pytest.mark.parametrize("content", [b"\\" * 3_000_000, b'"' * 3_000_000, b"[" * 3_000_000, b'\\"[' * 1_000_000])
def test_megabytes_of_one_sign_are_refused_without_much_ado(content: bytes) -> None:
    with pytest.raises(InputError):
        parse_json(content, where="here")


def test_memory_running_out_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(bounded_json, "_nesting_depth", exhausted)
    with pytest.raises(LimitExceeded, match="memory"):
        parse_json(b"[]", where="here")


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert parse_json(b"[" * 32 + b"]" * 32, where="here") is not None


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json_object(tmp_path / "a.json") == {"a": 1}


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[1, 2]")
    assert read_json(tmp_path / "a.json", max_bytes=6) == [1, 2]
    with pytest.raises(LimitExceeded, match="at most 5"):
        read_json(tmp_path / "a.json", max_bytes=5)


@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null"])
def test_only_an_object_is_an_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="JSON object"):
        read_json_object(tmp_path / "a.json")


def test_a_number_is_a_number_that_fits_a_double() -> None:
    assert all(map(is_number, [0, -1, 2.5, 10**300]))
    assert not any(map(is_number, [True, None, "1", [1], 10**400, float("nan"), float("inf")]))
