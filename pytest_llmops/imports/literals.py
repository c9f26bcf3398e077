"""Write foreign text as literals in lines of code that have placeholders such as ``{value}``."""


def quote(text: str) -> str:
    r"""Return a text as a literal with double quotes, in ASCII where it cannot be printed.

    Braces are escaped too, so that none is taken for a placeholder.

    >>> print(quote('a "b" {c}'))
    "a \"b\" \x7bc\x7d"
    """
    literal = repr(text)
    inner = literal[1:-1]
    if literal.startswith("'"):
        inner = inner.replace("\\'", "'").replace('"', '\\"')
    inner = inner.replace("{", "\\x7b").replace("}", "\\x7d")
    return f'"{inner}"'
