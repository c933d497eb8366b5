"""One whole update of the virtual device with all that was written to its disk, its firmware's variables and the stick: from it
comes the device as a power cut at any moment would have left it. The stages are told by the agent's journal as it was
written to the disk, so that nothing has to be asked of the machine while it works."""
from __future__ import annotations

import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ou_lab.recorded_disk import ALL, Log

from . import parts
from .device import Device, copy_sparse, new_stick
from .fleet import Fleet, sequence_of
from .machine import Machine
from .stick import Stick

# In the order in which an update goes through them. `plugged` begins with the stick, `trying` with the bootloader's count of
# the new OS's start, `over` with the outcome; the others are phases of the journal.
STAGES = ("plugged", "pulling", "installing-os", "rebooting", "trying", "confirming-os", "configuring", "switching", "confirming",
          "committing", "over")
PHASE = re.compile(rb'\{"app_id":[^\0]{1,3000}?"phase":"([a-z-]+)"')
TRYING = re.compile(rb"# GRUB Environment Block\n[^#]*bootcount=1\n")
OVER = re.compile(rb'"result": ?"updated"')
SECONDS_AFTER = 5.0  # an update is over: what a cut soon after it may still destroy


@dataclass(frozen=True)
class Moment:
    """A place in any recording: how far into a stage, by its time or by its writes, and what the disks keep of what they were not
    told to flush."""
    stage: str
    part: float
    by_writes: bool
    left: str
    seed: int


class Recording:
    """`saved`: the machine before the update."""

    def __init__(self, fleet: Fleet, saved: Path, bundle: Path, name: str):
        self.base = saved
        self.directory = parts.cached(f"recording-{name}", parts.digest(str(self.base), str(bundle)),
                                      lambda directory: self._make(directory, fleet, bundle, name))
        self.logs = {name: Log(self.directory / f"{name}.log") for name in ("disk", "variables", "stick")}
        self.begins = self._stages()

    def _make(self, directory: Path, fleet: Fleet, bundle: Path, name: str) -> None:
        for old in parts.CACHE.glob(f"recording-{name}-*"):
            if old.is_dir() and old != directory:
                shutil.rmtree(old)  # of a device that is no more
        stick = new_stick(directory, bundle)
        run = directory / "run"
        run.mkdir()
        copy_sparse(stick.image, run / "stick.img")
        device = Device.resumed(run, fleet, self.base, directory)
        try:
            device.machine.plug(run / "stick.img", log=directory / "stick.log")
            device.wait_for_outcome("updated", sequence=sequence_of(bundle), seconds=3600)
            device.wait_until_stick_has("updated")
            device.machine.run(f"sleep {SECONDS_AFTER}; sync")
        except BaseException:
            print(device.report())
            raise
        finally:
            device.machine.stop()
        shutil.rmtree(run)

    def _stages(self) -> dict[str, float]:
        disk = self.logs["disk"]
        begins = {"plugged": disk.entries[0].time}
        for found in PHASE.finditer(disk.data):
            begins.setdefault(found[1].decode(), disk.time_at(found.start()))
        for stage, pattern in (("trying", TRYING), ("over", OVER)):
            for found in pattern.finditer(disk.data):
                begins.setdefault(stage, disk.time_at(found.start()))
        if tuple(sorted(begins, key=begins.__getitem__)) != STAGES:
            raise RuntimeError(f"not the stages of an update: {begins}")
        return dict(sorted(begins.items(), key=lambda item: item[1]))

    def time_of(self, moment: Moment) -> float:
        times = [entry.time for entry in self.logs["disk"].entries]
        ends = [*list(self.begins.values())[1:], times[-1]]
        begin, end = self.begins[moment.stage], ends[list(self.begins).index(moment.stage)]
        if not moment.by_writes:
            return begin + moment.part * (end - begin)
        inside = [time for time in times if begin <= time <= end]
        return inside[int(moment.part * len(inside))]

    def device_at(self, moment: Moment, directory: Path, fleet: Fleet) -> tuple[Device, Stick]:
        """The device and the stick as they are when the power comes back."""
        directory.mkdir()
        time, dice = self.time_of(moment), random.Random(moment.seed)
        for name, base, left in (("disk.raw", self.base / "disk.raw", moment.left), ("variables.fd", self.base / "variables.fd", ALL),
                                 ("stick.img", self.directory / "stick.img", moment.left)):
            copy_sparse(base, directory / name)
            self.logs[name.split(".")[0]].cut(directory / name, time, left, dice)
        return Device(Machine(directory, directory / "disk.raw"), fleet), Stick(directory / "stick.img")
