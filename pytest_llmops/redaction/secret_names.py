"""Decide whether a name is the name of a secret, and find the values that a text assigns to such names.

A name is split into words (``clientSecret``, ``x-api-key``, ``OPENAI_KEY_2``). The rule is the same for environment variables,
headers, URL parameters, form fields and members of JSON. Whether the value of such a name is really a secret depends on where it is;
see `is_secret_value`.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache

MASK = "[secret]"
PLACEHOLDER_KEY = "llmops-placeholder-key"  # set for SDKs that refuse to start without a key; not a secret
MIN_SECRET = 8  # minimum length of a secret: shorter values would mask ordinary words
# Minimum length of a value without quotes; `MIN_BARE_PASSWORD` if its name contains "pass" or "secret"
MIN_BARE_VALUE = 16
MIN_BARE_PASSWORD = 10
MAX_NAME = 100  # characters of a name that are looked at

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Words that make any name a secret, wherever they are in it; words of `_SECRET_WORD` only as one of its last two words
_STRONG = r"(?:token|secret|password|passwd|passphrase|passcode|credential|apikey)s?"
_STRONG_WORD = re.compile(rf"[a-z]{{0,20}}{_STRONG}")
# With the word in front of them without a joint: "authkey", "openaikey", "userpw"
_SECRET_WORD = re.compile(
    r"(?:x|api|app|access|auth|client|private|account|master|license|ssh|gpg|pgp|signing|encryption|session|shared|service"
    r"|storage|subscription|function|virtual|user|admin|db|port|open|ai|web|hook|pass|priv|o){0,3}"
    r"(?:key|auth|authorization|signature|pass|pwd|pw|cookie|jwt|cred)s?"
    r"|(?:auth|access|user|device)?codes?|(?:sig|pswd|pat|[th]?otp|dsn|assertion|verifier|hmac|csrf|xsrf|bearer|mnemonic)s?"
    r"|sas|(?:j|php)?sess(?:ion)?ids?"
)
# The last two words of names that are secret only together
_SECRET_PAIRS = frozenset({
    "connection string", "conn string", "pass word", "pass phrase", "auth header", "authorization header", "seed phrase",
    "recovery phrase", "secret phrase", "wallet seed", "master seed", "connect sid", "session sid", "sid cookie",
})  # fmt: skip
# A "code" is only a secret next to one of these words: a status code, country code or source code is none
_CODE_CONTEXTS = frozenset(
    "auth oauth authorization device user verification login access otp mfa security recovery verifier".split()  # noqa: SIM905 -- shorter
)
# Words next to which a key, token or signature is not a credential: "page token", "sort key"
_OTHER_THINGS = frozenset(
    "page next continuation cursor answer sync cache idempotency foreign sort partition public thought thinking ratelimit remaining".split()  # noqa: SIM905
)
# As the last word of a name, these say that it holds a property of a secret, not the secret: "token_count", "KEY_FILE"
_ATTRIBUTES = frozenset(
    "count counts limit limits length size type types name names file files path paths dir folder url uri endpoint host port server "  # noqa: SIM905
    "domain region realm zone tenant provider issuer audience expires expiry expiration ttl lifetime age rate usage index algorithm "
    "alg method methods mode scheme level version status state sock socket enabled disabled required policy format field header "
    "param prefix pattern env variable var description hint help label title detail details budget minute second hour day created "
    "updated at by in reset rotation strategy class module function source scope scopes user username email role tokenizer ids "
    "error errors message reason tokens protection address".split()
)
# Names that also mean other things: their values count only if they look random
_GENERIC_WORDS = frozenset("key token code auth signature sig pass pat cookie sid sas csrf xsrf".split())  # noqa: SIM905
# Those that also do so behind other words: a "peak_pw" is a power, "street_cred" no credential, an "auth_header" mostly a name
_GENERIC_ENDS = frozenset("pw cred creds bearer header".split())  # noqa: SIM905
# Words that mean only a password or a secret: such a value may be words or a number where nothing else can be meant
_PASSWORD_ENDS = frozenset("password passphrase passcode passwd pwd pswd secret".split())  # noqa: SIM905

# The value is in a lookahead: as it is not consumed, assignments inside of a long value are found, too.
_ASSIGNED_VALUE = (
    rb"(?=[ \t\r\n]{0,9}+(?:!!(?:binary|str)[ ])?(?:"  # YAML writes the type of a value in front of it
    rb'"(?P<json>(?:[^"\\\s]|\\.){8,8000}+)(?="|\Z)'
    rb"|\\{0,7}[\"'](?P<quoted>[^\"'\\\s]{8,8000}+)(?=[\\\"']|\Z)"
    rb"|(?:\\{0,7}[\"'])?(?:"
    # In an address the signs of base64 are encoded: `%2B`, `%2F`, `%3D`
    rb"(?P<bare>\$?(?=[A-Za-z0-9+/_~%-]{10})[A-Za-z0-9+/_~-]{0,8000}+(?:%2[BFbf][A-Za-z0-9+/_~-]{0,8000}+){0,200}+"
    rb"(?:(?:%3[Dd]){1,2}+|={0,2}+))(?![A-Za-z0-9_.(\[-])"
    rb"|(?P<words>(?:[a-z]{3,8}+[ ]){11,23}+[a-z]{3,8}+)(?![a-z ]))"
    rb"))"
)
_PAIR_VALUE = rb"(?= b?[\"'](?P<pair>[^\"'\\]{8,8000}+)[\"'])"
# One pattern for each sign between a name and a value, as a search is fast for a pattern with a literal start
_ASSIGNMENTS = (
    re.compile(rb":>?" + _ASSIGNED_VALUE),
    re.compile(rb"=>?" + _ASSIGNED_VALUE),
    re.compile(rb"%3[ADad]" + _ASSIGNED_VALUE),
    re.compile(rb'",' + _PAIR_VALUE),
    re.compile(rb"'," + _PAIR_VALUE),
)
# The name before a value, or before the second item of a pair; it is matched in the reversed text
_NAME_BEFORE = re.compile(
    rb"[:?]{0,3}[ \t]{0,16}[\\\"']{0,9}(?P<name>[A-Za-z0-9_.$-]{0,99}[A-Za-z])(?P<pair>[\"']b?\()?"
)
# Nothing is given back (`+`): otherwise a long line without an end is read 300 times for each name in it.
_FORM_FIELD = re.compile(
    rb"[;\s]name=\"?(?P<name>[^\"\r\n;]{1,100}+)\"?+(?![^\r\n]{0,300}filename)[^\r\n]{0,300}+\r?\n"
    rb"(?:[^\r\n]{1,300}+\r?\n){0,5}\r?\n(?P<value>[^\r\n]{1,8000}+)"
)
_SECRET_PARAM = re.compile(rb"(?:^|[?&#;])(?P<name>[^=&#;\s?]{1,100})=(?P<value>[^&#\s]+)")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Return whether a name is the name of a secret.

    >>> [name for name in ("CLIENT_SECRET_VALUE", "x-api-key", "max_tokens", "statusCode", "KEY_FILE") if is_secret_name(name)]
    ['CLIENT_SECRET_VALUE', 'x-api-key']
    """
    words = [word.lower() for word in _WORD.findall(name[:MAX_NAME])]
    last_two = words[-2:]
    if " ".join(last_two) in _SECRET_PAIRS or words == ["sid"]:
        return True
    if not words or words[-1] in _ATTRIBUTES or not _OTHER_THINGS.isdisjoint(words):
        return False
    if "code" in words and len(words) > 1 and _CODE_CONTEXTS.isdisjoint(words):
        return False
    if any(map(_STRONG_WORD.fullmatch, words)):
        return True
    return any(map(_SECRET_WORD.fullmatch, last_two))


def is_webhook_name(name: str) -> bool:
    """Return whether a name is a name of the address of a webhook, which is a secret as a whole.

    >>> [name for name in ("SLACK_WEBHOOK_URL", "webhookUrl", "webhook_events", "url") if is_webhook_name(name)]
    ['SLACK_WEBHOOK_URL', 'webhookUrl']
    """
    return _WEBHOOK.search(name) is not None


def names_password(name: str) -> bool:
    """Return whether a name is the name of a password or a secret, and not of a key or a token, which also name other things.

    >>> [name for name in ("db_password", "clientSecret", "api_key") if names_password(name)]
    ['db_password', 'clientSecret']
    """
    return re.search("pass(?:w|ph|_w|_ph|code)|pwd|pswd|secret", name.lower()) is not None


def _last_word(name: str) -> str:
    """Return the last word of a name in small letters; "" if it has no letters."""
    words = _WORD.findall(name[:MAX_NAME])
    if not words:
        return ""
    return str(words[-1]).lower()


def has_letters_and_digits(value: str) -> bool:
    """Return whether a value has letters as well as digits, so that it is not an ordinary word or a number."""
    has_digits = any(map(str.isdigit, value))
    return has_digits and any(map(str.isalpha, value))


_RUN = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_SLUG_JOINT = re.compile(r"[-_./+:=]+")
# A word or two, with up to four digits in front of it or behind it ("PBKDF2", "30T10", "128chars", "OAuth2"), or a number
_SLUG_PART = re.compile(r"[0-9]{0,4}(?:[A-Z]{0,2}[a-z]+|[A-Z]+|(?:[A-Z][a-z]{2,}){2})?[0-9]{0,4}|[0-9]+")
_WITHOUT_JOINTS = str.maketrans("", "", "-_.")
# The beginnings of addresses, paths and placeholders
_NO_VALUE = ("http://", "https://", "{", "<", "[", "%(")
_BASE64_WITH_SLASH = re.compile(r"/[A-Za-z0-9+/]{15,8000}+(?P<padding>={1,2})?\Z")
MIN_BASE64_KEY = 32  # characters of a key that begins with "/" and has no "=" at its end
_VARIABLE = re.compile(
    r"'?\$(?:"
    # `${NAME}`, `$(command)`, a path in JSON (`$.data`), PowerShell's `$env:`, the hash of a password (`$2b$12$...`)
    r"[{(.\[$]|env:|[a-z-]{0,8}+[0-9][a-z0-9-]{0,10}+\$"
    # A name, which has a digit at most, or no small letters; then nothing, a member of it, or more text
    r"|(?:[A-Z_][A-Z0-9_]*+|[A-Za-z_]++[0-9]?[A-Za-z_]*+)(?:'?\Z|-(?:[>$]|\Z)|[\[.:/$])"
    r")"
)


def is_variable(value: str) -> bool:
    """Return whether a value is a variable or a command of a shell, or the hash of a password, which all begin with ``$``.

    >>> [is_variable(value) for value in ("$DB_PASSWORD_2", "${db_password}", "$user->key", "$ecretP4ssword99")]
    [True, True, True, False]
    """
    return _VARIABLE.match(value) is not None


_SESSION_ID = re.compile(r"[Ss](?:ession|ESSION)[_-]?(?:id|Id|ID)\Z")
# Of these the id of an agent's conversation has the name, too
_CONVERSATION_ID = re.compile(r"[Ss](?:ession|ESSION)(?:[_-][Ii][Dd]|Id|ID)\Z")
_WEB_SESSION_ID = re.compile(r"(?:J|ASP\.NET_)SESSION_?ID\Z", re.IGNORECASE)
# Names of the phrase or the number from which all keys of a wallet are made
_SEED = re.compile(r"(?:phrase|mnemonic|(?:\A|[_.-])seed|[a-z]Seed)(?:_?words|_?hex)?\Z", re.IGNORECASE)
# A number under another name than these is the seed of a model
_WALLET = re.compile("wallet|master|mnemonic|phrase", re.IGNORECASE)
_HEX_SEED = re.compile(r"[0-9a-fA-F]{32,128}")
_PHRASE_LENGTHS = frozenset({12, 15, 18, 21, 24})  # words
# Frequent words of prose that no wallet uses
_PROSE_WORDS = frozenset(
    "the and for with from are was were they them has had not but his its our their which".split()  # noqa: SIM905 -- shorter
)
_WEBHOOK = re.compile(r"(?:web|slack|discord|teams)_?hook(?:_?(?:url|uri))?\Z", re.IGNORECASE)
# What everybody may see: the name of a record of Twilio, which calls it ``sid``; the address of a "token" that is traded
_PUBLIC_ID = re.compile(r"[A-Z]{2}[0-9a-f]{32}|0x[0-9a-fA-F]{40}")
# The id of a conversation: a word in front, or a UUID. A random value begins so once in 300 times.
_CONVERSATION = re.compile(r"[a-z]{3,20}[_:-]|[0-9a-f]{8}-[0-9a-f]{4}-")


def is_secret_value(name: str, value: str) -> bool:
    """Return whether the value of a name of a secret really is a secret, and not a word, a path or a placeholder.

    >>> is_secret_value("api_key", "invalid_request"), is_secret_value("api_key", "a1b2c3d4"), is_secret_value("key", "order-4711")
    (False, True, False)
    """
    if len(value) < MIN_SECRET or " " in value:
        return False
    if (
        value.startswith(_NO_VALUE)
        or _is_path(value)
        or is_variable(value)
        or value in (MASK, PLACEHOLDER_KEY)
    ):
        return False
    is_long = len(value) >= MIN_BARE_VALUE
    if _is_generic(name):
        is_random = has_letters_and_digits(value) and looks_random(value)
        if _PUBLIC_ID.fullmatch(value) is not None:
            return False
        return is_long and is_random and not (value.islower() and is_slug(value))
    if value.isascii() and value.translate(_WITHOUT_JOINTS).isalpha():
        # Only letters: joined words ("invalid_request") are not a secret; a long text of mixed case is.
        has_mixed_case = not value.islower() and not value.isupper()
        return is_long and value.isalpha() and has_mixed_case
    return any(map(str.isalpha, value))


def _is_generic(name: str) -> bool:
    """Return whether a name of a secret also means other things."""
    return name.lower() in _GENERIC_WORDS or _last_word(name) in _GENERIC_ENDS


def _is_path(value: str) -> bool:
    """Return whether a value is a path, which begins with "/". One of 64 keys in base64 does so, too.

    >>> [_is_path(value) for value in ("/etc/keys/server1.pem", "/v1/Users/Key2", "/q8Zt4Lm2Xk9PvB7cR3q8Zt4Lm2Xk9PvB7cR3A==")]
    [True, True, False]
    """
    if not value.startswith("/"):
        return False
    key = _BASE64_WITH_SLASH.match(value)
    if key is None:
        return True
    if key["padding"]:
        return False
    is_mixed = has_letters_and_digits(value) and not value.islower() and not value.isupper()
    return len(value) < MIN_BASE64_KEY or not is_mixed or not looks_random(value)


def is_secret_setting(name: str, value: str) -> bool:
    """Return whether a value that was given to a name by itself, and not in a text, is a secret.

    Under a name that ends with "password" or "secret" it may be words or a number; under another one it must not be made of words.

    >>> [is_secret_setting(name, "1234567890") for name in ("db_password", "code", "prompt_tokens_total")]
    [True, False, False]
    """
    if not is_secret_name(name) or value == MASK:
        return False
    if _last_word(name) in _PASSWORD_ENDS:
        return len(value) >= MIN_SECRET
    return is_secret_value(name, value) and not is_slug(value)


def looks_random(value: str, run: int = 4) -> bool:
    """Return whether small letters, capitals and digits alternate: a run has at most ``run`` characters on average."""
    return len(_RUN.findall(value)) * run >= len(value)


def is_slug(value: str) -> bool:
    """Return whether a value is made of words and numbers that are joined.

    >>> [is_slug(value) for value in ("your-api-key-1", "gen_ai.prompt.0.role", "bloom-7b_llama-7b", "h4xx-0rY7kk")]
    [True, True, True, False]
    """
    parts = _SLUG_JOINT.split(value)
    if len(parts) == 1:
        return value.isalpha()
    return all(map(_SLUG_PART.fullmatch, parts))


def find_assigned_values(data: bytes) -> list[tuple[int, int]]:
    """Return (start, end) of each secret that is assigned to a name in code, JSON, headers or forms, in order.

    >>> find_assigned_values(b'{"clientSecret": "hunter2hunter2"}')
    [(18, 32)]
    """
    spans = []
    for pattern in _ASSIGNMENTS:
        for match in pattern.finditer(data):
            if _is_secret(match):
                # The only named group that matched is the value
                spans.append(match.span(match.lastgroup or 0))
    if b"form-data" in data:
        for match in _FORM_FIELD.finditer(data):
            name = match["name"].decode("latin-1")
            if is_secret_name(name) and match["value"] != MASK.encode():
                spans.append(match.span("value"))
    return sorted(spans)


def _is_secret(match: re.Match[bytes]) -> bool:
    """Return whether the value of an assignment is a secret, by the name before it and the kind of the value.

    The kinds are the named groups of `_ASSIGNMENTS`; a pair is the header of a log, ``(b'set-cookie', b'sid=...')``.
    """
    start = match.start()
    kind = match.lastgroup or ""
    is_pair = kind == "pair"
    before = match.string[
        max(0, start - MAX_NAME) : start + is_pair
    ]  # of a pair with the quote after the name
    name_match = _NAME_BEFORE.match(before[::-1])
    if name_match is None:
        return False
    name = name_match["name"][::-1].decode("latin-1")
    if _SESSION_ID.search(name):
        is_field = kind == "bare" and match[0] in (b"=", b"%3D", b"%3d")
        if is_pair or (_is_conversation_id(name) and not is_field):
            return False
        return _is_session_secret(match[kind].decode("utf-8", "replace"))
    if kind == "words" or name.lower().endswith("seed"):
        return _is_seed(name, match[kind].decode("utf-8", "replace"))
    if is_webhook_name(name) and not is_pair:
        return _is_secret_address(match[kind].decode("utf-8", "replace"))
    if not is_secret_name(name):
        return False
    value = match[kind].decode("utf-8", "replace")
    if is_pair:  # a header in a log: `(b'set-cookie', b'sid=...; Path=/')`
        return name_match["pair"] is not None and value != MASK
    if kind == "bare":
        return _is_bare_secret(name, value)
    return is_secret_value(name, value)


def _is_conversation_id(name: str) -> bool:
    """Return whether a name is a name of the id of an agent's conversation in JSON, which distinguishes requests.

    >>> [_is_conversation_id(name) for name in ("session_id", "sessionId", "sessionid", "JSESSIONID", "PHPSESSID")]
    [True, True, False, False, False]
    """
    return _CONVERSATION_ID.search(name) is not None and _WEB_SESSION_ID.search(name) is None


def _is_session_secret(value: str) -> bool:
    """Return whether the id of a session in a cookie or a form is the credential of a user, and not the name of a conversation.

    A conversation has a UUID, or a prefix such as ``sess_``; clients send it back, so it stays.

    >>> [_is_session_secret(value) for value in ("sess_a1B2c3D4e5F6", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "q8Zt4Lm2Xk9PvB7c")]
    [False, False, True]
    """
    return _CONVERSATION.match(value) is None and is_secret_value("key", value)


def _is_seed(name: str, value: str) -> bool:
    """Return whether a value is the phrase of a wallet or a hexadecimal seed. A number is the seed of a model.

    >>> [_is_seed("seed", value) for value in ("3f9a" * 8, "word " * 11 + "word", "42")], _is_seed("wallet_seed", "3f9a" * 8)
    ([False, True, False], True)
    """
    if _SEED.search(name) is None:
        return False
    words = value.split(" ")
    if len(words) == 1:
        if _WALLET.search(name) is None:
            return False
        return _HEX_SEED.fullmatch(value) is not None and has_letters_and_digits(value)
    return len(words) in _PHRASE_LENGTHS and _PROSE_WORDS.isdisjoint(words)


def _is_secret_address(value: str) -> bool:
    """Return whether the address of a webhook has a part that looks random: whoever knows it can send messages.

    >>> [_is_secret_address(f"https://a.example/{part}") for part in ("orders/created", "in/k3v9x0q7m2z8")]
    [False, True]
    """
    parts = value.split("/")[3:]
    return any(
        has_letters_and_digits(part) and is_secret_value("webhook", part) and looks_random(part)
        for part in parts
    )


def _is_bare_secret(name: str, value: str) -> bool:
    """Return whether a value without quotes is a secret.

    It must be longer than one in quotes, and have letters and digits; only a password may consist of digits.
    """
    fewest = MIN_BARE_VALUE
    if re.search("pass|secret", name.lower()):
        fewest = MIN_BARE_PASSWORD
    if len(value) < fewest:
        return False
    if has_letters_and_digits(value):
        return is_secret_value(name, value)
    return value.isdigit() and name.lower().endswith("password")


def read_value(data: bytes) -> str:
    """Return the text of a value, with escapes of JSON replaced; text that is not valid in JSON stays as it is."""
    text = data.decode("utf-8", "surrogateescape")
    if "\\" in text:
        try:
            return str(json.loads(f'"{text}"', strict=False))
        except ValueError:
            return text
    return text


def find_params(data: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the secret parameters of a query or a form: the groups are ``name`` and ``value``."""
    for match in _SECRET_PARAM.finditer(data):
        if is_secret_name(match["name"].decode("latin-1")):
            yield match


def mask_params(data: bytes) -> bytes:
    """Return a query or a form with the values of secret parameters masked.

    >>> mask_params(b"grant_type=x&client_secret=hunter2")
    b'grant_type=x&client_secret=[secret]'
    """
    params = list(find_params(data))
    for match in reversed(params):
        start, end = match.span("value")
        data = data[:start] + MASK.encode() + data[end:]
    return data
