"""The benchmarks behind tests/bench/run.sh; docs/benchmarks.md says what they mean."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable

from ou_lab import images
from ou_lab.device import AGENT, BUILD, LabDevice
from ou_lab.media import Stick, bytes_of
from ou_lab.releases import BIG_BYTES, FOREVER, Factory, Release, run_tool

MIB = 1 << 20
SERVE_BENCH = BUILD / "tests/bench/serve_bench"
# Sequential rates of what devices have: a USB 2.0 stick on a high-speed bus, and the eMMC of a small board.
STICK_READ = int(os.environ.get("OU_BENCH_STICK_READ", 30 * MIB))
DISK_READ = int(os.environ.get("OU_BENCH_DISK_READ", 100 * MIB))
DISK_WRITE = int(os.environ.get("OU_BENCH_DISK_WRITE", 40 * MIB))
BLKIO = Path("/sys/fs/cgroup/blkio")


def run(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" if index == 0 else "--:" for index in range(len(head))) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


class Disk:
    """A file system on a loop device of its own that bypasses the cache of the file behind it, and its rates."""

    def __init__(self, stick: Stick):
        self.device = run("losetup", "--find", "--show", "--direct-io=on", stick.path).strip()
        self.mount = stick.path.with_suffix(".mount")
        self.mount.mkdir()
        self.number = Path(f"/sys/block/{Path(self.device).name}/dev").read_text().strip()
        run("mount", self.device, self.mount)

    def throttle(self, read: int, write: int = 0) -> None:
        for kind, rate in (("read", read), ("write", write)):
            (BLKIO / f"blkio.throttle.{kind}_bps_device").write_text(f"{self.number} {rate}")

    def counters(self) -> tuple[int, int]:
        """Bytes read and written since the device was made."""
        fields = Path(f"/sys/block/{Path(self.device).name}/stat").read_text().split()
        return int(fields[2]) * 512, int(fields[6]) * 512

    def used(self) -> int:
        stat = os.statvfs(self.mount)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def close(self) -> None:
        self.throttle(0)
        run("umount", self.mount)
        run("losetup", "--detach", self.device)


@dataclass
class Measured:
    seconds: float = 0
    pulled_seconds: float = 0
    extraction_seconds: float = 0
    extra_disk: int = 0
    medium_read: int = 0
    disk_written: int = 0
    memory: int = 0
    samples: list[int] = field(default_factory=list)


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def watch(disk: Disk, done: threading.Event, result: Measured) -> None:
    while not done.wait(0.05):
        result.samples.append(disk.used())


def measure(medium: Disk, disk: Disk, work: Callable[[Measured], None]) -> Measured:
    """Runs `work` with cold caches until everything is on the disk."""
    drop_caches()
    result = Measured()
    read, (_, written) = medium.counters()[0], disk.counters()
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(disk, done, result))
    watcher.start()
    started = time.monotonic()
    try:
        work(result)
        run("sync", "-f", disk.mount)
        result.seconds = time.monotonic() - started
    finally:
        done.set()
        watcher.join()
    result.medium_read = medium.counters()[0] - read
    result.disk_written = disk.counters()[1] - written
    result.extra_disk = max(result.samples + [0]) - disk.used()
    return result


# What is measured


def small_and_large(factory: Factory) -> tuple[Release, Release]:
    """A release without the large image, and one with it that shares no large layer with the first."""
    web = factory.image("web", FOREVER)
    large = factory.image("bench-large", FOREVER, big="bench")
    small = factory.release("bench-small", 1, {"counter": web, "web": web, "big": web})
    return small, factory.release("bench-large", 2, {"counter": web, "web": web, "big": large})


def memory_peak(process: subprocess.Popen) -> int:
    """The most that the process has had in memory so far, in bytes; 0 when it has ended."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def install_with_agent(device: LabDevice, medium: Disk, release: Release) -> Callable[[Measured], None]:
    def work(result: Measured) -> None:
        started = time.monotonic()
        process = subprocess.Popen([AGENT, "install", medium.mount / release.bundle.name, "--json"],
                                   env=device.environment(), stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            result.memory = max(result.memory, memory_peak(process))
            if not result.pulled_seconds and device.phase() not in (None, "pulling"):
                result.pulled_seconds = time.monotonic() - started
            time.sleep(0.02)
        outcome = json.loads(process.stdout.read())
        assert outcome["result"] == "updated", outcome
    return work


def load_with_engine(device: LabDevice, archive: Path) -> Callable[[Measured], None]:
    def work(result: Measured) -> None:
        started = time.monotonic()
        run("docker", "-H", f"unix://{device.engine.socket_path}", "load", "-q", "-i", archive)
        result.pulled_seconds = time.monotonic() - started
    return work


def on_a_device(directory: Path, factory: Factory, small: Release, medium: Disk, throttled: bool,
                contender: Callable[[LabDevice], Callable[[Measured], None]]) -> Measured:
    """A new device that runs the small release, its engine on a disk of its own."""
    home = Path(tempfile.mkdtemp(dir=directory))
    disk = Disk(Stick(home / "disk.img", BIG_BYTES * 4 + (512 << 20)))
    device = LabDevice(home / "device")
    device.engine.data_root = disk.mount / "data"
    try:
        factory.put_into_service(device, small)
        if throttled:
            disk.throttle(DISK_READ, DISK_WRITE)
            medium.throttle(STICK_READ)
        return measure(medium, disk, contender(device))
    finally:
        medium.throttle(0)
        disk.throttle(0)
        device.stop()
        disk.close()
        shutil.rmtree(home)


class LayerServer:
    """The floor: a registry that gives an image's layers from memory and checks nothing."""

    def __init__(self, archive: Path):
        with tarfile.open(archive) as tar:
            read = lambda name: tar.extractfile(name).read()  # noqa: E731
            manifest, = json.loads(read("manifest.json"))
            config = read(manifest["Config"])
            layers = [read(name) for name in manifest["Layers"]]
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        document = json.dumps({
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
                       "digest": self.digest(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "size": len(layer),
                        "digest": self.digest(layer)} for layer in layers]}).encode()
        blobs = {self.digest(blob): blob for blob in [config, *layers, document]}
        name = self.digest(document)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                body = b"{}" if self.path == "/v2/" else blobs[self.path.rsplit("/", 1)[1]]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", kind if "/manifests/" in self.path else "application/octet-stream")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.reference = f"127.0.0.1:{self.server.server_port}/floor@{name}"

    @staticmethod
    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()


def pull_from_memory(device: LabDevice, server: LayerServer) -> Callable[[Measured], None]:
    """How long the engine's messages say `Extracting` is the extraction."""
    def work(result: Measured) -> None:
        started = time.monotonic()
        spans: dict[str, list[float]] = {}
        for message in device.engine.client.messages("POST", f"/images/create?fromImage={server.reference}"):
            if "error" in message:
                raise RuntimeError(message["error"])
            status = message.get("status", "")
            if status in ("Extracting", "Pull complete"):
                spans.setdefault(message["id"], []).append(time.monotonic())
        result.extraction_seconds = sum(span[-1] - span[0] for span in spans.values())
        result.pulled_seconds = time.monotonic() - started
    return work


def bench_release(directory: Path) -> None:
    factory = Factory.cached()
    small, large = small_and_large(factory)
    content = directory / "content"
    content.mkdir()
    shutil.copytree(large.bundle, content / large.bundle.name)
    archive = large.archives["big"]
    shutil.copy(archive, content / "images.tar")
    run("sh", "-c", f"gzip -6 < {archive} > {content}/images.tar.gz")
    sizes = {path.name: path.stat().st_size for path in content.iterdir() if path.is_file()}
    bundle_bytes = bytes_of(large.bundle)
    medium = Disk(Stick(directory / "medium.img", int(bytes_of(content) * 1.1) + (64 << 20), content))
    shutil.rmtree(content)
    server = LayerServer(archive)
    contenders = {
        "agent": lambda device: install_with_agent(device, medium, large),
        "docker load, images.tar": lambda device: load_with_engine(device, medium.mount / "images.tar"),
        "docker load, images.tar.gz": lambda device: load_with_engine(device, medium.mount / "images.tar.gz"),
        "engine alone, from memory": lambda device: pull_from_memory(device, server),
    }
    print(f"One image of {BIG_BYTES / MIB:.0f} MiB; on the medium: bundle {bundle_bytes / MIB:.0f} MiB, images.tar "
          f"{sizes['images.tar'] / MIB:.0f} MiB, images.tar.gz {sizes['images.tar.gz'] / MIB:.0f} MiB.\n")
    try:
        for throttled in (False, True):
            print(f"Medium {STICK_READ / MIB:.0f} MiB/s, disk {DISK_READ / MIB:.0f} MiB/s reading and "
                  f"{DISK_WRITE / MIB:.0f} MiB/s writing:\n" if throttled else "Not throttled:\n")
            rows = []
            for name, contender in contenders.items():
                result = on_a_device(directory, factory, small, medium, throttled, contender)
                rows.append([name, f"{result.pulled_seconds:.1f} s", f"{result.seconds:.1f} s",
                             f"{result.extra_disk / MIB:.0f} MiB", f"{result.medium_read / MIB:.0f} MiB",
                             f"{result.disk_written / MIB:.0f} MiB",
                             f"{result.memory / MIB:.0f} MiB" if result.memory else ""])
            table(["", "images in the engine", "all, on the disk", "peak extra disk", "read from the medium",
                   "written to the disk", "peak memory of the agent"], rows)
            print(f"The engine's extraction within `engine alone`: {result.extraction_seconds:.1f} s.\n", flush=True)
    finally:
        medium.close()


def bench_serve(directory: Path) -> None:
    factory = Factory.cached()
    _, large = small_and_large(factory)
    trust = directory / "trust"
    trust.write_text(factory.trust())
    medium = Disk(Stick.with_bundles(directory / "medium.img", [large.bundle], 64 << 20))
    rows = []
    try:
        for throttled in (False, True):
            medium.throttle(STICK_READ if throttled else 0)
            drop_caches()
            blobs = sorted((medium.mount / large.bundle.name / "blobs/sha256").iterdir())
            started = time.monotonic()
            for blob in blobs:
                run("dd", f"if={blob}", "of=/dev/null", "bs=1M")
            raw = sum(blob.stat().st_size for blob in blobs) / (time.monotonic() - started)
            drop_caches()
            with subprocess.Popen([SERVE_BENCH, medium.mount / large.bundle.name, trust], stdout=subprocess.PIPE,
                                  text=True) as process:
                memory = 0
                while process.poll() is None:
                    memory = max(memory, memory_peak(process))
                    time.sleep(0.01)
                served = json.loads(process.stdout.read())
            seconds = served["milliseconds"] / 1000
            rate = served["bytes_read"] / seconds
            rows.append([f"{STICK_READ / MIB:.0f} MiB/s" if throttled else "not throttled", f"{raw / MIB:.1f} MiB/s",
                         f"{rate / MIB:.1f} MiB/s", f"{rate / raw * 100:.0f} %",
                         f"{served['bytes_served'] / seconds / MIB:.1f} MiB/s", f"{memory / MIB:.0f} MiB"])
    finally:
        medium.close()
    table(["medium", "raw read (dd)", "verify and serve", "of raw", "uncompressed, to the engine", "peak memory"], rows)


def bench_compression(directory: Path) -> None:
    layer = directory / "layer.tar"
    layer.write_bytes(images.debian_layer(BIG_BYTES // 3))
    size = layer.stat().st_size
    archive = images.write_image(directory / "image.tar", [layer.read_bytes()], FOREVER)
    rows = []
    for level in (3, 9):
        started = time.monotonic()
        whole = int(run("sh", "-c", f"zstd -q -T0 -{level} -c {layer} | wc -c"))
        rows.append([str(level), "one stream (zstd -T0)", f"{whole / MIB:.1f} MiB", f"{whole / size * 100:.1f} %",
                     "", f"{time.monotonic() - started:.1f} s"])
        for chunk in ("256KiB", "1MiB", "4MiB"):
            bundle = directory / f"{level}-{chunk}.bundle"
            started = time.monotonic()
            (directory / "compose.yml").write_text("services: {main: {image: main}}\n")
            run_tool("create", "--output", bundle, "--unsigned", "--fleet-uuid", "f" * 32, "--device-type", "x",
                     "--sequence", "1", "--compose", directory / "compose.yml", "--image",
                     f"main=docker-archive:{archive}", "--level", str(level), "--chunk-size", chunk)
            seconds = time.monotonic() - started
            blob = max(path.stat().st_size for path in (bundle / "blobs/sha256").iterdir())
            rows.append([str(level), f"frames of {chunk}", f"{blob / MIB:.1f} MiB", f"{blob / size * 100:.1f} %",
                         f"{(blob / whole - 1) * 100:+.1f} %", f"{seconds:.1f} s"])
    print(f"A layer of {size / MIB:.0f} MiB of Debian files; {os.cpu_count()} processors.\n")
    table(["level", "", "size", "of the tar", "against one stream", "time"], rows)


def main() -> int:
    base = BUILD / "bench"
    base.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="b", dir=base))
    try:
        {"compression": bench_compression, "serve": bench_serve, "release": bench_release}[sys.argv[1]](directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
