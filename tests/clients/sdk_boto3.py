"""boto3 for Bedrock."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from clients.kit import KEY, SCHEMA, TOOL, Scenario, error, received, row

TOOLS: Any = {"tools": [{"toolSpec": {"name": TOOL, "inputSchema": {"json": SCHEMA}}}]}
MODEL = "anthropic.stub-v1:0"


def make_client(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="AKIA" + "STUBSTUBSTUBSTUB",
        aws_secret_access_key=KEY,
        config=Config(retries={"max_attempts": 2, "mode": "standard"}),
    )


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": [{"text": text}]}]


def without_metadata(answer: Any) -> object:
    """Without the headers and the request id of the moment."""
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def converse(url: str, text: str) -> object:
    return without_metadata(make_client(url).converse(modelId=MODEL, messages=make_messages(text)))


def stream(url: str) -> object:
    answer = make_client(url).converse_stream(modelId=MODEL, messages=make_messages("stream it all"))
    return list(answer["stream"])


def left_early(url: str) -> object:
    answer = make_client(url).converse_stream(modelId=MODEL, messages=make_messages("left"))
    first = next(iter(answer["stream"]))
    answer["stream"].close()
    return first


def first_token(url: str) -> object:
    answer = make_client(url).converse_stream(modelId=MODEL, messages=make_messages("held bedrock"))
    events = iter(answer["stream"])
    first = next(events)
    received(url, "bedrock")
    return first, list(events)


def tools(url: str) -> object:
    return without_metadata(
        make_client(url).converse(modelId=MODEL, messages=make_messages("weather"), toolConfig=TOOLS)
    )


def body(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": messages})


def invoke(url: str) -> object:
    answer = make_client(url).invoke_model(modelId=MODEL, body=body("invoked"))
    return answer["contentType"], json.loads(answer["body"].read())


def invoke_stream(url: str) -> object:
    answer = make_client(url).invoke_model_with_response_stream(modelId=MODEL, body=body("invoked"))
    return [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]


def embed(url: str) -> object:
    answer = make_client(url).invoke_model(
        modelId="amazon.embed-stub", body=json.dumps({"inputText": "a text"})
    )
    return json.loads(answer["body"].read())


def codes(url: str) -> object:
    client = make_client(url)
    try:
        client.converse(modelId=MODEL, messages=make_messages("missing model"))
    except client.exceptions.ResourceNotFoundException as caught:
        return type(caught).__name__, caught.response["Error"]
    return "no error"


def threads(url: str) -> object:
    """One client for all of them, as its makers advise."""
    client = make_client(url)

    def ask(number: int) -> object:
        return without_metadata(client.converse(modelId=MODEL, messages=make_messages(f"thread {number}")))

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, range(8)))


SCENARIOS: dict[str, Scenario] = {
    **row(converse, "bedrock", packed=False),  # botocore unpacks nothing
    "plain: invoke_model": invoke,
    "stream": stream,
    "stream: invoke_model": invoke_stream,
    "left early": left_early,
    "first token": first_token,
    "threads": threads,
    "tools": tools,
    "embeddings": embed,
    "error": codes,
    "error: text": lambda url: error(lambda: converse(url, "missing again")),
}
ROWS = {"boto3 (Bedrock)": SCENARIOS}
