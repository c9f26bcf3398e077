"""Tables of what Nunjucks' filters, methods, tests and statements are in Jinja2, where both mean the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Form:
    """How a filter or a method is written in Jinja2.

    Attributes:
        text: ``{value}`` is its operand, ``{0}`` and ``{1}`` are its arguments.
        arguments: How many arguments it has.
        note: The difference of a prompt file; "": none.
    """

    text: str
    arguments: int = 0
    note: str = ""


JSON_NOTE = "JSON in a prompt has spaces after , and :"
EMPTY_NOTE = "an empty text counts as a missing variable"

# Filter -> its forms, by the number of arguments
FILTERS: Mapping[str, tuple[Form, ...]] = MappingProxyType(
    {
        "abs": (Form("{value} | abs"),),
        "capitalize": (Form("{value} | capitalize"),),
        "dictsort": (Form("{value} | dictsort"),),
        "dump": (Form("{value} | tojson", 0, JSON_NOTE), Form("{value} | tojson(indent={0})", 1)),
        "first": (Form("{value} | first"),),
        "indent": (
            Form("{value} | indent(4, false, true)"),
            Form("{value} | indent({0}, false, true)", 1),
            Form("{value} | indent({0}, {1}, true)", 2),
        ),
        "join": (
            Form("{value} | join"),
            Form("{value} | join({0})", 1),
            Form("{value} | join({0}, {1})", 2),
        ),
        "last": (Form("{value} | last"),),
        "length": (Form("{value} | length"),),
        "lower": (Form("{value} | lower"),),
        "rejectattr": (Form("{value} | rejectattr({0}) | list", 1),),
        "replace": (
            Form("{value} | replace({0}, {1})", 2),
            Form("{value} | replace({0}, {1}, {2})", 3),
        ),
        "reverse": (Form("{value} | reverse"),),
        "safe": (Form("{value}"),),
        "selectattr": (Form("{value} | selectattr({0}) | list", 1),),
        "sort": (Form("{value} | sort"), Form("{value} | sort({0})", 1)),
        "string": (Form("{value} | string"),),
        "sum": (Form("{value} | sum"),),
        "trim": (Form("{value} | trim"),),
        "upper": (Form("{value} | upper"),),
    }
)
# The filter default and its short name: a variable that a case does not have is an empty text in a prompt file
DEFAULT_FILTERS = ("default", "d")
DEFAULT_FORMS = (Form("{value} | default({0}, true)", 1, EMPTY_NOTE), Form("{value} | default({0}, {1})", 2))
EXACT_DEFAULT_FORMS = (Form("{value} | default({0})", 1), Form("{value} | default({0}, {1})", 2))

# Method of a JavaScript value -> its forms
METHODS: Mapping[str, tuple[Form, ...]] = MappingProxyType(
    {
        "join": (Form('{value} | join(",")'), Form("{value} | join({0})", 1)),
        "toLowerCase": (Form("{value} | lower"),),
        "toUpperCase": (Form("{value} | upper"),),
        "trim": (Form("{value} | trim"),),
    }
)

# Test after ``is`` -> the test of Jinja2
TESTS: Mapping[str, str] = MappingProxyType(
    {
        "defined": "defined",
        "even": "even",
        "mapping": "mapping",
        "none": "none",
        "null": "none",
        "odd": "odd",
        "string": "string",
        "undefined": "undefined",
    }
)

OPERATORS: Mapping[str, str] = MappingProxyType(
    {"===": "==", "!==": "!=", "==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">="}
)

# Keys that Jinja2 would look up as methods of a Python value first, so that they are written in brackets
METHOD_NAMES = frozenset(name for kind in (dict, str, list) for name in dir(kind) if not name.startswith("_"))
