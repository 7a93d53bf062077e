"""Four streams of one YAML, each with a model of its own kind, through a real worker: results say who answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engines.build.samples import sample
from engines.zoo import open_engine
from streamer.client import Client, calls
from streamer.commands import worker
from streamer.commands.prepare import prepare_engines
from streamer.config import Config, load_config
from streamer.sinks.redis_server import EmbeddedRedis
from tests.fakes import hub_models, own_graphs

WORLD = "world://street?seed={}&size=128x72&fps=10&people=2"
DEADLINE_S = 40.0
STREAMS = "abcd"
WANTED = 3  # results of each stream


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A public model in a folder, a user's graph, the same graph under another card, and a DETR's weights file."""
    hub_models.write("yolos", tmp_path / "models" / "tiny")
    own_graphs.yolo(tmp_path / "models" / "mine.onnx", threshold=0.05)
    own_graphs.yolo(tmp_path / "models" / "other.onnx", threshold=0.05, labels=["bus", "tram", "cart"])
    sample("detr", tmp_path / "models", full=False)
    path = tmp_path / "site.yaml"
    path.write_text(f"""\
backend: onnx
lanes: 1
max_batch_size: 2
data_dir: data
streams:
  a: {{url: "{WORLD.format(3)}", model: "hf://./models/tiny?threshold=0.05"}}
  b: {{url: "{WORLD.format(4)}", model: models/mine.onnx}}
  c: {{url: "{WORLD.format(5)}", model: models/other.onnx}}
  d: {{url: "{WORLD.format(6)}", model: models/random-detr.safetensors}}
""")
    return load_config(path)


@pytest.fixture
def answers(config: Config) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What the worker's streams said, by stream, oldest first; each of them WANTED results or more."""
    said = list[str]()
    precision = prepare_engines(config, said.append)
    assert sum("building it" in line for line in said) == 4
    stop, clean = threading.Event(), list[bool]()

    def work() -> None:
        clean.append(
            worker.run(
                redis.url,
                config.data_dir,
                backend=config.backend,
                precision=precision,
                max_batch_size=config.max_batch_size,
                max_queue_delay_s=0.02,
                results_maxlen=100,
                events_maxlen=1000,
                drain_deadline_s=20.0,
                shares=worker.shares(config.lanes, config.threads),
                stop=stop,
            )
        )

    with EmbeddedRedis(config.data_dir) as redis, Client(redis.url) as client:
        for stream in config.streams:
            client.add_stream(stream)
        thread = threading.Thread(target=work)
        thread.start()
        found: dict[str, list[dict[str, Any]]] = {}
        ends_s = time.monotonic() + DEADLINE_S
        try:
            while not all(len(found.get(name, ())) >= WANTED for name in STREAMS):
                assert time.monotonic() < ends_s, {name: dict(client.state(name)) for name in STREAMS}
                for name in STREAMS:
                    entries = client.run(calls.read_results(name, "0", 1))
                    found[name] = [orjson.loads(data) for _, data in entries]
        finally:
            stop.set()
            thread.join(DEADLINE_S)
        assert clean == [True]
        yield found


def test_each_streams_results_carry_their_own_model_and_digest(
    config: Config, answers: dict[str, list[dict[str, Any]]]
) -> None:
    said = list[str]()
    for stream, model in (("a", "tiny"), ("b", "mine"), ("c", "other"), ("d", "random-detr")):
        spec_model = next(s.model for s in config.streams if s.name == stream)
        engine = open_engine(
            spec_model,
            backend="onnx",
            max_batch_size=2,
            threads=1,
            cache_dir=config.engine_cache,
            on_progress=said.append,
        )
        wanted = {"model": model, "engine": engine.spec.digest, "backend": "onnx", "precision": "f32"}
        assert all(result["provenance"] == wanted for result in answers[stream])
        engine.close()
    assert all("nothing to build" in line for line in said)  # the worker served what was prepared
    objects = {name: [o for result in answers[name][2:] for o in result["objects"]] for name in STREAMS}
    assert all(objects[name] for name in "abc")  # and each detector follows
    assert {o["label"] for name in "ab" for o in objects[name]} <= set(own_graphs.LABELS)
    assert {o["label"] for o in objects["c"]} <= {"bus", "tram", "cart"}
    assert all(o["id"] >= 1 for name in "abc" for o in objects[name])
