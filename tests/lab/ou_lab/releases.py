"""Releases of the lab's fleet, as images, compose files and signed bundles. Built once and kept below the build
directory; a release is rebuilt when this file or images.py changes."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import images
from .device import BUILD, BUNDLE_TOOL, DEVICE_TYPE, FLEET, HERE, LabDevice

BIG_BYTES = int(os.environ.get("OU_LAB_BIG_BYTES", str(300 << 20)))
COUNTER = "echo \"start of counter {version}\" >> /data/log; sync /data/log; exec sleep 1000000\n"
FOREVER = "exec sleep 1000000\n"
COMPOSE = """version: "2.1"
volumes:
  data: {{}}
services:
  counter:
    image: counter
    restart: always
    volumes: ["data:/data"]
    environment:
      RELEASE: "{version}"
  web:
    image: web
    restart: always
  big:
    image: big
    restart: always
"""


@dataclass
class Release:
    name: str
    bundle: Path
    archives: dict[str, Path]

    @property
    def manifest(self) -> dict:
        return json.loads((self.bundle / "manifest.json").read_text())

    @property
    def commit(self) -> str:
        (commit, _), = self.manifest["release"][FLEET]["releases"].items()
        return commit


class Factory:
    """Makes keys, images and bundles in one directory."""

    def __init__(self, directory: Path):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.key = self.make_key("owner")

    @classmethod
    def cached(cls) -> "Factory":
        sources = b"".join((HERE / name).read_bytes() for name in ("images.py", "releases.py"))
        tag = hashlib.sha256(sources + str(BIG_BYTES).encode()).hexdigest()[:12]
        return cls(BUILD / "lab-cache" / tag)

    def make_key(self, name: str) -> Path:
        key = self.directory / name
        if not key.with_suffix(".key").exists():
            run_tool("key", "generate", key, "--no-password")
        return key.with_suffix(".key")

    def public(self, key: Path) -> str:
        return key.with_suffix(".pub").read_text().splitlines()[1]

    def trust(self) -> str:
        """A trust file with the owner's key."""
        return f"key {self.public(self.key)} owner\n"

    def put_into_service(self, device: LabDevice, release: Release, made: bool = False) -> None:
        """Makes the device as it leaves the factory: it trusts the owner's key and runs `release`. With `made`, its directory is
        there and empty."""
        device.directory.mkdir(exist_ok=made)
        device.trust.write_text(self.trust())
        device.start()
        device.provision(release.bundle, release.archives)

    def image(self, name: str, script: str, big: str | None = None, healthcheck: list[str] | None = None) -> Path:
        path = self.directory / "images" / f"{name}.tar"
        if not path.exists():
            layers = [images.base_layer()]
            if big is not None:
                # All versions share the large layer; what changes is a tenth of it.
                layers += [images.debian_layer(BIG_BYTES * 9 // 10), images.debian_layer(BIG_BYTES // 10, big)]
            images.write_image(path.with_suffix(".partial"), layers, script, healthcheck)
            path.with_suffix(".partial").rename(path)
        return path

    def release(self, name: str, sequence: int, archives: dict[str, Path], options: tuple = (),
                key: Path | None = None, fleet: str = FLEET, device_type: str = DEVICE_TYPE) -> Release:
        bundle = self.directory / "bundles" / f"{name}.bundle"
        if not bundle.exists():
            bundle.parent.mkdir(exist_ok=True)
            compose_file = bundle.with_suffix(".yml")
            compose_file.write_text(COMPOSE.format(version=name))
            sources = [word for service, archive in archives.items()
                       for word in ("--image", f"{service}=docker-archive:{archive}")]
            run_tool("create", "--output", bundle, "--sign-key", key or self.key, "--fleet-uuid", fleet, "--device-type",
                     device_type, "--sequence", str(sequence), "--compose", compose_file, "--name", name, "--level", "3",
                     "--confirm-seconds", "3", *sources, *options, env={"SOURCE_DATE_EPOCH": "1600000000"})
        return Release(name, bundle, archives)

    # The lab's three releases, and two that must be taken back

    def archives(self, version: str, counter: str | None = None, healthcheck: list[str] | None = None) -> dict[str, Path]:
        return {"counter": self.image(f"counter-{version}", counter or COUNTER.format(version=version),
                                      healthcheck=healthcheck),
                "web": self.image("web", FOREVER),
                "big": self.image(f"big-{'1' if version == 'one' else '2'}", FOREVER, big=version if version == "one" else "two")}

    def one(self) -> Release:
        return self.release("one", 1, self.archives("one"))

    def two(self) -> Release:
        return self.release("two", 2, self.archives("two"))

    def crashing(self) -> Release:
        return self.release("crashing", 3, self.archives("crashing", "echo broken; exit 3\n"))

    def unhealthy(self) -> Release:
        return self.release("unhealthy", 4, self.archives("unhealthy", FOREVER, ["/bin/false"]))


def run_tool(*words: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([BUNDLE_TOOL, *map(str, words)], capture_output=True, text=True, check=False,
                          env={**os.environ, **(env or {})})
    if done.returncode != 0:
        raise RuntimeError(f"bundle-tool {words[0]}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def copy_bundle(release: Release, directory: Path, name: str | None = None) -> Path:
    """A copy that a test may damage."""
    target = directory / f"{name or release.name}.bundle"
    shutil.copytree(release.bundle, target)
    return target
