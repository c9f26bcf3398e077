"""Answers with words that look like secrets, and requests that repeat them or differ in the id of a session: a replay gives the same."""

from __future__ import annotations

import pytest
from support.project import Project
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

ANSWERS = {
    "docs page": '<h2 id="oauth">OAuth2.0</h2><p>Use it.</p>',
    "kdf table": "| Algorithm | Password |\n|---|---|\n| KDF | PBKDF2-SHA256 |\n",
    "hook": "See https://react.dev/hooks/useState2ReducerV3x",
    "restore": "Run: mysql -u root -p mydatabase2024 < dump.sql",
    "session": '{"sessionId": "7b3e9f2a1c4d5e6f8a9b0c1d2e3f4a5b"}',
    "cookie": "Set-Cookie: theme=dark-2024v1; Max-Age=3600",
    "gpg": "gpg --recv-keys 9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
}
QUESTIONS = {
    "docs page": "Explain OAuth2.0 to me",
    "kdf table": "Is PBKDF2-SHA256 good?",
    "hook": "What does useState2ReducerV3x do?",
    "restore": "List the tables of mydatabase2024",
    "session": "Go on with 7b3e9f2a1c4d5e6f8a9b0c1d2e3f4a5b",
    "cookie": "A design named dark-2024v1",
    "gpg": "Who is 9DC858229FC7DD38854AE2D88D81803C0EBFCD88?",
}
SESSIONS = ("1b3e9f2a1c4d5e6f8a9b0c1d2e3f4a5b", "2c3e9f2a1c4d5e6f8a9b0c1d2e3f4a5c")
TESTS = f"""
import httpx2, os, pytest

QUESTIONS = {QUESTIONS!r}
SESSIONS = {SESSIONS!r}

def ask(text, **more):
    body = {{"model": "stub-1", "messages": [{{"role": "user", "content": text}}], **more}}
    answer = httpx2.post(os.environ["STUB"] + "/chat/completions", json=body)
    return answer.json()["choices"][0]["message"]["content"]

@pytest.mark.llm_cassette
@pytest.mark.parametrize("first", QUESTIONS)
def test_words(first):
    ask(first)
    assert ask(QUESTIONS[first]) == "plain"

@pytest.mark.llm_cassette
def test_sessions():
    sessions = list(SESSIONS)
    if "SWAP" in os.environ:
        sessions.reverse()
    answers = {{session: ask("history?", metadata={{"session_id": session}}) for session in sessions}}
    assert answers == {{session: "history " + session[0] for session in sessions}}
"""


class WordServer(StubServer):
    """Answers with words that look like secrets, and by the id of a session."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if "metadata" in seen.json:
            return json_reply(chat_answer("history " + seen.json["metadata"]["session_id"][0]))
        return json_reply(chat_answer(ANSWERS.get(seen.json["messages"][0]["content"], "plain")))


def test_requests_with_words_and_sessions_are_found_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WordServer() as server:
        monkeypatch.setenv("STUB", server.url)
        project = Project(pytester, server)
        project.write(**{"test_words.py": TESTS})
        assert project.record().outcomes == {"passed": len(ANSWERS) + 1}
    monkeypatch.setenv("SWAP", "1")
    result = project.run()
    assert result.outcomes == {"passed": len(ANSWERS) + 1}, result.text
