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


def _follows(mark: bytes, rest: bytes) -> Shape:
    """A secret behind a mark that says what it is; the mark stays."""
    return Shape(mark, re.compile(b"(" + re.escape(mark) + b")" + rest), rb"\g<1>")


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
    # Clouds.
    _starts(b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _starts(b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _starts(b"ya29.", _WORD + rb"{20,}"),
    _starts(b"GOCSPX-", _WORD + rb"{20,}"),
    _starts(b"dapi", rb"[0-9a-f]{32}"),
    _starts(b"dop_v1_", rb"[0-9a-f]{64}"),
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
    _starts(b"npm_", rb"[A-Za-z0-9]{36}"),
    _starts(b"pypi-", _MIXED + rb"{50,}"),
    _starts(b"xox", rb"[abeoprs]-[A-Za-z0-9-]{10,}"),
    _follows(b"hooks.slack.com/services/", rb"[A-Za-z0-9/_-]{20,}"),
    *(_starts(mark, rb"[A-Za-z0-9]{16,}") for mark in (b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_")),
    _starts(b"whsec_", rb"[A-Za-z0-9+/]{24,}=*"),
    _starts(b"shpat_", rb"[0-9A-Fa-f]{32}"),
    _starts(b"SG.", _WORD + rb"{22}\." + _WORD + rb"{43}"),
    # Of no service.
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
    _follows(b"://", rb"""[^\s/:@"'\\<>]{1,200}:[^\s/@"'\\<>]{1,200}(?=@)"""),
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

    trigger: re.Pattern[bytes]
    shapes: tuple[Shape, ...]


SHARED_ENDS = (b"_", b"-", b"=", b".")
SHARED_STARTS = (b"A", b"B", b"b", b"e", b"d", b"x", b"h", b":", b"P")


def _groups() -> tuple[Group, ...]:
    left = list(SHAPES)
    found = []
    for end in SHARED_ENDS:
        shapes = [shape for shape in left if shape.mark.endswith(end)]
        behind = b"|".join(b"(?<=" + re.escape(shape.mark) + b")" for shape in shapes)
        found.append(Group(re.compile(re.escape(end) + b"(?:" + behind + b")"), tuple(shapes)))
        left = [shape for shape in left if shape not in shapes]
    for start in SHARED_STARTS:
        shapes = [shape for shape in left if shape.mark.startswith(start)]
        ahead = b"|".join(re.escape(shape.mark[1:]) for shape in shapes)
        found.append(Group(re.compile(re.escape(start) + b"(?:" + ahead + b")"), tuple(shapes)))
        left = [shape for shape in left if shape not in shapes]
    return tuple(found)


GROUPS = _groups()


def present(data: bytes) -> list[Shape]:
    """Return the shapes whose mark is in the data."""
    return [
        shape
        for group in GROUPS
        if group.trigger.search(data)
        for shape in group.shapes
        if shape.mark in data
    ]
