"""Write Python as a formatter would leave it: literals of foreign values, comments, docstrings and long calls.

Foreign text is written only in literals, comments and docstrings, and cannot end them: characters that are not printable are escaped.
"""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.measurement import Json, escape_character

WIDTH = 88  # of a line: the default of the usual formatters
INDENT = "    "
_PLACEHOLDER_VALUE = "value"
_PLACEHOLDER_VARIABLE = "var"


def format_text(text: str) -> str:
    r"""Return the literal of a text.

    >>> print(format_text('say "no"\n'))
    'say "no"\n'
    >>> print(format_text("it's"))
    "it's"
    """
    quote = '"'
    if text.count('"') > text.count("'"):
        quote = "'"
    escaped = []
    for char in text:
        if char in ("\\", quote):
            escaped.append(f"\\{char}")
        elif char.isprintable():
            escaped.append(char)
        else:
            escaped.append(escape_character(char))
    return f"{quote}{''.join(escaped)}{quote}"


def format_pattern(pattern: str) -> str:
    r"""Return the literal of a regular expression: a raw text if there is one.

    >>> print(format_pattern(r"\d+"), format_pattern("a"), format_pattern("\\"))
    r"\d+" "a" "\\"
    """
    if "\\" not in pattern or not pattern.isprintable():
        return format_text(pattern)
    has_open_end = (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1
    if has_open_end:
        return format_text(pattern)
    for quote in ('"', "'"):
        if quote not in pattern:
            return f"r{quote}{pattern}{quote}"
    return format_text(pattern)


def format_value(value: Json) -> str:
    """Return the literal of a JSON value, in one line.

    >>> format_value({"a": [1, None], "b": "x"})
    '{"a": [1, None], "b": "x"}'
    """
    if isinstance(value, str):
        return format_text(value)
    if isinstance(value, Mapping):
        pairs = [f"{format_text(key)}: {format_value(child)}" for key, child in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        items = [format_value(child) for child in value]
        return f"[{', '.join(items)}]"
    return repr(value)


def escape_line(text: str) -> str:
    r"""Return a text as a single printable line: line ends, control characters and marks of direction become escapes.

    >>> escape_line("a\nb")
    'a\\nb'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escape_character(char) for char in text)


def format_comment(text: str, indent: str = "") -> list[str]:
    r"""Return a sentence as lines of comments.

    >>> format_comment("one\ntwo")
    ['# one\\ntwo']
    """
    prefix = f"{indent}# "
    lines = textwrap.wrap(
        escape_line(text), WIDTH - len(prefix), break_long_words=False, break_on_hyphens=False
    )
    return [f"{prefix}{line}" for line in lines]


def format_code_comment(lines: Sequence[str], indent: str) -> list[str]:
    """Return lines of foreign code as comments; a long one goes on in the next line."""
    prefix = f"{indent}#   "
    comments = []
    for line in lines:
        text = escape_line(line.expandtabs(4).rstrip())
        parts = textwrap.wrap(text, WIDTH - len(prefix), subsequent_indent="    ", break_on_hyphens=False)
        comments += [f"{prefix}{part}".rstrip() for part in parts or [""]]
    return comments


def format_docstring(paragraphs: Sequence[str], indent: str = "") -> list[str]:
    """Return the lines of a docstring. Foreign text in it has no double quotes, and its backslashes are doubled.

    >>> format_docstring(['The "bot".', "It answers."])[1:3]
    ['', 'It answers.']
    """
    first, *others = [_clean_prose(paragraph) for paragraph in paragraphs]
    quotes = '"""'
    lines = [f"{indent}{line}" for line in _wrap(f"{quotes}{first}", WIDTH - len(indent))]
    if not others and len(lines) == 1:
        return [f"{lines[0]}{quotes}"]
    for paragraph in others:
        lines.append("")
        lines += [f"{indent}{line}" for line in _wrap(paragraph, WIDTH - len(indent))]
    lines.append(f"{indent}{quotes}")
    return lines


def _clean_prose(text: str) -> str:
    words = escape_line(" ".join(text.split()))
    return words.replace("\\", "\\\\").replace('"', "'")


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def fill_placeholders(call: str, value: str, variables: Mapping[str, str]) -> str:
    """Return a line of code in which ``{value}`` and ``{var:NAME}`` are replaced, but not within literals.

    Args:
        call: The code. As Python reads it, ``{value}`` is a set and ``{var:NAME}`` a mapping; a NAME that is not an identifier is a
            literal (``{var:"user name"}``).
        value: The code for ``{value}``.
        variables: The code for each NAME.

    >>> fill_placeholders('check(answer, {value}, label="{value}")', "3", {})
    'check(answer, 3, label="{value}")'
    """
    parts = []
    data = call.encode()
    start = 0
    for node, name in _list_placeholders(call):
        begin, end = _span(call, node)
        parts.append(data[start:begin].decode())
        parts.append(variables[name] if name else value)
        start = end
    parts.append(data[start:].decode())
    return "".join(parts)


def list_variables(call: str) -> list[str]:
    """Return the names of ``{var:NAME}`` in a line of code.

    >>> list_variables("check(answer, {var:context})")
    ['context']
    """
    return [name for _, name in _list_placeholders(call) if name]


def _list_placeholders(call: str) -> list[tuple[ast.expr, str]]:
    """Return each placeholder of a line of code with the name of its variable, "" for ``{value}``; in their order."""
    found: list[tuple[tuple[int, int], ast.expr, str]] = []
    for node in ast.walk(ast.parse(call)):
        if isinstance(node, ast.Set) and len(node.elts) == 1:
            element = node.elts[0]
            if isinstance(element, ast.Name) and element.id == _PLACEHOLDER_VALUE:
                found.append((_span(call, node), node, ""))
        elif isinstance(node, ast.Dict) and len(node.keys) == 1:
            key, child = node.keys[0], node.values[0]
            if not (isinstance(key, ast.Name) and key.id == _PLACEHOLDER_VARIABLE):
                continue
            if isinstance(child, ast.Name):
                found.append((_span(call, node), node, child.id))
            elif isinstance(child, ast.Constant):
                found.append((_span(call, node), node, str(child.value)))
    found.sort(key=lambda entry: entry[0])
    return [(node, name) for _, node, name in found]


def _span(code: str, node: ast.expr) -> tuple[int, int]:
    """Return where a node begins and ends in the UTF-8 of its code."""
    lines = code.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()) + 1)
    end_line = node.end_lineno or node.lineno
    end = node.end_col_offset or 0
    return starts[node.lineno - 1] + node.col_offset, starts[end_line - 1] + end


def replace_call(code: str, call: str, replacement: str) -> str:
    """Return a line of code in which a call is replaced by other code, but not within literals.

    >>> replace_call('run("dict(x)", dict(x))', "dict(x)", "x")
    'run("dict(x)", x)'
    """
    data = code.encode()
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    for node in sorted(calls, key=lambda node: _span(code, node), reverse=True):
        begin, end = _span(code, node)
        if data[begin:end].decode() == call:
            data = data[:begin] + replacement.encode() + data[end:]
    return data.decode()


def used_names(code: str) -> set[str]:
    """Return the names that a piece of code reads, and does not bind itself.

    >>> sorted(used_names("check([part for part in re.split(pattern, answer)])"))
    ['answer', 'check', 'pattern', 're']
    """
    read: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            read.add(node.id)
        elif isinstance(node, ast.Name):
            bound.add(node.id)
    return read - bound


def unify_quotes(code: str) -> str:
    """Return a line of code with its texts in the quotes that a formatter chooses.

    >>> unify_quotes("run('a')['b']")
    'run("a")["b"]'
    """
    data = code.encode()
    parts = []
    end = len(data)
    texts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    for node in sorted(texts, key=lambda node: _span(code, node), reverse=True):
        if isinstance(node.value, str):
            start, stop = _span(code, node)
            parts += [data[stop:end].decode(), format_text(node.value)]
            end = start
    parts.append(data[:end].decode())
    return "".join(reversed(parts))


def format_statement(code: str, indent: str = "") -> list[str]:
    r"""Return a statement in one line, as `black` and `ruff format` break a call or a list that is too long.

    Args:
        code: The statement, in one line; a decorator without its ``@`` is an expression.
        indent: The blanks before it.

    >>> print(*format_statement(f"check(answer, {'a' * 70!r}, label='x')"), sep="\n")
    check(
        answer,
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
        label='x',
    )
    """
    return format_prefixed(code, "", indent)


def format_prefixed(code: str, prefix: str, indent: str = "", suffix: str = "") -> list[str]:
    """Return an expression behind a prefix (``pytestmark = ``, ``@``) and before a suffix, broken where it is too long."""
    statement = ast.parse(code).body[0]
    if len(indent) + len(prefix) + len(code) + len(suffix) <= WIDTH:
        return [f"{indent}{prefix}{code}{suffix}"]
    if isinstance(statement, ast.Assign) and not prefix:
        value = _segment(code, statement.value)
        return format_prefixed(value, code.removesuffix(value), indent)
    if not isinstance(statement, ast.Expr):
        return [f"{indent}{prefix}{code}{suffix}"]
    return list(_break_node(statement.value, code, indent, prefix, suffix))


def _break_node(node: ast.expr, code: str, indent: str, prefix: str, suffix: str) -> Iterator[str]:
    """Yield the lines of an expression, in one line if it fits."""
    flat = _segment(code, node)
    if len(indent) + len(prefix) + len(flat) + len(suffix) <= WIDTH:
        yield f"{indent}{prefix}{flat}{suffix}"
        return
    inner = indent + INDENT
    if isinstance(node, ast.Call) and (node.args or node.keywords):
        yield f"{indent}{prefix}{_segment(code, node.func)}("
        arguments = _list_arguments(node)
        together = ", ".join(f"{name}{_segment(code, value)}" for name, value in arguments)
        if len(inner) + len(together) <= WIDTH:
            yield f"{inner}{together}"
        else:
            for name, value in arguments:
                comma = ","
                if len(arguments) == 1 and isinstance(value, ast.GeneratorExp):
                    comma = ""
                yield from _break_argument(value, code, inner, name, comma)
        yield f"{indent}){suffix}"
    elif isinstance(node, (ast.List, ast.Dict)) and _list_items(node, code):
        opening, closing = flat[0], flat[-1]
        yield f"{indent}{prefix}{opening}"
        for name, value in _list_items(node, code):
            yield from _break_node(value, code, inner, name, ",")
        yield f"{indent}{closing}{suffix}"
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):
        rest = flat.removeprefix(_segment(code, node.value))
        yield from _break_node(node.value, code, indent, prefix, f"{rest}{suffix}")
    else:
        yield f"{indent}{prefix}{flat}{suffix}"


def _break_argument(node: ast.expr, code: str, indent: str, prefix: str, suffix: str) -> Iterator[str]:
    """Yield the lines of an argument; a long text becomes several literals."""
    flat = _segment(code, node)
    is_long = len(indent) + len(prefix) + len(flat) + len(suffix) > WIDTH
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    if not (is_long and is_text and isinstance(node, ast.Constant)) or flat.startswith("r"):
        yield from _break_node(node, code, indent, prefix, suffix)
        return
    pieces = _split_text(str(node.value), WIDTH - len(indent) - len(prefix) - len(suffix))
    last = len(pieces) - 1
    for number, piece in enumerate(pieces):
        before = prefix if number == 0 else ""
        after = suffix if number == last else ""
        yield f"{indent}{before}{format_text(piece)}{after}"


def _split_text(text: str, width: int) -> list[str]:
    """Return the pieces of a text, each with the blank at its end, whose literals have at most this width if they can."""
    pieces: list[str] = []
    piece = ""
    for word in re.findall(r"\S*\s*|\s+", text):
        if piece and len(format_text(piece + word)) > width:
            pieces.append(piece)
            piece = ""
        piece += word
    if piece:
        pieces.append(piece)
    return pieces


def _list_arguments(node: ast.Call) -> list[tuple[str, ast.expr]]:
    """Return the arguments of a call, each with the text before it (``name=``)."""
    arguments = []
    for value in node.args:
        if isinstance(value, ast.Starred):
            arguments.append(("*", value.value))
        else:
            arguments.append(("", value))
    for keyword in node.keywords:
        if keyword.arg is None:
            arguments.append(("**", keyword.value))
        else:
            arguments.append((f"{keyword.arg}=", keyword.value))
    return arguments


def _list_items(node: ast.List | ast.Dict, code: str) -> list[tuple[str, ast.expr]]:
    """Return the items of a list or a mapping, each with the text before it (its key)."""
    if isinstance(node, ast.List):
        return [("", item) for item in node.elts]
    items = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            items.append(("**", value))
        else:
            items.append((f"{_segment(code, key)}: ", value))
    return items


def _segment(code: str, node: ast.expr) -> str:
    begin, end = _span(code, node)
    return code.encode()[begin:end].decode()
