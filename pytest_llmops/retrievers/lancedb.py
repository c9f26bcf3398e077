"""Retriever over a LanceDB table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pytest_llmops.errors import (
    CorpusError,
    UnknownName,
    UsageError,
    describe_exception,
    find_closest_name,
    format_name_list,
    refuse,
)
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    Scalar,
    Searcher,
    chunk_to_hit,
    embed_query,
    import_optional,
    plain_metadata,
    require_existing_path,
    resolve_embedder,
    similarity_from_distance,
)

__tracebackhide__ = True


class LanceRetriever(Searcher):
    """A LanceDB table: a row is a passage, its other columns are the metadata.

    Scores are 1 - distance for ``cosine`` and ``dot``, and 1 / (1 + distance) for ``l2``, which is the squared distance
    in LanceDB. A row without a text (an image, a table) is a hit with an empty text; the metadata has the number of
    bytes instead of bytes. Filters become SQL, applied before the search.

    Attributes:
        table: The table, as it was given.
    """

    def __init__(
        self,
        table: Any,
        *,
        embedder: Embedder | str | None = None,
        k: int = 5,
        name: str = "",
        id_column: str = "id",
        text_column: str = "text",
        vector_column: str = "",
        distance: Literal["l2", "cosine", "dot"] = "l2",
    ) -> None:
        """Wrap a table that you opened.

        Args:
            table: A ``lancedb`` table.
            embedder: Embedder of queries: the same as the table was filled with. Left out: the table's own
                embedding function.
            k: Default number of hits of `search`.
            name: For errors and reports; default: the table's.
            id_column: Column of the ids, of texts or numbers.
            text_column: Column of the texts, or empty.
            vector_column: Column of the vectors; default: the only such column.
            distance: Distance to search by; an index of the table must be built for it.

        Raises:
            UsageError: It is not a table, ``k`` is less than 1, or the embedder cannot be used.
            UnknownName: The table has no such column.
        """
        refuse(
            not callable(getattr(table, "search", None)) or not hasattr(table, "schema"),
            f"LanceRetriever: expected a lancedb table, got {type(table).__name__}",
        )
        title = name or str(table.name)
        super().__init__(k=k, name=title, where=f"LanceDB table {shorten_text(title, 60)!r}")
        refuse(
            distance not in ("l2", "cosine", "dot"),
            f"{self.where}: expected distance to be l2, cosine or dot, got {distance!r}",
        )
        self.table = table
        self.distance = distance
        self.embedder = None if embedder is None else resolve_embedder(embedder, self.where)
        self._schema = table.schema
        self._types = import_optional("pyarrow", "lancedb", "LanceRetriever").types
        types = self._types
        self._vectors: list[str] = [
            field.name
            for field in self._schema
            if types.is_fixed_size_list(field.type) and types.is_floating(field.type.value_type)
        ]
        self._id = self._check_column(id_column, "id_column")
        self._text = self._check_column(text_column, "text_column") if text_column else ""
        self._vector = (
            self._check_column(vector_column, "vector_column")
            if vector_column
            else self._single_vector_column()
        )

    @classmethod
    def open(cls, path: str | Path, table: str, **options: Any) -> LanceRetriever:
        """Open a table of a database on disk; the options are those of the constructor.

        Raises:
            CorpusError: The path has no database, or it cannot be opened.
            UnknownName: The database has no such table; the error lists its tables.
            UsageError: The package is not installed, or as for the constructor.
        """
        lancedb = import_optional("lancedb", "lancedb", "LanceRetriever")
        place = require_existing_path(path, "the folder of a LanceDB database")
        names = sorted(folder.stem for folder in place.glob("*.lance"))
        if table not in names:
            raise UnknownName("LanceDB table", table, names, where=str(place))
        try:
            opened_table = lancedb.connect(str(place)).open_table(table)
        except Exception as error:
            raise CorpusError(
                f"the table {shorten_text(table, 60)!r} cannot be opened: {shorten_text(describe_exception(error), 400)}",
                place,
            ) from error
        return cls(opened_table, **options)

    @property
    def documents(self) -> int:
        """Number of rows in the table."""
        return int(self.table.count_rows())

    def listing(self) -> list[Chunk]:
        """Return every row, in the table's order."""
        columns = [column for column in self._schema.names if column not in self._vectors]
        return [self._row_to_chunk(row) for row in self.table.to_arrow().select(columns).to_pylist()]

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        condition = " AND ".join(self._build_sql_condition(key, values) for key, values in conditions.items())
        query_input = self._query_input(query)
        if query_input is None:
            return []
        search = self.table.search(query_input, vector_column_name=self._vector, query_type="vector")
        search = search.distance_type(self.distance).limit(limit)
        if condition:
            search = search.where(condition, prefilter=True)
        return [
            chunk_to_hit(self._row_to_chunk(row), similarity_from_distance(row["_distance"], self.distance))
            for row in search.to_list()
        ]

    def _query_input(self, query: str) -> Any:
        if self.embedder is None:
            refuse(
                not self.table.embedding_functions.get(self._vector),
                f"{self.where}: expected an embedder, as the table has no embedding function for {self._vector!r}; "
                "pass embedder=, the same as it was filled with",
            )
            return query if query.strip() else None
        dim = getattr(self._schema.field(self._vector).type, "list_size", None)
        return embed_query(self.embedder, query, self.where, dim)

    def _row_to_chunk(self, row: dict[str, Any]) -> Chunk:
        if row[self._id] is None:
            raise CorpusError(
                f"a row has no id: expected an id in every row of the column {self._id!r}; fill it, or name another column by id_column",
                self.where,
            )
        own = {self._id, self._text, "_distance", *self._vectors}
        return Chunk(
            id=str(row[self._id]),
            text=str(row[self._text] or "") if self._text else "",
            metadata=plain_metadata({key: value for key, value in row.items() if key not in own}),
        )

    def _single_vector_column(self) -> str:
        columns = self._vectors
        refuse(
            len(columns) != 1,
            f"{self.where}: expected one column of vectors, got {format_name_list(columns)}; name it by vector_column=",
        )
        return columns[0]

    def _check_column(self, name: str, argument: str) -> str:
        if name not in self._schema.names:
            raise UnknownName("column", name, self._schema.names, where=f"{argument} of {self.where}")
        return name

    def _build_sql_condition(self, key: str, values: tuple[Scalar, ...]) -> str:
        # Return a condition as SQL; a column of lists matches if any element does.
        names, held = self._resolve_column(key)
        types = self._types
        several = types.is_list(held) or types.is_large_list(held)
        texts = ", ".join(
            self._format_sql_literal(key, value, held.value_type if several else held) for value in values
        )
        column = ".".join(f"`{name}`" for name in names)
        return f"array_has_any({column}, [{texts}])" if several else f"{column} IN ({texts})"

    def _resolve_column(self, key: str) -> tuple[list[str], Any]:
        # Return path and type of a column.
        types = self._types
        names = [key] if key in self._schema.names else key.split(".")
        fields = {field.name: field.type for field in self._schema}
        held: Any = None
        for name in names:
            if name not in fields or "`" in name:
                near = find_closest_name(name, fields)
                hint = f"; did you mean {near!r}?" if near else ""
                raise UsageError(
                    f"{self.where}: filters: expected one of the columns {format_name_list(fields)}, got {shorten_text(key, 60)!r}{hint}"
                )
            held = fields[name]
            fields = {field.name: field.type for field in held} if types.is_struct(held) else {}
        return names, held

    def _format_sql_literal(self, key: str, value: Scalar, held: Any) -> str:
        types = self._types
        if isinstance(value, bool) and types.is_boolean(held):
            return str(value).lower()
        if isinstance(value, str) and (types.is_string(held) or types.is_large_string(held)):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if types.is_floating(held):
                return repr(float(value))
            if types.is_integer(held) and float(value).is_integer():
                return str(int(value))
        raise UsageError(
            f"{self.where}: filters: {shorten_text(key, 60)}: expected a value of the column's type {held}, got {shorten_text(repr(value), 60)}"
        )
