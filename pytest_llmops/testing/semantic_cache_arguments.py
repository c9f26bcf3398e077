"""The arguments of a probe: caches as functions, pairs and traffic as rows of texts, checks of all others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, as_mapping
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.files import read_rows
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import as_finite_float, require_list, shorten_text

DAY_S = 86_400
# Whether a value can be used, and what is expected, in the order in which `cache_probe` takes them
ARGUMENTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "calls": (  # those of another iterable are read at the end, with what the probe itself calls
        lambda given: (
            isinstance(given, Iterable)
            and not isinstance(given, (str, bytes, Mapping))
            and (not isinstance(given, (list, tuple)) or all(hasattr(call, "cost_usd") for call in given))
        ),
        "those of the fixture llm_calls, or a list of such",
    ),
    "embedding_usd": (
        lambda given: given is None or ((usd := as_finite_float(given)) is not None and usd >= 0),
        "a price of at least 0, or None",
    ),
    **dict.fromkeys(
        ("scope", "never_cached"),
        (
            lambda given: (
                isinstance(given, Mapping)
                and all(isinstance(text, str) for text in (*given, *given.values()))
            ),
            "a mapping from texts to texts",
        ),
    ),
    **dict.fromkeys(
        ("expire", "roll_back"),
        (lambda given: given is None or callable(given), "a function of a query, or None"),
    ),
    "time_limit_s": (
        lambda given: 0 < (as_finite_float(given) or 0) <= DAY_S,
        f"seconds above 0, up to {DAY_S:,}",
    ),
    "index_time_s": (
        lambda given: (time := as_finite_float(given)) is not None and 0 <= time <= DAY_S,
        f"seconds from 0 to {DAY_S:,}",
    ),
    "seed": (lambda given: type(given) is int, "a whole number"),
}


def read_texts(what: str, source: Any, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the texts of each row of a file, or of a list; only the kind of a pair may be missing.

    Raises:
        CaseError: A row is wrong, or the file cannot be used.
    """
    rows = list[tuple[Any, ...]]()
    place = 0
    is_file = isinstance(source, (str, Path))
    try:
        for place, row in (  # noqa: B007 -- for the error
            read_rows(find_path(source)) if is_file else enumerate(require_list(source, object, ""), 1)
        ):
            if isinstance(row, (tuple, list)):
                texts: Any = row
            else:
                texts = [*map(as_mapping(row).get, keys)]
            values = ["" if text is None else text for text in (*texts, "")][: max(len(keys), len(texts))]
            if (
                len(values) > len(keys)
                or (is_file and isinstance(row, list))
                or not all(isinstance(value, str) for value in values)
                or not all(map(str.strip, values[:3]))
                or (what == "pairs" and (values[0] == values[1] or values[2] not in ("hit", "miss")))
            ):
                raise BadFile(
                    f"{', '.join(keys)}: expected texts that are not blank"
                    + (", two different ones and hit or miss" if what == "pairs" else "")
                    + f", got {shorten_text(repr(values))}"
                )
            rows.append(tuple(values))
    except BadFile as error:
        raise CaseError(error.what, source if is_file else what, error.line or place or None) from None
    if is_file and not rows:
        raise CaseError("no row in the file: expected at least one", source)
    return rows


def adapt_cache(cache: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions ``get``, ``put`` and ``clear`` of a cache; what one returns may have to be awaited.

    Raises:
        UsageError: It is no cache.
    """
    fitting = (build for names, build in _ADAPTERS.items() if all(hasattr(cache, name) for name in names))
    if isinstance(cache, tuple):
        functions = cache
    else:
        functions = next(fitting, lambda _: ())(cache)
    if isinstance(cache, type) or len(functions) not in (2, 3) or not all(map(callable, functions)):
        raise UsageError(
            "cache_probe: expected a cache with get and put (aget and aput; LangChain: lookup and update; redisvl: check and store), or "
            f"functions (get, put) or (get, put, clear), got {f'the class {cache.__name__}, not an object of it' if isinstance(cache, type) else f'an object of type {type(cache).__name__}'}"
        )
    return dict(
        zip(
            ("get", "put", "clear"),
            (*functions, getattr(cache, "clear", None) or getattr(cache, "aclear", list)),
            strict=False,
        )
    )


# redisvl can filter only by the fields that the cache was made with: for all else it has no scope.
_ADAPTERS: dict[tuple[str, str], Callable[[Any], tuple[Any, ...]]] = {
    ("get", "put"): lambda cache: (cache.get, cache.put),
    ("aget", "aput"): lambda cache: (cache.aget, cache.aput),
    ("lookup", "update"): lambda cache: (
        lambda query: next((hit.text for hit in cache.lookup(query.prompt, str(query.scope)) or ()), None),
        lambda query, answer: cache.update(
            query.prompt,
            str(query.scope),
            [import_module("langchain_core.outputs").Generation(text=answer)],
        ),
    ),
    ("check", "store"): lambda cache: (
        lambda query: next(
            (
                hit["response"]
                for hit in cache.check(
                    query.prompt,
                    filter_expression=" ".join(
                        str(import_module("redisvl.query.filter").Tag(key) == value)
                        for key, value in query.scope.items()
                        if key in cache.index.schema.field_names
                    )
                    or None,
                )
            ),
            None,
        ),
        lambda query, answer: cache.store(
            query.prompt,
            answer,
            filters={
                key: value for key, value in query.scope.items() if key in cache.index.schema.field_names
            },
        ),
    ),
}
