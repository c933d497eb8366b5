"""The virtual device as the tests see it: made once, kept with the memory of a machine that has been started, and given to
each test as a copy of its own."""
from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

from . import disk, parts
from .disk import IDENTITY, OLD_VERSION
from .fleet import Fleet, commit_of
from .machine import Machine, MachineError
from .stick import Stick

IDENTITY_KEYS = ("uuid", "deviceType", "applicationId", "deviceApiKey", "deviceId", "registered_at", "userId")
STATE = "/mnt/data/offline-updater"
CONTAINERS = "curl -s --unix-socket /run/balena-engine.sock http://d/containers/json"
POLL = 3.0  # seconds; a command that is run in the machine costs it a tenth of one
SOURCES = ("disk.py", "parts.py", "fleet.py")


def copy_sparse(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def factory_disk(fleet: Fleet) -> Path:
    """A disk as it leaves the factory."""
    first = fleet.first()
    key = parts.digest(str(first), str(parts.hostapp(OLD_VERSION)), str(parts.supervisor_image(disk.SUPERVISOR_VERSION)),
                       *[(parts.HERE / name).read_text() for name in SOURCES])
    return parts.cached("disk", key, lambda directory: disk.make_disk(
        directory / "disk.raw", parts.hostapp(OLD_VERSION), first)) / "disk.raw"


def started(fleet: Fleet) -> Path:
    """DIR/disk.raw, DIR/variables.fd and DIR/memory of a machine on which the agent runs."""
    source = factory_disk(fleet)

    def make(target: Path) -> None:
        (target / "machine").mkdir()
        copy_sparse(source, target / "machine/disk.raw")
        with Machine(target / "machine", target / "machine/disk.raw") as machine:
            machine.start()
            Device(machine, fleet).wait_until_in_service()
            save(machine, target)
    return parts.cached("started", parts.digest(str(source), (parts.HERE / "machine.py").read_text()), make)


def updated_once(fleet: Fleet) -> Path:
    """The same of a machine that runs what Fleet.second() brings, from its other slot."""
    source, bundle = started(fleet), fleet.second()

    def make(target: Path) -> None:
        device = Device.resumed(target / "machine", fleet, source)
        with device.machine as machine:
            machine.plug(new_stick(target / "machine", bundle).image)
            device.wait_for_outcome("updated")
            device.wait_until_stick_has("updated")
            machine.pull()
            save(machine, target)
    return parts.cached("updated-once", parts.digest(str(source), str(bundle)), make)


def save(machine: Machine, target: Path) -> None:
    """Ends a machine and keeps what Device.resumed() needs."""
    machine.run("sync")
    machine.save_state(target / "memory")
    for path in (machine.disk, machine.variables):
        path.rename(target / path.name)
    shutil.rmtree(machine.directory)


class Device:
    """One device, its stick, and what can be seen of it from outside."""

    def __init__(self, machine: Machine, fleet: Fleet):
        self.machine, self.fleet = machine, fleet

    @classmethod
    def resumed(cls, directory: Path, fleet: Fleet, saved: Path, logs: Path | None = None) -> "Device":
        """A copy of a machine that was saved, with what was in its memory. With `logs`, its disk is recorded there."""
        directory.mkdir(parents=True, exist_ok=True)
        copy_sparse(saved / "disk.raw", directory / "disk.raw")
        shutil.copy2(saved / "variables.fd", directory / "variables.fd")
        device = cls(Machine(directory, directory / "disk.raw", logs), fleet)
        with device._stopped_unless_ready():
            device.machine.start(saved / "memory")
            device.machine.resume()
        return device

    @contextlib.contextmanager
    def _stopped_unless_ready(self) -> Iterator[None]:
        """Leaves no machine behind when a test is ended while it starts."""
        try:
            yield
        except BaseException:
            self.machine.stop()
            raise

    # Life

    def wait_until_in_service(self, seconds: float = 240) -> None:
        """Until the supervisor has started the fleet's release, the agent with it."""
        self.machine.wait_until_up(seconds)
        self.machine.wait_for("the agent's container", lambda: "/offline-updater_" in self.try_run(CONTAINERS), seconds, POLL)

    def try_run(self, command: str) -> str:
        """The output of a command; nothing while the machine is down."""
        try:
            return self.machine.try_run(command, 20)[1]
        except (OSError, MachineError):
            return ""

    # What can be seen

    def outcomes(self, sequence: int | None = None) -> list[dict]:
        """All, or those of one bundle, the oldest first."""
        text = self.try_run(f"for f in {STATE}/outcomes/*.json; do cat $f; printf '\\0'; done 2>/dev/null")
        found = []
        for piece in text.split("\0"):
            try:
                found.append(json.loads(piece))
            except ValueError:
                continue
        return [outcome for outcome in found if sequence in (None, outcome["bundle"].get("sequence"))]

    def wait_for_outcome(self, *results: str, sequence: int | None = None, seconds: float = 900) -> dict:
        """The first outcome with one of these results, or any that is final; of that bundle, if one is named."""
        final = results or ("updated", "up-to-date", "refused", "failed", "reverted")

        def found() -> dict | None:
            return next((outcome for outcome in self.outcomes(sequence) if outcome["result"] in final), None)
        return self.machine.wait_for(f"an outcome {'/'.join(final)}: {self.journal()}", found, seconds, POLL)

    def final_outcomes(self) -> list[dict]:
        return [outcome for outcome in self.outcomes() if outcome["result"] != "interrupted"]

    def wait_for_last_outcome(self, *results: str, sequence: int | None = None, seconds: float = 900) -> dict:
        """Until the newest outcome, of that bundle if one is named, has one of these results."""
        def found() -> dict | None:
            outcomes = self.outcomes(sequence)
            return outcomes[-1] if outcomes and outcomes[-1]["result"] in results else None
        return self.machine.wait_for(f"a last outcome {'/'.join(results)}: {self.journal()}", found, seconds, POLL)

    def wait_until_settled(self, seconds: float = 900) -> None:
        """Until no update is under way; one that waits for its medium gives up after a while (see fleet.py)."""
        gone = f"test -e {STATE}/journal.json || echo gone"  # said by a machine that is up
        self.machine.wait_for("the update to be over", lambda: self.try_run(gone).strip() == "gone", seconds, POLL)

    def wait_for_log(self, text: str, seconds: float = 600) -> None:
        self.machine.wait_for(f"the agent to log {text}", lambda: text in self.agent_log(), seconds, 0.5)

    def wait_until_stick_has(self, result: str) -> None:
        """Until the agent has written a result to the stick and unmounted it."""
        self.wait_for_log(f"the result is on the medium: {result}", 120)

    def journal(self) -> dict:
        try:
            return json.loads(self.try_run(f"cat {STATE}/journal.json 2>/dev/null"))
        except ValueError:
            return {}

    def phase(self) -> str:
        return self.journal().get("phase", "")

    def wait_for_phase(self, *phases: str, seconds: float = 600, poll: float = 0.2) -> str:
        def reached() -> str | None:
            phase = self.phase()
            return phase if phase in phases else None
        return self.machine.wait_for(f"the phase {'/'.join(phases)}", reached, seconds, poll)

    def config(self) -> dict:
        return json.loads(self.machine.read("/mnt/boot/config.json"))

    def running_commit(self) -> str:
        script = ("import sqlite3; print(sqlite3.connect('/mnt/data/resin-data/balena-supervisor/database.sqlite')"
                  ".execute('SELECT \"commit\" FROM currentCommit').fetchone()[0])")
        return self.try_run(f"python3 -c \"{script.replace(chr(34), chr(92) + chr(34))}\"").strip()

    def volume_log(self) -> list[str]:
        return self.machine.run("cat /mnt/data/docker/volumes/*_data/_data/log").splitlines()

    def agent_log(self) -> str:
        return self.try_run("cat $(grep -l offline-updater-agent /mnt/data/docker/containers/*/config.v2.json | head -1 | "
                            "xargs dirname)/*-json.log | tail -40")

    def check_same_device(self) -> None:
        """Identity, users' data and the site's boot settings are what they were."""
        config = self.config()
        assert {key: config.get(key) for key in IDENTITY_KEYS} == {key: IDENTITY[key] for key in IDENTITY_KEYS}
        assert self.volume_log()[0] == "start of one", "the volume lost what was in it"
        assert "site.option=1" in self.machine.read("/mnt/boot/EFI/BOOT/grub_extraenv")
        assert self.machine.read("/mnt/boot/system-connections/site.nmconnection").startswith("[connection]")

    def check_runs(self, version: str, bundle: Path) -> None:
        assert self.machine.os_version() == version
        assert self.running_commit() == commit_of(bundle)
        self.check_same_device()

    def report(self) -> str:
        """For whoever looks for a fault."""
        return "\n".join([f"journal: {self.journal()}", f"outcomes: {self.outcomes()}", self.agent_log(),
                          self.try_run(f"cat {STATE}/os-update.log; journalctl -b -n 40 --no-pager"), self.machine.tail()])


def new_stick(directory: Path, *bundles: Path, name: str = "stick") -> Stick:
    stick = Stick.blank(directory / f"{name}.img")
    for bundle in bundles:
        stick.put(bundle)
    return stick
