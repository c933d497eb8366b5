"""A release put into an image by bundle-tool and by a real engine on the mounted partition; docs/benchmarks.md says what it means."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import MIB, drop_caches, memory_peak, run, table
from ou_device import disk
from ou_image import look, shapes
from ou_image.case import COMMIT, FLEET, TOOL, apps_json
from ou_lab import images
from ou_lab.device import BUILD

BYTES = int(os.environ.get("OU_BENCH_PRELOAD_BYTES", 1000 * MIB))
FOREVER = "exec sleep 1000000\n"
SERVICES = ("first", "second")


def archives(directory: Path) -> tuple[dict[str, Path], int]:
    """Two images that share busybox, each with half of the bytes as Debian's files; and how many bytes their layers have."""
    found, total = {}, 0
    for name in SERVICES:
        layer = images.debian_layer(BYTES // len(SERVICES), name)
        total += len(layer)
        found[name] = images.write_image(directory / f"{name}.tar", [images.base_layer(), layer], FOREVER)
    return found, total


def with_room(directory: Path, name: str, room: int = 0) -> Path:
    """A copy of the factory's image. For an engine its data partition has to be large enough before."""
    image = look.copy(shapes.image(shapes.TINY_X86), directory / name)
    if room:
        (directory / "small.json").write_text(json.dumps(apps_json(["small"])))
        small = images.write_image(directory / "small.tar", [images.base_layer()], FOREVER)
        run(TOOL, "image", "preload", image, "--target-state", directory / "small.json", "--image",
            f"small=docker-archive:{small}", "--additional-space", str(room))
    return image


def measured(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds until everything is on the disk, and peak memory; with cold caches."""
    drop_caches()
    started = time.monotonic()
    memory = work()
    os.sync()
    return time.monotonic() - started, memory


def by_tool(image: Path, *arguments: str | Path) -> Callable[[], int]:
    def work() -> int:
        process = subprocess.Popen([str(word) for word in (TOOL, "image", "preload", image, *arguments)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory = 0
        while process.poll() is None:
            memory = max(memory, memory_peak(process))
            time.sleep(0.02)  # a sample, not a wait
        assert process.returncode == 0, arguments
        return memory
    return work


def by_engine(image: Path, sources: dict[str, Path]) -> Callable[[], int]:
    """What the official tool does inside its container, but for downloading: an engine on the mounted data partition."""
    def work() -> int:
        with look.mounted(image, "data", write=True) as data, disk.engine_on(data / "docker") as engine:
            for archive in sources.values():
                run("docker", "-H", f"unix://{engine.socket_path}", "load", "-q", "-i", archive)
            return memory_peak(engine._process)  # pylint: disable=protected-access
    return work


def bench(directory: Path) -> None:
    plain, total = archives(directory)
    packed = {}
    for name, archive in plain.items():
        run("sh", "-c", f"gzip -1 -c {archive} > {archive}.gz")
        packed[name] = archive.with_suffix(".tar.gz")
    state, bundle = directory / "apps.json", directory / "a.bundle"
    state.write_text(json.dumps(apps_json(list(SERVICES))))
    sources = lambda of: [word for name, archive in of.items() for word in ("--image", f"{name}=docker-archive:{archive}")]  # noqa: E731
    run(TOOL, "create", "--output", bundle, "--unsigned", "--fleet-uuid", FLEET, "--device-type", shapes.TINY_X86.slug,
        "--sequence", "1", "--target-state", state, "--commit", COMMIT, *sources(plain))
    room = total + total // 2 + (256 << 20)
    contenders = {
        "image preload, bundle": lambda: by_tool(with_room(directory, "disk.img"), "--bundle", bundle),
        "image preload, archives": lambda: by_tool(with_room(directory, "disk.img"), "--target-state", state, *sources(plain)),
        "image preload, archives in gzip": lambda: by_tool(with_room(directory, "disk.img"), "--target-state", state, *sources(packed)),
        "docker load, archives": lambda: by_engine(with_room(directory, "disk.img", room), plain),
        "docker load, archives in gzip": lambda: by_engine(with_room(directory, "disk.img", room), packed),
    }
    print(f"Two images, layers of {total / MIB:.0f} MiB; an image file of "
          f"{shapes.image(shapes.TINY_X86).stat().st_size / MIB:.0f} MiB.\n")
    rows = []
    for name, prepare in contenders.items():
        seconds, memory = measured(prepare())
        rows.append([name, f"{seconds:.1f} s", f"{total / seconds / MIB:.0f} MiB/s", f"{memory / MIB:.0f} MiB"])
        (directory / "disk.img").unlink()
    table(["", "until on the disk", "rate", "peak memory"], rows)


def main() -> int:
    base = BUILD / "bench"
    base.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="p", dir=base))
    try:
        bench(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
