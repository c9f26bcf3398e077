"""requests, urllib3, http.client and urllib.request."""

from __future__ import annotations

import gzip
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from clients.kit import KEY, Scenario, error, received, row
from requests.adapters import HTTPAdapter

HEADERS = {"authorization": f"Bearer {KEY}"}
RETRY = urllib3.Retry(total=3, status_forcelist=[429], allowed_methods=None, backoff_factor=0)


def make_session() -> requests.Session:
    session = requests.Session()
    session.headers.update(HEADERS)
    session.mount("http://", HTTPAdapter(max_retries=RETRY))
    return session


def pick_parts(answer: requests.Response) -> object:
    return answer.status_code, answer.headers["content-type"], answer.content


def post(url: str, text: str) -> object:
    with make_session() as client:
        return client.post(f"{url}/echo/requests", json={"text": text}).json()


def get(path: str) -> Scenario:
    def scenario(url: str) -> object:
        with make_session() as client:
            answer = client.get(f"{url}{path}")
            return pick_parts(answer), [past.status_code for past in answer.history]

    return scenario


def stream(url: str) -> object:
    with make_session() as client, client.get(f"{url}/events/requests", stream=True) as answer:
        return list(answer.iter_lines())


def chunks(url: str) -> object:
    with make_session() as client, client.get(f"{url}/binary/chunks", stream=True) as answer:
        return list(answer.iter_content(1000))


def left_early(url: str) -> object:
    with make_session() as client, client.get(f"{url}/events/left", stream=True) as answer:
        return next(answer.iter_lines())


def first_token(url: str) -> object:
    with make_session() as client, client.get(f"{url}/held/requests", stream=True) as answer:
        lines = answer.iter_lines(chunk_size=1)
        first = next(lines)
        received(url, "requests")
        return first, len(list(lines))


def multipart(url: str) -> object:
    with make_session() as client:
        files = {"file": ("notes.txt", b"the content", "text/plain")}
        answer = client.post(f"{url}/size/requests", files=files, data={"purpose": "test"})
        return answer.json(), client.post(f"{url}/echo/form", data={"a": "1"}).json()


def large(url: str) -> object:
    with make_session() as client:
        return client.post(f"{url}/large/requests", json=["body"] * 30_000).json()


def binary(url: str) -> object:
    with make_session() as client:
        return pick_parts(client.post(f"{url}/binary/requests", data=bytes(range(256)) * 9))


def statuses(url: str) -> object:
    with make_session() as client:
        results = [pick_parts(client.get(f"{url}/status/{status}")) for status in (400, 404, 422)]
        return results, error(lambda: client.get(f"{url}/status/404").raise_for_status())


COMMON = row(post, "requests")
REQUESTS: dict[str, Scenario] = {
    **{key: value for key, value in COMMON.items() if key not in ("error", "retry")},
    "stream": stream,
    "stream: chunks": chunks,
    "left early": left_early,
    "first token": first_token,
    "error": statuses,
    "retry": get("/limited/requests"),
    "compressed: br": get("/packed/br"),
    "compressed: zstd": get("/packed/zstd"),
    "large: both ways": large,
    "binary": binary,
    "form": multipart,
    "redirect": get("/moved/requests"),
}


def pool_post(url: str, text: str) -> object:
    with urllib3.PoolManager(headers=HEADERS) as pool:
        return pool.request("POST", f"{url}/echo/urllib3", body=text.encode()).json()


def pool_get(path: str) -> Scenario:
    def scenario(url: str) -> object:
        with urllib3.PoolManager(retries=RETRY) as pool:
            answer = pool.request("GET", f"{url}{path}")
            return answer.status, answer.headers["content-type"], answer.data

    return scenario


def pool_stream(url: str) -> object:
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", f"{url}/events/urllib3", preload_content=False)
        parts = b"".join(answer.stream(16))
        answer.release_conn()
        return parts


def pool_left(url: str) -> object:
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", f"{url}/events/left", preload_content=False)
        part = answer.read(10)
        answer.close()
        return part


def pool_first(url: str) -> object:
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", f"{url}/held/urllib3", preload_content=False)
        first = answer.read(9)
        received(url, "urllib3")
        return first, answer.read()


def pool_form(url: str) -> object:
    with urllib3.PoolManager() as pool:
        fields: Any = {"file": ("notes.txt", b"the content"), "purpose": "test"}
        return pool.request("POST", f"{url}/size/urllib3", fields=fields).json()


POOL = row(pool_post, "urllib3", packed=False)
URLLIB3: dict[str, Scenario] = {
    **{key: value for key, value in POOL.items() if key not in ("error", "retry")},
    "stream": pool_stream,
    "left early": pool_left,
    "first token": pool_first,
    "error": lambda url: [pool_get(f"/status/{status}")(url) for status in (400, 404, 422)],
    "retry": pool_get("/limited/urllib3"),
    "compressed: gzip": pool_get("/~gzip/echo/packed"),
    "compressed: deflate": pool_get("/~deflate/echo/packed"),
    "compressed: br": pool_get("/packed/br"),
    "compressed: zstd": pool_get("/packed/zstd"),
    "binary": pool_get("/binary/urllib3"),
    "form": pool_form,
    "redirect": pool_get("/moved/urllib3"),
}


def connection_post(url: str, text: str) -> object:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request(
            "POST", f"{urlsplit(url).path}/echo/http.client", body=text.encode(), headers=HEADERS
        )
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.getheader("content-type"), json.loads(answer.read())
    finally:
        connection.close()


def connection_get(path: str, *, parts: int = 0) -> Scenario:
    def scenario(url: str) -> object:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if not parts:
                packed = answer.getheader("content-encoding") == "gzip"  # a recording answers unpacked
                return answer.status, gzip.decompress(answer.read()) if packed else answer.read()
            return answer.status, list(iter(lambda: answer.read(parts), b""))
        finally:
            connection.close()

    return scenario


def kept_alive(url: str) -> object:
    """One connection, three requests."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        replies = []
        for n in range(3):
            connection.putrequest("POST", f"/echo/alive/{n}")
            connection.putheader("content-length", "4")
            connection.endheaders()
            connection.send(b"body")
            replies.append(json.loads(connection.getresponse().read()))
        return replies
    finally:
        connection.close()


def connection_lines(url: str) -> object:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request("GET", "/events/lines")
        return connection.getresponse().readlines()
    finally:
        connection.close()


CONNECTION = row(connection_post, "http.client", packed=False)
HTTP_CLIENT: dict[str, Scenario] = {
    **{key: value for key, value in CONNECTION.items() if key not in ("error", "retry")},
    "plain: kept alive": kept_alive,
    "stream": connection_get("/events/http.client", parts=16),
    "stream: lines": connection_lines,
    "error": connection_get("/status/404"),
    "compressed: gzip": connection_get("/~gzip/echo/packed"),
    "binary": connection_get("/binary/http.client"),
}


def opened(url: str, text: str) -> object:
    request = urllib.request.Request(f"{url}/echo/urllib", data=text.encode(), headers=HEADERS)
    with urllib.request.urlopen(request) as answer:
        return answer.status, json.loads(answer.read())


def opened_get(path: str) -> Scenario:
    def scenario(url: str) -> object:
        with urllib.request.urlopen(f"{url}{path}") as answer:
            return answer.status, urlsplit(answer.url).path, answer.read()

    return scenario


def opened_error(url: str) -> object:
    try:
        urllib.request.urlopen(f"{url}/status/404")
    except urllib.error.HTTPError as caught:
        with caught:
            return caught.code, caught.read()
    return "no error"


def opened_lines(url: str) -> object:
    with urllib.request.urlopen(f"{url}/events/urllib") as answer:
        return list(answer)


OPENED = row(opened, "urllib", packed=False)
URLLIB: dict[str, Scenario] = {
    **{key: value for key, value in OPENED.items() if key not in ("error", "retry")},
    "stream": opened_lines,
    "error": opened_error,
    "binary": opened_get("/binary/urllib"),
    "redirect": opened_get("/moved/urllib"),
}

ROWS = {"requests": REQUESTS, "urllib3": URLLIB3, "http.client": HTTP_CLIENT, "urllib.request": URLLIB}
