"""What this machine has, found by looking: every probe answers, none raises and none changes anything."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

# Flags that decide how fast the CPU engine is, with what each gives.
CPU_FLAGS = {
    "avx2": "256-bit vectors: the least that is quick",
    "avx512f": "512-bit vectors",
    "avx512_bf16": "bf16 arithmetic: about 1.5 times as fast as f32",
    "amx_bf16": "bf16 matrix tiles: faster still",
    "amx_int8": "int8 matrix tiles",
    "avx512_vnni": "int8 dot products",
    "avx_vnni": "int8 dot products",
}
PORT = 7860
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `bad`: serving cannot work without it; `warn`: it works less well."""

    area: str
    name: str
    state: Literal["ok", "info", "warn", "bad"]
    value: str
    note: str = ""


def examine() -> list[Finding]:
    """Everything, in the order of the report."""
    probes = (_machine, _decoder, _redis, _engines, _gpu, _network, _data)
    return [finding for probe in probes for finding in probe()]


def _imported(name: str) -> tuple[Any, str]:
    """(module, "") or (None, why not)."""
    if util.find_spec(name) is None:
        return None, "not installed"
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # a broken wheel may raise anything; that is a finding, not a failure
        return None, f"does not import: {' '.join(str(error).split())[:120]}"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _machine() -> Iterator[Finding]:
    area = "machine"
    right = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding(
        area,
        "python",
        "ok" if right else "bad",
        platform.python_version(),
        "" if right else "needs 3.11 or 3.12",
    )
    yield Finding(area, "system", "info", platform.platform())
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    yield Finding(area, "cpu", "info", model[1] if model else platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(
        area, "cores", "ok" if cores >= 2 else "warn", str(cores), "" if cores >= 2 else "two are advised"
    )
    import psutil

    memory = psutil.virtual_memory()
    enough = memory.available > 1500 * MIB
    yield Finding(
        area,
        "memory",
        "ok" if enough else "warn",
        f"{memory.total / MIB / 1024:.1f} GiB, {memory.available / MIB / 1024:.1f} GiB free",
        "" if enough else "the demo wants about 1.5 GiB",
    )
    listed = re.search(r"^flags\s*: (.*)$", info, re.M)
    flags = set(listed[1].split()) if listed else set()
    for flag, gives in CPU_FLAGS.items():
        yield Finding(area, flag, "ok" if flag in flags else "info", "yes" if flag in flags else "no", gives)


def _decoder() -> Iterator[Finding]:
    area = "decoder"
    av, why = _imported("av")
    if av is None:
        yield Finding(area, "PyAV", "bad", why, "pip install av")
        return
    yield Finding(area, "PyAV", "ok", av.__version__)
    libraries = ", ".join(
        f"{name} {'.'.join(map(str, v))}" for name, v in sorted(av.library_versions.items())
    )
    yield Finding(area, "FFmpeg libraries", "info", libraries)
    for name, mode, needed in (
        ("h264", "r", True),
        ("hevc", "r", False),
        ("av1", "r", False),
        ("mjpeg", "r", False),
        ("libx264", "w", True),
    ):
        try:
            av.codec.Codec(name, mode)
            found = True
        except Exception:  # PyAV's own error class is not worth an import here
            found = False
        kind = "decoder" if mode == "r" else "encoder"
        state: Literal["ok", "bad", "warn"] = "ok" if found else "bad" if needed else "warn"
        yield Finding(area, f"{name} {kind}", state, "yes" if found else "no")


def _redis() -> Iterator[Finding]:
    area = "redis"
    from streamer.addresses import redact_url
    from streamer.errors import StoreError
    from streamer.sinks.redis_server import check_redis, find_redis_server

    url = os.environ.get("REDIS_URL", "")
    if url:
        try:
            version = check_redis(url)
        except StoreError as error:
            yield Finding(area, "REDIS_URL", "bad", f"{redact_url(url)}: {error.what}", error.mend)
        else:
            yield Finding(
                area, "REDIS_URL", "ok", f"{redact_url(url)} {version}", "this one is used, none is started"
            )
    try:
        binary = find_redis_server()
    except StoreError as error:
        yield Finding(area, "redis-server", "info" if url else "bad", error.what, error.mend)
    else:
        note = "not needed while REDIS_URL is set" if url else "started as a child"
        version = ".".join(map(str, binary.version))
        yield Finding(area, "redis-server", "ok", f"{binary.path} {version}", note)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _engines() -> Iterator[Finding]:
    area = "engines"
    openvino, why = _imported("openvino")
    if openvino is None:
        yield Finding(area, "OpenVINO", "bad", why, "pip install openvino")
    else:
        devices = ", ".join(openvino.Core().available_devices) or "no device"
        yield Finding(
            area, "OpenVINO", "ok", f"{openvino.__version__.split('-')[0]}: {devices}", "the CPU default"
        )
    onnxruntime, why = _imported("onnxruntime")
    if onnxruntime is None:
        yield Finding(area, "ONNX Runtime", "warn", why)
    else:
        providers = ", ".join(
            p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()
        )
        yield Finding(area, "ONNX Runtime", "ok", f"{onnxruntime.__version__}: {providers}")
    torch = _version("torch")
    yield Finding(
        area, "torch", "ok" if torch else "bad", torch or "not installed", "builds engines; serves none"
    )
    for name, label in (("tensorrt", "TensorRT"), ("tensorrt_rtx", "TensorRT RTX")):
        module, why = _imported(name)
        value = module.__version__ if module else why
        extra = "gpu" if name == "tensorrt" else "rtx"
        note = "" if module else f"pip install 'sightline[{extra}]' on a machine with an NVIDIA GPU"
        yield Finding(area, label, "ok" if module else "info", value, note)


def _gpu() -> Iterator[Finding]:
    found = False
    query = "--query-gpu=name,memory.total,driver_version,compute_cap"
    for line in _output(["nvidia-smi", query, "--format=csv,noheader"]).splitlines():
        found = True
        yield Finding("gpu", "NVIDIA", "ok", line.strip())
    if not found and (pynvml := _imported("pynvml")[0]) is not None:
        try:
            pynvml.nvmlInit()
            for i in range(pynvml.nvmlDeviceGetCount()):
                found = True
                yield Finding(
                    "gpu", "NVIDIA", "ok", str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)))
                )
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass
    if not found:
        yield Finding("gpu", "NVIDIA", "info", "none", "the CPU engine is used")


def _network() -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
            yield Finding("network", f"port {PORT}", "ok", "free")
        except OSError as error:
            yield Finding(
                "network", f"port {PORT}", "warn", str(error.strerror).lower(), "take another with --port"
            )


def _data() -> Iterator[Finding]:
    from streamer.config import default_data_dir

    folder = default_data_dir()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    free_gib = shutil.disk_usage(nearest).free / MIB / 1024
    writable = os.access(nearest, os.W_OK)
    yield Finding(
        "data",
        "folder",
        "ok" if writable else "bad",
        f"{folder} ({free_gib:.0f} GiB free)",
        "" if writable else "not writable: give another with --data-dir or SIGHTLINE_DATA",
    )
