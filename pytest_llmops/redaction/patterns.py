r"""Patterns of secrets: keys and tokens of known services.

A pattern is searched for only if its mark is in the text, and marks are searched for by a byte that they share, so that
a text without marks is scanned fast. A mark counts at the start of a word, also after a JSON escape (``\n``) or a
percent-encoded character (``%20``); the rest must contain a digit if words could look the same
(``sk-learn-compatible-estimator``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretShape:
    """The pattern of a kind of secret."""

    mark: bytes
    pattern: re.Pattern[bytes]
    kept: bytes = b""  # template of the text that stays in front of the mask


def _shape_starting_with(mark: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret that begins with a mark at the start of a word.

    The mark comes before the lookbehind: a search is fast for a pattern with a literal start.
    """
    name = re.escape(mark)
    starts = (
        rb"(?<![A-Za-z0-9]" + name + rb")",
        rb"(?<=\\[nrtbf]" + name + rb")",
        rb"(?<=\\u[0-9A-Fa-f]{4}" + name + rb")",
        rb"(?<=%[0-9A-Fa-f]{2}" + name + rb")",
    )
    behind = b"(?:" + b"|".join(starts) + b")"
    return SecretShape(mark, re.compile(name + behind + rest))


def _shape_following(mark: bytes, more: bytes, rest: bytes) -> SecretShape:
    """Return the shape of a secret after a mark (and more), which stays."""
    kept = b"(" + re.escape(mark + more) + b")"
    return SecretShape(mark, re.compile(kept + rest), rb"\g<1>")


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
# What follows the mark of a key or a token; where words could look the same, the rest has to hold a digit
_AFTER_START: Mapping[bytes, bytes] = {
    # Keys of model providers: OpenAI, Anthropic, OpenRouter ..., Google, Hugging Face, Groq, xAI and others
    b"sk-": rb"(?:(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{16,}|[A-Za-z]{24,})",
    b"AIza": rb"[A-Za-z0-9_-]{35}",
    b"hf_": rb"[A-Za-z0-9]{30,}",
    b"gsk_": rb"[A-Za-z0-9]{24,}",
    b"xai-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{24,}",
    b"pplx-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{24,}",
    b"r8_": rb"[A-Za-z0-9]{24,}",
    b"nvapi-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{24,}",
    b"tgp_v1_": rb"[A-Za-z0-9_-]{30,}",
    b"jina_": rb"[A-Za-z0-9]{40,}",
    b"pcsk_": rb"[A-Za-z0-9_]{40,}",
    b"tvly-": rb"(?:dev-|prod-)?[A-Za-z0-9]{24,}",
    b"lsv2_": rb"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
    b"csk-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{24,}",
    b"fw_": rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}",
    b"pa-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{40,}",
    b"ABSK": rb"[A-Za-z0-9+/]{100,}=*",
    # Accounts of providers
    b"org-": rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}",
    b"proj_": rb"(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{20,}",
    # Clouds
    b"AKIA": rb"[A-Z0-9]{16}(?![A-Za-z0-9])",
    b"ASIA": rb"[A-Z0-9]{16}(?![A-Za-z0-9])",
    b"ya29.": rb"[A-Za-z0-9_-]{20,}",
    b"GOCSPX-": rb"[A-Za-z0-9_-]{20,}",
    b"dapi": rb"[0-9a-f]{32}",
    b"dop_v1_": rb"[0-9a-f]{64}",
    b"hvs.": rb"[A-Za-z0-9_-]{24,}",
    b"pscale_tkn_": rb"[A-Za-z0-9_-]{30,}",
    b"sbp_": rb"[0-9a-f]{40}",
    b"dp.pt.": rb"[A-Za-z0-9]{40,}",
    # Code, packages, chat, payment, mail
    b"ghp_": rb"[A-Za-z0-9]{30,}",
    b"gho_": rb"[A-Za-z0-9]{30,}",
    b"ghu_": rb"[A-Za-z0-9]{30,}",
    b"ghs_": rb"[A-Za-z0-9]{30,}",
    b"ghr_": rb"[A-Za-z0-9]{30,}",
    b"github_pat_": rb"[A-Za-z0-9_]{40,}",
    b"glpat-": rb"[A-Za-z0-9_-]{20,}",
    b"glrt-": rb"[A-Za-z0-9_-]{20,}",
    b"dckr_pat_": rb"[A-Za-z0-9_-]{20,}",
    b"rubygems_": rb"[0-9a-f]{48}",
    b"ATATT3": rb"[A-Za-z0-9_-]{60,}=?[0-9A-F]*",
    b"lin_api_": rb"[A-Za-z0-9]{40}",
    b"ntn_": rb"[A-Za-z0-9]{40,}",
    b"PMAK-": rb"[0-9a-f]{24}-[0-9a-f]{34}",
    b"NRAK-": rb"[A-Z0-9]{27}",
    b"glsa_": rb"[A-Za-z0-9]{32}_[0-9a-f]{8}",
    b"sntrys_": rb"[A-Za-z0-9+/=_]{40,}",
    b"npm_": rb"[A-Za-z0-9]{36}",
    b"pypi-": rb"(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{50,}",
    b"xox": rb"[abeoprs]-[A-Za-z0-9-]{10,}",
    b"sk_live_": rb"[A-Za-z0-9]{16,}",
    b"sk_test_": rb"[A-Za-z0-9]{16,}",
    b"rk_live_": rb"[A-Za-z0-9]{16,}",
    b"rk_test_": rb"[A-Za-z0-9]{16,}",
    b"whsec_": rb"[A-Za-z0-9+/]{24,}=*",
    b"shpat_": rb"[0-9A-Fa-f]{32}",
    b"SG.": rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    b"eyJ": rb"[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    b"AGE-SECRET-KEY-1": rb"[A-Z0-9]{50,}",
}
_BEARER_TOKEN = rb"(?=[A-Za-z._~+/-]{0,60}(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9._~+/-]{20,}=*"
_BASIC_CREDENTIALS = rb"(?=[A-Za-z+/]{0,60}(?:[0-9]|[a-z][A-Z]))[A-Za-z0-9+/]{16,}=*"
# Secrets after a text that stays: for each mark, the rest of that text and the secret
_AFTER_KEPT: Mapping[bytes, tuple[bytes, bytes]] = {
    b"Bearer ": (b"", _BEARER_TOKEN),
    b"bearer ": (b"", _BEARER_TOKEN),
    b"BEARER ": (b"", _BEARER_TOKEN),
    b"Basic ": (b"", _BASIC_CREDENTIALS),
    b"basic ": (b"", _BASIC_CREDENTIALS),
    b"api.telegram.": (b"org/bot", rb"[0-9]{6,12}:[A-Za-z0-9_-]{30,}"),
    b"discord.": (b"com/api/webhooks/", rb"[0-9]{15,21}/[A-Za-z0-9_-]{50,}"),
    b"hooks.slack.com/services/": (b"", rb"[A-Za-z0-9/_-]{20,}"),
    URL_CREDENTIALS_MARK: (b"", rb"""[^\s/:@"'\\<>]{0,200}:[^\s/@"'\\<>]{1,200}(?=@)"""),
}
SECRET_SHAPES: tuple[SecretShape, ...] = (
    *(_shape_starting_with(mark, rest) for mark, rest in _AFTER_START.items()),
    *(_shape_following(mark, more, rest) for mark, (more, rest) in _AFTER_KEPT.items()),
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
    """Put each shape into the first group whose byte its mark ends or begins with."""
    remaining = list(SECRET_SHAPES)
    groups = []
    for byte in SHARED_MARK_ENDS:
        shapes = [shape for shape in remaining if shape.mark.endswith(byte)]
        marks = [b"(?<=" + re.escape(shape.mark) + b")" for shape in shapes]
        groups.append(_make_group(byte, marks, shapes))
        remaining = [shape for shape in remaining if shape not in shapes]
    for byte in SHARED_MARK_STARTS:
        shapes = [shape for shape in remaining if shape.mark.startswith(byte)]
        marks = [re.escape(shape.mark[1:]) for shape in shapes]
        groups.append(_make_group(byte, marks, shapes))
        remaining = [shape for shape in remaining if shape not in shapes]
    return tuple(groups)


def _make_group(byte: bytes, marks: list[bytes], shapes: list[SecretShape]) -> ShapeGroup:
    """Return a group; the patterns of its marks match from the shared byte on."""
    trigger = re.compile(re.escape(byte) + b"(?:" + b"|".join(marks) + b")")
    return ShapeGroup(byte, trigger, tuple(shapes))


SHAPE_GROUPS = _group_shapes()


def find_shapes(data: bytes) -> list[SecretShape]:
    """Return the shapes whose mark is in the data; their patterns may still not match."""
    shapes: list[SecretShape] = []
    for group in SHAPE_GROUPS:
        if group.shared in data and group.trigger.search(data):
            shapes += [shape for shape in group.shapes if shape.mark in data]
    return shapes
