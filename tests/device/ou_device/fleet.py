"""The fleet of the virtual device: its owner's key, its releases, and bundles with a host OS."""
from __future__ import annotations

import json
from pathlib import Path

from ou_lab import images
from ou_lab.device import FLEET
from ou_lab.releases import run_tool

from . import parts
from .disk import FirstRelease

EXAMPLE = parts.SOURCE / "docker/docker-compose.yml"
# Beside what the example sets: a test does not wait an hour for a stick that is gone for good.
WAIT = "      OFFLINE_UPDATER_WAIT_FOR_MEDIUM_SECONDS: \"60\"\n"
MAIN = """
  main:
    image: main
    restart: always
    volumes: ["data:/data"]
volumes:
  data: {}
"""
# Its own file and no other: a service does not sync what the engine has written.
COUNT = "echo \"start of {name}\" >> /data/log; sync /data/log; exec sleep 1000000\n"
CRASH = "echo broken; exit 3\n"
NEW_VERSION = "6.6.0"  # of the host OS that bundles bring
NEXT_VERSION = "6.7.0"  # and of one for a device that has had such a bundle
NEW_SUPERVISOR_VERSION = "18.0.0"
NEXT_SUPERVISOR_VERSION = "18.1.0"
NEW_SUPERVISOR = "registry2.balena-cloud.com/v2/fedcba9876543210fedcba9876543210"


class Fleet:
    def __init__(self) -> None:
        self.directory = parts.cached("fleet", parts.digest("keys"), self._make_keys)
        self.key = self.directory / "owner.key"
        self.trust = f"key {(self.directory / 'owner.pub').read_text().splitlines()[1]} owner\n"

    @staticmethod
    def _make_keys(directory: Path) -> None:
        run_tool("key", "generate", directory / "owner", "--no-password")

    def archives(self, name: str, script: str = COUNT) -> dict[str, Path]:
        """The agent is the same in every release, so that it goes on through a switch."""
        main = parts.cached("main", parts.digest(name, script), lambda directory: images.write_image(
            directory / "main.tar", [images.base_layer()], script.format(name=name)))
        return {"main": main / "main.tar", "offline-updater": parts.agent_image(self.trust)}

    def bundle(self, name: str, sequence: int, archives: dict[str, Path] | None = None, options: tuple = (),
               fleet: str = FLEET) -> Path:
        """NAME.bundle with a release, or without one; `options` go to bundle-tool create."""
        inputs = {key: str(path) for key, path in (archives or {}).items()}
        tool = parts.hashlib.sha256(parts.BUILD.joinpath("bundle-tool/bundle-tool").read_bytes()).hexdigest()

        def make(directory: Path) -> None:
            words = ["create", "--output", directory / f"{name}.bundle", "--sign-key", self.key, "--sequence", str(sequence),
                     "--fleet-uuid", fleet, "--device-type", parts.SLUG, "--name", name, "--level", "1", *options]
            if archives:
                compose = directory / "compose.yml"
                compose.write_text(EXAMPLE.read_text().rstrip() + "\n" + WAIT + MAIN)
                words += ["--compose", compose, "--confirm-seconds", "3"]
                words += [word for service, path in archives.items() for word in ("--image", f"{service}=docker-archive:{path}")]
            run_tool(*words, env={"SOURCE_DATE_EPOCH": "1600000000"})
        key = parts.digest(name, sequence, inputs, options, fleet, tool, EXAMPLE.read_text(), WAIT, MAIN, str(self.key))
        return parts.cached("bundle", key, make) / f"{name}.bundle"

    def first(self) -> FirstRelease:
        archives = self.archives("one")
        return FirstRelease(self.bundle("one", 1, archives), archives)

    def second(self) -> Path:
        """OS, supervisor and release."""
        return self.bundle("full", 5, self.archives("two"),
                           self.os_options(NEW_VERSION) + self.supervisor_options(NEW_SUPERVISOR_VERSION))

    @staticmethod
    def os_options(version: str, variant: str = "good") -> tuple[str, ...]:
        return ("--os-image", f"docker-archive:{parts.hostapp(version, variant)}")

    @staticmethod
    def supervisor_options(version: str) -> tuple[str, ...]:
        return ("--supervisor-image", f"docker-archive:{parts.supervisor_image(version)}",
                "--supervisor-name", NEW_SUPERVISOR, "--supervisor-version", version)


def manifest_of(bundle: Path) -> dict:
    return json.loads((bundle / "manifest.json").read_text())


def sequence_of(bundle: Path) -> int:
    return manifest_of(bundle)["sequence"]


def commit_of(bundle: Path) -> str:
    (commit, _), = manifest_of(bundle)["release"][FLEET]["releases"].items()
    return commit
