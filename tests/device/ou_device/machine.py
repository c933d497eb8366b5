"""One virtual device under QEMU: power, serial console, a stick in its USB port, and commands inside."""
from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from ou_lab.engine import wait_until
from ou_lab.recorded_disk import RecordedDisk

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
MEMORY_MIB = 1536


class MachineError(Exception):
    pass


class JsonSocket:
    """Lines of JSON over a Unix socket."""

    def __init__(self, path: Path, seconds: float = 30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wait_until(f"{path.name}", lambda: self._connect(path), seconds)
        self.buffer = b""

    def _connect(self, path: Path) -> bool:
        try:
            self.socket.connect(str(path))
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def send(self, value: dict) -> None:
        self.socket.sendall(json.dumps(value).encode() + b"\n")

    def receive(self, seconds: float) -> dict:
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the other side is gone")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:
            return {}

    def close(self) -> None:
        self.socket.close()


class Machine:
    """`disk` is changed. With `logs`, a directory, all that is written to it and to the firmware's variables is recorded there,
    as disk.log and variables.log."""

    def __init__(self, directory: Path, disk: Path, logs: Path | None = None) -> None:
        self.directory, self.disk, self.logs = directory, disk, logs
        directory.mkdir(parents=True, exist_ok=True)
        self.sockets = Path(tempfile.mkdtemp(prefix="ou-machine-"))  # their paths have to be short
        self.console = directory / "console.log"
        self.variables = directory / "variables.fd"
        if not self.variables.exists():
            shutil.copy2(FIRMWARE_VARIABLES, self.variables)
        self._process: subprocess.Popen | None = None
        self._recorded: list[RecordedDisk] = []
        self._qmp: JsonSocket | None = None
        self._channel: JsonSocket | None = None
        self._request = 0
        self.sticks: dict[str, Path] = {}

    # Power

    def start(self, incoming: Path | None = None) -> None:
        self.sockets.mkdir(exist_ok=True)
        for name in ("qmp.sock", "channel.sock"):
            (self.sockets / name).unlink(missing_ok=True)
        drive, variables = f"file.driver=file,file.filename={self.disk}", str(self.variables)
        if self.logs:
            drive = f"file.driver=nbd,file.server.type=unix,file.server.path={self._record(self.disk, self.logs / 'disk.log')}"
            variables = f"nbd:unix:{self._record(self.variables, self.logs / 'variables.log')}"
        command = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
            "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-vga", "none", "-net", "none",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}",
            "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
            "-blockdev", f"driver=raw,node-name=system,{drive}", "-device", "virtio-blk-pci,drive=system,bootindex=0,write-cache=on",
            "-device", "qemu-xhci,id=usb",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=channel,path={self.sockets}/channel.sock,server=on,wait=off",
            "-device", "virtserialport,chardev=channel,name=ou.test",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{self.sockets}/qmp.sock,server=on,wait=off"]
        if incoming:
            command += ["-incoming", f"exec:cat {incoming}"]
        self._process = subprocess.Popen(command, stdout=open(self.directory / "qemu.log", "ab"), stderr=subprocess.STDOUT,
                                         start_new_session=True)
        self._qmp = JsonSocket(self.sockets / "qmp.sock")
        self._qmp.receive(30)
        self.qmp("qmp_capabilities")
        self._channel = JsonSocket(self.sockets / "channel.sock")

    def _record(self, image: Path, log: Path) -> Path:
        """The socket at which a recorded disk is served."""
        self._recorded.append(RecordedDisk(image, log, self.sockets / f"{log.stem}.sock"))
        return self._recorded[-1].path

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for recorded in self._recorded:
            recorded.stop()
        self._recorded.clear()
        self._close()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _close(self) -> None:
        for connection in (self._qmp, self._channel):
            if connection:
                connection.close()
        self._process = self._qmp = self._channel = None
        self.sticks.clear()

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def save_state(self, target: Path) -> None:
        """Writes memory and devices to a file and ends the machine: the disk as it is then belongs to the state."""
        self.qmp("stop")
        self.qmp("migrate", uri=f"exec:cat > {target}")
        wait_until("the state to be written", lambda: self.qmp("query-migrate").get("status") == "completed", 300, 0.2)
        self.stop()

    def resume(self) -> None:
        """After start(incoming): as soon as the memory is there, it goes on."""
        self.wait_for("the memory to be read", lambda: self.qmp("query-status").get("status") == "paused", 120, 0.1)
        self.qmp("cont")

    # QMP

    def qmp(self, execute: str, **arguments: object) -> dict:
        assert self._qmp is not None
        self._qmp.send({"execute": execute, "arguments": arguments})
        while True:
            reply = self._qmp.receive(60)
            if "error" in reply:
                raise MachineError(f"{execute}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"] if isinstance(reply["return"], dict) else {"value": reply["return"]}

    def plug(self, image: Path, name: str = "stick", log: Path | None = None) -> None:
        file: dict = {"driver": "file", "filename": str(image)}
        if log:
            file = {"driver": "nbd", "server": {"type": "unix", "path": str(self._record(image, log))}}
        self.qmp("blockdev-add", **{"driver": "raw", "node-name": name, "file": file})
        self.qmp("device_add", driver="usb-storage", id=f"{name}-device", drive=name, bus="usb.0", removable=True)
        self.sticks[name] = image

    def pull(self, name: str = "stick") -> None:
        self.qmp("device_del", id=f"{name}-device")

        def released() -> bool:
            try:
                self.qmp("blockdev-del", **{"node-name": name})
                return True
            except MachineError:
                return False
        wait_until(f"{name} to be released", released, 30, 0.1)
        del self.sticks[name]

    # Inside

    def run(self, command: str, seconds: float = 60) -> str:
        """The output of a shell command in the machine; fails when the command does."""
        code, out, err = self.try_run(command, seconds)
        if code != 0:
            raise MachineError(f"{command}: exit {code}: {out[-1000:]}{err[-1000:]}\n{self.tail()}")
        return out

    def try_run(self, command: str, seconds: float = 60) -> tuple[int, str, str]:
        assert self._channel is not None
        self._request += 1
        self._channel.send({"id": self._request, "command": command, "timeout": seconds})
        while True:
            answer = self._channel.receive(seconds + 15)
            if answer.get("id") == self._request:
                return answer["code"], answer["out"], answer["err"]

    def answers(self) -> bool:
        """Whether the machine is up so far that it runs commands."""
        if self._process is None or self._process.poll() is not None:
            raise MachineError(f"QEMU ended: {(self.directory / 'qemu.log').read_text()[-1000:]}")
        try:
            return self.try_run("true", 3)[0] == 0
        except (TimeoutError, OSError):
            return False

    def wait_until_up(self, seconds: float = 300) -> None:
        self.wait_for("the machine to answer", self.answers, seconds, 2)

    def wait_for(self, what: str, condition, seconds: float = 300, poll: float = 0.5):
        """Waits for a condition and returns its value. The seconds are those of a host that does nothing else: while it has more
        to do than it has processors, they pass more slowly."""
        left, before = seconds, time.monotonic()
        while True:
            value = condition()
            if value:
                return value
            if left < 0:
                raise MachineError(f"waited {seconds} s for: {what}\n{self.tail()}")
            time.sleep(poll)
            now = time.monotonic()
            left -= (now - before) * min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 1.0))
            before = now

    def read(self, path: str) -> str:
        return self.run(f"cat '{path}'")

    def boot_id(self) -> str:
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    def os_version(self) -> str:
        return self.run(". /etc/os-release; echo $VERSION").strip()

    def tail(self) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return f"--- console\n{text[-3000:]}"


