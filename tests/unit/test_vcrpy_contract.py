"""What the interception takes from vcrpy, and of the clients' insides: none of it is a documented API."""

from __future__ import annotations

import http.client
import importlib.metadata
import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import urllib3
import vcr.patch
import vcr.request
import vcr.stubs
from support.tapes import no_tape
from vcr.stubs import aiohttp_stubs, urllib3_stubs

from pytest_llmops.cassettes.http.vcr_adapter import VcrCassette


@pytest.fixture(autouse=True)
def _unpatched() -> Any:
    """Look at theirs, not at ours."""
    with no_tape():
        yield


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_version_that_all_of_this_was_read_in() -> None:
    major, minor = map(int, importlib.metadata.version("vcrpy").split(".")[:2])
    assert (9, 4) <= (major, minor) < (10, 0)


def test_the_builder_makes_patches_of_attributes_and_removers_of_pooled_connections() -> None:
    patchers = list(vcr.patch.CassettePatcherBuilder(VcrCassette()).build())
    attributes = [patcher for patcher in patchers if hasattr(patcher, "attribute")]
    removers = [patcher for patcher in patchers if not hasattr(patcher, "attribute")]
    places = {(getattr(attribute.getter(), "__name__", "?"), attribute.attribute) for attribute in attributes}
    assert places >= {
        ("http.client", "HTTPConnection"),
        ("http.client", "HTTPSConnection"),
        ("urllib3.connection", "HTTPConnection"),
        ("HTTPConnectionPool", "ConnectionCls"),
        ("ClientSession", "_request"),
    }
    assert not [place for place in places if place[0].endswith("Transport")]
    assert all(attribute.new is not None for attribute in attributes)
    assert removers
    assert all(remover._connection_pool_to_connections == {} for remover in removers)
    assert all(callable(remover.__exit__) for remover in removers)
    assert callable(vcr.patch.force_reset)


def test_the_groups_that_a_cassette_may_leave_out() -> None:
    assert set(VcrCassette.skip_patchers) <= set(vcr.patch.PATCHER_NAMES)
    assert "aiohttp" in vcr.patch.PATCHER_NAMES


def test_the_stand_in_of_a_connection() -> None:
    stub = vcr.stubs.VCRConnection
    assert parameters(stub.request)[:5] == ["self", "method", "url", "body", "headers"]
    assert parameters(stub.getresponse)[0] == "self"
    assert parameters(stub.connect)[0] == "self"
    v_c_r_h_t_t_p_connection: Any = vcr.stubs.VCRHTTPConnection("localhost", 1)
    assert type(v_c_r_h_t_t_p_connection.real_connection) is http.client.HTTPConnection
    v_c_r_h_t_t_p_connection.connect()
    assert vars(v_c_r_h_t_t_p_connection)["_deferred_connect"] == ((), {})
    v_c_r_h_t_t_p_connection.putrequest("POST", "/place")
    v_c_r_h_t_t_p_connection.putheader("x", "y")
    v_c_r_h_t_t_p_connection.endheaders(b"body")
    assert v_c_r_h_t_t_p_connection._vcr_request.uri == "http://localhost:1/place"
    assert v_c_r_h_t_t_p_connection._url(v_c_r_h_t_t_p_connection._vcr_request.uri) == "/place"
    assert (
        v_c_r_h_t_t_p_connection._vcr_request.method,
        v_c_r_h_t_t_p_connection._vcr_request.body_bytes,
    ) == ("POST", b"body")
    assert v_c_r_h_t_t_p_connection._vcr_request.headers["x"] == "y"
    assert "_sock" in vars(v_c_r_h_t_t_p_connection)


def test_the_stand_ins_share_their_way_to_an_answer() -> None:
    mixin = urllib3_stubs._VCRRequestsConnectionMixin
    assert "getresponse" in vars(mixin)
    for connection_class in (
        urllib3_stubs.VCRRequestsHTTPConnection,
        urllib3_stubs.VCRRequestsHTTPSConnection,
    ):
        assert issubclass(connection_class, mixin)
        assert issubclass(connection_class, vcr.stubs.VCRConnection)
        assert {"request", "connect", "getresponse"}.isdisjoint(vars(connection_class))


def test_requests_of_vcrpy() -> None:
    request = vcr.request.Request("GET", "http://host:1/place?a=b", iter([b"a", b"b"]), {"X": ["y"]})
    assert (request.method, request.host, request.uri) == ("GET", "host", "http://host:1/place?a=b")
    assert b"".join(request.body) == b"".join(request.body) == b"ab"
    assert dict(request.headers.items())
    request._llmops_question = "one can be hung on it"


def test_what_the_stub_of_aiohttp_calls() -> None:
    assert parameters(aiohttp_stubs.record_response) == ["cassette", "vcr_request", "response"]
    source = inspect.getsource(aiohttp_stubs)
    called = set(re.findall(r"\bcassette\.(\w+)\(", source))
    assert "append" in called
    assert called <= {name for name in dir(VcrCassette) if not name.startswith("__")}
    assert "await record_response(cassette, vcr_request, response)" in source


def test_the_insides_of_aiohttp() -> None:
    reader = aiohttp.StreamReader
    assert parameters(reader.feed_data)[:2] == ["self", "data"]
    assert parameters(reader.set_exception)[:2] == ["self", "exc"]
    assert {"_buffer", "total_compressed_bytes"} <= set(reader.__slots__)
    assert "__dict__" not in dir(reader)
    assert "__aexit__" in vars(aiohttp.ClientResponse)
    assert not hasattr(aiohttp.ClientResponse, "__slots__") or "__dict__" in dir(aiohttp.ClientResponse)


def test_the_insides_of_http_client() -> None:
    assert http.client.HTTPConnection.response_class is http.client.HTTPResponse
    assert urllib3.connection.HTTPConnection.response_class is http.client.HTTPResponse
    assert "self.fp" in inspect.getsource(http.client.HTTPResponse.begin)


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_the_insides_of_httpx(module: Any) -> None:
    assert {"gzip", "deflate", "identity"} <= set(module._decoders.SUPPORTED_DECODERS)
    assert parameters(module.HTTPTransport.handle_request) == ["self", "request"]
    assert parameters(module.AsyncHTTPTransport.handle_async_request) == ["self", "request"]


def test_the_loggers_that_are_silenced() -> None:
    for module in (vcr.stubs, vcr.request, vcr.patch, aiohttp_stubs):
        assert isinstance(module.log, logging.Logger)
