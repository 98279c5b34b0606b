"""The MCP tools, called by the client of the package mcp over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytest.importorskip("gradio")
pytest.importorskip("mcp")

import httpx
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp import Client
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.tool_inputs import FileArguments
from tests.ui.web.payloads import ADDRESSES, PATHS

SCENE = openvocab.example_scenes()[0]
WORDS = ", ".join(SCENE.labels)
DATA = base64.b64encode(SCENE.path.read_bytes()).decode()
NAMES = {"chain", "everything", "prompt", "download", "tag", "segment_prompt", "batch", "about", "label_set"}
T = TypeVar("T")


def in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own: Playwright keeps one running in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def tool_server(server: Any, tmp_path_factory: Any) -> Iterator[Any]:
    """A server with MCP tools and one folder of images; it shares the models of the page's server."""
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.server import ServerOptions, run_server

    folder = tmp_path_factory.mktemp("images")
    (folder / "scene.png").write_bytes(SCENE.path.read_bytes())
    context = Context(server.context.models, folders=(folder,))
    with run_server(context, ServerOptions(port=0, mcp=True)) as served:
        yield served


def call(server: Any, tool: str, /, **arguments: Any) -> Any:
    async def answered() -> Any:
        async with Client(f"{server.url}/mcp") as client:
            return await client.call_tool(tool, arguments)

    return in_a_thread(answered())


def test_every_tool_has_a_schema_that_a_validator_accepts(tool_server):
    async def listed() -> Any:
        async with Client(f"{tool_server.url}/mcp") as client:
            return (await client.list_tools()).tools

    tools = in_a_thread(listed())
    assert {tool.name for tool in tools} == NAMES
    for tool in tools:
        Draft202012Validator.check_schema(tool.input_schema)
        text = json.dumps(tool.input_schema)
        assert '"type": {}' not in text and "$ref" not in text
        assert tool.description and tool.output_schema["type"] == "object"


def test_tools_are_the_calls_of_the_api(server, client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {name.removeprefix("/") for name in named} == NAMES


@pytest.mark.parametrize("given", ["base64", "data URL", "upload", "path", "relative path"])
def test_chain_takes_an_image_as_data_upload_and_path(tool_server, given):
    folder = tool_server.context.folders[0]
    image = {
        "base64": lambda: DATA,
        "data URL": lambda: f"data:image/png;base64,{DATA}",
        "upload": lambda: httpx.post(
            f"{tool_server.url}/gradio_api/upload", files={"files": ("a.png", SCENE.path.read_bytes())}
        ).json()[0],
        "path": lambda: str(folder / "scene.png"),
        "relative path": lambda: "scene.png",
    }[given]()
    got = call(tool_server, "chain", image=image, labels=WORDS, box_threshold=0.5)
    assert not got.is_error
    found = got.structured_content
    assert {row["label"] for row in found["detections"]} <= set(SCENE.labels)
    assert coco_mask.decode(found["detections"][0]["mask"]).shape == (256, 256)
    assert [block.type for block in got.content] == ["text", "image"]
    width, height = Image.open(BytesIO(base64.b64decode(got.content[1].data))).size
    assert width == height >= 256
    assert "counts" not in got.content[0].text


def test_chain_answers_what_verification_rejected(tool_server):
    data = base64.b64encode(openvocab.example_scenes()[3].path.read_bytes()).decode()
    got = call(tool_server, "chain", image=data, labels="pocket", box_threshold=0.3)
    first, *_ = got.structured_content["rejected"]
    assert first["verification"].startswith("rejected: ") and first["mask"]["counts"]
    assert first["verification"] in got.content[0].text and "counts" not in got.content[0].text


def test_the_other_tools_answer_with_structured_data(tool_server):
    tagged = call(tool_server, "tag", images=[DATA, DATA], labels=WORDS).structured_content
    assert [row["name"] for row in tagged["images"]] == ["image-1.png", "image-2.png"]
    got = call(tool_server, "download", image="scene.png", labels="umbrella, tent, light bulb", kind="coco")
    assert got.structured_content["file"] == "scene-coco.json"
    coco = json.loads(got.content[1].resource.text)
    assert [row["name"] for row in coco["categories"]] == ["umbrella", "tent", "light bulb"]
    link = httpx.get(tool_server.url + got.structured_content["url"])
    assert link.json() == coco
    got = call(tool_server, "segment_prompt", image="scene.png", box=[20, 20, 120, 120], name="tent")
    assert len(got.structured_content["masks"]) == 3 and got.content[1].type == "image"
    got = call(tool_server, "everything", image="scene.png", labels="tent, corn", max_objects=3)
    assert 1 <= len(got.structured_content["detections"]) <= 3 and got.content[1].type == "image"
    assert {row["label"] for row in got.structured_content["detections"]} <= {"tent", "corn", "unknown"}
    about = call(tool_server, "about").structured_content
    assert about["loaded"][0]["name"] == "pocket"
    labels = call(tool_server, "label_set", name="voc").structured_content["labels"]
    assert labels == list(openvocab.read_labels("voc"))


def test_batch_returns_a_summary_and_a_zip(tool_server):
    got = call(tool_server, "batch", files=[DATA, "scene.png"], labels=WORDS, format="coco")
    assert (got.structured_content["status"], got.structured_content["ok"]) == ("done", 2)
    assert got.content[1].resource.mime_type == "application/zip"
    assert base64.b64decode(got.content[1].resource.blob).startswith(b"PK")


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        pytest.param("chain", {"image": DATA, "labels": ""}, "there are no labels", id="no labels"),
        pytest.param("chain", {"image": "nothing.png", "labels": "dog"}, "there is no file 'nothing.png'", id="file"),
        pytest.param("chain", {"image": "http://127.0.0.1/a.png", "labels": "dog"}, "not downloaded", id="URL"),
        pytest.param("chain", {"image": DATA[:2000], "labels": "dog"}, "truncated", id="broken image"),
        pytest.param("label_set", {"name": "nothing"}, "no label set named 'nothing'", id="label set"),
        pytest.param("batch", {"files": [DATA], "labels": "dog", "format": "x"}, "no format named", id="format"),
        pytest.param("segment_prompt", {"image": DATA}, "needs a point or a box", id="no prompt"),
    ],
)
def test_an_error_is_one_sentence(tool_server, tool, arguments, says):
    got = call(tool_server, tool, **arguments)
    assert got.is_error and says in got.content[0].text and "Traceback" not in got.content[0].text


@pytest.mark.parametrize("text", [*ADDRESSES, *PATHS, "../../etc/passwd", "\0", "/etc/hostname"])
def test_other_files_and_urls_are_not_read(text, tmp_path):
    uploads, shared = tmp_path / "uploads", tmp_path / "shared"
    for folder in (uploads, shared):
        folder.mkdir()
    (tmp_path / "secret.png").write_bytes(SCENE.path.read_bytes())
    (shared / "link.png").symlink_to(tmp_path / "secret.png")
    arguments = FileArguments(uploads, (shared,), 2**20)
    for given in (text, "link.png", "../secret.png", str(tmp_path / "secret.png")):
        with pytest.raises(BadInput), arguments.paths([given]):
            pass


def test_data_is_limited_and_deleted(tmp_path):
    arguments = FileArguments(tmp_path, (), 100)
    with pytest.raises(BadInput, match="larger than 100 bytes"), arguments.paths([DATA]):
        pass
    with FileArguments(tmp_path, (), 2**20).paths([DATA]) as (path,):
        assert Path(path).read_bytes() == SCENE.path.read_bytes()
    assert not Path(path).exists()
