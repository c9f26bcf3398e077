"""Leave out of a text the parts that are in no language: code, URLs, paths, options, identifiers, JSON and tables of numbers."""

import json
import re

MAX_CHARS = 2_000  # characters at the beginning of a text that are read
MAX_JSON_CHARS = 100_000
FENCE = "```"
# A fence with one of these languages, or with none, may hold prose: models put a whole answer into one.
PROSE_LANGUAGES = ("", "markdown", "md", "plaintext", "text", "txt")
_CODE_SPAN = re.compile(r"`[^`\n]{1,300}`")
# Pieces between blanks. Scripts without blanks between words (Thai, Chinese, Japanese) and typographic signs end a piece, too.
_PIECE = re.compile(r"[^\s\u0e00-\U0010ffff]+")
_PUNCTUATION = ".,;:!?\"'()[]*#"
_CODE = re.compile(
    r"""
    :// | ^www\.            # an address
    | ^--?[A-Za-z]          # an option
    | ^~?\.{0,2}/\w         # a path
    | /[^/]*/               # a path with two or more parts
    | [=_{}<>$\\@&^~|]      # an identifier, a placeholder, an operator, an e-mail address
    | \w[(\[]               # a call, an index
    | [^\W\d_]{2}\.[^\W_]   # a file, a module; "z.B." and "U.S." are none
    | [a-z][A-Z]            # camelCase
    """,
    re.VERBOSE,
)
_LETTERS = re.compile(r"[^\W\d_]+")


def read_prose(text: str) -> str:
    """Return the prose at the beginning of a text, or ``""`` if it is JSON or has more numbers than words.

    What only looks like code in a sentence ("GmbH") is left out, too: a language shows in the other words.

    >>> read_prose("Starten Sie `make test` in src/app/ neu.").split(), read_prose("curl -O https://example.com/a.tar.gz").split()
    (['Starten', 'Sie', 'in', 'neu.'], ['curl'])
    >>> read_prose('{"antwort": "nein"}'), read_prose("Januar 10 20 30")
    ('', '')
    """
    if is_json(text):
        return ""
    plain = _CODE_SPAN.sub(" ", _leave_out_fences(text[:MAX_CHARS]))
    parts = []
    end = 0
    numbers = 0
    for piece in _PIECE.finditer(plain):
        core = piece[0].strip(_PUNCTUATION)
        if core.replace(".", "").replace(",", "").isdecimal():
            numbers += 1
        if piece[0].endswith("()") or _CODE.search(core):
            parts.append(plain[end : piece.start()])
            end = piece.end()
    prose = " ".join((*parts, plain[end:]))
    if numbers > len(_LETTERS.findall(prose)):
        return ""
    return prose


def _leave_out_fences(text: str) -> str:
    r"""Return the text outside of fences. If there is none, return the text within fences that may hold prose.

    >>> _leave_out_fences("So: ```sh\nmake\n```").strip(), _leave_out_fences("```markdown\nSo geht es\n```").strip()
    ('So:', 'So geht es')
    """
    parts = text.split(FENCE)
    outside = " ".join(parts[::2])
    if outside.strip():
        return outside
    # Every second part is within a fence, and begins with the name of its language.
    fences = [part.partition("\n") for part in parts[1::2]]
    return " ".join(inside for language, _, inside in fences if language.strip().lower() in PROSE_LANGUAGES)


def is_json(text: str) -> bool:
    """Return whether a text is a JSON object or array.

    >>> is_json('{"a": 1}'), is_json("[1] Siehe unten"), is_json("30")
    (True, False, False)
    """
    stripped = text.strip()
    if stripped[:1] not in ("{", "[") or len(stripped) > MAX_JSON_CHARS:
        return False
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return False
    return True
