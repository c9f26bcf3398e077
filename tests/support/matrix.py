"""Clients in processes of their own: record from a loopback server, stop it, replay in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import certifi

from support.vendors import Vendors

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
TIMEOUT_S = 300


def missing() -> str:
    """Why the clients cannot be run here; nothing if they can."""
    return (
        ""
        if PYTHON.exists()
        else f"the environment of the clients is not there: {PYTHON} (make test-clients makes it)"
    )


def recorded_and_replayed(script: str, folder: Path) -> dict[str, Any]:
    """What a client's scenarios gave without a recorder, recorded and replayed; ``asked``: what the server got."""
    with Vendors() as bare, Vendors() as server:
        first = _run(script, "record", folder, bare.url, server.url)
        url, request_count = server.url, server.count
    second = _run(script, "replay", folder, url)
    return {**second, **first, "connected": second["connected"], "asked": request_count}


def _run(script: str, phase: str, folder: Path, *urls: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(PYTHON), "-m", "clients.run", script, phase, str(folder), *urls],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert not done.returncode, (
        f"{script} {phase} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    data: dict[str, Any] = json.loads((folder / f"{phase}.json").read_text(encoding="utf-8"))
    return data


def environment(folder: Path) -> dict[str, str]:
    """No key, proxy or setting of this machine; what a client keeps for itself stays in the folder.

    One trusted certificate instead of all: each new client would parse the whole bundle, and no test uses TLS.
    """
    bundle = Path(certifi.where()).read_text(encoding="utf-8")
    certificate = folder / "certificate.pem"
    end = "-----END CERTIFICATE-----"
    certificate.write_text(f"{bundle.partition(end)[0]}{end}\n", encoding="utf-8")
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "HOME": str(folder),
        "SSL_CERT_FILE": str(certificate),
        "AWS_EC2_METADATA_DISABLED": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
    }
