"""Parsing one page: what is exact, what is refused, and that refusals name the field and quote no body."""

import json
from decimal import Decimal
from typing import Any

import pytest

from usage_pipeline.api.models import NotJson, Page, parse_page
from usage_pipeline.errors import BadPayload
from usage_pipeline.records import NumberLiteral
from usage_pipeline_tests.scripted import COMPLETIONS, COSTS, DAY, GOLDEN_PAGES, body, bucket, completion, page

WHERE = "completions 2026-11-01..2026-11-08"


def parse(text: str | bytes) -> Page:
    """A completions page from JSON text."""
    return parse_page(COMPLETIONS, text if isinstance(text, bytes) else text.encode(), where=WHERE)


def parse_cost(amount: str, quantity: str = "null") -> dict[str, Any]:
    """A cost result from the JSON text of its amount and quantity."""
    result = f'{{"object":"organization.costs.result","amount":{amount},"quantity":{quantity}}}'
    text = f'{{"object":"bucket","start_time":0,"end_time":{DAY},"results":[{result}]}}'
    document = f'{{"object":"page","has_more":false,"next_page":null,"data":[{text}]}}'
    return parse_page(COSTS, document.encode(), where="costs 1970-01-01..1970-01-02").buckets[0].results[0]


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("9.888144383403077", "9.888144383403077"),
        ("1.29e-05", "1.29e-05"),
        ("1E-7", "1E-7"),
        ("1.5e+3", "1.5e+3"),
        ("0.1234567890123456789012345", "0.1234567890123456789012345"),
        ("12", "12"),
        ("-2", "-2"),
        ("-0.0", "-0.0"),
        ('"0E-6176"', "0E-6176"),
        ('"0.000004500000000000000000000000000000000"', "0.000004500000000000000000000000000000000"),
        ('"-3.5"', "-3.5"),
        ("null", None),
    ],
)
def test_money_keeps_its_literal(literal: str, text: str | None) -> None:
    """An amount or quantity in any form seen on the wire becomes the text of its literal, digit for digit."""
    result = parse_cost(f'{{"value":{literal},"currency":"usd"}}', quantity=literal)
    assert result["amount"] == {"value": text, "currency": "usd"}
    assert result["quantity"] == text


def test_number_and_string_amounts_are_the_same_decimal() -> None:
    """The same amount as a number and as a string is the same decimal."""
    number, text = (parse_cost(f'{{"value":{form}}}')["amount"]["value"] for form in ("1.29e-05", '"0.0000129"'))
    assert Decimal(number) == Decimal(text)


def test_amount_may_be_null_and_its_parts_absent() -> None:
    """A null amount, and an amount without value or currency, say: not known."""
    assert parse_cost("null")["amount"] is None
    assert parse_cost("{}")["amount"] == {}
    assert parse_cost('{"value":null,"currency":null}')["amount"] == {"value": None, "currency": None}


@pytest.mark.parametrize(
    "value",
    [
        '"NaN"',
        '"Infinity"',
        "1e400",
        '"1e400"',
        '"1e31"',
        "true",
        '""',
        '"1,5"',
        '" 1"',
        '"1_0"',
        '"٣"',
        "[]",
        "{}",
        '"0E-99999"',
        f'"{"1" * 300}"',
        f'"0.{"1" * 300}"',
    ],
)
def test_money_that_is_no_finite_decimal_is_refused(value: str) -> None:
    """What is not the text of a finite decimal of sane length is refused by its path, in amount and quantity."""
    with pytest.raises(BadPayload, match=r"costs 1970.*data\[0\]\.results\[0\]\.amount\.value: "):
        parse_cost(f'{{"value":{value},"currency":"usd"}}')
    with pytest.raises(BadPayload, match=r"results\[0\]\.quantity: "):
        parse_cost("null", quantity=value)


def test_currency_is_text() -> None:
    """A currency that is not text is refused."""
    with pytest.raises(BadPayload, match=r"amount\.currency"):
        parse_cost('{"value":1,"currency":840}')


def test_captured_cost_forms_parse() -> None:
    """The golden costs page yields every captured literal unchanged."""
    parsed = parse_page(COSTS, (GOLDEN_PAGES / "costs.json").read_bytes(), where="costs")
    amounts = [result["amount"] and result["amount"]["value"] for result in parsed.buckets[0].results]
    assert amounts == [
        "9.888144383403077",
        "1.29e-05",
        "0.000004500000000000000000000000000000000",
        "0E-6176",
        None,
        "-2",
        None,
    ]
    assert parsed.buckets[0].results[0]["organization_name"] == "REDACTED"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "expected a page, got a list"),
        ("null", "expected a page, got null"),
        ('"x"', "expected a page, got text"),
        ("12", "expected a page, got a whole number"),
        ("1.5", "expected a page, got a number with a fraction"),
        ("{}", "object: a required field is absent"),
        ('{"object":"page","has_more":false,"data":null}', "data: .*got null"),
        ('{"object":"page","has_more":"false","data":[]}', "has_more: .*got text"),
        ('{"object":"list","has_more":false,"data":[]}', "object: "),
        ('{"object":"page","has_more":false,"data":[],"next_page":7}', "next_page: "),
        ('{"error":{"message":"try later","code":"x"}}', "200 with an error instead of a page: try later"),
        ('{"error":"no\\nscope"}', r"200 with an error instead of a page: no scope"),
        ("[" * 100_000, "nested too deeply"),
        ('{"data":' + "1" * 5000 + "}", "thousands of digits"),
        ('{"data":NaN}', "NaN is not a JSON number"),
        ('{"data":-Infinity}', "-Infinity is not a JSON number"),
        ('{"data":[],"data":[]}', "repeats the key 'data'"),
        ('{"data":["\\ud800"]}', r"\$\.data\[0\]: .*half of a surrogate"),
        ('{"a":{"\\udc00":1}}', r"\$\.a: a field name holds half of a surrogate"),
    ],
)
def test_json_that_is_not_a_page(text: str, words: str) -> None:
    """Valid JSON that is no page, or cannot be kept exactly, is a BadPayload that names the request and the place."""
    with pytest.raises(BadPayload, match=words) as refused:
        parse(text)
    assert str(refused.value).startswith(WHERE)
    assert not isinstance(refused.value, NotJson)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "the body is empty"),
        (b"  ", "the body is empty"),
        (b"<html>busy</html>", "not JSON"),
        (b'{"object":"page","data":[', "not JSON"),
        (b'{"object":"page"} x', "not JSON"),
        (b'{"a":"\xff\xfe"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
    ],
)
def test_what_is_not_json_is_told_apart(raw: bytes, words: str) -> None:
    """A cut or foreign body is NotJson, which the transport may retry; the error holds no part of the body."""
    with pytest.raises(NotJson, match=words) as refused:
        parse(raw)
    assert refused.value.__context__ is None


def test_surrogate_pairs_and_escapes_pass() -> None:
    """Escaped emoji, a NUL and a backslash before `ud800` are ordinary text."""
    text = r'"\ud83d\ude00 \u0000 \\ud800 é"'
    result = json.dumps(completion(model="MODEL")).replace('"MODEL"', text)
    document = json.dumps(page([bucket(0, {})])).replace("[{}]", f"[{result}]")
    assert parse(document).buckets[0].results[0]["model"] == json.loads(text)


def test_fractions_in_unknown_fields_stay_literal() -> None:
    """A number with a fraction in a field the row does not know is kept as its literal too."""
    result = json.dumps(completion(news="N")).replace('"N"', '{"rate":0.10000000000000000001}')
    document = json.dumps(page([bucket(0, {})])).replace("[{}]", f"[{result}]")
    assert parse(document).buckets[0].results[0]["news"] == {"rate": NumberLiteral(text="0.10000000000000000001")}


def test_duplicate_keys_deep_inside_are_refused() -> None:
    """A repeated key of a result is refused: the last one would win in silence."""
    document = json.dumps(page([bucket(0, completion())])).replace(
        '"input_tokens": 5', '"input_tokens": 5, "input_tokens": 6'
    )
    with pytest.raises(BadPayload, match="repeats the key 'input_tokens'"):
        parse(document)


def test_bucket_extras_are_dropped_and_times_checked() -> None:
    """Undocumented bucket fields are tolerated; a bucket's times must be whole unix seconds."""
    parsed = parse(body(page([bucket(0, completion()) | {"start_time_iso": "1970-01-01T00:00:00"}])))
    assert (parsed.buckets[0].start_time, parsed.buckets[0].end_time) == (0, DAY)
    for wrong in ("0", 0.0, None, True, -1, 10**15):
        with pytest.raises(BadPayload, match=r"data\[0\]\.start_time"):
            parse(body(page([bucket(0) | {"start_time": wrong}])))


def test_result_object_is_checked_and_left_out() -> None:
    """`object` is a matter of the wire: results come without it."""
    assert "object" not in parse(body(page([bucket(0, completion())]))).buckets[0].results[0]


def test_error_counts_the_other_findings() -> None:
    """The message names the first wrong field and how many more there are, not their values."""
    wrong = completion(input_tokens="SECRETVALUE", output_tokens="SECRETVALUE")
    with pytest.raises(BadPayload, match=r"results\[1\]\.input_tokens: .*\(got text\) and 1 more") as refused:
        parse(body(page([bucket(0, completion(), wrong)])))
    assert "SECRETVALUE" not in str(refused.value)


def test_has_more_decides() -> None:
    """has_more=false ends the listing although a page cursor came along, with a note; "" is no cursor."""
    ended = parse(body(page([], next_page="page_x", has_more=False)))
    assert (ended.has_more, ended.next_page) == (False, None)
    assert any("has_more decided" in note for note in ended.notes)
    assert parse(body(page([], cursor=""))).next_page is None
    assert parse(body(page([], cursor="page_x"))).next_page == "page_x"
    assert parse(body(page([]))).notes == ()


def test_page_cursor_is_bounded() -> None:
    """A page cursor of thousands of characters is refused before it becomes an address."""
    with pytest.raises(BadPayload, match="next_page"):
        parse(body(page([], cursor="x" * 5000)))
