"""A real container engine of the lab device: Debian's dockerd, or another one, with its own data root and no network."""
from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any, Callable, Iterator


def wait_until(what: str, condition: Callable[[], Any], seconds: float = 60, poll: float = 0.05) -> Any:
    """Waits for a condition and returns its value; fails with `what` when it does not come true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for: {what}")
        time.sleep(poll)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class EngineError(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(f"{status}: {message}")
        self.status = status


class EngineClient:
    """The few calls of the engine's API that the lab needs."""

    def __init__(self, socket_path: Path | str):
        self.socket_path = str(socket_path)

    def call(self, method: str, path: str, body: Any = None, timeout: float = 120) -> Any:
        connection = _UnixConnection(self.socket_path, timeout)
        try:
            data = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if data else {}
            connection.request(method, path, data, headers)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
        finally:
            connection.close()
        if reply.status >= 400:
            raise EngineError(reply.status, text.strip())
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def messages(self, method: str, path: str, timeout: float = 600) -> Iterator[dict]:
        """The messages of a long answer as they come."""
        with contextlib.closing(_UnixConnection(self.socket_path, timeout)) as connection:
            connection.request(method, path)
            for line in connection.getresponse():
                yield json.loads(line)

    def image(self, reference: str) -> dict | None:
        try:
            return self.call("GET", f"/images/{urllib.parse.quote(reference, safe='')}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def images(self) -> list[dict]:
        return self.call("GET", "/images/json?all=0")

    def containers(self) -> list[dict]:
        details = []
        for container in self.call("GET", "/containers/json?all=1"):
            try:
                details.append(self.call("GET", f"/containers/{container['Id']}/json"))
            except EngineError as error:
                if error.status != 404:
                    raise
        return details


ENGINE = os.environ.get("OU_LAB_ENGINE", "dockerd")  # the program
JOURNALLED = 0x84000  # the inode flags EXT4_JOURNAL_DATA_FL, which new files inherit, and EXT4_EXTENTS_FL


def write_in_order(image: Path, data_root: str) -> None:
    """Gives the engine that will have this data root, on a new ext4 file system, the order in which balenaEngine writes. That one has
    a layer on the disk before it takes note of it (sync_diffs in its daemon/graphdriver/overlay2/overlay.go, on by default).
    Debian's engine does not wait, and takes a layer for whole that a power cut has emptied (moby issue 46704), which nothing can
    mend from outside. With the store's files in the journal of the file system, what is written first is there first."""
    parents = [directory for directory in reversed(Path(data_root).parents) if directory.name]
    commands = [f"mkdir {directory}" for directory in (*parents, data_root)]
    for name in ("image", "overlay2"):
        commands += [f"mkdir {data_root}/{name}", f"sif {data_root}/{name} flags {JOURNALLED:#x}"]
    # The flag by hand: chattr asks for CAP_SYS_RESOURCE.
    done = subprocess.run(["debugfs", "-w", "-f", "-", image], input="\n".join(commands) + "\n", capture_output=True, text=True, check=True)
    if [line for line in done.stderr.splitlines()[1:] if line]:
        raise RuntimeError(f"debugfs: {done.stderr}")


class Engine:
    """One engine; started and ended by its process id."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.data_root = directory / "data"
        self.socket_path = directory / "engine.sock"
        self.client = EngineClient(self.socket_path)
        self.environment: dict[str, str] = {}  # beside that of this process
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "engine.pid").unlink(missing_ok=True)
        with open(self.directory / "engine.log", "ab") as log:
            self._process = subprocess.Popen(
                [ENGINE, "--bridge=none", "--iptables=false", "--ip6tables=false",
                 "--data-root", str(self.data_root), "--exec-root", str(self.directory / "exec"),
                 "-p", str(self.directory / "engine.pid"), "-H", f"unix://{self.socket_path}"],
                stdout=log, stderr=log, start_new_session=True, env={**os.environ, **self.environment})
        wait_until("the engine to answer", self.answers)

    def answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{ENGINE} ended: see {self.directory}/engine.log")
        try:
            self.client.call("GET", "/_ping", timeout=5)
            return True
        except (OSError, EngineError):
            return False

    def kill(self) -> None:
        """SIGKILL, as the kernel's OOM killer would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # An engine takes a containerd that it finds for its own; this one has lost its parent. It is ended as a service
        # manager ends what a service leaves behind: by the process id that it wrote.
        for left in list((self.directory / "exec/containerd").glob("*containerd.pid")):
            try:
                os.kill(int(left.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                pass
            left.unlink()

    def stop(self, keep_containers: bool = False) -> None:
        if self._process is None:
            return
        try:
            for container in [] if keep_containers else self.client.containers():
                self.client.call("DELETE", f"/containers/{container['Id']}?force=1&v=0")
        except (OSError, EngineError):
            pass  # it is going anyway
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            target = line.split()[1]
            if target.startswith(str(self.directory) + "/"):
                subprocess.run(["umount", "-l", target], check=False)
