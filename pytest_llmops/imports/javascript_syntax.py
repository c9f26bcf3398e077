"""Read trivial JavaScript into a tree: constants, then one expression. Anything else is refused, and nothing is ever run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.imports.code_tree import (
    MAX_DEPTH,
    Binary,
    Call,
    Choice,
    Expression,
    Function,
    Items,
    Literal,
    Member,
    Name,
    Not,
    Pattern,
    TypeOf,
    Undefined,
    UnknownCode,
)
from pytest_llmops.imports.javascript_tokens import Token, read_tokens

# From the loosest to the tightest
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"??"}),
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"===", "!==", "==", "!="}),
    frozenset({"<", "<=", ">", ">=", "in"}),
)
_WORDS: Mapping[str, Expression] = {
    "true": Literal(value=True),
    "false": Literal(value=False),
    "null": Literal(None),
    "undefined": Undefined(),
}
_DECLARATIONS = frozenset({"const", "let", "var"})
_RESERVED = _DECLARATIONS | {
    "return",
    "if",
    "else",
    "for",
    "while",
    "function",
    "new",
    "try",
    "catch",
    "typeof",
    "in",
}
MAX_TREE = 5_000  # parts of a tree
MAX_LINKS = 400


def read_javascript(code: str) -> Expression:
    """Return the expression that a JavaScript assertion of promptfoo returns, its constants replaced by their values.

    promptfoo runs code of several lines as the body of a function, which has to say ``return``; of one line it returns what
    comes last.

    >>> read_javascript("output.length < 9")
    Binary(operator='<', left=Member(target=Name(name='output'), key='length'), right=Literal(value=9.0))

    Raises:
        UnknownCode: It is not one of the trivial forms.
    """
    text = code.rstrip()
    parser = _Parser(read_tokens(text))
    return parser.read_body(has_return="\n" in text)


@dataclass(slots=True)
class _Parser:
    """A parser over tokens."""

    tokens: list[Token]
    position: int = 0
    depth: int = 0
    constants: dict[str, Expression] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    links: int = 0  # operators, entries and calls, which nest as deep as they are many
    size: int = 0  # of the tree so far, as constants are put in wherever they are named
    parameters: list[str] = field(default_factory=list)

    def read_body(self, *, has_return: bool) -> Expression:
        """Read declarations and the result, up to the end."""
        result = self._read_statements(has_return=has_return)
        if self._peek().kind != "end":
            raise UnknownCode(f"{self._peek().text[:20]!r}")
        return result

    def _read_statements(self, *, has_return: bool) -> Expression:
        """Read declarations, ``if (...) return ...;`` and the value that is returned at last."""
        early: list[tuple[Expression, Expression]] = []
        while True:
            if self._peek().kind == "name" and self._peek().text in _DECLARATIONS:
                self._read_declaration()
            elif self._skip_word("if"):
                early.append(self._read_early_return())
            else:
                break
        if has_return or early:
            self._expect_word("return", "code of several lines without return, which gives no verdict")
        result = self._read_result()
        for test, returned in reversed(early):
            if returned == Literal(value=False):
                result = Binary("&&", Not(test), result)
            elif returned == Literal(value=True):
                result = Binary("||", test, result)
            else:
                raise UnknownCode("'if' of another form")
        return result

    def _read_early_return(self) -> tuple[Expression, Expression]:
        """Read the part behind ``if``: a condition, and the value that is returned then."""
        self._expect("(")
        test = self._read_expression()
        self._expect(")")
        is_block = self._skip("{")
        self._expect_word("return", "'if' of another form")
        returned = self._read_result()
        if is_block:
            self._expect("}")
        return test, returned

    def _read_result(self) -> Expression:
        if self._peek() == Token("sign", "{"):
            result = self._read_verdict()
        else:
            result = self._read_expression()
        while self._skip(";"):
            pass
        return result

    def _read_verdict(self) -> Expression:
        """Read an object with ``pass``, ``score`` and ``reason``; the last two decide nothing and are skipped."""
        self._expect("{")
        passes: Expression | None = None
        names = set()
        while not self._skip("}"):
            name = self._take_name()
            names.add(name)
            self._expect(":")
            if name == "pass":
                passes = self._read_expression()
            else:
                self._skip_value()
            if self._peek().text != "}":
                self._expect(",")
        if passes is None or not {"score", "reason"} <= names:
            raise UnknownCode("an object without pass, score and reason")
        return passes

    def _skip_value(self) -> None:
        """Go on behind a value of an object."""
        open_brackets = 0
        while open_brackets or self._peek().text not in {",", "}"}:
            token = self._take()
            if token.kind == "sign" and token.text in {"(", "[", "{"}:
                open_brackets += 1
            if token.kind == "sign" and token.text in {")", "]", "}"}:
                open_brackets -= 1

    def _read_declaration(self) -> None:
        self.position += 1
        name = self._take_name()
        self._expect("=")
        size = self.size
        self.constants[name] = self._read_expression()
        self.sizes[name] = self.size - size
        if not self._skip(";") and not self._begins_statement():
            raise UnknownCode(f"{self._peek().text[:20]!r}")

    def _begins_statement(self) -> bool:
        token = self._peek()
        return token.kind == "name" and (token.text in _DECLARATIONS or token.text in {"return", "if"})

    def _read_expression(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnknownCode("code that is nested too deeply")
        test = self._read_binary(0)
        if self._skip("?"):
            yes = self._read_expression()
            self._expect(":")
            no = self._read_expression()
            test = Choice(test, yes, no)
        self.depth -= 1
        return test

    def _read_binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._read_unary()
        left = self._read_binary(level + 1)
        while self._peek().kind in {"sign", "name"} and self._peek().text in _LEVELS[level]:
            self._count_link()
            operator = self._take().text
            left = Binary(operator, left, self._read_binary(level + 1))
        return left

    def _count_link(self) -> None:
        self.links += 1
        if self.links > MAX_LINKS:
            raise UnknownCode("code that is too long")

    def _read_unary(self) -> Expression:
        if self._peek().text == "!" and self._peek().kind == "sign":
            self.position += 1
            return Not(self._read_nested_unary())
        if self._peek() == Token("name", "typeof"):
            self.position += 1
            return TypeOf(self._read_nested_unary())
        if self._peek() == Token("sign", "-") and self.tokens[self.position + 1].kind == "number":
            self.position += 1
            return Literal(-float(self._take().text))
        return self._read_postfix(self._read_primary())

    def _read_nested_unary(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnknownCode("code that is nested too deeply")
        operand = self._read_unary()
        self.depth -= 1
        return operand

    def _read_postfix(self, expression: Expression) -> Expression:
        """Read entries and calls behind an expression."""
        while True:
            self._count_link()
            if self._skip("."):
                expression = Member(expression, self._take_name(reserved=True))
            elif self._skip("["):
                key = self._read_expression()
                self._expect("]")
                expression = Member(expression, _as_key(key))
            elif self._skip("("):
                expression = Call(expression, self._read_list(")"))
            else:
                return expression

    def _read_primary(self) -> Expression:
        token = self._take()
        if token.kind == "number":
            return Literal(float(token.text))
        if token.kind == "text":
            return Literal(token.text)
        if token.kind == "pattern":
            return Pattern(token.text, token.flags)
        if token.kind == "name":
            return self._read_name(token.text)
        if token.text == "[":
            return Items(self._read_list("]"))
        if token.text != "(":
            raise UnknownCode(f"{token.text[:20]!r}" if token.text else "the end")
        body = self._read_function_call()
        if body is not None:
            return body
        function = self._read_parameter_in_brackets()
        if function is not None:
            return function
        expression = self._read_expression()
        self._expect(")")
        return expression

    def _read_name(self, name: str) -> Expression:
        if self._peek() == Token("sign", "=>"):
            return self._read_function(name)
        if name in _RESERVED:
            raise UnknownCode(f"{name!r}")
        if name in self.parameters:
            return Name(name)
        if name in self.constants:
            self.size += self.sizes[name]
            if self.size > MAX_TREE:
                raise UnknownCode("constants that are used too often")
            return self.constants[name]
        return _WORDS.get(name, Name(name))

    def _read_parameter_in_brackets(self) -> Expression | None:
        """Read a function whose parameter is in brackets, the first of which was read; None: it is something else."""
        names = self.tokens[self.position : self.position + 3]
        if [token.text for token in names[1:]] != [")", "=>"] or names[0].kind != "name":
            return None
        self.position += 2
        return self._read_function(names[0].text)

    def _read_function(self, parameter: str) -> Expression:
        self._expect("=>")
        if self._peek().text == "{":
            raise UnknownCode("a function of several statements")
        self.parameters.append(parameter)
        body = self._read_expression()
        self.parameters.pop()
        return Function(parameter, body)

    def _read_function_call(self) -> Expression | None:
        """Read ``() => { ... })()``, whose first bracket was read: a function that is called at once; None: something else."""
        begin = [token.text for token in self.tokens[self.position : self.position + 4]]
        if begin != ["(", ")", "=>", "{"]:
            return None
        self.position += 4
        result = self._read_block()
        for sign in ("}", ")", "(", ")"):
            self._expect(sign)
        return result

    def _read_block(self) -> Expression:
        """Read declarations and ``return ...;``, in ``try`` if ``catch`` returns false, which a check does in any case."""
        if self._skip_word("try"):
            self._expect("{")
            result = self._read_block()
            self._expect("}")
            self._expect_word("catch", "'try'")
            if self._skip("("):
                self._take_name()
                self._expect(")")
            self._expect("{")
            self._expect_word("return", "'catch'")
            self._expect_word("false", "'catch'")
            self._skip(";")
            self._expect("}")
            return result
        return self._read_statements(has_return=True)

    def _read_list(self, end: str) -> tuple[Expression, ...]:
        items: list[Expression] = []
        while not self._skip(end):
            items.append(self._read_expression())
            if self._peek().text != end:
                self._expect(",")
        return tuple(items)

    def _peek(self) -> Token:
        return self.tokens[self.position]

    def _take(self) -> Token:
        token = self.tokens[self.position]
        if token.kind == "end":
            raise UnknownCode("the end")
        self.position += 1
        self.size += 1
        return token

    def _take_name(self, *, reserved: bool = False) -> str:
        token = self._take()
        if token.kind != "name" or (token.text in _RESERVED and not reserved):
            raise UnknownCode(f"{token.text[:20]!r}")
        return token.text

    def _skip(self, sign: str) -> bool:
        """Go on behind a sign, if it is next."""
        if self._peek() != Token("sign", sign):
            return False
        self.position += 1
        return True

    def _skip_word(self, word: str) -> bool:
        if self._peek() != Token("name", word):
            return False
        self.position += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._skip(sign):
            raise UnknownCode(f"{self._peek().text[:20]!r}" if self._peek().text else "the end")

    def _expect_word(self, word: str, what: str) -> None:
        if not self._skip_word(word):
            raise UnknownCode(what)


def _as_key(expression: Expression) -> str | int:
    """Return the key of an entry in square brackets."""
    if isinstance(expression, Literal) and isinstance(expression.value, str):
        return expression.value
    if (
        isinstance(expression, Literal)
        and isinstance(expression.value, float)
        and expression.value.is_integer()
    ):
        return int(expression.value)
    raise UnknownCode("an entry whose name is computed")
