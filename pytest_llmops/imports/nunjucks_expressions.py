"""Translate an expression of Nunjucks into one of Jinja2, as far as both give the same."""

from collections.abc import Callable, Sequence
from typing import NoReturn

from pytest_llmops.imports import nunjucks_words as words
from pytest_llmops.imports.nunjucks_tokens import Token, Untranslatable
from pytest_llmops.imports.nunjucks_values import Expression, ExpressionKind, Names, quote_text
from pytest_llmops.measurement import Json, shorten_text

MAX_NESTED = 15
MAX_STEPS = 100  # values, keys, calls and filters of an expression
_CONSTANTS: dict[str, Json] = {"true": True, "false": False, "none": None, "null": None}
_KEYWORDS = ("and", "or", "not", "in", "is", "if", "else")
# From the loosest to the tightest, as Nunjucks has them
_ARITHMETIC = ("~", "+", "-", "*", "/", "//", "%", "**")
_UNCERTAIN_SIGNS = ("*", "/", "//", "%", "**")


class ExpressionParser:
    """Reads an expression from the tokens of an output or a block."""

    def __init__(self, tokens: Sequence[Token], line: int, names: Names) -> None:
        self.tokens = tokens
        self.index = 0
        self.names = names
        self.line = line
        self.depth = 0
        self.steps = 0

    def peek(self) -> str:
        """Return the next name or sign, or "" if there is none."""
        if self.index >= len(self.tokens) or self.tokens[self.index].kind in ("text", "number"):
            return ""
        return self.tokens[self.index].value

    def skip(self, value: str) -> bool:
        """Go on if the next name or sign is this one; return whether it is."""
        if self.peek() != value:
            return False
        self.index += 1
        return True

    def expect(self, value: str) -> None:
        """Go on behind a sign.

        Raises:
            Untranslatable: Something else is next.
        """
        if not self.skip(value):
            self.fail_at_token(f"expected {value}")

    def take(self) -> Token:
        """Return the next token, and go on.

        Raises:
            Untranslatable: There is none.
        """
        if self.index >= len(self.tokens):
            raise Untranslatable("an expression without its end", self.line)
        token = self.tokens[self.index]
        self.index += 1
        self.line = token.line
        return token

    def take_name(self) -> str:
        """Return the next token, which must be a name, and go on.

        Raises:
            Untranslatable: It is something else.
        """
        token = self.take()
        if token.kind != "name":
            raise Untranslatable(f"expected a name, got {shorten_text(token.value, 40)!r}", token.line)
        return token.value

    def check_end(self) -> None:
        """Check that nothing is left.

        Raises:
            Untranslatable: Something is.
        """
        if self.index < len(self.tokens):
            self.fail_at_token("expected the end of the expression")

    def fail_at_token(self, what: str) -> NoReturn:
        """Raise the error for the next token."""
        if self.index >= len(self.tokens):
            raise Untranslatable(f"{what}, got nothing", self.line)
        token = self.tokens[self.index]
        raise Untranslatable(f"{what}, got {shorten_text(token.value, 40)!r}", token.line)

    def fail(self, what: str) -> NoReturn:
        """Raise the error for the token that was taken last."""
        raise Untranslatable(what, self.line)

    def parse(self) -> Expression:
        """Return the expression that begins at the next token.

        Raises:
            Untranslatable: It is not valid, or Jinja2 gives something else for it.
        """
        self.depth += 1
        if self.depth > MAX_NESTED:
            self.fail(f"an expression nested deeper than {MAX_NESTED} levels")
        value = self._parse_or()
        if self.skip("if"):
            condition = self._parse_or()
            other = Expression('""', "constant", is_atom=True, constant="")
            if self.skip("else"):
                other = self._parse_or()
            kind: ExpressionKind = "value"
            if "truth" in (value.kind, other.kind):
                kind = "mixed"
            value = Expression(f"{value.operand} if {condition.text} else {other.operand}", kind)
        self.depth -= 1
        return value

    def _parse_or(self) -> Expression:
        return self._parse_logic("or", self._parse_and)

    def _parse_and(self) -> Expression:
        return self._parse_logic("and", self._parse_not)

    def _parse_logic(self, word: str, parse_side: Callable[[], Expression]) -> Expression:
        sides = [parse_side()]
        while self.skip(word):
            sides.append(parse_side())
        if len(sides) == 1:
            return sides[0]
        kinds = {side.kind for side in sides}
        kind: ExpressionKind = "value"
        if kinds == {"truth"}:
            kind = "truth"
        elif kinds & {"truth", "mixed"}:
            kind = "mixed"
        return Expression(f" {word} ".join(side.operand for side in sides), kind)

    def _parse_not(self) -> Expression:
        if not self.skip("not"):
            return self._parse_in()
        if self.peek() == "not":
            self.fail("not, twice")
        value = self._parse_in()
        if value.sign:
            self.fail(
                f"not in front of {value.sign}, which JavaScript reads as (not ...) {value.sign}: add parentheses"
            )
        return Expression(f"not {value.operand}", "truth")

    def _parse_in(self) -> Expression:
        left = self._parse_is()
        while self.peek() in ("in", "not"):
            word = "in"
            if self.skip("not"):
                word = "not in"
            self.expect("in")
            right = self._parse_is()
            left = Expression(f"{left.operand} {word} {right.operand}", "truth")
        return left

    def _parse_is(self) -> Expression:
        value = self._parse_comparison()
        if not self.skip("is"):
            return value
        word = "is"
        if self.skip("not"):
            word = "is not"
        name = self.take_name()
        if name not in words.TESTS:
            self.fail(f"the test 'is {shorten_text(name, 40)}'")
        if name not in ("defined", "undefined") or self.names.is_exact:
            return Expression(f"{value.operand} {word} {words.TESTS[name]}", "truth")
        self.names.notes.setdefault(words.EMPTY_NOTE)
        if (name == "defined") == (word == "is"):
            return Expression(f'{value.operand} != ""', "truth")
        return Expression(f'{value.operand} == ""', "truth")

    def _parse_comparison(self) -> Expression:
        left = self._parse_arithmetic(0)
        if self.peek() not in words.OPERATORS:
            return left
        sign = self.take().value
        right = self._parse_arithmetic(0)
        if self.peek() in words.OPERATORS:
            self.fail("two comparisons in one, which JavaScript compares with true or false")
        if sign in ("==", "!="):
            self._check_loose_sides(left, right)
            left, right = _compare_as_text(left, right), _compare_as_text(right, left)
        return Expression(f"{left.operand} {words.OPERATORS[sign]} {right.operand}", "truth", sign=sign)

    def _check_loose_sides(self, left: Expression, right: Expression) -> None:
        """Check that ``==`` of JavaScript means the same: there ``null == undefined`` and ``"" == 0``."""
        for side, other in ((left, right), (right, left)):
            if side.kind == "constant" and side.constant is None and other.kind != "constant":
                self.fail("a comparison with null, which an undefined variable equals")

    def _parse_arithmetic(self, level: int) -> Expression:
        if level == len(_ARITHMETIC):
            return self._parse_unary()
        sides = [self._parse_arithmetic(level + 1)]
        sign = _ARITHMETIC[level]
        while self.skip(sign):
            sides.append(self._parse_arithmetic(level + 1))
            self._check_operation(sign, *sides[-2:])
        if len(sides) == 1:
            return sides[0]
        return Expression(f" {sign} ".join(side.operand for side in sides), sign=sign)

    def _check_operation(self, sign: str, left: Expression, right: Expression) -> None:
        """Check that an operation gives the same in Python: texts there are not numbers.

        Raises:
            Untranslatable: It may give something else.
        """
        if sign == "~" and (left.sign or right.sign):
            self.fail("~ next to + or -, which JavaScript reads from the left: add parentheses")
        if sign in _UNCERTAIN_SIGNS:
            self.fail(f"the operator {sign}, which makes numbers of texts in JavaScript")
        if {left.kind, right.kind} & {"truth", "mixed"}:
            self.fail(f"true or false as a side of {sign}")
        if sign == "-" and not {type(left.constant), type(right.constant)} & {int, float}:
            names = f"{left.text}-{right.text}"
            self.fail(f"{shorten_text(names, 60)}: a difference (the name of a variable has no dash)")

    def _parse_unary(self) -> Expression:
        if self.skip("-"):
            value = self._parse_primary()
            if value.kind != "constant" or type(value.constant) not in (int, float):
                self.fail("the sign - in front of a variable")
            return self._parse_filters(Expression(f"-{value.text}"))
        return self._parse_filters(self._parse_primary())

    def _parse_primary(self) -> Expression:
        token = self.take()
        if token.kind == "text":
            value = Expression(quote_text(token.value), "constant", is_atom=True, constant=token.value)
        elif token.kind == "number":
            value = self._parse_number(token)
        elif token.value in ("(", "[", "{"):
            value = self._parse_brackets(token.value)
        elif token.kind == "sign" or token.value in _KEYWORDS:
            self.fail(f"expected a value, got {shorten_text(token.value, 40)!r}")
        elif token.value in _CONSTANTS:
            constant = _CONSTANTS[token.value]
            value = Expression(
                token.value.replace("null", "none"), "constant", is_atom=True, constant=constant
            )
            if isinstance(constant, bool):
                value = Expression(value.text, "truth", is_atom=True, constant=constant)
        elif token.value == "range" and self.peek() == "(":
            value = self._parse_range()
        else:
            self.names.use(token.value, token.line)
            value = Expression(token.value, "path", is_atom=True, path=(token.value,))
        return self._parse_keys(value)

    def _parse_number(self, token: Token) -> Expression:
        number: float = int(token.value[:300])
        if self.skip("."):
            decimals = ""
            if self.index < len(self.tokens) and self.tokens[self.index].kind == "number":
                decimals = self.take().value
            number = float(f"{token.value}.{decimals}"[:300])
        if number == int(number):
            number = int(number)
        return Expression(str(number), "constant", is_atom=True, constant=number)

    def _parse_range(self) -> Expression:
        arguments = self._parse_arguments()
        if not 1 <= len(arguments) <= 3:  # noqa: PLR2004 -- start, stop, step
            self.fail("range: expected one to three numbers")
        listed = ", ".join(argument.text for argument in arguments)
        return Expression(f"range({listed})", is_atom=True)

    def _parse_brackets(self, opening: str) -> Expression:
        closing = {"(": ")", "[": "]", "{": "}"}[opening]
        items: list[str] = []
        while not self.skip(closing):
            if items:
                self.expect(",")
            item = self.parse()
            if opening == "{":
                if item.kind != "constant":
                    self.fail("a key of an object that is a variable")
                self.expect(":")
                items.append(f"{item.text}: {self.parse().text}")
            else:
                items.append(item.text)
                last = item
        listed = ", ".join(items)
        if opening != "(":
            return Expression(f"{opening}{listed}{closing}", is_atom=True)
        if len(items) != 1:
            self.fail("expected one value within ( )")
        if last.is_atom:
            return last
        return Expression(f"({listed})", last.kind, is_atom=True)

    def _parse_arguments(self) -> list[Expression]:
        self.expect("(")
        arguments: list[Expression] = []
        while not self.skip(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.parse())
            if self.peek() == "=":
                self.fail("an argument with a name")
        return arguments

    def _parse_keys(self, value: Expression) -> Expression:
        """Return a value with the keys and calls that follow it."""
        while True:
            self._count_step()
            if self.skip("."):
                value = self._parse_attribute(value)
            elif self.skip("["):
                key = self.parse()
                self.expect("]")
                value = self._add_key(value, key)
            elif self.peek() == "(":
                self.fail(f"the call {shorten_text(value.text, 40)}()")
            else:
                return value

    def _count_step(self) -> None:
        """Count a key, a call or a filter, of which Jinja2 cannot have any number.

        Raises:
            Untranslatable: There are too many.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            self.fail(f"an expression of more than {MAX_STEPS} values, keys and filters")

    def _parse_attribute(self, value: Expression) -> Expression:
        name = self.take_name()
        if self.peek() == "(":
            arguments = self._parse_arguments()
            if name == "includes" and len(arguments) == 1:
                return Expression(f"({arguments[0].operand} in {value.operand})", "truth", is_atom=True)
            return self._fill_form(
                f"the method {shorten_text(name, 40)}", words.METHODS.get(name, ()), value, arguments
            )
        is_loop = value.path == ("loop",)
        if is_loop and name not in ("index", "index0", "revindex", "revindex0", "first", "last", "length"):
            self.fail(f"loop.{shorten_text(name, 40)}")
        if name == "length" and not is_loop:
            return Expression(f"({value.operand} | length)", is_atom=True)
        if is_loop:
            kind: ExpressionKind = "value"
            if name in ("first", "last"):
                kind = "truth"
            return Expression(f"loop.{name}", kind, is_atom=True)
        return self._add_key(value, Expression(quote_text(name), "constant", constant=name))

    def _add_key(self, value: Expression, key: Expression) -> Expression:
        """Return a key of a value; a key that Python would read as a method is written in brackets."""
        name = key.constant
        if key.text.startswith("-") and key.text[1:].isdecimal():
            self.fail("a negative index, which JavaScript does not count from the end")
        path: tuple[str | int, ...] = ()
        if value.path and isinstance(name, (str, int)) and not isinstance(name, bool):
            path = (*value.path, name)
        if len(value.path) == 1 and isinstance(name, str):
            self.names.keyed.add(str(value.path[0]))
        kind: ExpressionKind = "value"
        if path:
            kind = "path"
        text = f"{value.operand}[{key.text}]"
        if (
            isinstance(name, str)
            and name.isascii()
            and name.isidentifier()
            and name not in words.METHOD_NAMES
        ):
            text = f"{value.operand}.{name}"
        return Expression(text, kind, is_atom=True, path=path)

    def _parse_filters(self, value: Expression) -> Expression:
        while self.skip("|"):
            self._count_step()
            name = self.take_name()
            arguments = []
            if self.peek() == "(":
                arguments = self._parse_arguments()
            forms = words.FILTERS.get(name, ())
            if name in words.DEFAULT_FILTERS:
                forms = words.DEFAULT_FORMS
                if self.names.is_exact:
                    forms = words.EXACT_DEFAULT_FORMS
            value = self._fill_form(f"the filter {shorten_text(name, 40)}", forms, value, arguments)
        return value

    def _fill_form(
        self, what: str, forms: Sequence[words.Form], value: Expression, arguments: Sequence[Expression]
    ) -> Expression:
        """Return a value with its filter or method.

        Raises:
            Untranslatable: Jinja2 has none that gives the same.
        """
        if not forms:
            self.fail(what)
        fitting = [form for form in forms if form.arguments == len(arguments)]
        if not fitting:
            self.fail(f"{what} with {len(arguments)} arguments")
        form = fitting[0]
        if form.note:
            self.names.notes.setdefault(form.note)
        if form.text == "{value}":
            return value
        texts = [argument.text for argument in arguments]
        return Expression(form.text.format(*texts, value=value.operand), is_atom=True)


def _compare_as_text(side: Expression, other: Expression) -> Expression:
    """Return a variable as a text, and a number as the text that it is, if the two are compared: ``"3" == 3`` in JavaScript.

    A variable is a text also next to a text of digits: it may be a number.
    """
    if side.kind == "path" and (type(other.constant) in (int, float) or _has_digits_alone(other.constant)):
        return Expression(f"({side.text} | string)", is_atom=True)
    if other.kind == "path" and type(side.constant) in (int, float):
        return Expression(quote_text(str(side.constant)), "constant", is_atom=True)
    return side


def _has_digits_alone(constant: Json) -> bool:
    return isinstance(constant, str) and constant.isascii() and constant.isdecimal()
