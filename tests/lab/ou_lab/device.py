"""The lab device: a directory with a host's files, a real engine, stand-ins for supervisor and systemd, and the
agent as it is built."""
from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Iterator

from .engine import Engine, wait_until

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent.parent
BUILD = Path(os.environ.get("OU_BUILD_DIR", SOURCE / "build/dev"))
AGENT = BUILD / "agent/offline-updater-agent"
BUNDLE_TOOL = BUILD / "bundle-tool/bundle-tool"
PYTHON = "/usr/bin/python3"

FLEET = "6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11"
APP_ID = 1958513
DEVICE_UUID = "d" * 32
DEVICE_TYPE = "generic-amd64"
API_ENDPOINT = "https://api.balena-cloud.com"
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LabDevice:
    def __init__(self, directory: Path, device_uuid: str = DEVICE_UUID):
        self.directory = directory
        self.host = directory / "host"
        self.state = self.host / "mnt/data/offline-updater"
        self.database_file = self.host / "mnt/data/resin-data/balena-supervisor/database.sqlite"
        self.config_json = self.host / "mnt/boot/config.json"
        self.locks = self.host / "tmp/balena-supervisor/services"
        self.trust = directory / "trust"
        self.engine = Engine(directory / "engine")
        self.port = free_port()
        self.bus = f"unix:path={directory}/bus.sock"
        self.options: dict[str, str] = {}
        self.agent: subprocess.Popen | None = None
        self._processes: list[subprocess.Popen] = []
        self.identity = {"uuid": device_uuid, "deviceType": DEVICE_TYPE, "applicationId": APP_ID,
                         "apiEndpoint": API_ENDPOINT, "deviceApiKey": "secret-of-the-device", "deviceId": 4711,
                         "registered_at": 1600000000}

    # Life

    def start(self) -> None:
        for path in (self.config_json.parent, self.database_file.parent, self.locks, self.host / "etc"):
            path.mkdir(parents=True, exist_ok=True)
        self.config_json.write_text(json.dumps(self.identity))
        (self.host / "etc/os-release").write_text('ID="balena-os"\nMETA_BALENA_VERSION="6.5.3"\n')
        schema = (SOURCE / "tests/support/supervisor_schema.sql").read_text()
        with self.database() as db:
            db.executescript(schema)
            db.execute("INSERT INTO apiSecret (appId, key) VALUES (0, 'lab-api-key')")
            db.execute("INSERT INTO config (key, value) VALUES ('targetStateSet', 'true')")
        self.engine.start()

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """One transaction, and closed: the disk below may go."""
        with contextlib.closing(sqlite3.connect(self.database_file, timeout=10)) as db, db:
            yield db

    def start_host_services(self) -> None:
        """A private D-Bus daemon with the stand-in systemd, which starts the stand-in supervisor."""
        config = self.directory / "bus.conf"
        config.write_text(BUS_CONFIG.format(path=self.directory / "bus.sock"))
        self._spawn("dbus", "dbus-daemon", f"--config-file={config}", "--nofork")
        wait_until("the bus", (self.directory / "bus.sock").exists)
        units = {
            "balena-supervisor.service": {
                "log": str(self.directory / "supervisor.log"),
                "command": [PYTHON, str(HERE / "standin_supervisor.py"), "--database", str(self.database_file),
                            "--engine", str(self.engine.socket_path), "--port", str(self.port), "--locks",
                            str(self.locks), "--config-json", str(self.config_json)]},
            "update-balena-supervisor.timer": {"log": str(self.directory / "timer.log")},
        }
        (self.directory / "units.json").write_text(json.dumps(units))
        systemd = subprocess.Popen([PYTHON, str(HERE / "standin_systemd.py"), self.bus, str(self.directory / "units.json")],
                                   stdout=subprocess.PIPE, stderr=open(self.directory / "systemd.log", "ab"), text=True,
                                   start_new_session=True)
        self._processes.append(systemd)
        if systemd.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the stand-in systemd did not start: see {self.directory}/systemd.log")

    def _spawn(self, name: str, *command: str) -> subprocess.Popen:
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen(list(command), stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        self.kill_agent()
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []
        self.engine.stop()

    # The first release, as it was put on the device in the factory

    def provision(self, bundle: Path, archives: dict[str, Path]) -> None:
        """Loads the images and writes the supervisor's row for the release of `bundle`."""
        manifest = json.loads((bundle / "manifest.json").read_text())
        app = manifest["release"][FLEET]
        (commit, release), = app["releases"].items()
        services = []
        for index, (name, service) in enumerate(sorted(release["services"].items())):
            image_id = manifest["service_images"][name]
            subprocess.run(["docker", "-H", f"unix://{self.engine.socket_path}", "load", "-q", "-i", archives[name]],
                           check=True, capture_output=True)
            repository = service["image"].split("@")[0]
            self.engine.client.call("POST", f"/images/{image_id}/tag?repo={repository}&tag=latest")
            services.append({**service, "appId": APP_ID, "appUuid": FLEET, "releaseId": 100, "commit": commit,
                             "imageId": 200 + index, "serviceId": 300 + index, "serviceName": name})
        with self.database() as db:
            db.execute(
                "INSERT INTO app (name, releaseId, \"commit\", appId, services, networks, volumes, source, uuid, class,"
                " isHost) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                ("lab-fleet", 100, commit, APP_ID, json.dumps(services), "{}", json.dumps(release.get("volumes", {})),
                 API_ENDPOINT, FLEET, "fleet", 0))
        self.start_host_services()
        wait_until("release 1 to run", lambda: self.running_commit() == commit)

    # The agent

    def environment(self) -> dict[str, str]:
        options = {"HOST_ROOT": self.host, "STATE_DIR": self.state, "RUNTIME_DIR": self.directory / "run",
                   "TRUST": self.trust, "MEDIA": "loop", "LOOP_FILES": self.directory.parent,
                   "ENGINE_SOCKET": self.engine.socket_path, "ENGINE_ROOT": self.engine.data_root, "SUPERVISOR_ADDRESS": f"http://127.0.0.1:{self.port}",
                   "DBUS_ADDRESS": self.bus, "APPLY_SECONDS": "60", "STALL_SECONDS": "60", **self.options}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OFFLINE_UPDATER_")}
        return {**kept, **{f"OFFLINE_UPDATER_{name}": str(value) for name, value in options.items()}}

    def run_agent(self) -> None:
        log = open(self.directory / "agent.log", "ab")
        self.agent = subprocess.Popen([AGENT, "run"], env=self.environment(), stdout=log, stderr=log,
                                      start_new_session=True)

    def kill_agent(self) -> None:
        """SIGKILL, as a power cut would; nothing is tidied."""
        if self.agent:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

    def command(self, *words: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run([AGENT, *words], env=self.environment(), capture_output=True, text=True, check=False)

    def install(self, path: Path) -> dict:
        """`install PATH --json`, by hand; returns its outcome."""
        done = self.command("install", path, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise AssertionError(f"install said: {done.stdout} {done.stderr}") from error

    # What can be seen from outside

    def status(self) -> dict:
        return json.loads(self.command("status", "--json").stdout)

    def outcomes(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.state / "outcomes").glob("*.json"))]

    def wait_for_outcome(self, count: int = 1, seconds: float = 180) -> dict:
        """The `count`-th outcome since the device was made."""
        def found() -> list[dict]:
            if self.agent is not None and self.agent.poll() is not None:
                raise RuntimeError(f"the agent ended: {(self.directory / 'agent.log').read_text()[-2000:]}")
            outcomes = self.outcomes()
            return outcomes if len(outcomes) >= count else []
        return wait_until(f"outcome {count}", found, seconds, 0.1)[count - 1]

    def phase(self) -> str | None:
        try:
            return json.loads((self.state / "journal.json").read_text())["phase"]
        except (OSError, ValueError, KeyError):
            return None

    def wait_for_phase(self, phase: str, seconds: float = 60) -> None:
        """Until the journal says that the update is in `phase`; some phases are short."""
        wait_until(f"the phase {phase}", lambda: self.phase() == phase, seconds, 0.001)

    def wait_for_log(self, text: str, count: int = 1, seconds: float = 20, poll: float = 0.05) -> None:
        """Until the agent has logged `text` so many times."""
        log = self.directory / "agent.log"
        wait_until(f"the agent to log {text}", lambda: log.read_text().count(text) >= count, seconds, poll)

    def logs(self) -> str:
        """The ends of what ran on the device, for whoever looks for a fault."""
        paths = [self.directory / name for name in ("agent.log", "supervisor.log", "systemd.log")]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in paths if path.exists())

    def doing(self) -> str:
        try:
            return json.loads((self.directory / "run/status.json").read_text())["doing"]
        except (OSError, ValueError, KeyError):
            return ""

    def running_commit(self) -> str:
        with self.database() as db:
            row = db.execute("SELECT \"commit\" FROM currentCommit WHERE appId = ?", (APP_ID,)).fetchone()
        return row[0] if row else ""

    def containers(self) -> dict[str, dict]:
        """The release's containers by service."""
        return {c["Config"]["Labels"]["io.balena.service-name"]: c for c in self.engine.client.containers()
                if c["Config"]["Labels"].get("io.balena.supervised")}

    def volume_lines(self, volume: str, name: str) -> list[str]:
        path = self.engine.data_root / "volumes" / f"{APP_ID}_{volume}" / "_data" / name
        return path.read_text().splitlines() if path.exists() else []

    def fingerprint(self) -> dict:
        """Everything that an update could change and that a refused one must not."""
        with self.database() as db:
            rows = db.execute("SELECT * FROM app").fetchall() + db.execute("SELECT * FROM config ORDER BY key").fetchall()
        images = {image["Id"]: sorted(image["RepoTags"] or []) for image in self.engine.client.images()}
        containers = {name: (c["Id"], c["State"]["StartedAt"]) for name, c in self.containers().items()}
        return {"rows": rows, "images": images, "containers": containers, "config.json": self.config_json.read_bytes()}
