r"""Find secrets by the text around them: pairs of a name and a value, cookies, XML, HTML, command lines, addresses.

These are forms in which the name of a secret is not directly in front of its value: ``{"name": "X-Api-Key", "value": "..."}``,
``["X-Api-Key", "..."]``, ``<password>...</password>``, ``--password ...``. Texts are mostly searched as they are in JSON, so a quote may
have backslashes in front of it, and a line end may be ``\n``. Tables are in `text_tables`.

Prose about passwords has these forms too, so a value must look like a secret; see `is_secret_in_text`.

Each pattern begins with literal text, as a search for that is fast, and each repetition is bounded.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pytest_llmops.redaction.public_rules import measure_entropy
from pytest_llmops.redaction.secret_names import (
    MASK,
    has_letters_and_digits,
    is_secret_name,
    is_secret_value,
    is_slug,
    looks_random,
    names_password,
)
from pytest_llmops.redaction.text_tables import find_table_secrets

Span = tuple[int, int]

MIN_DIFFERENT = 5  # characters: a placeholder such as "xxxxxxx1" has fewer
MIN_LEARNED = 12  # characters of a value that is looked for elsewhere
MIN_DIGITS = 2  # of a value that is looked for elsewhere or below a label, and of a part of a path
MIN_PATH_ENTROPY = 3.5  # bits per character
NEAR = 300  # characters in which the other half of a pair, or the command of an option, may be

_QUOTE = rb"\\{0,7}[\"']"
_BREAK = rb"(?:\s|\\{1,7}[nrt]){1,20}"  # blanks and line ends, also in JSON
_ASSIGN = rb"(?:" + _QUOTE + rb")?\s{0,4}[:=]\s{0,4}"
_VALUE = rb"(?P<value>[^\s\"'\\<>]{8,4000}+)"

# The value of a pair; its name is in front of it or behind it, within the same braces or tag
_PAIR_VALUE = re.compile(
    rb"value" + _ASSIGN + _QUOTE + rb"(?P<value>[^\"'\\<>]{8,4000}+)(?=" + _QUOTE + rb")"
)
_PAIR_NAME = re.compile(
    rb"\b(?:name|key|id|header|field|variable|param|parameter|property)"
    + _ASSIGN
    + _QUOTE
    + rb"(?P<name>[A-Za-z][\w.:-]{0,60})(?="
    + _QUOTE
    + rb")"
)
_PAIR_ENDS = (b"{", b"}", b"<", b">")
_LIST = re.compile(
    rb"\[\s{0,20}" + _QUOTE + rb"(?P<name>[A-Za-z][\w.-]{0,60})" + _QUOTE
    + rb"\s{0,9},\s{0,20}" + _QUOTE + rb"(?P<value>[^\"'\\\r\n]{8,4000}+)" + _QUOTE + rb"\s{0,20}\]"
)  # fmt: skip
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|ApiKey|Api-Key|Key|Digest|SSWS|GenieKey) {1,2}", re.IGNORECASE)

_COOKIES = re.compile(
    rb"(?:ookie(?<=(?<![A-Za-z])[Cc]ookie)|OOKIE(?<=(?<![A-Za-z])COOKIE))"
    rb"(?:" + _ASSIGN + rb"|" + _QUOTE + rb"\s{0,4},\s{0,4})"
    rb"(?:\[\s{0,9})?(?:b?" + _QUOTE + rb")?"
    rb"(?P<cookies>(?:[^\r\n\"\\=]|=(?:\\{0,7}\"(?=[^\s\"\\,;]))?+){3,8000}+)"
)  # fmt: skip
_COOKIE = re.compile(rb"(?P<name>[^=;,\s\"'\\]{1,100}+)=\\{0,7}\"?(?P<value>[^;,\s\"'\\]{8,4000}+)")
# Parts of names of session cookies; the value of another one ("theme") has to look random
_SESSION_NAME = re.compile(r"sess|auth(?!or)|token|[cx]srf|id\Z", re.IGNORECASE)
_COOKIE_ATTRIBUTES = frozenset({"path", "domain", "expires", "max-age", "samesite", "version", "priority"})

_BLANKS = rb"(?:\s|\\{1,7}[nrt]){0,20}"
_ELEMENT = re.compile(
    rb"<(?:[A-Za-z][\w-]{0,30}:)?(?P<name>[A-Za-z][\w.-]{0,60})(?:\s[^<>]{0,300})?>" + _BLANKS + rb"(?:<!\[CDATA\[)?"
    rb"(?P<value>[^\s\"'\\<>\]]{8,4000}+)(?:\]\]>)?" + _BLANKS + rb"<\\{0,3}/"
)  # fmt: skip
_NAMED_ELEMENT = re.compile(
    rb"<(?!(?:h[1-6]|a|t[dhr]|div|span|p|li|label|button|code)\s)[A-Za-z][\w:.-]{0,60}\s{1,9}[^<>]{0,200}?"
    rb"\b(?:name|key)=" + _QUOTE + rb"(?P<name>[\w.:-]{1,60})" + _QUOTE
    + rb"[^<>]{0,200}>" + _BLANKS + rb"(?P<value>[^\s\"'\\<>]{8,4000}+)" + _BLANKS + rb"<\\{0,3}/"
)  # fmt: skip
_PROPERTY_LIST = re.compile(
    rb"<key>(?P<name>[\w.-]{1,60})<\\{0,3}/key>" + _BLANKS + rb"<string>(?P<value>[^\s\"'\\<>]{8,4000}+)<"
)
_FIELD_TAG = re.compile(rb"<(?:input|meta|INPUT|META)\s[^<>]{1,900}")
_ATTRIBUTE = re.compile(
    rb"\b(?P<name>(?i:type|name|value|content))\s{0,4}=\s{0,4}\\{0,7}[\"']?(?P<value>[^\s\"'\\<>]{1,4000}+)"
)
# Elements that mostly hold other things: `<code>` a piece of code, `<key>` the name of a setting
_OTHER_ELEMENTS = frozenset({"code", "key", "sig", "signature", "verifier"})
# Signs of HTML that are spelled out: `&lt;your-token&gt;` is a placeholder, `&nbsp;` a blank
_SPELLED_SIGN = re.compile(r"&(?:lt|gt|nbsp|#\d{1,4});")

MIN_RANDOM = 12  # characters of a value under a label that also names other things, such as "API key"
MIN_RANDOM_COOKIE = 16
MIN_RANDOM_LETTERS = 16  # with fewer digits than `MIN_DIGITS`
# In a text these keys are mostly other things: of a table, an object store, a quiz, a product, a door
_OTHER_LABELS = re.compile(
    r"(?:primary|object|s3|answer|licen[sc]e|issue|row|hash)[ _.-]?key|access[ _.-]?code", re.IGNORECASE
)
_FILE_PATH = re.compile(r"/[^/]{1,200}\.[A-Za-z][A-Za-z0-9]{1,4}\Z")

# An option by its name, `-u user:password`, `-u key:`, and the short options of passwords. Before the value of an option by its name
# there may be a user, too.
_OPTION = re.compile(
    rb"-(?<![\w-]-)(?:"
    rb"-(?P<name>[A-Za-z][A-Za-z0-9_-]{1,40})(?:[ ]{1,3}|=|" + _QUOTE + rb"\s{0,4},\s{0,9})(?:" + _QUOTE + rb")?"
    rb"(?:[^\s:\"'\\]{1,200}:(?=[^\s\"'\\]))?(?P<long>[^\s\"'\\|;&<>`-][^\s\"'\\|;&<>`]{7,4000}+)"
    rb"|[sSkLfviI]{0,5}[uUa][ ]{0,2}(?:" + _QUOTE + rb")?[^\s:\"'\\]{1,200}:(?P<user>[^\s\"'\\`]{8,400}+)"
    rb"|[sSkLfviI]{0,5}[uUa][ ]{0,2}(?:" + _QUOTE + rb")?(?P<login>[^\s:\"'\\`]{16,200}):(?=[\s\"'\\`]|\Z)"
    rb"|(?P<letter>[paw][ ]{0,2})(?:" + _QUOTE + rb")?(?P<short>[^\s\"'\\|;&<>`-][^\s\"'\\|;&<>`]{7,400}+)"
    rb")"
)  # fmt: skip
_USER_OPTIONS = frozenset({"user", "proxy-user"})
_USER_COMMAND = re.compile(rb"\b(?:curl|wget|httpie|https?(?=[ ]))\b")
_LOGIN_COMMAND = re.compile(rb"\b(?:sshpass|(?:docker|podman) login)\b")
# The commands whose option holds a password, by the option; after `mysql -p ` the word is the database
_PASSWORD_COMMANDS = {
    b"p": re.compile(
        rb"\b(?:mysql(?:dump|admin)?|mariadb|mongo(?:sh|dump)?|sshpass|(?:docker|podman) login)\b"
    ),
    b"p ": _LOGIN_COMMAND,
    b"p  ": _LOGIN_COMMAND,
    b"a": re.compile(rb"\bredis-cli\b"),
    b"w": re.compile(rb"\bldapsearch\b"),
}
# A text in quotes, in which `;` ends no command
_QUOTED = re.compile(rb"(?<![\w\\])(" + _QUOTE + rb")[^\"'\\]{0,300}\1")
# The end of a command. In JSON and JSON within JSON a line end has 1, 2 or 4 backslashes, and 3 or more if the line goes on.
_COMMAND_END = re.compile(rb"[;|`]|&(?=[&\s])|\\{1,7}u0026|(?<!\\)\r?\n|(?<!\\)(?:\\{4}|\\{1,2})n")
# Options with such names mostly hold a path, the name of a key or a number: `--key`, `--recv-keys`, `--embedding-dim`
_OTHER_OPTION = re.compile(r"(?:default-|private-)?key|(?:.{0,40}-)?(?:keys|dim|id)")
# A path, a setting (`id=npmrc`) or a constant (`IMAGE_TOKEN_2`)
_OPTION_NO_SECRET = re.compile(r"\.{1,2}/|~/|[a-z]{2,12}=[^=]|[A-Z]{2,20}(?:_[A-Z0-9x]{1,20}){1,9}\Z")
_PASSWORD_NEXT = _BREAK + rb"password" + _BREAK + rb"(?P<value>[^\s\"'\\`]{8,400}+)"
_NETRC_MACHINE = re.compile(
    rb"machine" + _BREAK + rb"[^\s\\\"]{1,200}(?:" + _BREAK + rb"(?:login|account)" + _BREAK + rb"[^\s\\\"]{1,200}){0,2}"
    + _PASSWORD_NEXT
)  # fmt: skip
_NETRC_DEFAULT = re.compile(rb"default" + _BREAK + rb"login" + _BREAK + rb"[^\s\\\"]{1,200}" + _PASSWORD_NEXT)
_CONNECTION = re.compile(rb";[ ]?(?P<name>[A-Za-z_.]{2,40}+)[ ]?=[ ]?(?P<value>[^;\"'\s\\`]{8,400}+)")

_PATH = re.compile(
    rb"/(?i:api[_-]?keys?|token|secrets?|hooks|webhooks?|reset[_-]password)/(?:[A-Za-z0-9_.-]{1,40}/){0,2}?"
    rb"(?P<value>[A-Za-z0-9_-]{16,200}+)(?![A-Za-z0-9_.-])"
)
_NEXT = rb"(?:" + _ASSIGN + rb"|" + _QUOTE + rb"\s{0,4},\s{0,9})(?:b?" + _QUOTE + rb")?"
# The credential of a header, of any scheme, and the organization of an account. Both names end with the same letters, so that one
# search finds them. An organization has four characters at least, as its digest in a cassette has three.
_ACCOUNT = re.compile(
    rb"ization(?:(?<=uthorization)" + _NEXT + rb"(?:[A-Za-z][A-Za-z0-9-]{1,30}[ ]{1,2})?(?P<credential>[^\s\"'\\,;<>`]{8,4000}+)"
    rb"|(?<=penai-organization|penAI-Organization)" + _NEXT + rb"(?P<organization>[A-Za-z0-9_.-]{4,100}+))"
)  # fmt: skip

# A call or a type (`get(x)`, `list[x]`), a variable of a shell or a template, a tag, an arrow
_CODE = re.compile(
    r"\A[\w.]{1,100}[(\[](?:[^)\]]*|.*[)\]])\Z|\$[({]|\$[A-Z_]{3}|\{\{|\{[A-Za-z_]\w{0,60}\}|<[^<>]{0,200}>|[-=]>"
)
# Signs behind a value that belong to the sentence
_SENTENCE_SIGNS = b".,;:*)]"


def is_secret_in_text(name: str, value: str) -> bool:
    """Return whether a value in a text is the secret of its name: it is not a word, a placeholder, code or a number.

    >>> [is_secret_in_text("password", value) for value in ("at-least-8-characters", "get_password(12345)", "h4xx-0rY7!kk")]
    [False, False, True]
    """
    if MASK in value or _CODE.search(value) or len(set(value)) < MIN_DIFFERENT:
        return False
    if not is_secret_name(name) or not is_secret_value(name, value):
        return False
    return not is_slug(value)


class TextSecret(NamedTuple):
    """A secret that is recognized by the text around it: its place, and whether it may be looked for elsewhere."""

    start: int
    end: int
    is_learned: bool


def find_text_secrets(data: bytes) -> list[TextSecret]:
    """Return the secrets that are recognized by the text around them, in order; they may overlap.

    >>> data = b'{"name": "X-Api-Key", "value": "h4xx0rY7kkQ9"}'
    >>> [data[secret.start : secret.end] for secret in find_text_secrets(data)]
    [b'h4xx0rY7kkQ9']
    """
    secrets: list[TextSecret] = []
    for mark, find in _FINDERS:
        if mark not in data:
            continue
        for start, end in find(data):
            is_learned = find is not _find_path_parts and is_surely_secret(_text(data[start:end]))
            if find is _find_cookies:
                is_learned = is_learned and _is_session_cookie(data, start)
            secrets.append(TextSecret(start, end, is_learned))
    for start, end in find_table_secrets(data, is_labelled_secret):
        secrets.append(TextSecret(start, end, is_surely_secret(_text(data[start:end]))))
    return sorted(secrets)


_WORD = re.compile(r"[a-z]{5}|[A-Z]{5}")


def is_surely_secret(value: str) -> bool:
    """Return whether a value that is recognized by the text around it may be looked for elsewhere: a word or the name of a thing may not.

    A short value, or one with a word in it, is masked where it was found only. Elsewhere it may be the subject of a question.

    >>> [is_surely_secret(value) for value in ("microsoft", "PBKDF2-SHA256", "mydatabase2024", "h4xx0rY7kkQ9")]
    [False, False, False, True]
    """
    if len(value) < MIN_LEARNED or _WORD.search(value):
        return False
    return has_letters_and_digits(value) and sum(map(str.isdigit, value)) >= MIN_DIGITS


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def is_labelled_secret(label: str, value: str) -> bool:
    """Return whether a value is the secret of a label: of a column, an element, a field, or the name of a pair.

    Below such labels are as often words about secrets ("OAuth2/OIDC"). A value below "password" or "secret" only must not be made of
    words; below another label it has to look random.

    >>> [is_labelled_secret("API key", value) for value in ("Production1", "OAuth2Client", "q8Zt4Lm2Xk9P")]
    [False, False, True]
    """
    if _OTHER_LABELS.search(label) or _FILE_PATH.search(value) or _SPELLED_SIGN.search(value):
        return False
    if not is_secret_in_text(label, value):
        return False
    return names_password(label) or _is_random(value, MIN_RANDOM)


def _is_random(value: str, fewest: int) -> bool:
    """Return whether a value of at least ``fewest`` characters looks random: it has digits, or is long and its letters alternate.

    >>> [_is_random(value, 12) for value in ("OAuth2Client", "q8Zt4Lm2Xk9P", "qZtxLmRXkwPvBcRw")]
    [False, True, True]
    """
    if len(value) < fewest:
        return False
    if sum(map(str.isdigit, value)) >= MIN_DIGITS:
        return looks_random(value)
    return len(value) >= MIN_RANDOM_LETTERS and looks_random(value, 2)


def _find_named(pattern: re.Pattern[bytes], data: bytes) -> Iterator[Span]:
    """Yield the values of a pattern with the groups ``name`` and ``value``."""
    for match in pattern.finditer(data):
        if is_labelled_secret(_text(match["name"]), _text(match["value"])):
            yield match.span("value")


def _find_pairs(data: bytes) -> Iterator[Span]:
    """Yield the values of ``"name": ..., "value": ...``, in both orders."""
    for match in _PAIR_VALUE.finditer(data):
        name = _find_pair_name(data, match.start(), match.end())
        if name and is_secret_name(name):
            yield from _find_credential(name, match)


def _find_pair_name(data: bytes, start: int, end: int) -> str:
    """Return the name that belongs to a value of a pair, from `start` to `end`; "" without one."""
    before = data[max(0, start - NEAR) : start]
    after = data[end : end + NEAR]
    for sign in _PAIR_ENDS:
        before = before.rpartition(sign)[2]
        after = after.partition(sign)[0]
    for part in (before, after):
        match = _PAIR_NAME.search(part)
        if match is not None:
            return _text(match["name"])
    return ""


def _find_lists(data: bytes) -> Iterator[Span]:
    """Yield the second items of lists such as ``["X-Api-Key", "..."]``."""
    for match in _LIST.finditer(data):
        if is_secret_name(_text(match["name"])):
            yield from _find_credential(_text(match["name"]), match)


def _find_credential(name: str, match: re.Match[bytes]) -> Iterator[Span]:
    """Yield the value of a match without its scheme, such as "Bearer", if it is a secret."""
    start, end = match.span("value")
    value = _text(match["value"])
    scheme = _SCHEME.match(value)
    if scheme is not None:
        start += scheme.end()
        value = value[scheme.end() :]
    if is_labelled_secret(name, value):
        yield start, end


def _find_cookies(data: bytes) -> Iterator[Span]:
    """Yield the values of ``Cookie`` and ``Set-Cookie`` lines."""
    for line in _COOKIES.finditer(data):
        for match in _COOKIE.finditer(data, *line.span("cookies")):
            name = _text(match["name"])
            value = _text(match["value"])
            if name.lower() in _COOKIE_ATTRIBUTES or not has_letters_and_digits(value):
                continue
            if not _SESSION_NAME.search(name) and not _is_random(value, MIN_RANDOM_COOKIE):
                continue
            if is_secret_in_text("password", value):
                yield match.span("value")


_SESSION_COOKIE = re.compile(rb"(?i:sess|sid|auth|token|csrf|xsrf|jwt)[\w.-]{0,60}=\\{0,7}[\"']?\Z")


def _is_session_cookie(data: bytes, start: int) -> bool:
    """Return whether the cookie whose value starts here has the name of a session or a token."""
    return _SESSION_COOKIE.search(data, max(0, start - NEAR), start) is not None


def _find_in_markup(data: bytes) -> Iterator[Span]:
    """Yield the secrets of XML elements, property lists and fields of HTML."""
    for match in _ELEMENT.finditer(data):
        if _is_secret_of_element(match):
            yield match.span("value")
    for match in _NAMED_ELEMENT.finditer(data):
        if _is_secret_of_element(match):
            yield match.span("value")
    yield from _find_named(_PROPERTY_LIST, data)
    for tag in _FIELD_TAG.finditer(data):
        yield from _find_field(tag, data)


def _is_secret_of_element(match: re.Match[bytes]) -> bool:
    """Return whether the text of an element is a secret, by its tag or its attribute ``name``."""
    name = _text(match["name"])
    return name.lower() not in _OTHER_ELEMENTS and is_labelled_secret(name, _text(match["value"]))


def _find_field(tag: re.Match[bytes], data: bytes) -> Iterator[Span]:
    """Yield the value of ``<input>`` or ``<meta>`` if its name is the name of a secret, or its type is ``password``."""
    attributes = {_text(match["name"]).lower(): match for match in _ATTRIBUTE.finditer(data, *tag.span())}
    value = attributes.get("value") or attributes.get("content")
    if value is None:
        return
    names = [_text(attributes["name"]["value"])] if "name" in attributes else []
    if "type" in attributes and attributes["type"]["value"].lower() == b"password":
        names.append("password")
    if any(is_labelled_secret(name, _text(value["value"])) for name in names):
        yield value.span("value")


def _trim_value(match: re.Match[bytes], group: str) -> Span:
    """Return where a value of a text is, without the signs of the sentence behind it; in quotes it is whole."""
    start, end = match.span(group)
    if match.string[start - 1 : start] in (b'"', b"'"):
        return start, end
    return start, start + len(match[group].rstrip(_SENTENCE_SIGNS))


def _find_options(data: bytes) -> Iterator[Span]:
    """Yield the passwords and keys of command lines."""
    for match in _OPTION.finditer(data):
        kind = match.lastgroup or ""
        start, end = _trim_value(match, kind)
        value = _text(data[start:end])
        if kind == "long" and _text(match["name"]) not in _USER_OPTIONS:
            is_secret = _is_option_secret(_text(match["name"]), value)
        else:
            is_secret = _is_command_secret(match, kind, value)
        if is_secret:
            yield start, end


def _is_option_secret(name: str, value: str) -> bool:
    """Return whether the value of an option with a name is a secret, and not a path, the id of a key or a size.

    >>> [_is_option_secret(name, "h4xX0rY7kkQ9") for name in ("password", "api-key", "key", "key-id", "recv-keys")]
    [True, True, False, False, False]
    """
    if _OTHER_OPTION.fullmatch(name.lower().replace("_", "-")):
        return False
    if _OPTION_NO_SECRET.match(value):
        return False
    return is_secret_in_text(name, value)


def _is_command_secret(match: re.Match[bytes], kind: str, value: str) -> bool:
    """Return whether the value of a short option or of ``--user`` is a secret, which depends on the command in front of it."""
    name = "password"
    if kind == "login":  # may be the name of a user
        name = "key"
    if not is_secret_in_text(name, value):
        return False
    command = _USER_COMMAND
    if kind == "short":
        letter = match["letter"]
        if not letter.startswith(b"p"):
            letter = letter[:1]
        command = _PASSWORD_COMMANDS[letter]
    if command.search(match.string, max(0, match.start() - NEAR), match.start()) is None:
        return False
    return command.search(_read_command(match.string, match.start())) is not None


def _read_command(data: bytes, position: int) -> bytes:
    """Return the command line in front of a position, without its texts in quotes: the text behind the end of the command before it.

    >>> _read_command(b"docker login x && docker run -p 80", 29)
    b' docker run '
    """
    before = _QUOTED.sub(b"", data[max(0, position - NEAR) : position])
    return _COMMAND_END.split(before)[-1]


def _find_netrc(data: bytes) -> Iterator[Span]:
    """Yield the passwords of a ``.netrc``."""
    for pattern in (_NETRC_MACHINE, _NETRC_DEFAULT):
        for match in pattern.finditer(data):
            start, end = _trim_value(match, "value")
            if is_secret_in_text("password", _text(data[start:end])):
                yield start, end


def _find_connection_parts(data: bytes) -> Iterator[Span]:
    """Yield the passwords and keys of connection strings, ``Server=...;Password=...``."""
    for match in _CONNECTION.finditer(data):
        start, end = _trim_value(match, "value")
        if is_secret_in_text(_text(match["name"]), _text(data[start:end])):
            yield start, end


def _find_path_parts(data: bytes) -> Iterator[Span]:
    """Yield the parts of a path behind a name such as ``/token/``, if they look random."""
    for match in _PATH.finditer(data):
        if _is_random_part(_text(match["value"])):
            yield match.span("value")


# An id in a path: hexadecimal digits of a digest or a UUID, an address of a blockchain, the name of a hook (`useState2`)
_ID_IN_PATH = re.compile(
    r"[0-9a-fA-F]{1,47}\Z|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-|0x[0-9a-fA-F]|use[A-Z0-9]|[1-9A-HJ-NP-Za-km-z]{43,44}\Z"
)


def _is_random_part(part: str) -> bool:
    """Return whether a part of a path is a key: letters and digits alternate, and it is not an id.

    >>> [_is_random_part(part) for part in ("q8Zt4Lm2Xk9PvB7cR3", "useState2ReducerV3x", "9f86d081884c7d65")]
    [True, False, False]
    """
    if _ID_IN_PATH.match(part) or is_slug(part) or not has_letters_and_digits(part):
        return False
    if sum(map(str.isdigit, part)) < MIN_DIGITS or measure_entropy(part) < MIN_PATH_ENTROPY:
        return False
    return looks_random(part)


def _find_accounts(data: bytes) -> Iterator[Span]:
    """Yield the credentials of an ``Authorization`` header of any scheme, and the names of organizations of OpenAI."""
    for match in _ACCOUNT.finditer(data):
        if match["organization"]:
            yield match.span("organization")
            continue
        start, end = _trim_value(match, "credential")
        value = _text(data[start:end])
        if has_letters_and_digits(value) and is_secret_in_text("authorization", value):
            yield start, end


# With a byte without which there is nothing to find. A longer text is found as fast by the patterns themselves.
_FINDERS: tuple[tuple[bytes, Callable[[bytes], Iterator[Span]]], ...] = (
    (b"", _find_pairs),
    (b"", _find_cookies),
    (b"", _find_netrc),
    (b"", _find_accounts),
    (b"[", _find_lists),
    (b"<", _find_in_markup),
    (b"-", _find_options),
    (b";", _find_connection_parts),
    (b"/", _find_path_parts),
)
