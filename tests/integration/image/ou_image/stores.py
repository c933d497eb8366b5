"""Engine stores, looked at as an engine and as a file system see them."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

from ou_device import disk
from ou_lab.device import API_ENDPOINT, HERE as LAB, PYTHON, free_port
from ou_lab.engine import Engine, wait_until

from . import SOURCE, look

API_KEY = "test-api-key"


@contextlib.contextmanager
def on_data_partition(image: Path) -> Iterator[tuple[Engine, Path]]:
    """A real engine on the store of an image's data partition, and where that is mounted. The image changes."""
    with look.mounted(image, "data", write=True) as data, disk.engine_on(data / "docker") as engine:
        yield engine, data


@contextlib.contextmanager
def with_archives(directory: Path, archives: dict[str, Path]) -> Iterator[tuple[Engine, dict[str, str]]]:
    """A real engine that has loaded these archives, and their image IDs."""
    with disk.engine_on(directory / "data") as engine:
        yield engine, {name: disk.load(engine, archive) for name, archive in archives.items()}


def run_in(engine: Engine, image: str, command: str, user: str = "0:0") -> str:
    """What a shell command prints in a new container of an image."""
    done = subprocess.run(["docker", "-H", f"unix://{engine.socket_path}", "run", "--rm", "--network=none", "--user", user, image,
                           "/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


# As a file system


def layers(root: Path) -> dict[str, dict]:
    """By chain ID: what the layer database says, and the layer's directory."""
    found = {}
    for entry in sorted((root / "image/overlay2/layerdb/sha256").iterdir()):
        texts = {name: (entry / name).read_text() for name in ("diff", "size", "parent") if (entry / name).exists()}
        found[entry.name] = {**texts, "directory": root / "overlay2" / (entry / "cache-id").read_text()}
    return found


def tree(root: Path) -> dict[bytes, dict]:
    """Everything that there is to say about every file below `root`; names are bytes."""
    top, found, by_inode = os.fsencode(root), {}, {}
    for folder, directories, names in os.walk(top):
        for name in [b""] * (folder == top) + directories + names:
            path = os.path.join(folder, name).rstrip(b"/")
            relative = path[len(top) + 1:]
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            facts = {"mode": oct(info.st_mode), "owner": (info.st_uid, info.st_gid), "mtime": int(info.st_mtime),
                     "attributes": {key: os.getxattr(path, key, follow_symlinks=False)
                                    for key in sorted(os.listxattr(path, follow_symlinks=False))}}
            if kind in (stat.S_IFCHR, stat.S_IFBLK):
                facts["device"] = (os.major(info.st_rdev), os.minor(info.st_rdev))
            if kind == stat.S_IFLNK:
                facts["target"] = os.readlink(path)
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    facts["content"] = hashlib.file_digest(file, "sha256").hexdigest()
            if kind != stat.S_IFDIR:
                by_inode.setdefault(info.st_ino, []).append(relative)
            found[relative] = facts
    for names in by_inode.values():
        for name in names:
            found[name]["names"] = sorted(names)
    return found


def differences(mine: dict[bytes, dict], peers: dict[bytes, dict], since: float) -> list[str]:
    """What differs, in words. Times after `since` are those of directories that no entry of the layer sets."""
    lines = [f"{name!r} is missing" for name in sorted(peers.keys() - mine.keys())]
    lines += [f"{name!r} is too much" for name in sorted(mine.keys() - peers.keys())]
    for name in sorted(mine.keys() & peers.keys()):
        for fact, theirs in peers[name].items():
            if mine[name].get(fact) != theirs and not (fact == "mtime" and theirs >= since):
                lines.append(f"{name!r}: {fact} is {mine[name].get(fact)!r}, not {theirs!r}")
    return lines


# The supervisor


@contextlib.contextmanager
def supervisor(engine: Engine, data: Path) -> Iterator["Supervisor"]:
    """The lab's stand-in supervisor on a new device that has never seen a network."""
    with tempfile.TemporaryDirectory(prefix="ou-supervisor-") as name:
        directory = Path(name)
        with contextlib.closing(sqlite3.connect(directory / "database.sqlite")) as database:
            database.executescript((SOURCE / "tests/support/supervisor_schema.sql").read_text())
            database.execute("INSERT INTO apiSecret (appId, key) VALUES (0, ?)", (API_KEY,))
            database.commit()
        (directory / "config.json").write_text(json.dumps({"apiEndpoint": API_ENDPOINT, "deviceType": "generic-amd64"}))
        log = open(directory / "log", "wb")
        process = subprocess.Popen(
            [PYTHON, LAB / "standin_supervisor.py", "--database", directory / "database.sqlite", "--engine", engine.socket_path,
             "--port", str(free_port()), "--locks", directory / "locks", "--config-json", directory / "config.json",
             "--apps-json", data / "apps.json"], stdout=log, stderr=log)
        try:
            yield Supervisor(engine, directory)
        finally:
            process.terminate()
            process.wait()
            log.close()


class Supervisor:
    def __init__(self, engine: Engine, directory: Path):
        self.engine, self.directory = engine, directory

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def rows(self, query: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.directory / "database.sqlite", timeout=10)) as database:
            return database.execute(query).fetchall()

    def wait_for_release(self, commit: str) -> dict[str, dict]:
        """The running containers by service, once the supervisor says that it runs the release."""
        try:
            wait_until("the release", lambda: self.rows('SELECT "commit" FROM currentCommit') == [(commit,)], 60)
        except TimeoutError as error:
            raise AssertionError(self.log()) from error
        return {c["Config"]["Labels"]["io.balena.service-name"]: c for c in self.engine.client.containers() if c["State"]["Running"]}
