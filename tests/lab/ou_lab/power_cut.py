"""The lab device on a disk that writes down what is done to it (support/recordfs): one update gives as many power cuts as are
wanted. A cut takes what was not flushed, and all that the kernel had not even written, as a real one does."""
from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator

from .device import BUILD, LabDevice
from .engine import ENGINE, wait_until, write_in_order
from .media import Stick
from .recorded_disk import Log
from .releases import Factory, Release

RECORDFS = BUILD / "tests/support/recordfs/recordfs"
# An engine keeps absolute paths: a device has to be at the same place after the cut.
HOME = BUILD / "lab-devices/cut"
DISKS = BUILD / "lab-devices/disks-of-cuts"  # not below HOME: the agent takes loop devices of files there for media
SIZE_BYTES = 1200 << 20
PHASE = re.compile(rb'\{"app_id":[^\0]{1,3000}?"phase":"([a-z-]+)"')
SECONDS_AFTER = 3.0


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def blank_disk(path: Path) -> Path:
    with open(path, "wb") as out:
        out.truncate(SIZE_BYTES)
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path)
    if ENGINE == "dockerd":
        write_in_order(path, "engine/data")
    return path


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[None]:
    target = HOME / "device"
    target.mkdir(parents=True, exist_ok=True)
    loop = _run("losetup", "--find", "--show", image).strip()
    _run("blockdev", "--setrw", loop)  # an agent protects its media, and a loop device keeps that when its file is gone
    try:
        _run("mount", loop, target)
        try:
            yield
        finally:
            wait_until("the disk to be free", lambda: subprocess.run(["umount", target], capture_output=True).returncode == 0, 60)
    finally:
        _run("losetup", "--detach", loop)


@contextlib.contextmanager
def recorded(image: Path, log: Path) -> Iterator[Path]:
    """A file that is the image, each write to which goes to the log as well."""
    point = image.with_suffix(".recorded")
    point.mkdir()
    _run(RECORDFS, image, log, point)
    try:
        yield point / "disk"
    finally:
        wait_until("the recording to end", lambda: subprocess.run(["umount", point], capture_output=True).returncode == 0, 60)
        point.rmdir()


class Recording:
    """One update of the lab device to `release`, from the stick on."""

    def __init__(self, directory: Path, factory: Factory, release: Release, options: dict[str, str]):
        self.directory, self.factory, self.release, self.options = directory, factory, release, options
        directory.mkdir(parents=True)
        image = blank_disk(directory / "disk.img")
        _run("cp", "--sparse=always", image, directory / "blank.img")
        self.stick = Stick.with_bundles(directory / "stick.img", [release.bundle])
        with recorded(image, directory / "log") as disk, mounted(disk):
            with self.device() as lab:
                factory.put_into_service(lab, factory.one(), made=True)
                _run("sync", "-f", lab.directory)
                self.begin = time.monotonic()
                with self.inserted():
                    lab.run_agent()
                    wait_until("the end of the update", lambda: [o for o in lab.outcomes() if is_final(o)], 240, 0.1)
                    time.sleep(SECONDS_AFTER)  # what may still be lost when all is said
                self.end = time.monotonic()
        image.unlink()
        self.log = Log(directory / "log")
        self.stages = self._stages()

    def _stages(self) -> dict[str, float]:
        """When each stage began, by the journal as it was written."""
        begins = {"inserted": self.begin}
        for found in PHASE.finditer(self.log.data):
            begins.setdefault(found[1].decode(), self.log.time_at(found.start()))
        last_phase = max(begins.values())
        for entry in self.log.entries:
            if entry.time >= self.begin and b'"finished_at"' in self.log.data[entry.data_at:entry.data_at + entry.length]:
                begins.setdefault("over" if entry.time >= last_phase else "copied", entry.time)
        return dict(sorted(begins.items(), key=lambda item: item[1]))

    @contextlib.contextmanager
    def device(self) -> Iterator[LabDevice]:
        lab = LabDevice(HOME / "device")
        lab.options = dict(self.options)
        try:
            yield lab
        except BaseException:
            print(lab.logs())
            raise
        finally:
            lab.stop()
            end_processes_of(HOME / "device")

    @contextlib.contextmanager
    def inserted(self) -> Iterator[None]:
        """A stick as it was given out, in the device's port."""
        path = HOME / "stick.img"
        shutil.copyfile(self.stick.path, path)
        stick = Stick.of(path)
        stick.insert()
        try:
            yield
        finally:
            stick.eject()
            path.unlink()

    @contextlib.contextmanager
    def after(self, stage: str, part: float, left: str, dice: random.Random) -> Iterator[LabDevice]:
        """The device when the power is back: host and engine run, the agent not yet."""
        begins = [*self.stages.values(), self.end]
        at = list(self.stages).index(stage)
        image = self.directory / "cut.img"
        image.unlink(missing_ok=True)
        _run("cp", "--sparse=always", self.directory / "blank.img", image)
        self.log.cut(image, begins[at] + part * (begins[at + 1] - begins[at]), left, dice)
        with mounted(image):
            lost_with_memory(HOME / "device")
            with self.device() as lab:
                lab.engine.start()
                lab.start_host_services()
                yield lab
        image.unlink()


def is_final(outcome: dict) -> bool:
    return outcome["result"] not in ("staged", "interrupted")


def end_processes_of(directory: Path) -> None:
    """Those that name the directory in their command line: what keeps containers alive outlives an engine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{directory}/".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def lost_with_memory(device: Path) -> None:
    """What is on a tmpfs of a real device is on the disk here, and has to go with a cut."""
    for name in ("run", "engine/exec", "host/tmp"):
        shutil.rmtree(device / name, ignore_errors=True)
    for name in ("bus.sock", "engine/engine.sock", "engine/engine.pid"):
        (device / name).unlink(missing_ok=True)
    (device / "host/tmp/balena-supervisor/services").mkdir(parents=True)
