"""The disk of the virtual device: GPT, five partitions, an OS in slot A, and on the data partition an engine's store with
the supervisor and the fleet's first release."""
from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from ou_lab.device import API_ENDPOINT, APP_ID, DEVICE_UUID, FLEET
from ou_lab.engine import Engine, write_in_order

from . import parts
from .parts import SOURCE, run

MIB = 1 << 20
# number: (label, size in MiB); the sizes of balenaOS's generic image are larger, those of a Raspberry Pi smaller
SLOT_MIB = 640
PARTITIONS = {1: ("resin-boot", 64), 2: ("resin-rootA", SLOT_MIB), 3: ("resin-rootB", SLOT_MIB), 4: ("resin-state", 20),
              5: ("resin-data", 1600)}
START_MIB = 4
OLD_VERSION = "6.5.3"
SUPERVISOR_VERSION = "17.6.23"
SUPERVISOR_NAME = "registry2.balena-cloud.com/v2/0123456789abcdef0123456789abcdef"
IDENTITY = {"uuid": DEVICE_UUID, "deviceType": parts.SLUG, "applicationId": APP_ID, "apiEndpoint": API_ENDPOINT,
            "deviceApiKey": "secret-of-the-device", "deviceId": 4711, "registered_at": 1600000000, "userId": 42,
            "hostname": "standin", "persistentLogging": False}


@dataclass
class FirstRelease:
    """What the device runs when it leaves the factory."""
    bundle: Path
    archives: dict[str, Path]


def offsets() -> dict[int, int]:
    """Partition number to its offset in MiB."""
    found, at = {}, START_MIB
    for number, (_, size) in PARTITIONS.items():
        found[number] = at
        at += size
    return found


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """An ext4 file system in a file, at a directory."""
    directory = image.with_suffix(".mnt")
    directory.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, directory)
    try:
        yield directory
    finally:
        run("umount", directory)
        directory.rmdir()


@contextlib.contextmanager
def engine_on(data_root: Path) -> Iterator[Engine]:
    directory = Path(tempfile.mkdtemp(prefix="ou-engine-"))  # the paths of its sockets have to be short
    engine = Engine(directory)
    engine.data_root = data_root
    engine.environment["DOCKER_TMPDIR"] = str(directory / "tmp")  # the file system has no room for a copy of the archive
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(directory, ignore_errors=True)


def load(engine: Engine, archive: Path) -> str:
    """The ID of the image in an archive."""
    before = {image["Id"] for image in engine.client.images()}
    run("docker", "-H", f"unix://{engine.socket_path}", "load", "-q", "-i", archive)
    return next(image["Id"] for image in engine.client.images() if image["Id"] not in before)


def make_ext4(image: Path, label: str, size_mib: int, *options: str) -> None:
    with open(image, "wb") as out:
        out.truncate(size_mib * MIB)
    run("mkfs.ext4", "-q", "-L", label, "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, image)


def make_fat(image: Path, label: str, size_mib: int, tree: Path, *options: str) -> None:
    """A FAT file system with all that is in a directory."""
    with open(image, "wb") as out:
        out.truncate(size_mib * MIB)
    run("mkfs.vfat", "-n", label, *options, image)
    run("mcopy", "-s", "-i", image, *sorted(tree.iterdir()), "::/")


def empty_slot(image: Path, label: str) -> None:
    make_ext4(image, label, SLOT_MIB)
    write_in_order(image, "balena")


def make_slot(image: Path, archive: Path) -> None:
    """A slot as hostapp-update leaves it, made by a real engine."""
    empty_slot(image, "resin-rootA")
    with mounted(image) as slot:
        with engine_on(slot / "balena") as engine:
            hostapp = load(engine, archive)
            container = engine.client.call("POST", "/containers/create",
                                           {"Image": hostapp, "Cmd": ["/bin/sh"], "Volumes": {"/boot": {}}})["Id"]
            detail = engine.client.call("GET", f"/containers/{container}/json")
            volume = Path(detail["Mounts"][0]["Source"])
            volume = slot / volume.relative_to(slot.resolve())
            engine.stop(keep_containers=True)  # this one is the OS
        app = slot / "hostapps" / container
        app.mkdir(parents=True)
        (app / "boot").symlink_to("../../" + str(volume.relative_to(slot)))
        if not (volume / "vmlinuz").exists():
            raise RuntimeError("the engine did not copy /boot into its volume")
        (slot / "current").symlink_to(f"hostapps/{container}")
        (slot / "boot").symlink_to("current/boot")
        (slot / "counter").write_text("0")


def make_boot(image: Path, archive: Path) -> None:
    """The FAT partition: what the hostapp ships in /resin-boot, and the device's own files."""
    tree = image.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    with parts.tarfile.open(archive) as outer:
        for name in [member.name for member in outer if member.name.endswith("layer.tar")]:
            with parts.tarfile.open(fileobj=outer.extractfile(name)) as layer:
                layer.extractall(tree, [member for member in layer if member.name.startswith("resin-boot/")])
    boot = tree / "resin-boot"
    (boot / "config.json").write_text(json.dumps(IDENTITY))
    (boot / "EFI/BOOT/grub_extraenv").write_text(
        "# GRUB Environment Block\nextra_os_cmdline=site.option=1\n".ljust(1024, "#"))
    (boot / "system-connections").mkdir()
    (boot / "system-connections/site.nmconnection").write_text("[connection]\nid=site\n")
    make_fat(image, "resin-boot", PARTITIONS[1][1], boot)
    shutil.rmtree(tree)


def make_state(image: Path) -> None:
    make_ext4(image, "resin-state", PARTITIONS[4][1])
    with mounted(image) as state:
        conf = state / "root-overlay/etc/balena-supervisor/supervisor.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(f"SUPERVISOR_IMAGE={SUPERVISOR_NAME}\nSUPERVISOR_VERSION=v{SUPERVISOR_VERSION}\nLED_FILE=/dev/null\n")
        (state / "remove_me_to_reset").touch()


def make_data(image: Path, release: FirstRelease) -> None:
    make_ext4(image, "resin-data", PARTITIONS[5][1])
    manifest = json.loads((release.bundle / "manifest.json").read_text())
    (commit, body), = manifest["release"][FLEET]["releases"].items()
    services = []
    write_in_order(image, "docker")
    with mounted(image) as data:
        with engine_on(data / "docker") as engine:
            tag = engine.client.call
            tag("POST", f"/images/{load(engine, parts.supervisor_image(SUPERVISOR_VERSION))}/tag?repo={SUPERVISOR_NAME}&tag=latest")
            for index, (name, service) in enumerate(sorted(body["services"].items())):
                load(engine, release.archives[name])
                repository = service["image"].split("@")[0]
                tag("POST", f"/images/{manifest['service_images'][name]}/tag?repo={repository}&tag=latest")
                services.append({**service, "appId": APP_ID, "appUuid": FLEET, "releaseId": 100, "commit": commit,
                                 "imageId": 200 + index, "serviceId": 300 + index, "serviceName": name})
        database = data / "resin-data/balena-supervisor/database.sqlite"
        database.parent.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.executescript((SOURCE / "tests/support/supervisor_schema.sql").read_text())
            db.execute("INSERT INTO apiSecret (appId, key) VALUES (0, 'device-api-key')")
            db.execute("INSERT INTO config (key, value) VALUES ('targetStateSet', 'true')")
            db.execute("INSERT INTO app (name, releaseId, \"commit\", appId, services, networks, volumes, source, uuid, class,"
                       " isHost) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                       ("lab-fleet", 100, commit, APP_ID, json.dumps(services), "{}", json.dumps(body.get("volumes", {})),
                        API_ENDPOINT, FLEET, "fleet", 0))
            db.commit()
        (data / "remove_me_to_reset").touch()


def make_disk(target: Path, archive: Path, release: FirstRelease) -> None:
    """Writes the whole disk, sparse."""
    pieces = {number: target.with_name(f"p{number}.img") for number in PARTITIONS}
    make_boot(pieces[1], archive)
    make_slot(pieces[2], archive)
    empty_slot(pieces[3], "resin-rootB")
    make_state(pieces[4])
    make_data(pieces[5], release)
    efi = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    table = "label: gpt\n" + "".join(
        f"{number} : start={offsets()[number]}MiB, size={size}MiB, name={label}" + (f", type={efi}\n" if number == 1 else "\n")
        for number, (label, size) in PARTITIONS.items())
    put_together(target, sum(size for _, size in PARTITIONS.values()) + START_MIB + 4, table,
                 {offsets()[number]: piece for number, piece in pieces.items()})


def put_together(target: Path, size_mib: int, table: str, pieces: dict[int, Path]) -> None:
    """Writes a disk: a partition table by sfdisk, and file systems at their offsets in MiB, whose files go."""
    with open(target, "wb") as out:
        out.truncate(size_mib * MIB)
    run("sfdisk", "-q", target, input=table)
    for offset, piece in pieces.items():
        run("dd", f"if={piece}", f"of={target}", "bs=1M", f"seek={offset}", "conv=sparse,notrunc")
        piece.unlink()
