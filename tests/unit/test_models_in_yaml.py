"""`model:` in the YAML, and the card of an ONNX graph: every mistake is one line with file, line, field and mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engines.hub.address import Address, parse
from engines.hub.resolve import resolve
from streamer.config import ConfigFileError, load_config
from streamer.errors import ConfigError, EngineError
from streamer.model_card import BoxesHead, ModelCard, YoloHead, card_schema, load_card


def site(folder: Path, model: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(f"streams:\n  door:\n    url: world://street\n    model: {model}\n", "utf-8")
    return path


def test_relative_models_start_at_the_yaml_and_every_stream_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "models" / "detr").mkdir(parents=True)
    for name in ("mine.onnx", "mine.yaml", "trained.safetensors"):
        (tmp_path / "site" / "models" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site" / "site.yaml"
    path.write_text("""\
streams:
  a: {url: rtsp://c/1, model: hf://facebook/detr-resnet-50}
  b: {url: rtsp://c/2, model: models/mine.onnx}
  c: rtsp://c/3
  d: {url: rtsp://c/4, model: "hf://./models/detr?height=480&width=640"}
  e: {url: rtsp://c/5, model: models/trained.safetensors}
""")
    here = tmp_path / "site" / "models"
    assert [stream.model for stream in load_config(path.relative_to(tmp_path)).streams] == [
        "hf://facebook/detr-resnet-50",
        f"{here}/mine.onnx",
        "street-nano",
        f"hf://{here}/detr?height=480&width=640",
        f"{here}/trained.safetensors",
    ]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("hfx://a/b", "hfx: is no scheme that a model can have — did you mean hf://?"),
        ("s3://a/b", "s3: is no scheme that a model can have — write a name of `sightline models ls`, hf://owner/name,"),
        ("gone.onnx", "there is no file {here}/gone.onnx — paths start at the YAML's folder; give one that is there"),
        ("./gone.safetensors", "there is no file {here}/gone.safetensors — "),
        ("hf://./gone", "there is no folder {here}/gone — paths start at the YAML's folder"),
        ("lone.onnx", "its card {here}/lone.yaml is missing — write one that says what goes in and comes out"),
        ("hf://", "the address names no model — write a name of"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_is_one_line(model: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "lone.onnx").write_bytes(b"x")
    path = site(tmp_path, model)
    with pytest.raises(ConfigFileError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:4: streams.door.model: " + says.format(here=tmp_path))
    assert "\n" not in str(caught.value)


def test_addresses_of_public_models() -> None:
    assert parse("hf://facebook/detr-resnet-50@no_timm?threshold=0.7") == Address(
        "hf://facebook/detr-resnet-50@no_timm?threshold=0.7",
        repository="facebook/detr-resnet-50",
        revision="no_timm",
        options={"threshold": "0.7"},
    )
    assert parse("hf:///srv/models/detr").folder == Path("/srv/models/detr")
    assert parse("hf://facebook/detr-resnet-50").name == "detr-resnet-50"
    assert parse("hf:///srv/my model").name == "my-model"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://a/b/c", "this names no model — write hf://owner/name, or hf://./folder"),
        ("hf://a/b@", "this names no model"),
        ("hf://a/b?hight=480", "hight is no option of a model — the options are height, width, threshold"),
        ("hf://a/b?height=480", "half a size — give height and width"),
        ("hf://a/b?height=480&width=many", "width is no size of a picture — give pixels, 16 to 4096"),
        ("hf://a/b?threshold=2", "threshold is no score — give a number from 0 to 1"),
    ],
)
def test_an_address_that_cannot_be_is_one_line(address: str, says: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse(address)
    assert str(caught.value).startswith(f"{address}: {says}")


def test_offline_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        EngineError, match=r"run `hf download a/b --revision v2` .*\(HF_HOME .*hf:///path"
    ) as caught:
        resolve(parse("hf://a/b@v2"))
    assert "\n" not in str(caught.value)


def test_the_hubs_cache_is_found_by_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--a--b"
    for revision, commit in (("main", "1" * 40), ("v2", "2" * 40)):
        snapshot = kept / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (snapshot / name).write_text("{}")
        (kept / "refs").mkdir(exist_ok=True)
        (kept / "refs" / revision).write_text(commit)
    assert resolve(parse("hf://a/b")).name == "1" * 40
    assert resolve(parse("hf://a/b@v2")).name == "2" * 40


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "there is no such folder — give a folder that save_pretrained wrote"),
        ((), "the folder holds no config.json"),
        (
            ("config.json",),
            "the folder holds no weights — it must hold config.json, preprocessor_config.json and",
        ),
    ],
)
def test_a_folder_that_holds_no_model_is_one_line(files: Any, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    with pytest.raises(EngineError) as caught:
        resolve(parse(f"hf://{folder}"))
    assert str(caught.value).startswith(f"{folder}: {says}")


CARD = """\
task: detect
input:
  size: [640, 640]
  fit: letterbox
outputs:
  kind: yolo
  nms: 0.6
labels: [person, car]
threshold: 0.3
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_card_means_what_it_says(tmp_path: Path) -> None:
    card = load_card(written(tmp_path, CARD))
    assert card.input.size == (640, 640) and card.input.scale == 1 / 255 and card.names == ("person", "car")
    assert isinstance(card.outputs, YoloHead) and card.outputs.nms == 0.6
    numbered = "task: detect\noutputs: {kind: boxes}\nlabels: {0: person, 2: car}\n"
    card = load_card(written(tmp_path, numbered))
    assert card.names == ("person", "N/A", "car") and isinstance(card.outputs, BoxesHead)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("task: detect\n", "", "1: task: task is missing — add task: …"),
        ("task: detect", "task: dance", "1: task: not one of the choices — write 'detect'"),
        ("  fit: letterbox", "  fitt: letterbox", "4: input.fitt: unknown key — did you mean fit?"),
        ("[640, 640]", "[640, big]", "3: input.size.1: wrong type — write a whole number"),
        (
            "[640, 640]",
            "[640, 8]",
            "3: input.size.1: out of range — input should be greater than or equal to 16",
        ),
        ("fit: letterbox", "layout: hwc", "4: input.layout: not one of the choices — write 'nchw' or 'nhwc'"),
        (
            "kind: yolo",
            "kind: yolov8",
            "6: outputs.kind: not one of the choices — write 'detr', 'boxes', 'yolo'",
        ),
        ("  kind: yolo\n", "", "5: outputs: kind is missing — add kind: detr, boxes or yolo"),
        ("nms: 0.6", "nmss: 0.6", "7: outputs.nmss: unknown key — did you mean nms?"),
        ("nms: 0.6", "nms: 6", "7: outputs.nms: out of range — input should be less than or equal to 1"),
        (
            "labels: [person, car]",
            "labels: person",
            "8: labels: wrong type — write a list, such as [person, car]",
        ),
        ("threshold: 0.3", "treshold: 0.3", "9: treshold: unknown key — did you mean threshold?"),
        ("threshold: 0.3", "threshold: ${T}", "9: threshold: the environment variable T is not set"),
        (CARD, "- a", "1: the card is not a mapping of fields — start with task: detect"),
    ],
)
def test_each_mistake_of_a_card_is_one_line(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, CARD.replace(old, new))
    with pytest.raises(ConfigFileError) as caught:
        load_card(path)
    [line] = str(caught.value).splitlines()
    assert line.removeprefix(f"{path}:").startswith(says)


def test_a_card_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine.yaml: cannot be read: No such file or directory — write"):
        load_card(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load_card(tmp_path / "mine.yaml")


def test_the_schema_takes_good_cards_and_refuses_bad_ones() -> None:
    good = yaml.safe_load(CARD)
    jsonschema.validate(good, card_schema())
    assert ModelCard.model_validate(good)
    for wrong in ({"task": "dance"}, {"outputs": {"kind": "seg"}}, {"labels": 3}, {"extra": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, card_schema())
