"""A USB stick in a file: a partition table with one FAT32 partition, as sticks are sold."""
from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from .parts import run

OFFSET_MIB = 1
MIB = 1 << 20


class Stick:
    """The stick in an image that is there; blank() makes one."""

    def __init__(self, image: Path):
        self.image = image

    @classmethod
    def blank(cls, image: Path, size_mib: int = 512) -> "Stick":
        stick = cls(image)
        with open(image, "wb") as out:
            out.truncate(size_mib * MIB)
        run("sfdisk", "-q", image, input=f"label: dos\nstart={OFFSET_MIB}MiB, type=c\n")
        # Not mkfs.vfat: it would take the whole file.
        run("mformat", "-i", stick._place(), "-F", "-v", "STICK", "-T", str((size_mib - OFFSET_MIB) * MIB // 512), "-h", "255", "-s",
            "63", "::")
        return stick

    def _place(self) -> str:
        return f"{self.image}@@{OFFSET_MIB}M"

    def put(self, bundle: Path, name: str | None = None) -> "Stick":
        target = name or bundle.name
        run("mcopy", "-s", "-Q", "-i", self._place(), bundle, f"::/{target}")
        return self

    def results(self) -> list[dict]:
        """What the device has written to it, in order of time. \\pre the stick is not plugged in"""
        found = self.image.with_suffix(".results")
        shutil.rmtree(found, ignore_errors=True)
        found.mkdir()
        subprocess.run(["mcopy", "-s", "-n", "-i", self._place(), "::/offline-updater-results", found], capture_output=True,
                       check=False)
        files = sorted(found.rglob("*.json"))
        return [json.loads(path.read_text()) for path in files]
