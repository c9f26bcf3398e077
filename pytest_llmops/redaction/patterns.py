r"""Strings that are secret by their look: keys and tokens of known services.

A shape is looked for only where its mark is, and marks are looked for by a byte that they share,
so that a text without any costs next to nothing.
A mark counts at the start of a word, also right behind an escape of JSON (``\n``) or of a URL (``%20``);
what follows must hold a digit where words could look the same (``sk-learn-compatible-estimator``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of secret looks."""

    mark: bytes
    pattern: re.Pattern[bytes]
    kept: bytes = b""
    """Template of what stays in front of the mask."""


_WORD = rb"[A-Za-z0-9_-]"
_MIXED = rb"(?=[A-Za-z_-]*[0-9])" + _WORD
"""A character of a token that holds a digit."""


def _starts(mark: bytes, rest: bytes) -> Shape:
    """A secret that begins with its mark, at the start of a word."""
    # The mark comes first and the look behind it after: the search runs through a text by its literal start.
    name = re.escape(mark)
    behind = (
        rb"(?:(?<![A-Za-z0-9]" + name + rb")|(?<=\\[nrtbf]" + name + rb")"
        rb"|(?<=\\u[0-9A-Fa-f]{4}" + name + rb")|(?<=%[0-9A-Fa-f]{2}" + name + rb"))"
    )
    return Shape(mark, re.compile(name + behind + rest))


def _follows(mark: bytes, rest: bytes, more: bytes = b"") -> Shape:
    """A secret behind a mark (and more) that says what it is, and stays."""
    return Shape(mark, re.compile(b"(" + re.escape(mark + more) + b")" + rest), rb"\g<1>")


def _assigned(mark: bytes, name: bytes, least: int = 16) -> Shape:
    """A value that is given to a name, in code, JSON, a form or a table; another name or a call is none."""
    sign = rb"""[\\"']{0,9}[ \t]{0,4}(?:[:=]|%3[Aa]|%3[Dd])[ \t]{0,4}[\\"']{0,9}"""
    value = rb"(?=[A-Za-z+/]*[0-9])(?=[0-9+/]*[A-Za-z])[A-Za-z0-9+/]{%d,}={0,2}(?![A-Za-z0-9_.(\[-])" % least
    return Shape(mark, re.compile(b"(" + re.escape(mark) + name + sign + b")" + value), rb"\g<1>")


MARKED_BY_ADDRESS = b"://"
"""Of a user and a password in a URL."""

SHAPES: tuple[Shape, ...] = (
    # Keys of model providers: OpenAI, Anthropic, OpenRouter ..., Google, Hugging Face, Groq, xAI and others.
    _starts(b"sk-", rb"(?:(?=[A-Za-z_-]*[0-9])" + _WORD + rb"{16,}|[A-Za-z]{24,})"),
    _starts(b"AIza", _WORD + rb"{35}"),
    _starts(b"hf_", rb"[A-Za-z0-9]{30,}"),
    _starts(b"gsk_", rb"[A-Za-z0-9]{24,}"),
    _starts(b"xai-", _MIXED + rb"{24,}"),
    _starts(b"pplx-", _MIXED + rb"{24,}"),
    _starts(b"r8_", rb"[A-Za-z0-9]{24,}"),
    _starts(b"nvapi-", _MIXED + rb"{24,}"),
    _starts(b"tgp_v1_", _WORD + rb"{30,}"),
    _starts(b"jina_", rb"[A-Za-z0-9]{40,}"),
    _starts(b"pcsk_", rb"[A-Za-z0-9_]{40,}"),
    _starts(b"tvly-", rb"(?:dev-|prod-)?[A-Za-z0-9]{24,}"),
    _starts(b"lsv2_", rb"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _starts(b"csk-", _MIXED + rb"{24,}"),
    _starts(b"fw_", rb"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"),
    _starts(b"pa-", rb"(?=[A-Za-z_-]*[0-9])" + _WORD + rb"{40,}"),
    _starts(b"ABSK", rb"[A-Za-z0-9+/]{100,}=*"),
    # Accounts of providers.
    _starts(b"org-", rb"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"),
    _starts(b"proj_", rb"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"),
    # Clouds.
    _starts(b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _starts(b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _starts(b"ya29.", _WORD + rb"{20,}"),
    _starts(b"GOCSPX-", _WORD + rb"{20,}"),
    _starts(b"dapi", rb"[0-9a-f]{32}"),
    _starts(b"dop_v1_", rb"[0-9a-f]{64}"),
    _starts(b"hvs.", _WORD + rb"{24,}"),
    _starts(b"pscale_tkn_", _WORD + rb"{30,}"),
    _starts(b"sbp_", rb"[0-9a-f]{40}"),
    _starts(b"dp.pt.", rb"[A-Za-z0-9]{40,}"),
    _follows(b"AccountKey=", rb"[A-Za-z0-9+/]{40,}=*"),
    _follows(b"SharedAccessKey=", rb"[A-Za-z0-9+/]{40,}=*"),
    _follows(b"sig=", rb"(?<=[?&6]sig=)[A-Za-z0-9%+/=]{30,}"),
    _follows(b"X-Amz-Signature=", rb"[0-9a-f]{64}"),
    _follows(b"X-Amz-Security-Token=", rb"[A-Za-z0-9%+/=]{40,}"),
    _follows(b"X-Goog-Signature=", rb"[0-9a-f]{64,}"),
    # Code, packages, chat, payment, mail.
    *(_starts(mark, rb"[A-Za-z0-9]{30,}") for mark in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")),
    _starts(b"github_pat_", rb"[A-Za-z0-9_]{40,}"),
    _starts(b"glpat-", _WORD + rb"{20,}"),
    _starts(b"glrt-", _WORD + rb"{20,}"),
    _starts(b"dckr_pat_", _WORD + rb"{20,}"),
    _starts(b"rubygems_", rb"[0-9a-f]{48}"),
    _starts(b"ATATT3", _WORD + rb"{60,}=?[0-9A-F]*"),
    _starts(b"lin_api_", rb"[A-Za-z0-9]{40}"),
    _starts(b"ntn_", rb"[A-Za-z0-9]{40,}"),
    _starts(b"PMAK-", rb"[0-9a-f]{24}-[0-9a-f]{34}"),
    _starts(b"NRAK-", rb"[A-Z0-9]{27}"),
    _starts(b"glsa_", rb"[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    _starts(b"sntrys_", rb"[A-Za-z0-9+/=_]{40,}"),
    _follows(b"api.telegram.", rb"[0-9]{6,12}:" + _WORD + rb"{30,}", more=b"org/bot"),
    _follows(b"discord.", rb"[0-9]{15,21}/" + _WORD + rb"{50,}", more=b"com/api/webhooks/"),
    _starts(b"npm_", rb"[A-Za-z0-9]{36}"),
    _starts(b"pypi-", _MIXED + rb"{50,}"),
    _starts(b"xox", rb"[abeoprs]-[A-Za-z0-9-]{10,}"),
    _follows(b"hooks.slack.com/services/", rb"[A-Za-z0-9/_-]{20,}"),
    *(_starts(mark, rb"[A-Za-z0-9]{16,}") for mark in (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_")),
    _starts(b"whsec_", rb"[A-Za-z0-9+/]{24,}=*"),
    _starts(b"shpat_", rb"[0-9A-Fa-f]{32}"),
    _starts(b"SG.", _WORD + rb"{22}\." + _WORD + rb"{43}"),
    # Of no service, but behind a name that says it: letters and digits mixed, as no word of a language is.
    _assigned(b"secret_access_", b"key"),
    _assigned(b"SECRET_ACCESS_", b"KEY"),
    _assigned(b"secret_", b"key"),
    _assigned(b"SECRET_", b"KEY"),
    _assigned(b"client_", b"secret"),
    _assigned(b"CLIENT_", b"SECRET"),
    _assigned(b"api_", b"key"),
    _assigned(b"API_", b"KEY"),
    _assigned(b"access_", b"token"),
    _assigned(b"ACCESS_", b"TOKEN"),
    _assigned(b"word", b"(?<=[Pp]assword)", 10),
    _assigned(b"WORD", b"(?<=PASSWORD)", 10),
    _assigned(b"Key", b"(?:(?<=apiKey)|(?<=[Aa]ccessKey)|(?<=secretKey))"),
    _assigned(b"Token", b"(?:(?<=[Aa]ccessToken)|(?<=[Aa]uthToken))"),
    _starts(b"eyJ", _WORD + rb"{8,}\.eyJ" + _WORD + rb"{8,}\." + _WORD + rb"{8,}"),
    *(
        _follows(mark, rb"(?=[A-Za-z._~+/-]*(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9._~+/-]{20,}=*")
        for mark in (b"Bearer ", b"bearer ", b"BEARER ")
    ),
    *(
        _follows(mark, rb"(?=[A-Za-z+/]*(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9+/]{16,}=*")
        for mark in (b"Basic ", b"basic ")
    ),
    _starts(b"AGE-SECRET-KEY-1", rb"[A-Z0-9]{50,}"),
    _follows(MARKED_BY_ADDRESS, rb"""[^\s/:@"'\\<>]{1,200}:[^\s/@"'\\<>]{1,200}(?=@)"""),
    Shape(
        b"PRIVATE KEY",
        re.compile(
            rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
            rb"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes whose marks are looked for in one pass."""

    shared: bytes
    """The character that all their marks begin or end with; looking for it costs next to nothing."""
    trigger: re.Pattern[bytes]
    shapes: tuple[Shape, ...]


SHARED_ENDS = (b"_", b"-", b"=", b".")
SHARED_STARTS = (b"A", b"B", b"b", b"e", b"d", b"x", b"h", b":", b"P", b"w", b"W", b"K", b"T")


def _groups() -> tuple[Group, ...]:
    left = list(SHAPES)
    found = []
    for end in SHARED_ENDS:
        shapes = [shape for shape in left if shape.mark.endswith(end)]
        behind = b"|".join(b"(?<=" + re.escape(shape.mark) + b")" for shape in shapes)
        found.append(Group(end, re.compile(re.escape(end) + b"(?:" + behind + b")"), tuple(shapes)))
        left = [shape for shape in left if shape not in shapes]
    for start in SHARED_STARTS:
        shapes = [shape for shape in left if shape.mark.startswith(start)]
        ahead = b"|".join(re.escape(shape.mark[1:]) for shape in shapes)
        found.append(Group(start, re.compile(re.escape(start) + b"(?:" + ahead + b")"), tuple(shapes)))
        left = [shape for shape in left if shape not in shapes]
    return tuple(found)


GROUPS = _groups()


def present(data: bytes) -> list[Shape]:
    """Return the shapes whose mark is in the data."""
    return [
        shape
        for group in GROUPS
        if group.shared in data and group.trigger.search(data)
        for shape in group.shapes
        if shape.mark in data
    ]
