"""Make ``pytest_llmops/redaction/public_rules.toml`` from the rules of gitleaks.

``git clone https://github.com/gitleaks/gitleaks && python -m benchmarks.public_rules gitleaks``
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "pytest_llmops" / "redaction" / "public_rules.toml"
LEFT_OUT = {
    "generic-api-key", "private-key", "jwt", "jwt-base64", "pkcs12-file",
    "curl-auth-header", "curl-auth-user", "kubernetes-secret-yaml", "nuget-config-password", "hashicorp-tf-password",
    "sidekiq-sensitive-url", "aws-amazon-bedrock-api-key-short-lived", "asana-client-id", "discord-client-id", "linkedin-client-id",
}  # fmt: skip
"""Found by other rules of ours, about files, ids that open nothing, or without a bound on the length of a match."""
REPLACED = {
    # A hash of git has 40 hexadecimal digits too
    "sourcegraph-access-token": r"\b(sgp_(?:(?:[a-fA-F0-9]{16}|local)_)?[a-fA-F0-9]{40})\b",
    # The address stays, only what follows it is masked
    "slack-webhook-url": r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/]{43,56})",
    "gitlab-session-cookie": r"_gitlab_session=([0-9a-z]{32})",
    # Its other half is a rule with a name
    "atlassian-api-token": r"\b(ATATT3[A-Za-z0-9_=-]{186})(?![\w-])",
}
ATLASSIAN = {
    "id": "atlassian-api-token", "words": ["atlassian", "confluence", "jira"], "name": "atlassian|confluence|jira",
    "secret": "(?i:[a-z0-9]{20}[a-f0-9]{4})", "entropy": 3.5,
}  # fmt: skip
UUID = r"[a-z0-9]{8}(?:-[a-z0-9]{4}){3}-[a-z0-9]{12}"
# Its groups are parts of the secret; the address stays here too
REPLACED["microsoft-teams-webhook"] = (
    r"https://[a-z0-9]+\.webhook\.office\.com/webhookb2/"
    rf"({UUID}@{UUID}/IncomingWebhook/[a-z0-9]{{32}}/{UUID})"
)
NAME_ENDS = r"""(?:[ \t\w.-]{0,20})[\s'"]{0,3}"""
ASSIGNMENT = r"""(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}("""
END = r"""(?:[\x60'"\s;]|\\[nr]|$)"""
NAMED = (
    re.compile(
        r"(?P<flags>\(\?i\))\[\\w\.-\]\{0,50\}\?\(\?:(?P<name>.*?)\)"
        + re.escape(NAME_ENDS + ASSIGNMENT)
        + r"(?P<secret>.*)\)"
        + re.escape(END)
    ),
    re.compile(
        r"(?P<flags>)\[\\w\.-\]\{0,50\}\?\(\?i:\[\\w\.-\]\{0,50\}\?\(\?:(?P<name>.*?)\)"
        + re.escape(NAME_ENDS + ")" + ASSIGNMENT)
        + r"(?P<secret>.*)\)"
        + re.escape(END)
    ),
)
HEAD = """\
# Secrets of public services: the rules of config/gitleaks.toml in https://github.com/gitleaks/gitleaks,
# commit {commit}. Made with `python -m benchmarks.public_rules`.
#
# Changed: the rules `named` are written as the name of the service and the secret, as the text between them is the same in all;
# flags are in groups, as Python needs them; a secret may be followed by any character that cannot belong to it. Left out: what our
# own rules find (private keys, JWT, generic names), files, ids that open nothing, and patterns without a bound.
#
"""


def scope_flags(pattern: str) -> str:
    """Write ``(?i)`` within a pattern as a group that ends where its group ends."""
    at = pattern.find("(?i)", 1)
    if at < 0:
        return pattern
    depth, end, in_class = 0, at + 4, False
    while end < len(pattern):
        char = pattern[end]
        if char == "\\":
            end += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            depth += 1
        elif char == ")" and depth == 0:
            break
        elif char == ")":
            depth -= 1
        end += 1
    return scope_flags(f"{pattern[:at]}(?i:{pattern[at + 4 : end]}){pattern[end:]}")


def convert(rule: dict[str, Any]) -> dict[str, Any]:
    expression = rule["regex"].replace("[[:alnum:]]", "[A-Za-z0-9]").replace(r"\z", r"\Z")
    row: dict[str, Any] = {"id": rule["id"], "words": [word.lower() for word in rule["keywords"]]}
    for form in NAMED:
        match = form.fullmatch(expression)
        if match and r"|\b(" not in match["secret"]:
            secret = match["secret"]
            if match["flags"]:
                secret = f"(?i:{secret.replace('(?i)', '')})"
            row |= {"name": match["name"], "secret": secret}
            break
    else:
        tail = r"(?![\w-])" if END in expression else ""
        row["pattern"] = REPLACED.get(rule["id"], scope_flags(expression.replace(END, "")) + tail)
    if "entropy" in rule:
        row["entropy"] = rule["entropy"]
    return row


def literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if not isinstance(value, str):
        return str(value)
    return f"'''{value}'''" if "'" in value else f"'{value}'"


def format_rows(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        pairs = ", ".join(f"{key} = {literal(value)}" for key, value in row.items())
        lines.append(f"  {{ {pairs} }},\n")
    return "".join(lines)


def main(folder: Path) -> None:
    document = tomllib.loads((folder / "config" / "gitleaks.toml").read_text(encoding="utf-8"))
    rules = {rule["id"]: rule for rule in document["rules"] if rule["id"] not in LEFT_OUT}
    rows = [convert(rule) for rule in rules.values()]
    allowed = [
        pattern for entry in rules["gcp-api-key"]["allowlists"] for pattern in entry.get("regexes", ())
    ]
    commit = subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    licence = (folder / "LICENSE").read_text(encoding="utf-8").splitlines()
    parts = [
        HEAD.format(commit=commit.stdout.strip()),
        *(f"# {line}".rstrip() + "\n" for line in licence),
        "\n# Keys in the documentation and tests of their services: they open nothing\npublished = [\n",
        *(f"  {literal(pattern)},\n" for pattern in allowed),
        "]\n\n# A secret that follows the name of its service: `name`, an assignment, `secret`\nnamed = [\n",
        format_rows([ATLASSIAN, *(row for row in rows if "name" in row)]),
        "]\n\n# A secret with a shape of its own; it is the first group, else the whole match\ntokens = [\n",
        format_rows([row for row in rows if "pattern" in row]),
        "]\n",
    ]
    TABLE.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
