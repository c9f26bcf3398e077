"""Write foreign text as literals of lines that have places such as ``{value}``."""


def quote(text: str) -> str:
    r"""Return a text as a literal with double quotes, in ASCII where it cannot be printed.

    Braces are escaped too, so that none is taken for a place of a line.

    >>> print(quote('a "b" {c}'))
    "a \"b\" \x7bc\x7d"
    """
    literal = repr(text)
    inner = literal[1:-1]
    if literal.startswith("'"):
        inner = inner.replace("\\'", "'").replace('"', '\\"')
    inner = inner.replace("{", "\\x7b").replace("}", "\\x7d")
    return f'"{inner}"'
