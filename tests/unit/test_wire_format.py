from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.exchanges import exchange
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Call
from pytest_llmops.trace import (
    CallFormat,
    Endpoint,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    read_call,
    routes,
)

READERS = CallFormat(lambda _: ParsedRequest(), lambda reply: ParsedReply(output=str(reply.get("said", ""))))


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = routes.use_formats({})
    yield
    routes.use_formats(before)


def use(*endpoints: Endpoint, **options: Any) -> None:
    routes.use_formats({"acme": WireFormat(endpoints, **options)})


def read(url: str, request: Mapping[str, Any] | None = None) -> Call:
    return read_call(exchange(url, dict(request or {"model": "m"}), {"said": "hi"}))


def test_a_format_of_its_host_comes_before_longer_paths_of_others() -> None:
    use(Endpoint("talk", "/chat", READERS), hosts={"acme.example": "acme"})
    assert read("https://eu.acme.example/v2/chat").endpoint == "talk"
    assert read("https://eu.acme.example/v2/chat").provider == "acme"
    assert read("https://api.cohere.com/v2/chat").provider == "cohere"
    assert read("https://other.example/chat").provider == "unknown"


def test_on_other_hosts_the_longest_path_decides_and_of_two_the_project_s() -> None:
    use(Endpoint("talk", "/chat", READERS), Endpoint("own", "/v1/embed", READERS), on_other_hosts=True)
    assert read("https://x.example/v2/chat").provider == "cohere-compatible"
    assert read("https://x.example/v3/chat").provider == "acme-compatible"
    assert read("https://api.cohere.com/v1/embed").endpoint == "own"


def test_an_address_that_others_may_have_needs_a_model() -> None:
    plain = Endpoint("talk", "/talk", READERS)
    sure = Endpoint("sure", "/acme/talk", READERS, is_unmistakable=True)
    use(plain, sure, on_other_hosts=True, provider="house")
    assert read("https://x.example/talk", {"text": "hi"}).provider == "unknown"
    assert read("https://x.example/talk").provider == "house"
    assert read("https://x.example/acme/talk", {"text": "hi"}).endpoint == "sure"


def test_a_pattern_names_the_model_and_its_start_chooses() -> None:
    path = re.compile(r"/run/(?P<model>[^/]+)/go$")
    other = Endpoint("other", path, READERS, is_priced_by_path=True)
    big = Endpoint("big", path, READERS, models=["big.", "big.large."])
    use(other, big, on_other_hosts=True)
    call = read("https://x.example/run/eu.big.one/go", {"model": "asked"})
    assert (call.endpoint, call.model) == ("big", "asked")
    call = read("https://x.example/run/small%20one/go", {"model": "asked"})
    assert (call.endpoint, call.model) == ("other", "small one")


def test_keys_of_the_request_choose_between_two_kinds() -> None:
    use(
        Endpoint("talk", "/run", READERS, with_keys=["messages"]),
        Endpoint("vectors", "/run", READERS, without_keys=["messages"]),
        hosts={re.compile(r"acme-[a-z]+\.example"): "acme"},
    )
    assert read("https://acme-eu.example/run", {"messages": []}).endpoint == "talk"
    assert read("https://acme-eu.example/run", {"texts": []}).endpoint == "vectors"
    assert read("https://x.acme-eu.example/run").provider == "unknown"
    assert routes.find_provider("ACME-EU.example.") == "acme"


def test_hosts_are_known_until_the_formats_are_taken_back() -> None:
    assert not routes.is_model_endpoint("acme.example", 443, "")
    before = routes.use_formats({"acme": WireFormat([], hosts={"acme.example": "acme"})})
    assert routes.is_model_endpoint("acme.example", 443, "")
    routes.use_formats(before)
    assert not routes.is_model_endpoint("acme.example", 443, "")


def test_a_stated_cost_counts_for_the_providers_that_are_named() -> None:
    readers = CallFormat(lambda _: ParsedRequest(), lambda _: ParsedReply(cost_usd=2.0))
    hosts: dict[str | re.Pattern[str], str] = {"a.example": "a", "b.example": "b"}
    use(Endpoint("talk", "/talk", readers), hosts=hosts, cost_providers=["a"])
    assert read("https://a.example/talk").cost_usd == 2.0
    assert read("https://b.example/talk").cost_usd is None


@pytest.mark.parametrize("value", [None, {"output": "x"}])
def test_a_reader_that_returns_something_else_is_named(value: Any) -> None:
    use(Endpoint("talk", "/talk", CallFormat(lambda _: value, READERS.read_reply)), on_other_hosts=True)
    call = read("https://x.example/talk")
    kind = type(value).__name__
    assert (
        call.unread
        == f"a call that its wire format cannot read (TypeError: expected ParsedRequest, got {kind})"
    )


def test_a_stream_without_a_joiner_is_its_first_event() -> None:
    assert READERS.join_events([{"said": "a"}, {"said": "b"}]) == ({"said": "a"}, True)
    assert READERS.join_events([]) == ({}, False)


def test_names_that_are_taken_are_refused() -> None:
    own = {"acme": WireFormat([], hosts={"acme.example": "acme"})}
    assert routes.check_formats([own, {}]) == own
    with pytest.raises(UsageError, match="two formats have this name"):
        routes.check_formats([own, own])


ENDPOINT = Endpoint("talk", "/talk", READERS)


@pytest.mark.parametrize(
    "result",
    [
        [("acme", WireFormat([]))],
        {"": WireFormat([])},
        {5: WireFormat([])},
        {"openai": WireFormat([ENDPOINT], on_other_hosts=True)},
        {"acme": object()},
        {"acme": WireFormat(5, on_other_hosts=True)},  # type: ignore[arg-type]
        {"acme": WireFormat(["/talk"], on_other_hosts=True)},  # type: ignore[list-item]
        {"acme": WireFormat([Endpoint("talk", "talk", READERS)], on_other_hosts=True)},
        {"acme": WireFormat([Endpoint("talk", 5, READERS)], on_other_hosts=True)},  # type: ignore[arg-type]
        {"acme": WireFormat([Endpoint("talk", "/talk", len)], on_other_hosts=True)},  # type: ignore[arg-type]
        {"acme": WireFormat([ENDPOINT], hosts={"https://acme.example": "acme"})},
        {"acme": WireFormat([ENDPOINT])},
    ],
)
def test_what_is_not_a_format_is_refused_by_its_name(result: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        routes.check_formats([{}, result])


def test_a_path_may_be_a_pattern_and_a_host_is_a_name() -> None:
    pattern = Endpoint("talk", re.compile("/(?P<model>x)"), READERS)
    for made in (WireFormat([pattern], on_other_hosts=True), WireFormat([ENDPOINT], hosts={"a.b": "c"})):
        assert routes.check_formats([{"acme": made}]) == {"acme": made}


def test_each_built_in_format_is_a_module_of_its_name() -> None:
    for name, wire_format in routes.BUILT_IN.items():
        module = __import__(f"pytest_llmops.trace.vendors.{name}", fromlist=["WIRE_FORMAT"])
        assert module.WIRE_FORMAT is wire_format
        routes.check_formats([{f"own-{name}": wire_format}])
