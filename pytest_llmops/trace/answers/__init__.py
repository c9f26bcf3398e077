"""Write an answer in the wire format of the request that it answers: the inverse of the readers in `trace.vendors`.

An exported trace holds the answer of a model, not its bytes. `encode_answer` makes a body of it that the SDK of the
application reads, streamed or not. Its ids are made from the content, and its times are 1970.
"""

from pytest_llmops.trace.answers.encoding import encode_answer
from pytest_llmops.trace.answers.traced_answer import EncodedAnswer, TracedAnswer, UnsupportedFormat

__all__ = ["EncodedAnswer", "TracedAnswer", "UnsupportedFormat", "encode_answer"]
