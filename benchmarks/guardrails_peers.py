"""What presidio's pattern recognizers and detect-secrets find; run by the python of the peers, prints JSON.

``presidio`` reads a list of texts from stdin; no model, no network. ``detect-secrets`` takes a folder, and leaves the two entropy
plugins out.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def presidio(texts: list[str]) -> dict[str, Any]:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    offline = tldextract.TLDExtract(suffix_list_urls=())  # else it fetches the list of public suffixes
    tldextract.extract = offline.__call__

    class NoModel(SpacyNlpEngine):
        def __init__(self) -> None:
            super().__init__(models=[{"lang_code": "en", "model_name": "en"}])
            self.nlp = {"en": spacy.blank("en")}

        def load(self) -> None:
            pass

    engine = NoModel()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    registry.remove_recognizer("SpacyRecognizer")
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    began = time.process_time()
    spans = [
        [
            (span.start, span.end, span.entity_type)
            for span in analyzer.analyze(text=text, language="en", score_threshold=0.4)
        ]
        for text in texts
    ]
    return {"found": spans, "seconds": time.process_time() - began}


def detect_secrets(folder: Path) -> list[tuple[str, int]]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import transient_settings

    names = [plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()]
    plugins = [{"name": name} for name in names if not name.endswith("HighEntropyString")]
    places = []
    with tempfile.TemporaryDirectory() as copies, transient_settings({"plugins_used": plugins}):
        for path in sorted(folder.rglob("*.txt")):
            copy = Path(copies, path.name.removesuffix(".txt"))  # the end of a name says how it is read
            shutil.copy(path, copy)
            secrets = SecretsCollection()
            secrets.scan_file(str(copy))
            places += [(path.name, secret.line_number) for _, secret in secrets]
    return places


if __name__ == "__main__":
    given = sys.argv[1]
    print(json.dumps(presidio(json.load(sys.stdin)) if given == "presidio" else detect_secrets(Path(given))))
