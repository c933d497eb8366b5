"""Media of the lab: ext4 images behind loop devices, whose uevents are the kernel's own. (This kernel has no FAT;
FAT is mounted in the virtual device of a later issue.)"""
from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Iterator


def _run(*command: str | Path, **options) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


def bytes_of(directory: Path) -> int:
    """The size of all files below a directory."""
    return sum(file.lstat().st_size for file in directory.rglob("*") if file.is_file())


class Stick:
    """One medium: a file with a file system. It can be in a port (attached) or not."""

    def __init__(self, path: Path, size_bytes: int, content: Path | None = None, label: str = "STICK",
                 options: tuple[str, ...] = ()):
        self.path = path
        self.device: str | None = None
        self._spare: Path | None = None
        with open(path, "wb") as file:
            file.truncate(size_bytes)
        source = ["-d", content] if content else []
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, *options, *source, path)

    @classmethod
    def of(cls, path: Path) -> "Stick":
        """One whose file is there."""
        stick = cls.__new__(cls)
        stick.path, stick.device, stick._spare = path, None, None
        return stick

    @classmethod
    def with_bundles(cls, path: Path, bundles: list[Path], extra_bytes: int = 32 << 20) -> "Stick":
        content = path.with_suffix(".content")
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir(parents=True)
        for bundle in bundles:
            shutil.copytree(bundle, content / bundle.name, symlinks=True)
        stick = cls(path, int(bytes_of(content) * 1.1) + extra_bytes, content)
        shutil.rmtree(content)
        return stick

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mounted on this machine, writable."""
        mount = self.path.with_suffix(".mount")
        mount.mkdir()
        _run("mount", "-o", "loop", self.path, mount)
        try:
            yield mount
        finally:
            _run("umount", mount)

    def insert(self) -> None:
        assert self.device is None
        self.device = _run("losetup", "--find", "--show", self.path).strip()

    def pull(self) -> None:
        """Takes the medium out while it is in use: reads fail from now on, and the device says that it has no medium.
        The content is kept aside, so that the stick can be inserted again."""
        assert self.device is not None
        self._spare = self.path.with_suffix(".spare")
        shutil.copyfile(self.path, self._spare)
        with open(self.path, "r+b") as file:
            file.truncate(0)
        _run("losetup", "--set-capacity", self.device)
        self.eject()
        self._spare.replace(self.path)

    def eject(self) -> None:
        """Takes the medium out; what has it mounted keeps it until it is unmounted."""
        if self.device:
            # The agent protects its media, and a loop device would keep that for whoever has it next.
            subprocess.run(["blockdev", "--setrw", self.device], check=False, capture_output=True)
            subprocess.run(["losetup", "--detach", self.device], check=False, capture_output=True)
            self.device = None

    def results(self) -> list[dict]:
        """The JSON results that agents have written to the medium, oldest name first."""
        return [json.loads(text) for name, text in self.files("offline-updater-results") if name.endswith(".json")]

    def files(self, directory: str) -> list[tuple[str, str]]:
        """Names and texts of the files in a directory of the medium, read without mounting it."""
        names = [line.split("/")[5] for line in _run("debugfs", "-R", f"ls -p /{directory}", self.path).splitlines()
                 if line.startswith("/")]
        return [(name, _run("debugfs", "-R", f"cat /{directory}/{name}", self.path))
                for name in sorted(names) if name not in (".", "..", "")]
