"""The tree that trivial JavaScript is read into, and the code that is refused."""

from __future__ import annotations

import pytest
from support.messages import check_message

from pytest_llmops.imports.code_tree import (
    MAX_CODE_CHARS,
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
from pytest_llmops.imports.javascript_syntax import MAX_LINKS, MAX_TREE, read_javascript
from pytest_llmops.imports.javascript_tokens import read_tokens


@pytest.mark.parametrize(
    ("code", "tree"),
    [
        ("if (a) return false; return b", Binary("&&", Not(Name("a")), Name("b"))),
        ("if (a) { return true; } return b;;", Binary("||", Name("a"), Name("b"))),
        (
            "if (a) return false; if (b) return true; return c",
            Binary("&&", Not(Name("a")), Binary("||", Name("b"), Name("c"))),
        ),
        ("const x = 1;\nreturn x", Literal(1.0)),
        ("const x = 1; const y = 2; x === y", Binary("===", Literal(1.0), Literal(2.0))),
        (
            "let x = 1\nvar y = x\nif (y) return false\nreturn x",
            Binary("&&", Not(Literal(1.0)), Literal(1.0)),
        ),
        ("{pass: a, score: f({b: [1, 2]}), reason: 'x'}", Name("a")),
        ("{score: 1, reason: g[1](2), pass: a && b,};", Binary("&&", Name("a"), Name("b"))),
        ("x => x.a", Function("x", Member(Name("x"), "a"))),
        ("(x) => x.a", Function("x", Member(Name("x"), "a"))),
        (
            "f((x) => x.a, y => y)",
            Call(
                Name("f"),
                (
                    Function("x", Member(Name("x"), "a")),
                    Function("y", Name("y")),
                ),
            ),
        ),
        ("((x) => 1)", Function("x", Literal(1.0))),
        ("(() => { return 1 })()", Literal(1.0)),
        ("(() => { try { return a; } catch (e) { return false; } })()", Name("a")),
        ("(() => { try { return a } catch { return false } })()", Name("a")),
        ("a.return", Member(Name("a"), "return")),
        ("a.in", Member(Name("a"), "in")),
        ("a['k'][3].b", Member(Member(Member(Name("a"), "k"), 3), "b")),
        ("a[-1]", Member(Name("a"), -1)),
        ("typeof !a", TypeOf(Not(Name("a")))),
        ("!typeof a", Not(TypeOf(Name("a")))),
        ("- 1", Literal(-1.0)),
        ("-1", Literal(-1.0)),
        ("a ? b : c ? d : e", Choice(Name("a"), Name("b"), Choice(Name("c"), Name("d"), Name("e")))),
        (
            "a ?? b || c && d === e < f",
            Binary(
                "??",
                Name("a"),
                Binary(
                    "||",
                    Name("b"),
                    Binary("&&", Name("c"), Binary("===", Name("d"), Binary("<", Name("e"), Name("f")))),
                ),
            ),
        ),
        ("a < b < c", Binary("<", Binary("<", Name("a"), Name("b")), Name("c"))),
        ("a || b || c", Binary("||", Binary("||", Name("a"), Name("b")), Name("c"))),
        (
            "a && b || c && d",
            Binary("||", Binary("&&", Name("a"), Name("b")), Binary("&&", Name("c"), Name("d"))),
        ),
        ("a in b", Binary("in", Name("a"), Name("b"))),
        ("(a || b) && c", Binary("&&", Binary("||", Name("a"), Name("b")), Name("c"))),
        (
            "[1, 'a', [true, false, null, undefined,],]",
            Items(
                (
                    Literal(1.0),
                    Literal("a"),
                    Items(
                        (
                            Literal(value=True),
                            Literal(value=False),
                            Literal(None),
                            Undefined(),
                        )
                    ),
                )
            ),
        ),
        (
            "f(1, 2)",
            Call(
                Name("f"),
                (
                    Literal(1.0),
                    Literal(2.0),
                ),
            ),
        ),
        ("const true1 = true; true1", Literal(value=True)),
        (
            "const x = a.b; x.c === x.d",
            Binary("===", Member(Member(Name("a"), "b"), "c"), Member(Member(Name("a"), "b"), "d")),
        ),
        ("const a = 1; a => a", Function("a", Name("a"))),
        ("/a\\/b/gi.test(a)", Call(Member(Pattern("a\\/b", "gi"), "test"), (Name("a"),))),
        ("'a\\n\\u0041\\x41\\u{1F600}\\0\\''", Literal("a\nAA😀\x00'")),
        ("`a\\`b`", Literal("a`b")),
        ("'\\q'", Literal("q")),
        ("1e3", Literal(1000.0)),
        (".5", Literal(0.5)),
        ("5.", Literal(5.0)),
        ("a // c\n", Name("a")),
        ("a /* c */ .b", Member(Name("a"), "b")),
        ("return a\n// end", Name("a")),
        ("a\n", Name("a")),
        ("a !== b", Binary("!==", Name("a"), Name("b"))),
        ("a != b", Binary("!=", Name("a"), Name("b"))),
        ("a == b", Binary("==", Name("a"), Name("b"))),
        ("a >= b", Binary(">=", Name("a"), Name("b"))),
        ("a <= b", Binary("<=", Name("a"), Name("b"))),
        ("a > b", Binary(">", Name("a"), Name("b"))),
        ("a;;", Name("a")),
    ],
)
def test_each_form_has_its_tree(code: str, tree: Expression) -> None:
    assert read_javascript(code) == tree


@pytest.mark.parametrize(
    "code",
    [
        "if (a) return c; return b",
        "if (a) return false; b",
        "return b",
        "a\nb",
        "const x = 1 return x",
        "const x = 1 y",
        "{pass: a, score: 1}",
        "{reason: 1, score: 2}",
        "{pass: a score: 1}",
        "({pass: a, score: 1, reason: 2})",
        "x => { return 1 }",
        "(x, y) => 1",
        "(() => { try { return a } catch (e) { return true } })()",
        "(() => { try { return a } })()",
        "(() => { return 1 })(2)",
        "(() => 1)()",
        "new Date()",
        "return.a",
        "a[1.5]",
        "a[b]",
        "-a",
        "1 - 2",
        "a ? b",
        "[1 2]",
        "f(,)",
        "f(",
        "(a",
        "a)",
        ")",
        "",
        "a b",
        "a / b",
        "'\\ud83d'",
        "'\\01'",
        "'\\u{110000}'",
        "`a${b}`",
        "0x1f",
        "1_000",
        "a?.b",
        "a = b",
        "function f() {}",
        "async x => x",
        "a;b",
        "if a return 1",
        "if (a return 1",
        "if (a) { return false; return b",
    ],
)
def test_any_other_form_is_refused(code: str) -> None:
    with pytest.raises(UnknownCode, check=check_message):
        read_javascript(code)


def test_code_is_read_up_to_each_limit() -> None:
    assert len(read_tokens(" " * MAX_CODE_CHARS)) == 1
    with pytest.raises(UnknownCode, check=check_message):
        read_tokens(" " * (MAX_CODE_CHARS + 1))


def test_brackets_and_signs_may_be_as_deep_as_the_limit() -> None:
    deepest = MAX_DEPTH - 1
    assert read_javascript("(" * deepest + "a" + ")" * deepest) == Name("a")
    with pytest.raises(UnknownCode, check=check_message):
        read_javascript("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
    tree = read_javascript("!" * deepest + "a")
    for _ in range(deepest):
        assert isinstance(tree, Not)
        tree = tree.operand
    assert tree == Name("a")
    with pytest.raises(UnknownCode, check=check_message):
        read_javascript("!" * MAX_DEPTH + "a")


def test_depth_is_counted_anew_for_each_part() -> None:
    deep = "(" * 9 + "!" * 9 + "a" + ")" * 9
    tree = read_javascript(" && ".join([deep] * 12))
    assert isinstance(tree, Binary)


def test_a_chain_may_be_as_long_as_the_limit() -> None:
    assert isinstance(read_javascript("a" + ".a" * (MAX_LINKS - 1)), Member)
    with pytest.raises(UnknownCode, check=check_message):
        read_javascript("a" + ".a" * MAX_LINKS)


def test_a_constant_counts_as_often_as_it_is_used() -> None:
    constant = "const x = [" + "1, " * 98 + "]; "  # 99 parts, and its name
    uses = "x, " * 48  # 100 parts each
    others = MAX_TREE - 48 * 100 - 100 - 1
    assert isinstance(read_javascript(f"{constant}f({'1, ' * others}{uses})"), Call)
    with pytest.raises(UnknownCode, check=check_message):
        read_javascript(f"{constant}f({'1, ' * (others + 1)}{uses})")


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("a / b / c", ["name", "sign", "name", "sign", "name", "end"]),
        ("(a) /b/ c", ["sign", "name", "sign", "sign", "name", "sign", "name", "end"]),
        ("[1] /b/ c", ["sign", "number", "sign", "sign", "name", "sign", "name", "end"]),
        ("return /b/g", ["name", "pattern", "end"]),
        ("typeof /b/", ["name", "pattern", "end"]),
        ("a in /b/", ["name", "name", "pattern", "end"]),
        ("a && /b/", ["name", "sign", "pattern", "end"]),
        ("/[/]/", ["pattern", "end"]),
        ("1 /b/", ["number", "sign", "name", "sign", "end"]),
        ("`a${b}` /* x */ // y", ["template", "end"]),
    ],
)
def test_a_slash_begins_a_pattern_where_no_value_ends(code: str, kinds: list[str]) -> None:
    assert [token.kind for token in read_tokens(code)] == kinds
