"""Images for a judge: what is read and refused, what the servers are sent, and which judges see them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message
from support.openai_sdk import needs_responses
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import UsageError
from pytest_llmops.judges import Checklist, Panel, Rubric
from pytest_llmops.judges.protocol import images as judge_images
from pytest_llmops.judges.protocol.images import describe_image, read_images
from pytest_llmops.protocols import Completion, Media, Message
from pytest_llmops.providers.anthropic import _convert_messages
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.results.rescoring.judged_outputs import collect_outputs
from pytest_llmops.results.run import Run, TestRecord

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 10
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
LINK = "https://example.com/cat.webp"
CRITERIA = "Does the answer name what the image shows?"


class SeeingModel:
    """A model that takes images, passes every answer, and keeps what it was given."""

    model = "seeing"
    takes_images = True

    def __init__(self) -> None:
        self.seen: list[Sequence[Message]] = []

    def complete(self, messages: str | Sequence[Message], /, **params: Any) -> Completion:
        assert params
        assert not isinstance(messages, str)
        self.seen.append(messages)
        return Completion(text=passing(messages[1].content))


def passing(text: str) -> str:
    match = re.search(r"<data-([0-9a-f]{32})>", text)
    assert match is not None
    return json.dumps({"nonce": match[1], "reason": "it shows a cat", "verdict": "pass"})


def test_every_form_of_an_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    from_path, from_text, from_bytes, from_data, link = read_images(
        [path, str(path), PNG, DATA, LINK], "judge"
    )
    assert from_path == from_text == from_bytes == from_data
    assert (from_path.type, from_path.size, from_path.address) == ("png", len(PNG), DATA)
    assert (link.url, link.address) == (LINK, LINK)
    assert read_images([from_path, link], "judge") == (from_path, link)


BAD: list[Any] = [
    "cat.png",
    DATA,
    {"cat": PNG},
    None,
    ["missing.png"],
    ["a\0b.png"],
    ["x" * 5_000],
    ["."],
    [b""],
    [b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
    [b"RIFF\x24\x00\x00\x00WAVEfmt "],
    ["data:image/png;base64,***"],
    ["data:image/png," + "a" * 50],
    ["data:" + "a" * 500],
    ["http://example.com/cat.png"],
    ["https://example.com/a b.png"],
    ["https://example.com/" + "a" * 3_000],
    ["https://host/cat.png?X-Amz-Signature=0f3a"],
    ["https://host/cat.png?X-Goog-Credential=me"],
    ["https://host/cat.png?width=3&sig=0f3a"],
    ["https://host/cat.png?sv=1&se=2&sp=r"],
    ["https://host/cat.png?access_token=0f3a#top"],
    ["https://me:hunter2@host/cat.png"],
    ["https://host/cat.png?%73ig=0f3a"],
    [7],
    [Media(kind="audio", type="wav", data="UklG")],
    [Media(kind="image", type="png", size=300_000)],
    [Media(kind="image", url="file:///etc/passwd")],
    [Media(kind="image", url="http://example.com/cat.png")],
    [Media(kind="image", data="***")],
    [Media(kind="image", type="png", data=base64.b64encode(b"<svg/>").decode())],
    [PNG] * 21,
]


@pytest.mark.slow
@pytest.mark.parametrize("given_images", BAD, ids=range(len(BAD)))
def test_what_is_no_image_is_an_error_of_use(
    given_images: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, check=check_message) as caught:
        assert_judge_score(
            "A cat.", judge=Rubric(criteria=CRITERIA, model=SeeingModel()), images=given_images
        )
    assert len(str(caught.value)) < 400


def test_a_signed_address_is_refused_without_its_secret() -> None:
    signed = "https://me:hunter2@host/cat.png?X-Amz-Date=1&X-Amz-Signature=0f3a"
    for address in (signed, signed.replace("me:hunter2@", "")):
        with pytest.raises(UsageError, match="pass its bytes") as caught:
            read_images([address], "judge")
        assert re.search("hunter2|0f3a", str(caught.value)) is None
    address = "https://example.com/cat.png?page_token=2&size=large"
    assert read_images([address], "judge")[0].url == address


def test_an_image_without_a_digest_gets_one() -> None:
    (image,) = read_images([PNG], "judge")
    bare = Media(kind="image", data=image.data)
    assert read_images([bare], "judge") == (image,)


def test_images_that_are_too_large_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_images, "MAX_IMAGE_BYTES", 100)
    monkeypatch.setattr(judge_images, "MAX_DATA_CHARS", 300)
    path = tmp_path / "large.png"
    path.write_bytes(PNG + b"x" * 100)
    monkeypatch.setattr(Path, "read_bytes", None)
    for large in ([path], [PNG + b"x" * 100], [DATA + "A" * 400], [PNG, PNG]):
        with pytest.raises(UsageError, check=check_message, match="expected at most 100 bytes of images"):
            read_images(large, "judge")


@given(st.text(max_size=60))
def test_any_text_is_an_image_or_an_error_of_use(text: str) -> None:
    for given_text in (text, f"data:{text}", f"https://{text}"):
        try:
            (image,) = read_images([given_text], "judge")
        except UsageError:
            continue
        assert describe_image(image).isprintable()


def test_a_judge_sees_the_images_after_its_data() -> None:
    model = SeeingModel()
    measurement = assert_judge_score(
        "A cat.", judge=Rubric(criteria=CRITERIA, model=model), images=[PNG, LINK]
    )
    system, data = model.seen[0]
    assert [image.address for image in data.media] == [DATA, LINK]
    assert not system.media
    assert judge_images.NOTE in system.content
    assert "base64" not in data.content
    names: Any = measurement.detail["images"]
    assert re.fullmatch(r"png, 68 bytes, SHA-256 [0-9a-f]{12}", names[0])
    assert names[1:] == [LINK]
    assert "base64" not in json.dumps(measurement.to_wire())


def test_other_images_are_another_request_and_without_images_nothing_changes() -> None:
    model = SeeingModel()
    judge = Rubric(criteria=CRITERIA, model=model)
    version = judge.version
    judge.judge("A cat.")
    judge.judge("A cat.", images=[PNG])
    judge.judge("A cat.", images=[PNG + b"!"])
    plain, first, second = model.seen
    assert len({messages[1].content for messages in model.seen}) == 3
    assert first[0].content.replace(f"{judge_images.NOTE}\n", "") != first[0].content
    assert not plain[1].media
    assert judge_images.NOTE not in plain[0].content
    assert second[1].media != first[1].media
    assert judge.version == version


def test_a_judge_or_model_that_is_blind_is_an_error_of_use() -> None:
    class Blind:
        version = "1"

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Any: ...

    blind = Rubric(criteria=CRITERIA, model=ScriptedModel("unused"))
    seeing = Rubric(criteria=CRITERIA, model=SeeingModel())
    for judge in (blind, Blind(), Checklist(["names the cat"], SeeingModel()), Panel([seeing, blind])):
        with pytest.raises(UsageError, check=check_message, match="images"):
            assert_judge_score("A cat.", judge=judge, at_least=0, images=[PNG])


def test_a_panel_hands_the_images_to_its_judges() -> None:
    models = SeeingModel(), SeeingModel()
    panel = Panel([Rubric(criteria=f"{CRITERIA} {place}", model=model) for place, model in enumerate(models)])
    assert assert_judge_score("A cat.", judge=panel, images=[PNG]).value == 1
    assert [model.seen[0][1].media[0].address for model in models] == [DATA, DATA]


class Passing(StubServer):
    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        return json_reply(chat_answer(passing(seen.body.decode())))


@pytest.fixture
def server() -> Iterator[Passing]:
    with Passing() as server:
        yield server


def test_openai_is_sent_parts(server: Passing) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        judge = Rubric(criteria=CRITERIA, model=OpenAIModel("gpt-4o", client=client))
        assert judge.judge("A cat.", images=[PNG, LINK]).score == 1
    text, *images = server.seen[0].json["messages"][1]["content"]
    assert text["type"] == "text"
    assert images == [{"type": "image_url", "image_url": {"url": address}} for address in (DATA, LINK)]


MESSAGE = Message("user", "What is it?", read_images([PNG, LINK], "test"))


@needs_responses
def test_the_responses_api_is_sent_its_own_parts() -> None:
    with StubServer() as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        OpenAIModel("m", api="responses", client=client).complete([MESSAGE])
    assert server.seen[0].json["input"][0]["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": DATA},
        {"type": "input_image", "image_url": LINK},
    ]


def test_anthropic_is_sent_blocks() -> None:
    text, image, link = _convert_messages("claude", [MESSAGE])["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    encoded = base64.b64encode(PNG).decode()
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": encoded}
    assert link == {"type": "image", "source": {"type": "url", "url": LINK}}


def test_a_verdict_on_images_is_not_scored_again_without_them() -> None:
    judge = Rubric(criteria=CRITERIA, model=SeeingModel())
    measurement = assert_judge_score("A cat.", judge=judge, images=[PNG])
    selection = collect_outputs(Run(records=(TestRecord(nodeid="t.py::a", measurements=(measurement,)),)))
    assert selection.outputs == ()
    check_message(next(iter(selection.passed_over)))
