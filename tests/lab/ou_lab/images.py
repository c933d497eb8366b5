"""Container images of real programs, written as docker-archive files without an engine: the same input gives the
same image, so a service that did not change has the same image ID in every release."""
from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
APPLETS = ["sh", "echo", "cat", "sleep", "ls", "date", "test", "true", "false", "rm", "mkdir", "sync", "wc", "tail"]


def _entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.size, info.linkname, info.mtime = mode, kind, size, link, 1_600_000_000
    return info


def base_layer() -> bytes:
    """busybox and the links to it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for directory in ("bin", "data", "tmp", "etc"):
            tar.addfile(_entry(directory, 0o755, tarfile.DIRTYPE))
        content = BUSYBOX.read_bytes()
        tar.addfile(_entry("bin/busybox", 0o755, size=len(content)), io.BytesIO(content))
        for applet in APPLETS:
            tar.addfile(_entry(f"bin/{applet}", 0o777, tarfile.SYMTYPE, link="busybox"))
    return out.getvalue()


def file_layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            tar.addfile(_entry(name, 0o755, size=len(content)), io.BytesIO(content))
    return out.getvalue()


def debian_layer(target_bytes: int, seed: str = "") -> bytes:
    """Files of installed Debian packages below /usr/lib and /usr/bin, in the order of their names, until there are
    so many bytes."""
    out = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        marker = seed.encode()
        tar.addfile(_entry("srv/seed", 0o644, size=len(marker)), io.BytesIO(marker))
        for root in ("/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/lib/gcc", "/usr/lib"):
            for directory, directories, names in os.walk(root):
                directories.sort()
                for name in sorted(names):
                    path = Path(directory) / name
                    if path.is_symlink() or not path.is_file():
                        continue
                    content = path.read_bytes()
                    tar.addfile(_entry("srv" + str(path), 0o644, size=len(content)), io.BytesIO(content))
                    total += len(content)
                    if total >= target_bytes:
                        return _finish(tar, out)
    return out.getvalue()


def _finish(tar: tarfile.TarFile, out: io.BytesIO) -> bytes:
    tar.close()
    return out.getvalue()


def write_image(path: Path, layers: list[bytes], script: str, healthcheck: list[str] | None = None) -> Path:
    """Writes a docker-archive with one image that runs `script` with busybox's shell."""
    config: dict = {"Cmd": ["/bin/sh", "/app.sh"], "Env": ["PATH=/bin"]}
    if healthcheck:
        config["Healthcheck"] = {"Test": ["CMD", *healthcheck], "Interval": 1_000_000_000, "Timeout": 2_000_000_000,
                                 "Retries": 2}
    return write_archive(path, [*layers, file_layer({"app.sh": script.encode()})], config)


def write_archive(path: Path, layers: list[bytes], config: dict, architecture: str = "amd64") -> Path:
    """Writes a docker-archive with one image of these layers, which are tars."""
    image = json.dumps({
        "architecture": architecture, "os": "linux", "created": "2020-09-13T12:26:40Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]},
    }, sort_keys=True).encode()
    image_id = hashlib.sha256(image).hexdigest()
    names = [f"{index}-{hashlib.sha256(layer).hexdigest()[:16]}/layer.tar" for index, layer in enumerate(layers)]
    manifest = json.dumps([{"Config": f"{image_id}.json", "RepoTags": None, "Layers": names}]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in [(f"{image_id}.json", image), *zip(names, layers), ("manifest.json", manifest)]:
            tar.addfile(_entry(name, 0o644, size=len(content)), io.BytesIO(content))
    return path
