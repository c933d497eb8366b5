"""What the tests of bundle-tool share: small images, keys, and the real program.

The program is named by the environment variable BUNDLE_TOOL.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import tempfile
import unittest

TOOL = os.environ["BUNDLE_TOOL"]
FLEET = "6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11"
PASSWORD = "OFFLINE_UPDATER_KEY_PASSWORD"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def layer_tar(files):
    """An uncompressed layer with the given {name: bytes}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return out.getvalue()


def noise(seed, size):
    """Bytes that hardly compress, the same ones for the same seed."""
    return random.Random(seed).randbytes(size)


def image_config(layers, architecture="arm64"):
    return json.dumps({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(x) for x in layers]},
        "history": [{"created_by": "test"} for _ in layers]}, indent=1).encode()


def docker_archive(path, layers, tag="test:latest", architecture="arm64"):
    """An archive as `docker save` writes it. Returns the image ID."""
    config = image_config(layers, architecture)
    config_name = sha256(config) + ".json"
    names = [sha256(x) + "/layer.tar" for x in layers]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in [(config_name, config), *zip(names, layers), ("manifest.json", manifest)]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return "sha256:" + sha256(config)


def oci_layout(path, layers, tag="latest", compress=True):
    """An OCI layout with gzip layers. Returns the image ID."""
    blobs = pathlib.Path(path, "blobs", "sha256")
    blobs.mkdir(parents=True)

    def store(data, media_type):
        (blobs / sha256(data)).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + sha256(data), "size": len(data)}

    kind = "application/vnd.oci.image."
    stored = [gzip.compress(x, 9, mtime=0) if compress else x for x in layers]
    layer_kind = kind + ("layer.v1.tar+gzip" if compress else "layer.v1.tar")
    config = store(image_config(layers), kind + "config.v1+json")
    manifest = store(json.dumps({
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": config,
        "layers": [store(x, layer_kind) for x in stored]}).encode(), kind + "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    pathlib.Path(path, "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    pathlib.Path(path, "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return config["digest"]


def run(*arguments, env=None, check=True, **options):
    """Runs bundle-tool. With check, a failure fails the test and shows what it said."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **(env or {})}
    done = subprocess.run([TOOL, *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=250, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def tree(directory):
    """{relative path: digest} of every file."""
    root = pathlib.Path(directory)
    return {str(x.relative_to(root)): sha256(x.read_bytes())
            for x in sorted(root.rglob("*")) if x.is_file()}


OS_RELEASE = (b'ID="balena-os"\nVERSION="6.6.0+rev1"\nMETA_BALENA_VERSION="6.6.0"\n'
              b'SLUG="raspberrypi4-64"\n')


def hostapp(path, os_release=OS_RELEASE, architecture="arm64", **more):
    """A docker archive of a host OS that has all that bundle-tool looks for. Returns its ID."""
    files = {"etc/os-release": os_release, "boot/init": noise(3, 5000),
             "resin-boot/config.txt": b"x", "resin-boot/EFI/BOOT/grub.cfg": b"g" * 100, **more}
    return docker_archive(path, [layer_tar(files)], "os:latest", architecture)


COMPOSE = """
services:
  main:
    restart: always
    environment: {LOG_LEVEL: info}
    volumes: ["data:/data"]
  db:
    restart: always
volumes: {data: }
"""


class ToolTest(unittest.TestCase):
    """A scratch directory with keys, two images that share a layer, and a compose file."""

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.dir = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ou-tool-")))
        self.base = layer_tar({"bin/sh": noise(1, 300_000), "etc/motd": b"hello\n" * 100_000})
        self.app = layer_tar({"app": noise(2, 700_000)})
        self.store = layer_tar({"db": b"".join(b"%d\n" % i for i in range(400_000))})
        self.main_id = docker_archive(self.dir / "main.tar", [self.base, self.app])
        self.db_id = oci_layout(self.dir / "db", [self.base, self.store])
        (self.dir / "compose.yml").write_text(COMPOSE)

    def key(self, name="owner", *options):
        run("key", "generate", self.dir / name, *(options or ["--no-password"]))
        return self.dir / (name + ".key")

    def create_arguments(self, name="a.bundle", key=None):
        signing = ["--sign-key", key] if key else ["--unsigned"]
        return ["create", "--output", self.dir / name, *signing, "--fleet-uuid", FLEET,
                "--device-type", "raspberrypi4-64", "--sequence", "7",
                "--compose", self.dir / "compose.yml",
                "--image", f"main=docker-archive:{self.dir}/main.tar",
                "--image", f"db=oci:{self.dir}/db"]

    def create(self, name="a.bundle", key=None, *more, **options):
        run(*self.create_arguments(name, key), *more, **options)
        return self.dir / name

    def expect(self, status, *arguments, **options):
        done = run(*arguments, check=False, **options)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def findings(self, bundle, trust):
        """Status and the set of (where, name) of verify."""
        done = run("verify", "--json", "--quiet", "--trust", trust, bundle, check=False)
        report = json.loads(done.stdout)
        self.assertEqual(report["verified"], done.returncode == 0)
        self.assertIn(done.returncode, (0, 3), done.stdout)
        return {(x["where"], x["name"]) for x in report["findings"]}

    def manifest(self, bundle):
        return json.loads((bundle / "manifest.json").read_text())

    def biggest_blob(self, bundle):
        return max((bundle / "blobs" / "sha256").iterdir(), key=lambda x: x.stat().st_size)

    def clone(self, bundle, name="clone.bundle"):
        shutil.rmtree(self.dir / name, ignore_errors=True)
        shutil.copytree(bundle, self.dir / name)
        return self.dir / name
