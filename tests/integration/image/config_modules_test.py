"""The official modules balena-config-json and balena-image-fs read what `image configure` wrote, and the other way round.

They are installed into OU_BUILD_DIR/npm from the versions in package.json; without npm, or where no package can be had, the
test is skipped and says so."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tool"))

from bundles import run  # noqa: E402
from disk_images import SLUG, DiskImage  # noqa: E402

CONFIG = {"applicationId": 1234567, "deviceType": SLUG, "apiKey": "0123456789abcdef", "hostname": "töst",
          "os": {"sshKeys": ["ssh-ed25519 AAAA x"], "network": {"connectivity": {"uri": "http://x.example/?a=b&c"}}}}
SHAPES = (("dos", "resin-", 16), ("dos", "resin-", 32), ("gpt", "flash-", 16), ("gpt", "balena-", 32))


def install():
    """Where the modules are, installed once for each package.json."""
    place = pathlib.Path(os.environ["OU_BUILD_DIR"], "npm")
    wanted = (HERE / "package.json").read_bytes()
    done = place / "installed.json"
    if done.exists() and done.read_bytes() == wanted:
        return place
    if shutil.which("npm") is None:
        raise unittest.SkipTest("npm is not installed")
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_bytes(wanted)
    npm = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], cwd=place,
                         capture_output=True, text=True, timeout=240, check=False)
    if npm.returncode != 0:
        raise unittest.SkipTest("npm cannot install the modules: " + npm.stderr[-300:])
    done.write_bytes(wanted)
    return place


class ConfigModules(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.modules = install()

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ou-modules-")
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)

    def peer(self, *arguments):
        done = subprocess.run(["node", HERE / "config_modules.js", *map(str, arguments)], capture_output=True, text=True,
                              env={**os.environ, "NODE_PATH": str(self.modules / "node_modules")}, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def images(self):
        for kind, prefix, fat in SHAPES:
            with self.subTest(kind=kind, prefix=prefix, fat=fat):
                yield DiskImage(self.dir / "disk.img", kind=kind, prefix=prefix, fat=fat)

    def test_they_read_what_configure_wrote(self):
        """Configuration, profiles of the network and everything else on the boot partition."""
        (self.dir / "config.json").write_text(json.dumps(CONFIG))
        profile = "[connection]\nid=office\n"
        (self.dir / "office.nmconnection").write_text(profile)
        for image in self.images():
            run("image", "configure", image.path, "--config", self.dir / "config.json", "--network-wifi", "shop",
                "--system-connection", self.dir / "office.nmconnection",
                env={"OFFLINE_UPDATER_WIFI_PASSPHRASE": "correct horse"})
            self.assertEqual(self.peer("read", image.path), CONFIG)
            self.assertEqual(set(self.peer("list", image.path, "/system-connections")),
                             {"resin-sample.ignore", "resin-wifi", "office.nmconnection"})
            for name in ("system-connections/office.nmconnection", "system-connections/resin-wifi", "config.json", "os-release"):
                read = base64.b64decode(self.peer("file", image.path, "/" + name))
                self.assertEqual(read, image.read(name), name)
            self.assertEqual(base64.b64decode(self.peer("file", image.path, "/system-connections/office.nmconnection")),
                             profile.encode())

    def test_configure_reads_what_they_wrote(self):
        """Also where they leave the second table and the free count behind, which the next configure mends."""
        left_behind = 0
        for image in self.images():
            for padding in ("x" * 9000, "x" * 100, "x" * 30000):
                self.peer("write", image.path, json.dumps({**CONFIG, "hostname": padding}))
                left_behind += image.faults() is not None
                run("image", "configure", image.path, "--set", "hostname=till", "--set", "persistentLogging=true")
                self.assertIsNone(image.faults())
                expected = {**CONFIG, "hostname": "till", "persistentLogging": True}
                self.assertEqual(json.loads(image.read("config.json")), expected)
                self.assertEqual(self.peer("read", image.path), expected)
        self.assertGreater(left_behind, 0, "the modules write FAT well now: say so in docs/image.md")


if __name__ == "__main__":
    unittest.main()
