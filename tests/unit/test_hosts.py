from __future__ import annotations

import pytest

from pytest_llmops._util.hosts import is_loopback, is_unspecified


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "api.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "loopback",
    ],
)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "128.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "::2",
        "::ffff:8.8.8.8",
        "api.openai.com",
    ],
)
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)


def test_unspecified() -> None:
    assert is_unspecified("0.0.0.0")
    assert is_unspecified("[::]")
    assert not is_unspecified("example.com")
