from __future__ import annotations

import pytest

from pytest_llmops import schemas
from pytest_llmops.schemas.formats import format_checks
from pytest_llmops.schemas.json_schema import JsonSchema


# Where no other source is named, from the examples of the RFC that defines the format.
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "1985-04-12", "1985-02-30"),
        ("date", "2024-02-29", "19850412"),
        ("time", "23:20:50.52Z", "23:20:50.52"),
        ("time", "16:39:57-08:00", "24:00:00Z"),
        ("time", "15:59:60-08:00", "15:59:60-07:00"),  # the leap second of 1990
        ("date-time", "1990-12-31T23:59:60Z", "1990-12-31T23:59:61Z"),
        ("date-time", "1937-01-01 12:00:27.87+00:20", "1937-01-01_12:00:27Z"),
        ("duration", "P3Y6M4DT12H30M5S", "P1D2H"),
        ("duration", "P4W", "P1Y2W"),
        ("duration", "PT36H", "PT"),
        ("email", '"Fred\\ Bloggs"@example.com', "Fred Bloggs@example.com"),
        ("email", "user+mailbox/department=shipping@example.com", "user@example.com, b@example.com"),
        ("email", "user@[IPv6:2001:db8::1]", "user@[300.0.0.1]"),
        ("hostname", "3com.com", "a_b.com"),
        ("hostname", "xn--nxasmq6b.example", "xn--X"),
        ("ipv4", "192.0.2.1", "192.0.2.01"),
        ("ipv6", "2001:DB8:0:0:8:800:200C:417A", "2001:db8::1%eth0"),
        ("ipv6", "::FFFF:129.144.52.38", "1::2::3"),
        ("uri", "ftp://ftp.is.co.za/rfc/rfc1808.txt", "//example.org"),
        ("uri", "telnet://192.0.2.16:80/", "http://example.org:x"),
        ("uri", "urn:oasis:names:specification:docbook:dtd:xml:4.1.2", "http://exämple.org"),
        ("uri-reference", "../g;x=1/y#s", "a b"),
        ("uuid", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "f81d4fae7dec11d0a76500a0c91e6bf6"),
        ("json-pointer", "/a~1b/m~0n/ ", "a/b"),
        ("json-pointer", "", "/~2"),
        ("relative-json-pointer", "2/highly/nested", "01/a"),
        ("relative-json-pointer", "0#", "0#/a"),
        ("regex", r"^(?P<year>\d{4})$", "("),
    ],
)  # fmt: skip
def test_formats(name: str, good: str, bad: str) -> None:
    check = format_checks()[name]
    assert check(good)
    assert not check(bad)
    assert not check(f"{bad}\n")
    schema = schemas.load({"format": name})
    assert schema.differences(5) == []
    assert [
        difference.text.startswith("expected a value in the format") for difference in schema.differences(bad)
    ] == [True]


@pytest.mark.parametrize(
    "text", ["", "\n", "\x00", "\ud800", "١٩٨٥-٠٤-١٢", "http://[", "//@@@:", "a@", "@", "{{", "." * 300]
)
def test_any_text_is_answered(text: str) -> None:
    assert {type(check(text)) for check in format_checks().values()} == {bool}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piece", "fits"),
    [
        *((piece, {"uri-reference"}) for piece in ("a", "a.", "a@", "~", "%41", "P1", "xn--a.")),
        ("/", {"json-pointer", "uri-reference"}),
        ("1", {"relative-json-pointer", "uri-reference"}),
        *((piece, set()) for piece in ("{a}", "[", "\\", '"', ":", "é")),
    ],
)
def test_a_long_text_is_answered_soon(piece: str, fits: set[str]) -> None:
    text = piece * (100_000 // len(piece))
    checks = {name: check for name, check in format_checks().items() if name != "regex"}
    assert {name for name, check in checks.items() if check(text)} == fits
    assert {name for name, check in checks.items() if check(f"{text}\x00")} == fits & {"json-pointer"}


def test_formats_that_nobody_checks_are_named() -> None:
    schema = {
        "properties": {"a": {"format": "idn-hostname"}, "b": {"format": "phone"}, "c": {"format": "date"}}
    }
    loaded = schemas.load(schema)
    assert isinstance(loaded, JsonSchema)
    assert loaded.unchecked == ("idn-hostname", "phone")


def test_a_format_within_a_constant_is_none() -> None:
    loaded = schemas.load(
        {"const": {"format": "phone"}, "enum": [{"format": "fax"}], "default": {"format": "x"}}
    )
    assert isinstance(loaded, JsonSchema)
    assert loaded.unchecked == ()
