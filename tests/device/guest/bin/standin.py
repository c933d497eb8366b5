"""STAND-IN: what the stand-ins of this machine share. Their contract is shared/reference/balenaos.md."""
from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from pathlib import Path

BOOT = Path("/mnt/boot")
STATE = Path("/mnt/state")
GRUBENV = BOOT / "EFI/BOOT/grubenv"
ACTIVE = Path("/mnt/sysroot/active")
INACTIVE = Path("/mnt/sysroot/inactive")
HEALTH = STATE / "rollback-health-breadcrumb"
ALTBOOT = STATE / "rollback-altboot-breadcrumb"
HEALTH_TRIGGERED = STATE / "rollback-health-triggered"
ALTBOOT_TRIGGERED = STATE / "rollback-altboot-triggered"
VARIABLES = STATE / "rollback-health-variables"


def running_root() -> str:
    """"2" or "3": the slot that the kernel was started from."""
    return next(word.split("=")[1] for word in Path("/proc/cmdline").read_text().split()
                if word.startswith("ou.slot="))


def other_root() -> str:
    return "3" if running_root() == "2" else "2"


def grubenv() -> dict[str, str]:
    lines = GRUBENV.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write_grubenv(values: dict[str, str]) -> None:
    """A GRUB environment block: 1024 bytes, filled with '#'. Written in place, as grub-editenv does."""
    text = "# GRUB Environment Block\n" + "".join(f"{key}={value}\n" for key, value in values.items())
    with open(GRUBENV, "r+b" if GRUBENV.exists() else "wb") as out:
        out.write((text + "#" * (1024 - len(text))).encode())
        out.flush()
        os.fsync(out.fileno())


def set_selector(root: str, upgrade: bool) -> None:
    write_grubenv({"resin_root_part": root, "upgrade_available": "1" if upgrade else "0", "bootcount": "0"})


def touch(path: Path) -> None:
    path.touch()
    os.sync()


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    os.sync()


class Engine:
    """The few calls of an engine's API that the stand-ins need."""

    def __init__(self, path: str):
        self.path = path

    def request(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("localhost", timeout=3600)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.path)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        reply = connection.getresponse()
        if reply.status >= 400:
            raise RuntimeError(f"{method} {path}: {reply.status} {reply.read().decode()}")
        return reply

    def call(self, method: str, path: str, body: object = None) -> object:
        text = self.request(method, path, body).read()
        return json.loads(text) if text else None

    def pull(self, reference: str) -> None:
        """Fails with the engine's words. Like `balena pull` it never gives up on a registry that is gone."""
        name, _, digest = reference.partition("@")
        for line in self.request("POST", f"/images/create?fromImage={name}&tag={digest}"):
            message = json.loads(line)
            if "error" in message:
                raise RuntimeError(message["error"])


def lower_directories(slot: Path, container: str) -> list[str]:
    """The image's layers of a container that was created and never started, without its init layer (the `bare`
    runtime of balenaEngine makes none)."""
    mount = (slot / "balena/image/overlay2/layerdb/mounts" / container / "mount-id").read_text()
    links = (slot / "balena/overlay2" / mount / "lower").read_text().split(":")
    return [str((slot / "balena/overlay2" / link).resolve()) for link in links[1:]]


def run(*command: str) -> None:
    subprocess.run(command, check=True)
