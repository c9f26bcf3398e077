"""Put conditions of trivial code about a text into checks: the answer, or a text in its JSON."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.imports import javascript_regex
from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.code_tree import (
    OUTPUT,
    Binary,
    Call,
    Expression,
    Function,
    Items,
    Literal,
    Member,
    Name,
    Pattern,
    TypeOf,
    Undefined,
    UnknownCode,
    match_method,
)
from pytest_llmops.imports.json_conditions import FLIPPED, OPPOSITE, PARSED, find_place
from pytest_llmops.imports.literals import quote
from pytest_llmops.measurement import Json

_WORD_SEPARATORS = frozenset({r"\s+"})
_COUNT_DIFFERS = "JavaScript counts an emoji as two characters"


@dataclass(frozen=True, slots=True)
class Text:
    """The answer, or a value made of it: its code with the imports, and whether it is in lower case."""

    code: str = "answer"
    lower: bool = False
    imports: tuple[str, ...] = ()


def find_text(expression: Expression) -> Text | None:
    """Return the text that an expression makes of the answer; None: it is something else."""
    if expression == Name(OUTPUT):
        return Text()
    if (
        isinstance(expression, Call)
        and expression.function == Name("String")
        and len(expression.arguments) == 1
    ):
        return find_text(expression.arguments[0])
    methods = {"trim": ".strip()", "toLowerCase": ".lower()", "toString": ""}
    for method, code in methods.items():
        match = match_method(expression, method)
        if match is None or match[1]:
            continue
        text = find_text(match[0])
        if text is None:
            return None
        if method == "toLowerCase":
            return replace(text, lower=True)
        return replace(text, code=text.code + code)
    return _find_first_word(expression) or _find_text_in_json(expression)


def _find_text_in_json(expression: Expression) -> Text | None:
    """Return the text at a place of the parsed answer; None: it is something else."""
    place = find_place(expression, PARSED)
    if place is None or not place.keys or place.or_empty == "array":
        return None
    *outer, last = place.keys
    code = "json.loads(answer)" + "".join(f"[{_format_key(key)}]" for key in outer)
    if place.or_empty and isinstance(last, str):
        code = f'({code}.get({_format_key(last)}) or "")'
    else:
        code = f"{code}[{_format_key(last)}]"
    return Text(code, imports=("json",))


def _format_key(key: str | int) -> str:
    if isinstance(key, int):
        return str(key)
    return quote(key)


def _find_first_word(expression: Expression) -> Text | None:
    """Return the first word of a text, "" if it has none; None: it is something else."""
    if not isinstance(expression, Member) or expression.key != 0:
        return None
    words = _find_words(expression.target)
    if words is None:
        return None
    return replace(words, code=f'[*{words.code}, ""][0]')


def write_text_checks(condition: Expression, *, positive: bool) -> list[Check]:
    """Return the checks of a condition about a text; none if it always holds.

    Raises:
        UnknownCode: It is not one of the trivial forms.
        UntranslatableRegex: A regular expression in it has no equivalent.
    """
    if isinstance(condition, Binary) and condition.operator in {"&&", "||"}:
        return [_write_alternatives(condition, positive=positive)]
    if isinstance(condition, Binary):
        return _write_comparison(condition, positive=positive)
    if isinstance(condition, Call):
        return [_write_call(condition, positive=positive)]
    return _write_count(Binary(">", Member(condition, "length"), Literal(0.0)), positive=positive)


def _write_comparison(condition: Binary, *, positive: bool) -> list[Check]:
    operator, left, right = condition.operator, condition.left, condition.right
    if isinstance(left, Literal | Undefined):
        operator, left, right = FLIPPED.get(operator, operator), right, left
    if operator not in OPPOSITE:
        raise UnknownCode(f"{operator!r}")
    if not positive:
        operator = OPPOSITE[operator]
    text = find_text(left)
    if left == Name(OUTPUT) and operator in {"!==", "!="} and right in (Undefined(), Literal(None)):
        return []  # there is always a text
    if left == TypeOf(Name(OUTPUT)) and right == Literal("string") and operator in {"===", "=="}:
        return []
    if text is None:
        return _write_count(Binary(operator, left, right), positive=True)
    if not isinstance(right, Literal) or not isinstance(right.value, str):
        raise UnknownCode("a comparison of another form")
    if operator in {"===", "=="}:
        return [_write_equality(text, right.value)]
    if operator in {"!==", "!="}:
        pattern = rf"\A{javascript_regex.escape_text(right.value)}\Z"
        return [_write_pattern(text, pattern, positive=False)]
    raise UnknownCode(f"{operator!r}")


def _write_equality(text: Text, expected: str) -> Check:
    option = ""
    if text.lower:
        _require_lower(expected)
        option = ", ignore_case=True"
    return Check(
        call=f"assert_exact({text.code}, {{value}}{option}{{options}})",
        value=expected,
        form="literal",
        key="equals",
        noun="equals",
        imports=("assert_exact", *text.imports),
        rank=13,
    )


def _write_choice(items: Items, arguments: Sequence[Expression], *, positive: bool) -> Check:
    """Return the check of a text that has to be one of several, or none of them."""
    values = [item.value for item in items.items if isinstance(item, Literal)]
    expected = [value for value in values if isinstance(value, str)]
    text = find_text(arguments[0]) if len(arguments) == 1 else None
    if text is None or not expected or len(expected) != len(items.items):
        raise UnknownCode("a call of another form")
    if text.lower:
        expected = [value for value in expected if value == value.lower()]
    if not expected:
        raise UnknownCode("texts in upper case that an answer in lower case never has")
    if positive:
        check = _write_equality(text, expected[0])
        return replace(check, value=expected)
    alternatives = "|".join(map(javascript_regex.escape_text, expected))
    return _write_pattern(text, rf"\A(?:{alternatives})\Z", positive=False)


def _require_lower(text: str) -> None:
    if text != text.lower():
        raise UnknownCode("a text in upper case that an answer in lower case never has")


def _write_count(condition: Binary, *, positive: bool) -> list[Check]:
    """Return the checks of a number of characters or words."""
    operator, left, right = condition.operator, condition.left, condition.right
    if not positive:
        operator = OPPOSITE[operator]
    if not isinstance(left, Member) or left.key != "length":
        raise UnknownCode("a comparison of another form")
    if not isinstance(right, Literal) or not isinstance(right.value, float) or not right.value.is_integer():
        raise UnknownCode("a comparison of another form")
    count = int(right.value)
    limits = {
        ">": (f"at_least={count + 1}",),
        ">=": (f"at_least={count}",),
        "<": (f"at_most={count - 1}",),
        "<=": (f"at_most={count}",),
        "===": (f"at_least={count}", f"at_most={count}"),
        "==": (f"at_least={count}", f"at_most={count}"),
    }.get(operator)
    if limits is None and count == 0:
        limits = ("at_least=1",)
    if limits is None:
        raise UnknownCode(f"{operator!r}")
    text = find_text(left.target)
    if text is not None:
        return [_make_count(text, "length", limit, _COUNT_DIFFERS) for limit in limits]
    words = _find_words(left.target)
    if words is not None and (count == 0 or "at_most=0" in limits) and _find_filtered(left.target) is None:
        raise UnknownCode("no words, of which JavaScript counts one")
    if words is not None:
        return [_make_count(words, "words", limit) for limit in limits]
    parts = _find_parts(left.target)
    if parts is None:
        raise UnknownCode("a comparison of another form")
    return [_make_count(parts, "parts", limit) for limit in limits]


def _make_count(counted: Text, name: str, limit: str, differs: str = "") -> Check:
    return Check(
        call=f'assert_score(len, {counted.code}, {limit}, name="{name}", unit="count"{{options}})',
        noun=name,
        imports=("assert_score", *counted.imports),
        rank=30,
        differs=differs,
    )


def _find_words(expression: Expression) -> Text | None:
    """Return the list of words that an expression makes of a text; None: it is something else."""
    filtered = _find_filtered(expression)
    split = match_method(filtered or expression, "split")
    if split is None or len(split[1]) != 1 or not isinstance(split[1][0], Pattern):
        return None
    text = find_text(split[0])
    if text is None or split[1][0].pattern not in _WORD_SEPARATORS:
        return None
    if filtered is None and not text.code.endswith(".strip()"):
        return None  # white space at an end gives one more
    return replace(text, code=f"{text.code.removesuffix('.strip()')}.split()")


def _find_filtered(expression: Expression) -> Expression | None:
    """Return the list whose empty texts an expression leaves out; None: it is something else."""
    match = match_method(expression, "filter")
    if match is None or len(match[1]) != 1:
        return None
    condition = match[1][0]
    if condition == Name("Boolean"):
        return match[0]
    if not isinstance(condition, Function):
        return None
    name = Name(condition.parameter)
    for text in (name, Call(Member(name, "trim"), ())):
        length = Member(text, "length")
        is_long = Binary(">", length, Literal(0.0))
        is_other = Binary("!==", text, Literal(""))
        if condition.body in (text, length, is_long, is_other):
            return match[0]
    return None


def _find_parts(expression: Expression) -> Text | None:
    """Return the list of lines or other parts that an expression makes of a text; None: it is something else."""
    split = match_method(expression, "split")
    if split is None or len(split[1]) != 1:
        return None
    text = find_text(split[0])
    separator = split[1][0]
    if text is None:
        return None
    imports = text.imports
    if isinstance(separator, Literal) and isinstance(separator.value, str) and separator.value:
        code = f"{text.code}.split({quote(separator.value)})"
    elif isinstance(separator, Pattern) and "(" not in separator.pattern:
        flags = separator.flags.replace("g", "")
        pattern = javascript_regex.translate(separator.pattern, flags)
        if re.match(pattern, ""):
            return None  # the languages differ in where nothing separates
        code = f"re.split({quote(pattern)}, {text.code})"
        imports = (*imports, "re")
    else:
        return None
    return replace(text, code=code, imports=imports)


@dataclass(frozen=True, slots=True)
class _Search:
    """The pattern that is searched in a text: a regular expression of JavaScript, and the text if the pattern is only a text."""

    text: Text
    pattern: str
    flags: str
    plain: str = ""


def _read_search(condition: Expression) -> _Search:
    """Return the text or pattern that is compared, or that a call searches: ``includes``, ``startsWith``, ``endsWith`` or ``test``."""
    if isinstance(condition, Binary) and condition.operator in {"===", "=="}:
        text = find_text(condition.left)
        if (
            text is not None
            and isinstance(condition.right, Literal)
            and isinstance(condition.right.value, str)
        ):
            return _make_search(text, "^{}$", condition.right.value)
    function = condition.function if isinstance(condition, Call) else None
    if not isinstance(condition, Call) or not isinstance(function, Member) or len(condition.arguments) != 1:
        raise UnknownCode("a condition of another form")
    argument = condition.arguments[0]
    if isinstance(function.target, Pattern) and function.key == "test":
        text = find_text(argument)
        if text is None:
            raise UnknownCode("a call of another form")
        return _Search(text, function.target.pattern, function.target.flags.replace("g", ""))
    text = find_text(function.target)
    forms = {"includes": "{}", "startsWith": "^{}", "endsWith": "{}$"}
    form = forms.get(str(function.key))
    if (
        text is None
        or form is None
        or not isinstance(argument, Literal)
        or not isinstance(argument.value, str)
    ):
        raise UnknownCode("a call of another form")
    return _make_search(text, form, argument.value)


def _make_search(text: Text, form: str, wanted: str) -> _Search:
    flags = ""
    if text.lower:
        _require_lower(wanted)
        flags = "i"
    if not wanted:
        raise UnknownCode("an empty text, which is in every answer")
    pattern = form.replace("{}", javascript_regex.escape_text(wanted))
    plain = wanted if form == "{}" else ""
    return _Search(replace(text, lower=False), pattern, flags, plain)


def _write_call(condition: Call, *, positive: bool) -> Check:
    """Return the check of a call that searches something in a text, or a text among others."""
    function = condition.function
    if isinstance(function, Member) and isinstance(function.target, Items) and function.key == "includes":
        return _write_choice(function.target, condition.arguments, positive=positive)
    search = _read_search(condition)
    if search.plain:
        return _write_inclusion(
            search.text, [search.plain], ignore_case="i" in search.flags, positive=positive
        )
    pattern = javascript_regex.translate(search.pattern, search.flags)
    return _write_pattern(search.text, pattern, positive=positive)


def _write_inclusion(text: Text, wanted: Sequence[str], *, ignore_case: bool, positive: bool) -> Check:
    name = "assert_contains" if positive else "assert_not_contains"
    options = ""
    key = "contains"
    if len(wanted) > 1:
        options = ", any_of=True" if positive else ""
        key = "contains_any"
    if ignore_case:
        options += ", ignore_case=True"
        key = f"i{key}"
    value: Json = list(wanted)
    if len(wanted) == 1:
        value = wanted[0]
    if not positive:
        key = f"not_{key}"
    return Check(
        call=f"{name}({text.code}, {{value}}{options}{{options}})",
        value=value,
        form="literal",
        key=key,
        noun=key,
        imports=(name, *text.imports),
        joins=len(wanted) == 1,
        rank=10,
    )


def _write_pattern(text: Text, pattern: str, *, positive: bool) -> Check:
    code = text.code
    if text.lower:
        code += ".lower()"
    name = "assert_matches" if positive else "assert_not_matches"
    noun = "pattern" if positive else "not_pattern"
    return Check(
        call=f"{name}({code}, {{value}}{{options}})",
        value=pattern,
        form="pattern",
        key=noun,
        noun=noun,
        imports=(name, *text.imports),
        rank=14,
    )


def _write_alternatives(condition: Binary, *, positive: bool) -> Check:
    """Return the check of conditions of which one is enough: one of several texts, or one regular expression."""
    if not positive:
        raise UnknownCode("alternatives of missing texts")
    searches = [_read_search(part) for part in _list_alternatives(condition)]
    first = searches[0]
    if any(search.text != first.text or search.flags != first.flags for search in searches):
        raise UnknownCode("alternatives of different forms")
    if all(search.plain for search in searches):
        wanted = [search.plain for search in searches]
        return _write_inclusion(first.text, wanted, ignore_case="i" in first.flags, positive=True)
    joined = "|".join(search.pattern for search in searches)
    if re.search(r"\\[1-9k]", joined):
        raise UnknownCode("alternatives that refer to their groups")
    return _write_pattern(first.text, javascript_regex.translate(joined, first.flags), positive=True)


def _list_alternatives(condition: Expression) -> Iterator[Expression]:
    if isinstance(condition, Binary) and condition.operator == "||":
        yield from _list_alternatives(condition.left)
        yield from _list_alternatives(condition.right)
        return
    yield condition
