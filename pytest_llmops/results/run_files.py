"""Read run files from disk, compressed or not."""

from pathlib import Path

from pytest_llmops._util.text_files import BadFile, decode_text, read_bytes
from pytest_llmops.errors import UsageError
from pytest_llmops.results.run import Run


def read_run_file(path: Path, where: str) -> Run:
    """Return the run of a file that ``--llm-report=run.json`` or ``run.json.gz`` wrote.

    Args:
        path: The file.
        where: Its name for people.

    Raises:
        UsageError: The file is missing or not a run file; the error names the record and key that are damaged.
    """
    from pytest_llmops.wire.untrusted_documents import DocumentError, decompress_gzip

    try:
        text = decode_text(decompress_gzip(read_bytes(path)))
    except (BadFile, DocumentError) as error:
        raise UsageError(f"{where}: {error.what}; expected a file that --llm-report=run.json wrote") from None
    return Run.from_json(text, where=where)
