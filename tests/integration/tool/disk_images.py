"""Small disk images with the boot partition of balenaOS, made by sfdisk, mkfs.vfat, mke2fs and mtools."""

import json
import os
import subprocess

MIB = 1 << 20
SLUG = "raspberrypi4-64"
PNG = b"\x89PNG\r\n\x1a\n"
OS_RELEASE = 'ID="balena-os"\nNAME="balenaOS"\nVERSION="6.6.0+rev1"\nMETA_BALENA_VERSION="6.6.0"\n'
SAMPLE = "[connection]\nid=balena-sample\ntype=wifi\n\n[wifi]\nssid=My_Wifi_Ssid\nband=bg\n\n[wifi-security]\npsk=super_secret\n"
BOOT_START = 4 * MIB
BOOT_SIZE = 40 * MIB
QUIET = {**os.environ, "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}


def command(*arguments, data=None):
    """Runs a program that has to succeed. Returns what it wrote."""
    done = subprocess.run(list(map(str, arguments)), input=data if data is not None else b"", capture_output=True, check=False,
                          env=QUIET)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def device_type(slug=SLUG, **more):
    return json.dumps({"slug": slug, "version": 1, "aliases": [slug, "older-name"], "yocto": {"deployArtifact": "x.img"},
                       "configuration": {"config": {"partition": {"primary": 1}, "path": "/config.json"}}, **more})


def boot_files(**changes):
    """{name: text or bytes} of a fresh boot partition; None takes one out."""
    files = {"device-type.json": device_type(), "os-release": OS_RELEASE, "balena-image": "", "config.txt": "x=1\n" * 200,
             "config.json": json.dumps({"deviceType": SLUG, "persistentLogging": False}),
             "system-connections/resin-sample.ignore": SAMPLE, "splash/balena-logo.png": PNG + b"old"}
    files.update(changes)
    return {name: content for name, content in files.items() if content is not None}


class DiskImage:
    """MBR or GPT; with prefix "flash-" the shape of a flasher."""

    def __init__(self, path, kind="dos", prefix="resin-", fat=16, files=None):
        self.path = path
        with open(path, "wb") as image:
            image.truncate(80 * MIB)
        name = f', name="{prefix}boot"' if kind == "gpt" else ", type=c, bootable"
        root = f', name="{prefix}rootA"' if kind == "gpt" else ", type=83"
        command("sfdisk", "-q", "--no-reread", path, data=(
            f"label: {kind}\n1: start=4MiB, size=40MiB{name}\n2: start=44MiB, size=8MiB{root}\n").encode())
        command("mkfs.vfat", "-F", fat, "-s", 1 if fat == 32 else 4, "-n", f"{prefix}boot", "--offset", BOOT_START // 512,
                path, BOOT_SIZE // 1024)
        command("mke2fs", "-q", "-F", "-t", "ext4", "-L", f"{prefix}rootA", "-E", f"offset={44 * MIB}", path, "8192k")
        made = set()
        for file, content in (boot_files() if files is None else files).items():
            directory = file.rpartition("/")[0]
            if directory and directory not in made:
                command("mmd", "-i", self.mtools, "::" + directory)
                made.add(directory)
            command("mcopy", "-i", self.mtools, "-", "::" + file,
                    data=content if isinstance(content, bytes) else content.encode())

    @property
    def mtools(self):
        return f"{self.path}@@{BOOT_START}"

    def read(self, name):
        """A file of the boot partition, as mtools reads it."""
        return command("mtype", "-i", self.mtools, "::" + name)

    def names(self):
        """All paths of the boot partition's files."""
        listed = command("mdir", "-b", "-/", "-i", self.mtools, "::").decode().splitlines()
        return {line.removeprefix("::/") for line in listed if not line.endswith("/")}

    def faults(self):
        """What fsck.fat has to say; None when nothing is wrong."""
        volume = str(self.path) + ".volume"
        with open(self.path, "rb") as image, open(volume, "wb") as out:
            image.seek(BOOT_START)
            out.write(image.read(BOOT_SIZE))
        done = subprocess.run(["fsck.fat", "-n", "-v", volume], capture_output=True, text=True, check=False)
        os.unlink(volume)
        return None if done.returncode == 0 else done.stdout + done.stderr

    def outside(self):
        """Every byte but those of the boot partition."""
        with open(self.path, "rb") as image:
            content = image.read()
        return content[:BOOT_START] + content[BOOT_START + BOOT_SIZE:]
