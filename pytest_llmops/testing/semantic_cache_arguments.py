"""The arguments of `cache_probe`: adapt caches to functions, read pairs and traffic, check all other arguments."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, as_mapping
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.row_files import read_rows
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import as_finite_float, require_list, shorten_text

DAY_S = 86_400


def _are_calls(value: object) -> bool:
    """Return whether a value can be recorded calls. Only the items of a list or tuple are checked here.

    Other iterables are not read before the end of the probe: the fixture ``llm_calls`` then has the probe's calls too.
    """
    if isinstance(value, (list, tuple)):
        return all(hasattr(call, "cost_usd") for call in value)
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def _is_price(value: object) -> bool:
    """Return whether a value is a number of at least 0, or None."""
    if value is None:
        return True
    price = as_finite_float(value)
    return price is not None and price >= 0


def _are_named_texts(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    texts = (*value, *value.values())
    return all(isinstance(text, str) for text in texts)


def _is_optional_function(value: object) -> bool:
    return value is None or callable(value)


def _is_time_limit(value: object) -> bool:
    seconds = as_finite_float(value)
    return seconds is not None and 0 < seconds <= DAY_S


def _is_waiting_time(value: object) -> bool:
    seconds = as_finite_float(value)
    return seconds is not None and 0 <= seconds <= DAY_S


def _is_seed(value: object) -> bool:
    return type(value) is int


# Argument of `cache_probe` -> a check of its value, and the expectation for the error
_ARGUMENTS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "calls": (_are_calls, "calls of the fixture llm_calls, or a list of such"),
    "embedding_usd": (_is_price, "a price of at least 0, or None"),
    "scope": (_are_named_texts, "a mapping from texts to texts"),
    "never_cached": (_are_named_texts, "a mapping from texts to texts"),
    "expire": (_is_optional_function, "a function of a query, or None"),
    "roll_back": (_is_optional_function, "a function of a query, or None"),
    "time_limit_s": (_is_time_limit, f"seconds above 0, up to {DAY_S:,}"),
    "index_time_s": (_is_waiting_time, f"seconds from 0 to {DAY_S:,}"),
    "seed": (_is_seed, "a whole number"),
}


def check_arguments(**values: object) -> None:
    """Raise if an argument of `cache_probe` cannot be used.

    Raises:
        UsageError: The first invalid argument, with the expectation.
    """
    for name, value in values.items():
        fits, expected = _ARGUMENTS[name]
        if not fits(value):
            given = shorten_text(repr(value), 80)
            raise UsageError(f"cache_probe: expected {name} to be {expected}, got {given}")


def read_texts(what: str, source: Any, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the texts of the rows in a file or a list, in the order of the keys.

    Args:
        what: ``pairs`` or ``traffic``.
        source: The path of a file, or a list of tuples or mappings.
        keys: The keys of a row. All texts are required, except the fourth: the kind of a pair.

    Raises:
        CaseError: A row is wrong, or the file cannot be used.
    """
    is_file = isinstance(source, (str, Path))
    rows = []
    place = 0
    try:
        for place, row in _number_rows(source):  # noqa: B007 -- for the error
            values = _list_values(row, keys)
            has_keys = not (is_file and isinstance(row, list))
            is_bad_pair = what == "pairs" and not _are_pair(values)
            if not has_keys or not _are_complete(values, keys) or is_bad_pair:
                raise _describe_bad_row(what, values, keys)
            rows.append(tuple(values))
    except BadFile as error:
        where = source if is_file else what
        raise CaseError(error.what, where, error.line or place or None) from None
    if is_file and not rows:
        raise CaseError("no row in the file: expected at least one", source)
    return rows


def _number_rows(source: Any) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file with their line numbers, or the rows of a list with numbers from 1."""
    if isinstance(source, (str, Path)):
        yield from read_rows(find_path(source))
    else:
        yield from enumerate(require_list(source, object, ""), 1)


def _list_values(row: Any, keys: Sequence[str]) -> list[Any]:
    """Return the values of a row, a mapping or a list, in the order of the keys.

    None becomes ``""``. If a list is too short, one ``""`` is added: only the last value may be missing.
    """
    if isinstance(row, (tuple, list)):
        given = [*row]
    else:
        fields = as_mapping(row)
        given = [fields.get(key) for key in keys]
    values = ["" if value is None else value for value in given]
    if len(values) < len(keys):
        values.append("")
    return values


def _are_complete(values: Sequence[object], keys: Sequence[str]) -> bool:
    """Return whether all values are texts, not more than there are keys, and the first three are not blank."""
    if len(values) > len(keys):
        return False
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        return False
    return all(text.strip() for text in texts[:3])


def _are_pair(values: Sequence[str]) -> bool:
    """Return whether values are two different questions and ``hit`` or ``miss``, and perhaps more."""
    match values:
        case [text, other, ("hit" | "miss"), *_]:
            return text != other
    return False


def _describe_bad_row(what: str, values: Sequence[object], keys: Sequence[str]) -> BadFile:
    expected = f"{', '.join(keys)}: expected texts that are not blank"
    if what == "pairs":
        expected += ", two different ones and hit or miss"
    return BadFile(f"{expected}, got {shorten_text(repr(values))}")


def adapt_cache(cache: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of a cache by the names ``get``, ``put`` and ``clear``; they may return awaitables.

    Raises:
        UsageError: It is not a cache of a known kind.
    """
    functions = _list_functions(cache)
    are_functions = len(functions) in (2, 3) and all(map(callable, functions))
    if isinstance(cache, type) or not are_functions:
        if isinstance(cache, type):
            got = f"the class {cache.__name__}, not an object of it"
        else:
            got = f"an object of type {type(cache).__name__}"
        raise UsageError(
            "cache_probe: expected a cache with get and put (aget and aput; LangChain: lookup and update; redisvl: check and store), or "
            f"functions (get, put) or (get, put, clear), got {got}"
        )
    named = dict(zip(("get", "put", "clear"), functions, strict=False))
    if "clear" not in named:
        # `list` is a function that does nothing, for a cache that cannot be emptied
        async_clear = getattr(cache, "aclear", list)
        named["clear"] = getattr(cache, "clear", None) or async_clear
    return named


def _list_functions(cache: Any) -> tuple[Any, ...]:
    """Return the functions of a cache that get and put, and perhaps clear; () if it is not a cache of a known kind."""
    if isinstance(cache, tuple):
        return cache
    if hasattr(cache, "get") and hasattr(cache, "put"):
        return (cache.get, cache.put)
    if hasattr(cache, "aget") and hasattr(cache, "aput"):
        return (cache.aget, cache.aput)
    adapter: _LangChainCache | _RedisCache
    if hasattr(cache, "lookup") and hasattr(cache, "update"):
        adapter = _LangChainCache(cache)
    elif hasattr(cache, "check") and hasattr(cache, "store"):
        adapter = _RedisCache(cache)
    else:
        return ()
    return (adapter.get, adapter.put)


class _LangChainCache:
    """Adapts a cache of LangChain: the scope is passed as the text that normally describes the model."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def get(self, query: Any) -> Any:
        hits = self.cache.lookup(query.prompt, str(query.scope))
        for hit in hits or ():
            return hit.text
        return None

    def put(self, query: Any, answer: str) -> Any:
        outputs = import_module("langchain_core.outputs")
        generations = [outputs.Generation(text=answer)]
        return self.cache.update(query.prompt, str(query.scope), generations)


class _RedisCache:
    """Adapts a cache of redisvl: only the keys of the scope that are fields of its index are stored and filtered by."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def get(self, query: Any) -> Any:
        filters = []
        for key, value in self.filterable(query).items():
            tag = import_module("redisvl.query.filter").Tag(key)
            filters.append(str(tag == value))
        filter_expression = " ".join(filters) or None
        for hit in self.cache.check(query.prompt, filter_expression=filter_expression):
            return hit["response"]
        return None

    def put(self, query: Any, answer: str) -> Any:
        return self.cache.store(query.prompt, answer, filters=self.filterable(query))

    def filterable(self, query: Any) -> dict[str, str]:
        """Return the part of a query's scope that the cache can filter by."""
        names = self.cache.index.schema.field_names
        return {key: value for key, value in query.scope.items() if key in names}
