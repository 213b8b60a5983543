"""The splitter: any cut of the bytes gives the same elements; any bytes at all are survived."""

import gc
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.federation.list_splitter import MalformedBodyError, OversizedBodyError
from partialstate_service.federation.state_stream import ElementSplitter, StringSplitter

LISTS = ("pdus", "auth_chain")
Elements = list[tuple[str, bytes]]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=5), json_values, max_size=4)


def split(
    body: bytes, cuts: list[int], *, max_element_bytes: int = 10_000, max_elements: int = 1000
) -> Elements:
    """Return the elements of *body*, fed in pieces cut at *cuts*."""
    splitter = ElementSplitter(LISTS, max_element_bytes=max_element_bytes, max_elements=max_elements)
    # Attempts wait for large pieces; tests want each cut to be an attempt.
    elements = []
    start = 0
    for cut in sorted({min(cut, len(body)) for cut in cuts}):
        splitter._wanted_chars = 1
        elements += splitter.feed(body[start:cut])
        start = cut
    elements += splitter.feed(body[start:])
    elements += splitter.finish()
    return [(element.list, element.body) for element in elements]


@given(
    pdus=st.lists(objects, max_size=5),
    auth=st.lists(objects, max_size=3),
    other=st.dictionaries(st.text(max_size=4).filter(lambda key: key not in LISTS), json_values, max_size=3),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    layout=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", " : ")]),
    ascii_only=st.booleans(),
)
def test_any_cut_gives_the_same_elements(
    pdus: list[object],
    auth: list[object],
    other: dict[str, object],
    cuts: list[int],
    layout: tuple[str, str],
    *,
    ascii_only: bool,
) -> None:
    """Each element is the text that the server wrote, in order, whatever stands around it."""

    def written(value: object) -> str:
        return json.dumps(value, separators=layout, ensure_ascii=ascii_only)

    body = written({"pdus": pdus, **other, "auth_chain": auth}).encode()
    expected = [("pdus", written(each).encode()) for each in pdus]
    expected += [("auth_chain", written(each).encode()) for each in auth]
    assert split(body, cuts) == expected


@given(body=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_any_bytes_are_survived(body: bytes, cuts: list[int]) -> None:
    """There is an answer or one of the two errors."""
    try:
        split(b'{"pdus":[{"a":1}' + body, cuts)
        split(body, cuts)
    except (MalformedBodyError, OversizedBodyError):
        pass


@given(cut=st.integers(0, 70), at=st.integers(0, 70), byte=st.integers(0, 255))
def test_one_wrong_byte_is_survived(cut: int, at: int, byte: int) -> None:
    """Close to valid JSON is where parsers err."""
    body = bytearray(b'{"x":[-1.5e3,null],"pdus":[{"a":"\\u00e9\xc3\xa9"},{}],"auth_chain":[]}')
    if at < len(body):
        body[at] = byte
    with suppress(MalformedBodyError, OversizedBodyError):
        assert len(split(bytes(body), [cut])) <= 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"{}",
        b'{"pdus":[]}',
        b'{"pdus":[],"auth_chain":[]',
        b'{"pdus":[],"auth_chain":[],}',
        b'{"pdus":[],"auth_chain":[]}x',
        b'{"pdus":[],"auth_chain":[]}{}',
        b'{"pdus":[],"pdus":[],"auth_chain":[]}',
        b'{"pdus":[{},],"auth_chain":[]}',
        b'{"pdus":[,{}],"auth_chain":[]}',
        b'{"pdus":[{} {}],"auth_chain":[]}',
        b'{"pdus":["$id"],"auth_chain":[]}',
        b'{"pdus":null,"auth_chain":[]}',
        b'{"pdus":[{"a":"\x01"}],"auth_chain":[]}',
        b'{"pdus":[{"a":"\xc3"}],"auth_chain":[]}',
        b'\xef\xbb\xbf{"pdus":[],"auth_chain":[]}',
        b'{pdus:[],"auth_chain":[]}',
        b'{"a":' + b"1" * 5000 + b',"pdus":[],"auth_chain":[]}',
        b'{"pdus":[{"a":' + b"[" * 5000,
    ],
)
def test_a_malformed_body_is_an_error(body: bytes) -> None:
    """Whole or byte by byte."""
    for cuts in ([], list(range(0, len(body), max(1, len(body) // 100)))):
        with pytest.raises(MalformedBodyError):
            split(body, cuts)


@pytest.mark.parametrize(
    "body",
    [
        b'{"pdus":[{"a":"' + b"x" * 10_001 + b'"}],"auth_chain":[]}',
        b'{"pdus":[{"a":"' + b"x" * 10_001,
        b'{"other":"' + b"x" * 10_001 + b'","pdus":[],"auth_chain":[]}',
        b'{"' + b"x" * 10_001,
        b'{"pdus":[' + b"{}," * 1000 + b"{}",
    ],
)
def test_an_oversized_part_is_an_error(body: bytes) -> None:
    """One element, one value that is passed over, one key, or too many elements."""
    with pytest.raises(OversizedBodyError):
        split(body, list(range(0, len(body), 1000)))


def test_a_hostile_element_costs_linear_time() -> None:
    """A large element that arrives in crumbs is not parsed anew for each."""
    splitter = ElementSplitter(LISTS, max_element_bytes=1024 * 1024, max_elements=10)
    splitter.feed(b'{"pdus":[{"a":"')
    started = time.process_time()
    for _ in range(100_000):
        splitter.feed(b"0123456789")
    # Some 0.1 s; quadratic would be minutes.
    assert time.process_time() - started < 5
    assert splitter.feed(b'"}]') == []
    with pytest.raises(MalformedBodyError):
        splitter.finish()


@pytest.mark.parametrize(
    "element",
    [
        b'{"a":[{},{"b":1}]}',
        b'{"a":"},{"}',
        b'{"a":"\\"},{"}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN,"b":[{},{}]}',
        b'{"a":1e999}',
        b'{"a":"\xc3\xbc},{"}',
    ],
)
def test_an_element_ends_where_its_object_does(element):
    body = b'{"pdus":[{},' + element + b",{}," + element + b'],"auth_chain":[]}'
    expected = [b"{}", element, b"{}", element]
    assert split(body, []) == [("pdus", each) for each in expected]


def test_the_fields_are_those_of_the_last_of_repeated_keys():
    splitter = ElementSplitter(["pdus"], max_element_bytes=100, max_elements=10)
    elements = splitter.feed(b'{"pdus":[{"a":1,"a":2},{"a":3,"a":4}]}')
    assert [element.fields for element in elements] == [{"a": 2}, {"a": 4}]


def split_strings(body, cuts, **limits):
    splitter = StringSplitter(
        ("pdu_ids", "auth_chain_ids"), **({"max_element_bytes": 100, "max_elements": 1000} | limits)
    )
    found, start = [], 0
    for cut in sorted({min(cut, len(body)) for cut in cuts}):
        splitter._wanted_chars = 1
        found += splitter.feed(body[start:cut])
        start = cut
    return found + splitter.feed(body[start:]) + splitter.finish()


@given(
    pdus=st.lists(st.text(max_size=8), max_size=8),
    auth=st.lists(st.sampled_from(['a","b', '"', ",", '\\","', ""]), max_size=5),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    layout=st.sampled_from([(",", ":"), (", ", ": ")]),
    ascii_only=st.booleans(),
)
def test_any_cut_gives_the_same_strings(pdus, auth, cuts, layout, ascii_only):
    answer = {"pdu_ids": pdus, "other": [["x", "y"]], "auth_chain_ids": auth}
    body = json.dumps(answer, separators=layout, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    with suppress(UnicodeDecodeError):
        body.decode()
        expected = [("pdu_ids", text) for text in pdus] + [("auth_chain_ids", text) for text in auth]
        assert split_strings(body, cuts) == expected


@pytest.mark.parametrize("item", [b"1", b"null", b'["a"]', b"{}"])
@pytest.mark.parametrize("items", [b"%s", b'"a",%s', b'%s,"a","b"', b'"a",%s,"b"'])
def test_what_is_no_string_is_malformed(items, item):
    body = b'{"pdu_ids":[' + items % item + b'],"auth_chain_ids":[]}'
    with pytest.raises(MalformedBodyError):
        split_strings(body, [])


def test_long_strings_and_many_are_refused():
    with pytest.raises(OversizedBodyError):
        split_strings(b'{"pdu_ids":["a","' + b"x" * 101 + b'","b"],"auth_chain_ids":[]}', [])
    with pytest.raises(OversizedBodyError):
        split_strings(b'{"pdu_ids":["a","b","c","d"],"auth_chain_ids":[]}', [], max_elements=3)


@pytest.mark.parametrize(
    ("splitter", "item", "misleading"),
    [
        (StringSplitter, b'"a" ,', b'"\\"","'),
        (ElementSplitter, b"{} ,", b"{},{},"),
        (ElementSplitter, b'{"a":[{},{}]},', b""),
    ],
)
def test_no_spelling_makes_the_work_grow_faster_than_the_text(splitter, item, misleading):
    def seconds(count):
        body = b'{"pdus":[' + item * count + misleading
        gc.disable()  # what else the process holds is not to be measured
        begun_s = time.process_time()
        try:
            with suppress(MalformedBodyError):
                splitter(["pdus"], max_element_bytes=10**6, max_elements=10**6).feed(body)
            return time.process_time() - begun_s
        finally:
            gc.enable()

    assert seconds(80_000) < 40 * max(seconds(8_000), 0.005)


def cpu_s_of(text: bytes) -> float:
    """Return the CPU time of splitting an array with *text* in it, the least of some attempts."""
    body = b'{"auth_chain":[],"pdus":[' + text + b"]}"
    least = float("inf")
    for _ in range(3):
        begun = time.process_time()
        splitter = ElementSplitter(LISTS, max_element_bytes=2_000_000, max_elements=10_000_000)
        for start in range(0, len(body), 262_144):
            splitter.feed(body[start : start + 262_144])
            while splitter.has_more:
                splitter.feed(b"")
        splitter.finish()
        least = min(least, time.process_time() - begun)
    return least


@pytest.mark.parametrize("separator", [b" ,", b", ", b","])
@pytest.mark.parametrize(
    "first", [b"", b'{"a":"' + 600_000 * b"x" + b'"}'], ids=["tiny", "after a large one"]
)
def test_tiny_elements_take_linear_time(separator, first):
    def text(count):
        return separator.join([*([first] if first else []), *([b"{}"] * count)])

    few, many = cpu_s_of(text(20_000)), cpu_s_of(text(160_000))
    assert many < 8 * 3 * few + 0.2


def test_one_call_gives_a_bounded_number_of_elements_and_the_next_ones_give_the_rest():
    splitter = ElementSplitter(LISTS, max_element_bytes=10_000, max_elements=100_000)
    body = b'{"auth_chain":[],"pdus":[' + b",".join([b"{}"] * 5000) + b"]}"
    counts = [len(splitter.feed(body))]
    while splitter.has_more:
        counts.append(len(splitter.feed(b"")))
    assert counts == [2000, 2000, 1000]
    assert splitter.finish() == []


def test_hundreds_of_other_keys_are_no_answer():
    body = json.dumps({**{str(number): 1 for number in range(200)}, "pdus": [], "auth_chain": []}).encode()
    with pytest.raises(MalformedBodyError):
        split(body, [])
