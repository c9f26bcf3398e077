"""Read answers, hits and retrievers from the objects of other packages, by their attributes: none is imported.

Answers: `Completion`, chat completions and Responses of OpenAI, Messages of Anthropic, AI messages of LangChain.
Passages: documents of LangChain (also with a score), nodes of LlamaIndex. Retrievers: objects with ``search``,
``retrieve``, ``invoke`` or ``similarity_search``, and functions.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pytest_llmops.protocols import Chunk, Completion, Hit

SEARCH_METHODS = ("search", "retrieve", "invoke", "similarity_search")


def read_answer(answer: object) -> object:
    """Return the text of a response object; None if the model called tools only; anything else as it is.

    >>> read_answer(Completion(text="30 days")), read_answer("30 days"), read_answer(7)
    ('30 days', '30 days', 7)
    """
    if isinstance(answer, Completion):
        return answer.text
    choices = getattr(answer, "choices", None)
    if isinstance(choices, list) and choices and hasattr(choices[0], "message"):
        return cast("object", choices[0].message.content)
    if isinstance(getattr(answer, "output", None), list):
        text = getattr(answer, "output_text", None)
        if isinstance(text, str):
            return text
        return answer
    is_message = getattr(answer, "role", None) == "assistant" or getattr(answer, "type", None) == "ai"
    if not is_message:
        return answer
    content = getattr(answer, "content", None)
    if isinstance(content, list):
        return _join_text_blocks(content)
    return content


def _join_text_blocks(blocks: Sequence[object]) -> str | None:
    """Return the texts of the blocks of a message; None if no block has a text."""
    texts = []
    for block in blocks:
        if isinstance(block, Mapping):
            text = block.get("text")
        else:
            text = getattr(block, "text", block)
        if isinstance(text, str):
            texts.append(text)
    if not texts:
        return None
    return "".join(texts)


def read_hits(passages: Sequence[object]) -> list[object]:
    """Return a list in which documents, nodes and chunks are replaced by hits; anything else, such as ids, stays as it is.

    A missing id or text becomes "". A passage without a score gets 1 / rank, so that the order is kept.

    >>> read_hits([Chunk(id="a", text="x"), "b"])
    [Hit(id='a', text='x', score=1.0, metadata={}), 'b']
    """
    return [_read_hit(passage, rank) for rank, passage in enumerate(passages, start=1)]


def _read_hit(passage: object, rank: int) -> object:
    """Return a document, node or chunk as a hit; any other passage is returned unchanged.

    A node may be wrapped: LangChain returns ``(document, score)``, LlamaIndex an object with ``node`` and ``score``.
    """
    node = passage
    score = getattr(passage, "score", None)
    if isinstance(passage, tuple) and len(passage) == 2:  # noqa: PLR2004 -- LangChain's (document, score)
        node, score = passage
    node = getattr(node, "node", node)
    metadata = getattr(node, "metadata", None)
    if isinstance(node, Hit) or not isinstance(metadata, Mapping):
        return passage
    id_: object
    text: object
    if isinstance(node, Chunk):
        id_ = node.id
        text = node.text
    elif hasattr(node, "page_content"):
        id_ = getattr(node, "id", None) or metadata.get("id")
        text = node.page_content
    elif callable(getattr(node, "get_content", None)):
        id_ = getattr(node, "node_id", None)
        text = cast("Any", node).get_content()
    else:
        return passage
    if id_ is None:
        id_ = ""
    if not isinstance(text, str):
        text = ""
    if score is None:
        score = 1.0 / rank
    return Hit(id=str(id_), text=text, score=float(score), metadata=dict(metadata))


def is_retriever(value: object) -> bool:
    """Return whether a value is a retriever or a function that searches.

    >>> is_retriever(lambda query: ["a"]), is_retriever(["a"])
    (True, False)
    """
    if isinstance(value, (str, bytes, Path, Mapping, Sequence, type)):
        return False
    return callable(value) or _find_search(value) is not None


def search_any(retriever: object, query: str, k: int | None) -> object:
    """Return the results of a retriever or search function of any kind.

    Args:
        retriever: An object with one of `SEARCH_METHODS`, or a function.
        query: The query.
        k: The number of passages; ignored if the retriever accepts no number. None: its default.

    >>> search_any(lambda query, k=10: ["a", "b", "c"][:k], "refunds", 2)
    ['a', 'b']
    """
    name, search = _find_search(retriever) or ("", cast("Callable[..., object]", retriever))
    if k is None:
        return search(query)
    try:
        signature = inspect.signature(search)
    except (TypeError, ValueError):
        if name == "search":
            return search(query, k)
        return search(query)
    if "k" in signature.parameters:
        return search(query, k=k)
    if name == "search" and _can_bind(signature, query, k):
        return search(query, k)
    return search(query)


def _can_bind(signature: inspect.Signature, *arguments: object) -> bool:
    """Return whether a function can be called with these positional arguments."""
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _find_search(retriever: object) -> tuple[str, Callable[..., object]] | None:
    """Return the search method of an object with its name, the first of `SEARCH_METHODS` that fits; None: it has none."""
    for name in SEARCH_METHODS:
        method = getattr(retriever, name, None)
        if callable(method) and not _takes_search_type(method):
            return name, cast("Callable[..., object]", method)
    return None


def _takes_search_type(method: Callable[..., object]) -> bool:
    """Return whether a method is ``VectorStore.search`` of LangChain: its second argument is the kind of search, not a number."""
    try:
        return "search_type" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False
