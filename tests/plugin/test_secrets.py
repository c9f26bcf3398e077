"""Many kinds of secrets are sent, answered, raised, printed and logged; then all that the run wrote is searched."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from support.page import unpack_report
from support.planted import A1, FOLLOWING, HEX, PEM, SECRETS
from support.project import Project, Result
from support.server import Reply, Seen, StubServer, json_reply, stream

from pytest_llmops.redaction.streams import base64_forms
from pytest_llmops.results.run import Run

KNOWN: dict[str, tuple[str, str]] = {
    "a key without a shape": ("COHERE_API_KEY", "Zx9" + HEX[:20] + "Qq"),
    "a password with odd characters": ("DB_PASSWORD", 'p"ä\\ss wö+rd/%41&b=1'),
    "a short name": ("GH_PAT", "pat" + HEX[:9]),
    "a numbered name": ("OPENAI_API_KEY_2", "no2" + HEX[:16]),
    "a value of several lines": ("SIGNING_KEY", "first" + HEX + "\nsecond" + HEX + "\nthird" + HEX),
    "a user and password for the proxy": ("PROXY_AUTH", "proxyuser:proxypass1"),
    "an organisation": ("ACME_TOKEN", "acme-corp-7781"),
}
"""Of no shape: known because a variable says so."""
SENT = {
    "a credential": "cred-" + A1[:18],
    "a cookie": "cookie-" + A1[:12],
    "the password of a pair": "basic-pass-1",
}
"""Of no shape: known because a request carries them."""
CUSTOM = {"a name": "Jane Q. Customer"}
"""Known to the user's own redactor."""

PLANTED: dict[str, str] = {
    **SECRETS,
    **{kind: f"{name}{secret}{'@host' if kind == 'database' else ''}" for kind, (name, secret) in FOLLOWING.items()},
    "a private key": PEM.format("RSA "),
    "a URL with a password": "postgres://admin:" + A1[:12] + "@db.example/x",
    **{kind: secret for kind, (_, secret) in KNOWN.items()},
    **SENT,
    **CUSTOM,
}  # fmt: skip
"""What is put into every place, by kind."""
HIDDEN: dict[str, tuple[str, ...]] = {
    **{kind: (text,) for kind, text in PLANTED.items()},
    **{kind: (secret,) for kind, (_, secret) in FOLLOWING.items()},
    "a private key": ("MIIEvQIBADANBgkqhkiG9w0BAQ",),
    "a URL with a password": (A1[:12],),
    "a value of several lines": tuple(KNOWN["a value of several lines"][1].split("\n")),
}
"""What must be nowhere: the secret itself, of several lines each."""

CONFTEST = """
def pytest_llmops_redactors():
    return {"names": lambda text: text.replace("Jane Q. Customer", "[name]")}
"""
TESTS = """
import base64, json, logging, os, sys
import httpx2
import pytest

PLANTED = json.loads(os.environ["PLANTED"])
SENT = json.loads(os.environ["SENT"])
ALL = list(PLANTED.values())
GROUPS = [chr(10).join(ALL[n : n + 8]) for n in range(0, len(ALL), 8)]
PLACES = ["json", "form", "multipart", "stream/whole", "stream/split", "body", "error", "headers", "pretty", "base64"]

def ask(secret, cookie):
    pair = base64.b64encode(f"user:{SENT['the password of a pair']}".encode()).decode()
    headers = {"authorization": f"Bearer {SENT['a credential']}", "proxy-authorization": f"Basic {pair}",
               "cookie": f"session={SENT['a cookie']}", "x-api-key": secret.encode().hex()}
    with httpx2.Client(verify=False, base_url=os.environ["STUB"], headers=headers, cookies={"other": cookie}) as client:
        for place in PLACES:
            if place == "form":
                client.post(f"/{place}", data={"text": secret, "client_secret": "form-value-1"})
            elif place == "multipart":
                files = {"file": ("a.bin", b"\\xff\\x00" + secret.encode(), "application/octet-stream")}
                client.post(f"/{place}", data={"text": secret}, files=files)
            else:
                answer = client.post(f"/{place}", json={"text": f"say {secret} please", "pair": pair})
                assert place != "stream/split" or answer.status_code == 200
        client.get("/url", params={"note": secret, "key": "param-value-1"})
        client.get("/path/" + base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="))
        client.get("/path/plain", headers={"x-echo": "1"})

@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(len(GROUPS)))
def test_ask(n):
    ask(GROUPS[n], "cookie-other-1")

@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(len(GROUPS)))
def test_fail(n):
    secret = GROUPS[n]
    with httpx2.Client(verify=False, base_url=os.environ["STUB"]) as client:
        client.post("/body", json={"fail": n}, headers={"authorization": f"Bearer {SENT['a credential']}",
            "cookie": f"session={SENT['a cookie']}",
            "proxy-authorization": "Basic " + base64.b64encode(f"user:{SENT['the password of a pair']}".encode()).decode()})
    print("printed", secret)
    print("printed", secret, file=sys.stderr)
    logging.getLogger("app").warning("logged %s", secret)
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise RuntimeError(f"failed with {secret}") from error
"""


class EchoServer(StubServer):
    """Says back what it was told, in the place that the path names."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        text = seen.body.decode("latin-1").encode("latin-1").decode("utf-8", "replace")
        try:
            text = json.loads(seen.body)["text"]
        except (ValueError, KeyError):
            query = parse_qs(urlsplit(seen.path).query)
            text = query["note"][0] if "note" in query else text
        return self._reply(urlsplit(seen.path).path.removeprefix("/"), text, seen)

    def _reply(self, place: str, text: str, seen: Seen) -> Reply:
        lines = {"said": text, "headers": dict(seen.headers)}
        made = PLACES.get(place)
        return json_reply(lines) if made is None else made(text, lines)


def _delta(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def _headers(text: str, _: object) -> Reply:
    line = quote(text)
    headers = {
        "content-type": "application/json",
        "location": f"/next?note={line}",
        "set-cookie": "sid=set-cookie-value-1; Path=/",
        "x-secret": line,
    }
    return Reply(b'{"sid": "set-cookie-value-1"}', 200, headers)


def _pretty(text: str, _: object) -> Reply:
    escaped = "".join(f"\\u{ord(dump):04x}" if dump in "-_.:/=" else dump for dump in json.dumps(text))
    return Reply(f'{{\n  "said": {escaped}\n}}'.encode())


PLACES: dict[str, Callable[[str, Mapping[str, object]], Reply]] = {
    "stream/whole": lambda text, _: stream([_delta(text), "[DONE]"]),
    "stream/split": lambda text, _: stream([_delta(text[n : n + 5]) for n in range(0, len(text), 5)]),
    "error": lambda text, headers: json_reply(
        {"error": {"message": f"Incorrect: {text}", **headers}}, status=404
    ),
    "headers": _headers,
    "pretty": _pretty,
    "base64": lambda text, _: json_reply({"file": base64.b64encode(f"a file: {text} ...".encode()).decode()}),
}


@pytest.fixture
def planted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN")) or name == "CI"]:
        monkeypatch.delenv(name)
    for name, secret in KNOWN.values():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("PLANTED", json.dumps(PLANTED))
    monkeypatch.setenv("SENT", json.dumps(SENT))
    (pytester.path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(pytester.path / "temporary"))
    with EchoServer() as server:
        monkeypatch.setenv("STUB", server.url)
        project = Project(pytester, server)
        project.write(**{"test_planted.py": TESTS, "conftest.py": CONFTEST})
        yield project


def spellings(secret: str) -> dict[str, bytes]:
    raw = secret.encode()
    result = {
        "raw": raw,
        "JSON": json.dumps(secret)[1:-1].encode(),
        "JSON, not ASCII": json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        "JSON in JSON": json.dumps(json.dumps(secret)[1:-1])[1:-1].encode(),
        "a URL": quote(secret, safe="").encode(),
        "a URL in lower case": quote(secret, safe="").lower().encode(),
        "escaped": secret.replace("-", "\\u002d").replace("_", "\\u005f").encode(),
    }
    return {**result, **{f"base64 {form.decode()}": form for form in base64_forms(raw)}}


def searched(project: Project, result: Result) -> Iterator[tuple[str, bytes]]:
    """All that the run wrote: files, also hidden and temporary ones, and the terminal.

    The sources that hold the secrets are the user's own, and what Python compiles of them is Python's.
    """
    yield "terminal", result.text.encode()
    for path in project.path.rglob("*"):
        own = path.name in ("test_planted.py", "conftest.py") or path.parent.name == "__pycache__"
        if path.is_file() and not own:
            yield path.relative_to(project.path).as_posix(), unpack_report(path.name, path.read_bytes())


def find_secrets(files: Mapping[str, bytes]) -> list[str]:
    more = {"the form": ("form-value-1",), "the query": ("param-value-1",), "a set cookie": ("set-cookie-value-1",),
            "another cookie": ("cookie-other-1",)}  # fmt: skip
    return [
        f"{kind} as {how} in {name}"
        for kind, secrets in {**HIDDEN, **more}.items()
        for secret in secrets
        for how, form in spellings(secret).items()
        for name, data in files.items()
        if form in data
    ]


def test_thirty_kinds_and_more_are_nowhere_in_what_a_run_wrote(planted: Project) -> None:
    """With workers, whose reports and journals are more that may leak; test_named_secrets.py has a run without."""
    assert len(PLANTED) >= 30
    result = planted.record(
        "--llm-report=report.html", "--llm-report=report.json", "--junitxml=report.xml", "-o", "junit_logging=all",
        "-rA", "-l", "--log-level=DEBUG", "-p", "cacheprovider", workers=2,
    )  # fmt: skip
    count = -(-len(PLANTED) // 8)
    assert result.outcomes == {"passed": count, "failed": count}
    files = dict(searched(planted, result))
    assert {"report.html", "report.json", "report.xml", "run-file.json"} <= set(files)
    cassettes = [name for name in files if name.startswith("cassettes/")]
    assert len(cassettes) == 2 * count
    assert any(name.startswith(".pytest_cache/") for name in files)
    leaks = find_secrets(files)
    assert not leaks, "\n".join(leaks[:40])
    server = planted.server
    assert isinstance(server, EchoServer)
    request_count = server.count
    # And what was masked is found again: the same questions, no server.
    server.close()
    again = planted.run("-k", "test_ask")
    assert again.outcomes == {"passed": count}
    assert server.count == request_count


def test_journals_of_a_killed_run_hold_no_secret(planted: Project) -> None:
    planted.write(
        **{
            "test_planted.py": TESTS
            + "\n@pytest.fixture(autouse=True)\ndef _end(request):\n    yield\n    os._exit(3)\n"
        }
    )
    done = planted.pytester.runpytest_subprocess(
        "--llm-record=new", f"--llm-base-url={planted.server.url}/v1", "-k", "test_ask and 9"
    )
    assert done.ret == 3
    result = Result({}, "\n".join([*done.outlines, *done.errlines]), 3, Run())
    files = dict(searched(planted, result))
    assert any(name.endswith(".journal") for name in files)
    leaks = find_secrets(files)
    assert not leaks, "\n".join(leaks[:40])
