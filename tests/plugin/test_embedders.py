"""Embedders by name and argument, calibrated thresholds and kept vectors, as a project of a user's sees them."""

from __future__ import annotations

from support.messages import check_message
from support.project import Project

from pytest_llmops.providers.offline import HashingEmbedder
from pytest_llmops.semantics.thresholds import Threshold

CLOSE = """
from pytest_llmops import assert_semantic
def test_close():
    assert_semantic("Refunds take thirty days", "A refund takes thirty days")
"""


def test_the_threshold_of_a_file_is_the_default_of_its_embedder(project: Project) -> None:
    version = HashingEmbedder().version
    threshold = Threshold(value=0.995, embedder="hashing", version=version)
    project.write(**{"test_a.py": CLOSE, "thresholds/semantic.json": threshold.text()})
    args = (
        "-o",
        "llm_semantic_threshold=thresholds/semantic.json",
        "-o",
        "llm_embedder=hashing",
        "--rootdir",
        str(project.path),
    )
    assert project.run().outcomes == {"passed": 1}
    done = project.run(*args)
    assert done.outcomes == {"failed": 1}
    (measured,) = [
        measurement
        for measurement in done.records["test_close"].measurements
        if measurement.name == "semantic"
    ]
    assert measured.threshold == 0.995
    assert project.run(*args, "-o", "llm_embedder=tfidf").outcomes == {"passed": 1}


def test_the_threshold_of_another_version_is_an_error(project: Project) -> None:
    threshold = Threshold(value=0.5, embedder="hashing", version="hashing/0")
    project.write(**{"test_a.py": CLOSE, "semantic.json": threshold.text()})
    done = project.run("-o", "llm_semantic_threshold=semantic.json", "-o", "llm_embedder=hashing")
    assert done.outcomes == {"errors": 1}
    message = done.line("hashing/0")
    assert "hashing/1/4096" in message
    check_message(message)


def test_an_embedder_of_a_server_by_its_model(project: Project) -> None:
    test = CLOSE.replace('days")\n', 'days", at_least=None)\n')
    project.write(**{"test_a.py": test.replace("test_close()", "test_close(llm_cassette)")})
    done = project.record("-o", "llm_embedder=openai:stub-embedding")
    assert done.outcomes == {"passed": 1}
    assert [request.json["model"] for request in project.server.seen] == ["stub-embedding"]
    replayed = project.run("-o", "llm_embedder=openai:stub-embedding")
    assert replayed.outcomes == {"passed": 1}
    assert project.server.count == 1
    measured = replayed.records["test_close"].measurements[0]
    assert measured.version == "stub-embedding"


def test_a_wrong_name_is_reported(project: Project) -> None:
    project.write(**{"test_a.py": CLOSE})
    for name in ("tfidf:x", "opnai:x"):
        check_message(project.run("-o", f"llm_embedder={name}").line(f"'{name}'"))


def test_an_embedder_that_asks_a_server_needs_a_recording(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import pytest
from pytest_llmops import assert_semantic
def test_nobody_records_it():
    assert_semantic("a", "a", at_least=0.1, embedder="openai")
@pytest.mark.llm_cassette
def test_recorded():
    assert_semantic("a", "a", at_least=0.1, embedder="openai", checks=())
"""
        }
    )
    result = project.record()
    assert result.outcomes == {"passed": 1, "errors": 1}
    message = result.line("'openai'")
    assert "test_a.py::test_nobody_records_it" in message
    check_message(message)
    assert project.server.count == 1
