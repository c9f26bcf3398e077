r"""Patterns of secrets: keys and tokens of known services.

A pattern is searched for only if its mark is in the text, and marks are searched for by a byte that they share, so that
a text without marks is scanned fast. A mark counts at the start of a word, also after a JSON escape (``\n``) or a
percent-encoded character (``%20``); the rest must contain a digit if words could look the same
(``sk-learn-compatible-estimator``).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretShape:
    """The pattern of a kind of secret."""

    mark: bytes
    pattern: re.Pattern[bytes]
    kept: bytes = b""  # template of the text that stays in front of the mask


_TOKEN_CHARACTER = rb"[A-Za-z0-9_-]"
_MIXED_TOKEN = rb"(?=[A-Za-z_-]{0,60}[0-9])" + _TOKEN_CHARACTER  # a character of a token that holds a digit


def _shape_starting_with(mark: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that begins with a mark at the start of a word.

    The mark comes before the lookbehind: a search is fast for a pattern with a literal start.
    """
    name = re.escape(mark)
    behind = (
        rb"(?:(?<![A-Za-z0-9]" + name + rb")|(?<=\\[nrtbf]" + name + rb")"
        rb"|(?<=\\u[0-9A-Fa-f]{4}" + name + rb")|(?<=%[0-9A-Fa-f]{2}" + name + rb"))"
    )
    return SecretShape(mark, re.compile(name + behind + rest))


def _shape_following(mark: bytes, rest: bytes, more: bytes = b"") -> SecretShape:
    """Return the shape of a secret after a mark (and more), which stays."""
    return SecretShape(mark, re.compile(b"(" + re.escape(mark + more) + b")" + rest), rb"\g<1>")


# Line ends and headers of a key in a file; pytest begins the lines of an error with an E
_KEY_LINES = rb"(?:\\{1,4}[rn]|\s(?:E(?=\s))?|(?:Proc-Type|DEK-Info|Version|Comment):[^\r\n\\\"]{0,200}+)"
URL_CREDENTIALS_MARK = b"://"  # mark of user and password in a URL

# Keys in files, also cut off: the end need not be there
KEY_FILE_SHAPES = (
    SecretShape(
        b"PRIVATE KEY",
        re.compile(
            rb"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
            rb"(?=" + _KEY_LINES + rb"*+[A-Za-z0-9+/]{16})(?:" + _KEY_LINES + rb"|[A-Za-z0-9+/=])*+"
            rb"(?:-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5})?"
        ),
    ),
    SecretShape(
        b"Private-Lines: ",
        re.compile(
            rb"(Private-Lines: )[0-9]{1,3}(?:\\{1,4}[rn]|[\r\n ]|(?!Private-MAC)[A-Za-z0-9+/=])*+(?:Private-MAC: ?[0-9a-f]{16,128})?"
        ),
        rb"\g<1>",
    ),
)
SECRET_SHAPES: tuple[SecretShape, ...] = (
    # Keys of model providers: OpenAI, Anthropic, OpenRouter ..., Google, Hugging Face, Groq, xAI and others.
    _shape_starting_with(
        b"sk-", rb"(?:(?=[A-Za-z_-]{0,60}[0-9])" + _TOKEN_CHARACTER + rb"{16,}|[A-Za-z]{24,})"
    ),
    _shape_starting_with(b"AIza", _TOKEN_CHARACTER + rb"{35}"),
    _shape_starting_with(b"hf_", rb"[A-Za-z0-9]{30,}"),
    _shape_starting_with(b"gsk_", rb"[A-Za-z0-9]{24,}"),
    _shape_starting_with(b"xai-", _MIXED_TOKEN + rb"{24,}"),
    _shape_starting_with(b"pplx-", _MIXED_TOKEN + rb"{24,}"),
    _shape_starting_with(b"r8_", rb"[A-Za-z0-9]{24,}"),
    _shape_starting_with(b"nvapi-", _MIXED_TOKEN + rb"{24,}"),
    _shape_starting_with(b"tgp_v1_", _TOKEN_CHARACTER + rb"{30,}"),
    _shape_starting_with(b"jina_", rb"[A-Za-z0-9]{40,}"),
    _shape_starting_with(b"pcsk_", rb"[A-Za-z0-9_]{40,}"),
    _shape_starting_with(b"tvly-", rb"(?:dev-|prod-)?[A-Za-z0-9]{24,}"),
    _shape_starting_with(b"lsv2_", rb"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _shape_starting_with(b"csk-", _MIXED_TOKEN + rb"{24,}"),
    _shape_starting_with(b"fw_", rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}"),
    _shape_starting_with(b"pa-", rb"(?=[A-Za-z_-]{0,60}[0-9])" + _TOKEN_CHARACTER + rb"{40,}"),
    _shape_starting_with(b"ABSK", rb"[A-Za-z0-9+/]{100,}=*"),
    # Accounts of providers.
    _shape_starting_with(b"org-", rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}"),
    _shape_starting_with(b"proj_", rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}"),
    # Clouds.
    _shape_starting_with(b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _shape_starting_with(b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _shape_starting_with(b"ya29.", _TOKEN_CHARACTER + rb"{20,}"),
    _shape_starting_with(b"GOCSPX-", _TOKEN_CHARACTER + rb"{20,}"),
    _shape_starting_with(b"dapi", rb"[0-9a-f]{32}"),
    _shape_starting_with(b"dop_v1_", rb"[0-9a-f]{64}"),
    _shape_starting_with(b"hvs.", _TOKEN_CHARACTER + rb"{24,}"),
    _shape_starting_with(b"pscale_tkn_", _TOKEN_CHARACTER + rb"{30,}"),
    _shape_starting_with(b"sbp_", rb"[0-9a-f]{40}"),
    _shape_starting_with(b"dp.pt.", rb"[A-Za-z0-9]{40,}"),
    # Code, packages, chat, payment, mail.
    *(
        _shape_starting_with(mark, rb"[A-Za-z0-9]{30,}")
        for mark in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")
    ),
    _shape_starting_with(b"github_pat_", rb"[A-Za-z0-9_]{40,}"),
    _shape_starting_with(b"glpat-", _TOKEN_CHARACTER + rb"{20,}"),
    _shape_starting_with(b"glrt-", _TOKEN_CHARACTER + rb"{20,}"),
    _shape_starting_with(b"dckr_pat_", _TOKEN_CHARACTER + rb"{20,}"),
    _shape_starting_with(b"rubygems_", rb"[0-9a-f]{48}"),
    _shape_starting_with(b"ATATT3", _TOKEN_CHARACTER + rb"{60,}=?[0-9A-F]*"),
    _shape_starting_with(b"lin_api_", rb"[A-Za-z0-9]{40}"),
    _shape_starting_with(b"ntn_", rb"[A-Za-z0-9]{40,}"),
    _shape_starting_with(b"PMAK-", rb"[0-9a-f]{24}-[0-9a-f]{34}"),
    _shape_starting_with(b"NRAK-", rb"[A-Z0-9]{27}"),
    _shape_starting_with(b"glsa_", rb"[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    _shape_starting_with(b"sntrys_", rb"[A-Za-z0-9+/=_]{40,}"),
    _shape_following(b"api.telegram.", rb"[0-9]{6,12}:" + _TOKEN_CHARACTER + rb"{30,}", more=b"org/bot"),
    _shape_following(
        b"discord.", rb"[0-9]{15,21}/" + _TOKEN_CHARACTER + rb"{50,}", more=b"com/api/webhooks/"
    ),
    _shape_starting_with(b"npm_", rb"[A-Za-z0-9]{36}"),
    _shape_starting_with(b"pypi-", _MIXED_TOKEN + rb"{50,}"),
    _shape_starting_with(b"xox", rb"[abeoprs]-[A-Za-z0-9-]{10,}"),
    _shape_following(b"hooks.slack.com/services/", rb"[A-Za-z0-9/_-]{20,}"),
    *(
        _shape_starting_with(mark, rb"[A-Za-z0-9]{16,}")
        for mark in (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_")
    ),
    _shape_starting_with(b"whsec_", rb"[A-Za-z0-9+/]{24,}=*"),
    _shape_starting_with(b"shpat_", rb"[0-9A-Fa-f]{32}"),
    _shape_starting_with(b"SG.", _TOKEN_CHARACTER + rb"{22}\." + _TOKEN_CHARACTER + rb"{43}"),
    _shape_starting_with(
        b"eyJ", _TOKEN_CHARACTER + rb"{8,}\.eyJ" + _TOKEN_CHARACTER + rb"{8,}\." + _TOKEN_CHARACTER + rb"{8,}"
    ),
    *(
        _shape_following(mark, rb"(?=[A-Za-z._~+/-]{0,60}(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9._~+/-]{20,}=*")
        for mark in (b"Bearer ", b"bearer ", b"BEARER ")
    ),
    *(
        _shape_following(mark, rb"(?=[A-Za-z+/]{0,60}(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9+/]{16,}=*")
        for mark in (b"Basic ", b"basic ")
    ),
    _shape_starting_with(b"AGE-SECRET-KEY-1", rb"[A-Z0-9]{50,}"),
    _shape_following(URL_CREDENTIALS_MARK, rb"""[^\s/:@"'\\<>]{0,200}:[^\s/@"'\\<>]{1,200}(?=@)"""),
    *KEY_FILE_SHAPES,
)


@dataclass(frozen=True, slots=True)
class ShapeGroup:
    """Shapes whose marks are searched for in a single pass."""

    shared: bytes  # the byte that all marks begin or end with
    trigger: re.Pattern[bytes]
    shapes: tuple[SecretShape, ...]


SHARED_MARK_ENDS = (b"_", b"-", b".")
SHARED_MARK_STARTS = (b"A", b"B", b"b", b"e", b"d", b"x", b"h", b":", b"P")


def _group_shapes() -> tuple[ShapeGroup, ...]:
    remaining = list(SECRET_SHAPES)
    groups = []
    for byte in (*SHARED_MARK_ENDS, *SHARED_MARK_STARTS):
        is_end = byte in SHARED_MARK_ENDS
        shapes = [
            each for each in remaining if (each.mark.endswith if is_end else each.mark.startswith)(byte)
        ]
        marks = [
            b"(?<=" + re.escape(each.mark) + b")" if is_end else re.escape(each.mark[1:]) for each in shapes
        ]
        rest = b"|".join(marks)
        groups.append(ShapeGroup(byte, re.compile(re.escape(byte) + b"(?:" + rest + b")"), tuple(shapes)))
        remaining = [shape for shape in remaining if shape not in shapes]
    return tuple(groups)


SHAPE_GROUPS = _group_shapes()


def find_shapes(data: bytes) -> list[SecretShape]:
    """Return the shapes whose mark is in the data; their patterns may still not match."""
    return [
        shape
        for group in SHAPE_GROUPS
        if group.shared in data and group.trigger.search(data)
        for shape in group.shapes
        if shape.mark in data
    ]
