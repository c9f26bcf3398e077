"""The headers of a request as they are recorded with its answer, and how they differ from the headers of a later request.

Headers do not belong to the key by which a recording is found: the same request comes with other keys and trace ids in
each run. They are kept for ``--llm-record=changed`` only. There are four kinds:

* headers that choose how a model behaves (`BEHAVIOUR_HEADERS`): with another value, the recorded answer is not reused;
* headers that differ between equal calls (`_NOISE`): they are not recorded;
* credentials: a note appears if one was exchanged for another;
* all others: a note names those that differ.

Only the values of `BEHAVIOUR_HEADERS` without accounts are written to disk; for all other headers a digest is written. Of a guardrail
that AWS names by its ARN, which has the number of the account, only its id is.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from pytest_llmops.redaction.redactor import ACCOUNT_HEADERS, Redactor
from pytest_llmops.redaction.secret_names import MIN_SECRET, PLACEHOLDER_KEY, is_secret_name

ACCOUNT_BEHAVIOUR_HEADERS = frozenset({*ACCOUNT_HEADERS, "x-goog-user-project"})
GUARDRAIL_HEADER = "x-amzn-bedrock-guardrailidentifier"
BEHAVIOUR_HEADERS = ACCOUNT_BEHAVIOUR_HEADERS | {
    "anthropic-beta",
    "anthropic-version",
    "openai-beta",
    GUARDRAIL_HEADER,
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "azureml-model-deployment",
    "extra-parameters",  # of Azure AI: whether unknown parameters are passed on
}

# Headers that differ between two equal calls, or describe the client: the client and the connection, trace and request
# ids, times and signatures
_NOISE = re.compile(
    r"accept(-.+)?|connection|content-.+|cache-control|pragma|date|expect|host|keep-alive|te|trailer|transfer-encoding"
    r"|upgrade(-.+)?|user-agent|via|origin|referer|priority|http2-settings|if-(none-match|modified-since)|sec-.+|:.+"
    r"|x-stainless-.+|x-fern-.+|x-goog-api-client|x-goog-request-params|x-client-(name|version)|x-ms-(date|useragent)"
    r"|amz-sdk-.+|x-amz-(date|content-sha256|security-token|user-agent|expires)"
    r"|traceparent|tracestate|baggage|b3|x-b3-.+|sentry-trace|x-datadog-.+|x-cloud-trace-context|x-amzn-trace-id"
    r"|uber-trace-id|elastic-apm-.+|newrelic|langsmith-trace|x-forwarded-.+|x-real-ip"
    r"|(.+-)?idempotency-key|(.+[-_])?(request|correlation|session|conversation|thread|trace|span|invocation)[-_]id"
    r"|(.+-)?(session|conversation)(-affinity)?"
)
MAX_NAME = 100
# Three digits of a hash: another value has the same ones in 1 of 4,096 cases, in which the note is missing. In return,
# they do not give a secret away. Whoever guesses a secret finds that 1 in 4,096 of all wrong guesses fits as well; of a
# key with 128 random bits, 2 to the power of 116 are left. A salt is left out on purpose: with a salt for each request
# each of its digests would exclude other guesses, and together they would confirm the right one.
DIGEST_CHARS = 3
_SIGNING_KEY = re.compile(r"Credential=([^/,\s]{1,128})")  # of AWS: the rest of the header is a signature
# The id of a guardrail of AWS, alone or at the end of an ARN; a text of digits only may be an account
_GUARDRAIL_ID = re.compile(r"(?:arn:[^/\s]{1,200}:guardrail/)?(?P<id>(?=[0-9]{0,99}[a-z])[a-z0-9]{1,100})")
_SERVER_COOKIES = ("__cf", "_cfuvid", "awsalb", "incap_ses", "visid_incap")  # of load balancers
# Beginnings of credentials that live for an hour: a JWT, and credentials of Google, AWS roles and jobs on GitHub
_SHORT_LIVED = ("eyJ", "ya29.", "ASIA", "ghs_")


def describe_headers(headers: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    """Return the headers of a request as they are recorded: for each name its value if it is public, else a digest.

    Args:
        headers: The headers.
        redactor: Masks secrets in public values.

    >>> describe_headers({"User-Agent": "x", "Anthropic-Beta": "b,a", "Authorization": "Bearer 0123456789"}, Redactor())
    {'anthropic-beta': 'a, b', 'authorization': '2f7'}
    """
    described = {}
    for name, value in sorted((name.lower(), value.strip()) for name, value in headers.items()):
        if is_noise(name):
            continue
        if name in BEHAVIOUR_HEADERS:
            described[name] = _describe_behaviour(name, value, redactor)
        elif not is_secret_name(name):
            described[name] = _digest(value)
        elif credential := _find_credential(name, value):
            described[name] = _digest(credential)
    return described


@lru_cache(maxsize=1024)
def is_noise(name: str) -> bool:
    """Return whether a header, by its lower-case name, is not recorded.

    >>> [name for name in ("x-stainless-os", "x-request-id", "x-tenant-id", "traceparent", "x-trace") if not is_noise(name)]
    ['x-tenant-id', 'x-trace']
    """
    return len(name) > MAX_NAME or _NOISE.fullmatch(name) is not None


def _describe_behaviour(name: str, value: str, redactor: Redactor) -> str:
    """Return the value of a header that chooses behaviour: a sorted list without secrets, or a digest of an account.

    Of a guardrail it is the id.
    """
    items = sorted(filter(None, map(str.strip, value.split(","))))
    if name in ACCOUNT_BEHAVIOUR_HEADERS:
        return _digest(", ".join(items))
    if name == GUARDRAIL_HEADER:
        guardrail = _GUARDRAIL_ID.fullmatch(value)
        if guardrail is None:
            return _digest(value)
        return redactor.clean_text(guardrail["id"])
    return redactor.clean_text(", ".join(items))


def _find_credential(name: str, value: str) -> str:
    """Return the part of a credential that stays the same from one run to the next; "" if there is none.

    Placeholders, short-lived tokens and cookies of load balancers have none.
    """
    if name == "cookie":
        pairs = sorted(map(str.strip, value.split(";")))
        return "; ".join(pair for pair in pairs if not pair.lower().startswith(_SERVER_COOKIES))
    credential = value.rpartition(" ")[2]  # without "Bearer"
    signing_key = _SIGNING_KEY.search(value)
    if signing_key is not None:
        credential = signing_key[1]
    if len(credential) < MIN_SECRET or credential == PLACEHOLDER_KEY or credential.startswith(_SHORT_LIVED):
        return ""
    return credential


def _digest(value: str) -> str:
    """Return a few digits of the hash of a value; see `DIGEST_CHARS`."""
    content = b"header of a request\0" + value.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARS]


def select_behaviour(described: Mapping[str, str]) -> dict[str, str]:
    """Return the recorded headers that choose behaviour."""
    return {name: value for name, value in described.items() if name in BEHAVIOUR_HEADERS}


def list_changed_behaviour(recorded: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Return the names of headers that choose behaviour and differ; none for a recording without headers.

    >>> list_changed_behaviour({}, {"anthropic-beta": "a"}), list_changed_behaviour(None, {"anthropic-beta": "a"})
    (['anthropic-beta'], [])
    """
    if recorded is None:
        return []
    return _list_differing(select_behaviour(recorded), select_behaviour(now))


def list_other_headers(recorded: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Return the names of headers that differ, without credentials and those that choose behaviour.

    >>> list_other_headers({"x-tenant": "1", "authorization": "2"}, {"authorization": "3"})
    ['x-tenant']
    """
    if recorded is None:
        return []
    differing = [name for name in _list_differing(recorded, now) if name not in BEHAVIOUR_HEADERS]
    return [name for name in differing if not is_secret_name(name)]


def list_other_secrets(recorded: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Return the names of headers with another credential.

    Both sides must have one: a replay needs none.

    >>> list_other_secrets({"x-tenant": "1", "authorization": "2"}, {"authorization": "3"})
    ['authorization']
    """
    if recorded is None:
        return []
    differing = [name for name in _list_differing(recorded, now) if is_secret_name(name)]
    return [name for name in differing if name in recorded and name in now]


def name_headers(names: Iterable[str]) -> str:
    """Return the names of headers as in ``header x-tenant``."""
    return f"header {', '.join(names)}"


def _list_differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names that only one of two mappings has, or with another value."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
