"""The bulk decoder and the reading by record agree: on every golden page, and on pages made to tell them apart."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from usage_pipeline.api.columns import read_columns
from usage_pipeline.api.models import Page, parse_page, parse_records
from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.errors import BadPayload
from usage_pipeline.lake.tables import Content, normalize
from usage_pipeline.records import WindowRead
from usage_pipeline.windows import DAY_SECONDS, Window
from usage_pipeline_tests.scripted import GOLDEN_PAGES

COMPLETIONS = ENDPOINTS["completions"]
COUNTED = [row for row in ENDPOINTS.values() if not row.is_money]

# JSON, and what only looks like it, in the place of any value.
HOSTILE = [
    *[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "01",
        "1.0",
        "1.5",
        "1e3",
        "1E2",
        "+1",
        ".5",
        "0x1",
        "NaN",
        "-Infinity",
        "253402300800",
        "99999999999999999999",
    ],
    *[
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "[]",
        "{}",
        "[null]",
        "[[]]",
    ],
    *[
        r'""',
        r'"5"',
        r'"\ud800"',
        r'"\udc00"',
        r'"\ud83d\ude00"',
        r'"\ude00\ud83d"',
        r'"a\u0000b"',
        r'"\x"',
        r'"\/"',
        r'"\u00e9"',
        r'"page"',
        r'"bucket"',
    ],
    *[
        '"é"',
        '"\t"',
        '"\x7f"',
        '"\x01"',
        '"\u2028"',
        "1 2",
        "'a'",
        "1/**/",
        "",
        "null,null",
        '{"a":1}',
        '{"a":1,"a":1}',
    ],
]
AROUND = b" |\n|\xef\xbb\xbf|\0|null|{}|[]|,|\xff|\xed\xa0\x80|}|{|5".split(b"|")
HOSTILE_NAMES = ["", "news", "object", "input_tokens", "batch", r"input_t\u006fkens", r"\ud800", "é", "extras", "date"]

# Of the golden pages' days, from before there was a bulk decoder.
HASHES = {
    "completions": [
        "8023a44d8405",
        "5feceb66ffc8",
        "4fae01b5daba",
    ],
    "decisions": [
        "8023a44d8405",
        "5feceb66ffc8",
        "4fae01b5daba",
    ],
    "embeddings": [
        "fa21ccd43ac4",
        "5feceb66ffc8",
        "3e21c231ada1",
    ],
    "moderations": [
        "d292d39dc554",
        "5feceb66ffc8",
        "c4faf82e24e2",
    ],
    "images": [
        "c8500ce3de37",
        "5feceb66ffc8",
        "aeacabc55a58",
    ],
    "audio_speeches": [
        "2207683fc4c3",
        "5feceb66ffc8",
        "b4298f917590",
    ],
    "audio_transcriptions": [
        "c5fcfb9486e8",
        "5feceb66ffc8",
        "8703cce3f5f1",
    ],
    "vector_stores": [
        "d646f945e906",
        "5feceb66ffc8",
        "916408ca36ca",
    ],
    "code_interpreter_sessions": [
        "36a60f0832c0",
        "5feceb66ffc8",
        "9d0f4b5dc763",
    ],
    "file_search_calls": [
        "abd6ba47ce24",
        "5feceb66ffc8",
        "2ed5f16a6edb",
    ],
    "web_search_calls": [
        "0a9eeaf6cfbc",
        "5feceb66ffc8",
        "3e600d226956",
    ],
}


def said(page: Page) -> Any:
    """What a page says: an absent field and a null one are alike."""
    buckets = [
        (b.start_time, b.end_time, [{k: v for k, v in one.items() if v is not None} for one in b.results])
        for b in page.buckets
    ]
    return buckets, page.has_more, page.next_page, page.notes


def outcome(read: Any, endpoint: Endpoint, body: bytes) -> Any:
    """What reading makes of a body: a page, or the error's kind and words."""
    try:
        return said(read(endpoint, body, where="here"))
    except BadPayload as wrong:
        return type(wrong), str(wrong)


def content(endpoint: Endpoint, page: Page) -> Content:
    """The page's rows."""
    first, last = min(b.start_time for b in page.buckets), max(b.end_time for b in page.buckets)
    read = WindowRead(
        endpoint=endpoint.name,
        window=Window.of_times(first, last),
        bucket_width="1d",
        group_by=endpoint.dimension_names,
        fetched_at=datetime(2026, 11, 5, tzinfo=UTC),
        pages=[],
        buckets=page.buckets,
        requests=1,
    )
    return normalize(endpoint, "default", read)


def made(page: Page) -> Any:
    """Rows in their order, hashes and drift, or why the rows cannot be held."""
    try:
        found = content(COMPLETIONS, page)
    except BadPayload as wrong:
        return str(wrong)
    return found.table.to_pylist(), found.days, set(found.drift)


def assert_alike(one: Content, other: Content) -> None:
    """The same rows in the same order, hashes and drift."""
    assert one.table.equals(other.table)
    assert (one.days, set(one.drift)) == (other.days, set(other.drift))


@pytest.mark.parametrize("path", sorted(GOLDEN_PAGES.glob("*.json")), ids=lambda path: path.stem)
def test_they_agree_on_every_golden_page(path: Any) -> None:
    """Golden pages read alike both ways, to the same rows and hashes; those without money are read in bulk."""
    endpoint, body = ENDPOINTS[path.stem], path.read_bytes()
    assert outcome(parse_page, endpoint, body) == outcome(parse_records, endpoint, body)
    assert_alike(
        content(endpoint, parse_page(endpoint, body, where="")),
        content(endpoint, parse_records(endpoint, body, where="")),
    )
    assert (read_columns(endpoint, body) is None) is endpoint.is_money


def _object(fields: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}"


@st.composite
def _spoilt(draw: st.DrawFn, fields: list[tuple[str, str]]) -> str:
    """The object, as it is or with one thing done to it."""
    what = draw(st.sampled_from(["", "", "", "", "value", "name", "twice", "gone", "more", "order"]))
    place = draw(st.integers(0, len(fields) - 1))
    name, value = fields[place]
    if what == "value":
        fields[place] = (name, draw(st.sampled_from(HOSTILE)))
    elif what == "name":
        fields[place] = (draw(st.sampled_from(HOSTILE_NAMES)), value)
    elif what == "twice":
        fields.append((name, draw(st.sampled_from([value, "null", *HOSTILE]))))
    elif what == "gone":
        del fields[place]
    elif what == "more":
        fields.append((draw(st.sampled_from(HOSTILE_NAMES)), draw(st.sampled_from(HOSTILE))))
    elif what == "order":
        fields = draw(st.permutations(fields))
    return _object(fields)


@st.composite
def _results(draw: st.DrawFn) -> str:
    texts = st.sampled_from(["null", '"a"', '"b"', '"é"', r'"\u00e9"', '"unlabeled"', '""', '"agents_api"'])
    fields = [("object", f'"{COMPLETIONS.result_object}"')]
    for dimension in COMPLETIONS.dimensions:
        if draw(st.booleans()):
            flag = st.sampled_from(["true", "false", "null"])
            fields.append((dimension.name, draw(flag if dimension.kind == "flag" else texts)))
    for measure in COMPLETIONS.measures:
        if measure.is_required or draw(st.integers(0, 3)) == 0:
            big = st.sampled_from(["9223372036854775807", "-9223372036854775808"])
            fields.append((measure.name, draw(st.one_of(st.integers(0, 99).map(str), big))))
    return draw(_spoilt(fields))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A page of a few buckets; most have nothing or one thing wrong, on any level."""
    buckets = []
    for place in range(draw(st.integers(0, 3))):
        results = "[" + ",".join(draw(st.lists(_results(), max_size=4))) + "]"
        start = place * DAY_SECONDS
        fields = [("object", '"bucket"'), ("start_time", str(start)), ("end_time", str(start + DAY_SECONDS))]
        fields += draw(st.sampled_from([[], [("start_time_iso", '"1970"'), ("end_time_iso", '"1970"')]]))
        buckets.append(draw(_spoilt([*fields, ("results", results)])))
    more = draw(st.sampled_from(["true", "false"]))
    page = [("object", '"page"'), ("data", f"[{','.join(buckets)}]"), ("has_more", more)]
    cursor = draw(st.sampled_from(["null", '""', '"page_2"', '"' + "x" * 5000 + '"']))
    body = draw(_spoilt([*page, ("next_page", cursor)])).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.sampled_from(AROUND)) + body
    if draw(st.integers(0, 9)) == 0:
        body += draw(st.sampled_from(AROUND)) + draw(st.sampled_from([b"", body, *AROUND]))
    if body and draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(body) - 1))
        body = body[:place] + draw(st.sampled_from([*AROUND, b'"', b"", b"0", b"\\", b"9" * 400])) + body[place + 1 :]
    return body


@settings(max_examples=150, deadline=None)
@given(bodies())
@example(b'{"object":"page","data":[],"has_more":false}null')
@example(b'null{"object":"page","data":[],"has_more":false}')
@example(b"null")
@example(b"")
@example(b'{"object":"page","data":[null],"has_more":false}')
@example(b'{"object":"page","data":null,"has_more":false}')
@example(
    b'{"object":"page","data":[{"object":"bucket","start_time":0,"end_time":1,"results":[null]}],"has_more":false}'
)
@example(b'{"object":"page","data":[{"object":"bucket","start_time":0,"end_time":1,"results":null}],"has_more":false}')
@example(b'{"error":{"message":"x"}}')
@example(b'{"object":"page","data":[],"has_more":false}{"object":"page","data":[],"has_more":false}')
@example(b"[" * 100_000)
@example(b'{"data":' + b"[" * 100_000)
def test_they_agree_on_hostile_pages(body: bytes) -> None:
    """Whatever is wrong with a page, both ways of reading end alike: the same page and rows, or the same error."""
    found = outcome(parse_page, COMPLETIONS, body)
    assert found == outcome(parse_records, COMPLETIONS, body)
    if isinstance(found[0], list) and found[0]:
        one, other = (made(read(COMPLETIONS, body, where="")) for read in (parse_page, parse_records))
        assert one == other


@settings(deadline=None)
@given(st.lists(st.sampled_from(["x", None]), min_size=2, max_size=6))
def test_rows_of_one_group_key_are_summed_however_they_were_read(keys: list[str | None]) -> None:
    """Columns in which a group key comes twice, null ones among them, give the sums that rows give."""
    results = ",".join(
        _object(
            [
                ("object", f'"{COMPLETIONS.result_object}"'),
                ("user_id", "null" if key is None else f'"{key}"'),
                *((m.name, str(n)) for m in COMPLETIONS.measures if m.is_required),
            ]
        )
        for n, key in enumerate(keys)
    )
    bucket = f'{{"object":"bucket","start_time":0,"end_time":{DAY_SECONDS},"results":[{results}]}}'
    body = f'{{"object":"page","data":[{bucket}],"has_more":false}}'.encode()
    assert read_columns(COMPLETIONS, body) is not None
    found = content(COMPLETIONS, parse_page(COMPLETIONS, body, where=""))
    assert_alike(found, content(COMPLETIONS, parse_records(COMPLETIONS, body, where="")))
    assert found.table.num_rows == len(set(keys))
    assert sum(found.table["input_tokens"].to_pylist()) == sum(range(len(keys)))


@pytest.mark.parametrize("endpoint", COUNTED, ids=lambda row: row.name)
def test_hashes_of_stored_days_have_not_changed(endpoint: Endpoint) -> None:
    """The golden pages hash as they did when rows were made one by one: lakes of before are found unchanged."""
    page = parse_page(endpoint, (GOLDEN_PAGES / f"{endpoint.name}.json").read_bytes(), where="")
    found = [day.content_hash[:12] for day in content(endpoint, page).days.values()]
    assert found == HASHES[endpoint.name]
