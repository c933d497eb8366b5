"""The host OS from a stick on the virtual device, by the agent and by hand; docs/benchmarks.md says what it means."""
from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import MIB, table
from ou_device import parts
from ou_device.device import STATE, Device, new_stick, started
from ou_device.disk import OLD_VERSION
from ou_device.fleet import NEW_SUPERVISOR_VERSION, NEW_VERSION, Fleet
from ou_device.machine import MachineError

POLL_SECONDS = 0.2
# What one look at the machine prints: phase, used bytes of data partition and other slot, sectors of the stick, agent's peak.
LOOK = (f"cat {STATE}/journal.json 2>/dev/null | grep -o '\"phase\": *\"[a-z-]*\"' | cut -d'\"' -f4 | grep . || echo -; "
        "df -B1 --output=used /mnt/data /mnt/sysroot/inactive | tail -n +2 | tr -d ' '; "
        "cat /sys/block/sda/stat 2>/dev/null | awk '{print $3}' | grep . || echo 0; "
        "cat /proc/$(pgrep -o -x offline-updater)/status 2>/dev/null | awk '/VmHWM/ {print $2}' | grep . || echo 0")


@dataclass
class Run:
    """Of one update: when each phase was first seen, in seconds from the plugging in, and peaks in bytes."""
    phases: dict[str, float] = field(default_factory=dict)
    seconds: float = 0
    extra_disk: int = 0
    medium_read: int = 0
    memory: int = 0


def look(device: Device) -> tuple[str, int, int, int] | None:
    """Phase, used bytes of data and slot, bytes read from the stick, agent's peak; nothing while the machine is down."""
    try:
        phase, data, slot, sectors, memory = device.machine.try_run(LOOK, 5)[1].split()
    except (OSError, MachineError, ValueError):
        return None
    return phase, int(data) + int(slot), int(sectors) * 512, int(memory) * 1024


def watch(device: Device, done: Callable[[], bool]) -> Run:
    """Samples the machine until `done`. The slot's old content is wiped first, so what counts is the rise from the lowest."""
    run, started, lowest = Run(), time.monotonic(), sys.maxsize
    while not done():
        seen = look(device)
        if seen:
            phase, used, read, memory = seen
            run.phases.setdefault(phase, time.monotonic() - started)
            lowest = min(lowest, used)
            run.extra_disk = max(run.extra_disk, used - lowest)
            run.medium_read, run.memory = max(run.medium_read, read), max(run.memory, memory)
        time.sleep(POLL_SECONDS)  # a sample, not a wait
    run.seconds = time.monotonic() - started
    return run


def by_agent(directory: Path, fleet: Fleet, bundle: Path) -> Run:
    device = Device.resumed(directory, fleet, started(fleet))
    try:
        device.machine.plug(new_stick(directory, bundle).image)
        run = watch(device, lambda: bool(device.final_outcomes()))
        assert device.final_outcomes()[0]["result"] == "updated", device.report()
        return run
    finally:
        device.machine.stop()


def by_hand(directory: Path, fleet: Fleet) -> Run:
    """hostapp-update -f with the archive on the stick, as the OS's documents have it."""
    device = Device.resumed(directory, fleet, started(fleet))
    try:
        stick = new_stick(directory)
        stick.put(parts.hostapp(NEW_VERSION), "hostapp.tar")
        device.machine.plug(stick.image)
        device.machine.wait_for("the stick", lambda: device.try_run("ls /dev/sda1 2>/dev/null"))
        # What hostapp-update does since 2.95.11: the engine unpacks the archive on the data partition, not in the slot.
        device.machine.run("mkdir -p /run/stick /mnt/data/bench-tmp && mount -o ro /dev/sda1 /run/stick && "
                           "curl -sS --unix-socket /var/run/balena-host.sock http://d/_ping && mkdir -p /mnt/sysroot/inactive/balena/tmp && "
                           "mount --bind /mnt/data/bench-tmp /mnt/sysroot/inactive/balena/tmp")
        device.machine.run("systemd-run --unit=by-hand --remain-after-exit hostapp-update -f /run/stick/hostapp.tar")
        run = watch(device, lambda: "SubState=exited" in device.try_run("systemctl show -p SubState by-hand"))
        assert "Result=success" in device.machine.run("systemctl show -p Result by-hand"), device.machine.run("journalctl -u by-hand")
        return run
    finally:
        device.machine.stop()


def mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"


def of_phase(run: Run, phase: str, following: tuple[str, ...]) -> str:
    """How long a phase took: until the next one that was seen, or the end."""
    if phase not in run.phases:
        return "less than a sample"
    after = [run.phases[name] for name in following if name in run.phases]
    return f"{(after[0] if after else run.seconds) - run.phases[phase]:.1f} s"


def main() -> int:
    fleet = Fleet()
    base = Path(tempfile.mkdtemp(dir=parts.CACHE, prefix="bench-"))
    try:
        full = fleet.bundle("bench-full", 5, fleet.archives("two"),
                            fleet.os_options(NEW_VERSION) + fleet.supervisor_options(NEW_SUPERVISOR_VERSION))
        os_only = fleet.bundle("bench-os", 5, None, fleet.os_options(NEW_VERSION))
        size = parts.hostapp(NEW_VERSION).stat().st_size
        bundle_size = sum(path.stat().st_size for path in os_only.rglob("*") if path.is_file())
        print(f"hostapp {mib(size)} in {OLD_VERSION} to {NEW_VERSION}; its bundle {mib(bundle_size)}.\n")
        agent, hand = by_agent(base / "agent", fleet, os_only), by_hand(base / "hand", fleet)
        installed = agent.phases["rebooting"]
        table(["host OS alone", "until it is in the slot", "read from the stick", "peak extra disk", "peak memory of the agent"],
              [["agent", f"{installed:.1f} s", mib(agent.medium_read), mib(agent.extra_disk), mib(agent.memory)],
               ["hostapp-update -f, by hand", f"{hand.seconds:.1f} s", mib(hand.medium_read), mib(hand.extra_disk), ""]])
        whole = by_agent(base / "full", fleet, full)
        names = ("pulling", "installing-os", "rebooting", "confirming-os", "configuring", "switching", "confirming", "committing")
        verified = min(whole.phases[name] for name in names if name in whole.phases)
        table(["OS, supervisor and release, phase", "takes"],
              [["verifying, planning", f"{verified:.1f} s"],
               *[[name, of_phase(whole, name, names[index + 1:])] for index, name in enumerate(names)],
               ["all", f"{whole.seconds:.1f} s"]])
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
