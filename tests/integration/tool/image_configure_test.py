"""bundle-tool image configure: what is written where, what is refused, and that a refusal changes nothing."""

import base64
import fcntl
import gzip
import hashlib
import json
import os
import pathlib
import pty
import struct
import subprocess
import tempfile
import unittest

from bundles import TOOL, run
from disk_images import OS_RELEASE, PNG, SLUG, DiskImage, boot_files, device_type

PASSPHRASE = "OFFLINE_UPDATER_WIFI_PASSPHRASE"
SECRET = "0123456789abcdef0123456789abcdef"
CONFIG = {"applicationId": 1234567, "deviceType": SLUG, "apiKey": SECRET, "userId": 77, "appUpdatePollInterval": 600000,
          "listenPort": 48484, "vpnPort": 443, "apiEndpoint": "https://api.example", "ümlaut": "ü"}


def public_key(comment="me@here", kind=b"ssh-ed25519"):
    blob = struct.pack(">I", len(kind)) + kind + struct.pack(">I", 32) + hashlib.sha256(comment.encode()).digest()
    return f"{kind.decode()} {base64.b64encode(blob).decode()} {comment}"


class Configure(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ou-configure-")
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)

    def image(self, **options):
        return DiskImage(self.dir / "disk.img", **options)

    def config(self, name="config.json", **changes):
        config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
        (self.dir / name).write_text(json.dumps(config, indent=2))
        return self.dir / name

    def file(self, name, content):
        (self.dir / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.dir / name

    def configure(self, image, *arguments, env=None):
        """Has to succeed, leave a clean file system, and touch nothing else."""
        before = image.outside()
        done = run("image", "configure", image.path, "--json", *arguments, env=env)
        self.assertIsNone(image.faults())
        self.assertEqual(image.outside(), before)
        return json.loads(done.stdout)

    def refuse(self, image, status, *arguments, env=None, says=""):
        """Has to fail with this status, and leave every byte as it was."""
        path = getattr(image, "path", image)
        before = pathlib.Path(path).read_bytes()
        done = run("image", "configure", path, *arguments, check=False, env=env, start_new_session=True)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(pathlib.Path(path).read_bytes(), before)
        self.assertNotIn(SECRET, done.stdout + done.stderr)
        return done.stderr

    def test_every_shape(self):
        """config.json goes to the boot partition of an MBR, a GPT and a flasher, compact, and replaces the old one."""
        for kind, prefix, fat in (("dos", "resin-", 16), ("gpt", "balena-", 32), ("gpt", "flash-", 16), ("dos", "flash-", 32)):
            with self.subTest(kind=kind, prefix=prefix):
                image = self.image(kind=kind, prefix=prefix, fat=fat)
                names = image.names()
                done = self.configure(image, "--config", self.config())
                written = image.read("config.json").decode()
                self.assertEqual(json.loads(written), CONFIG)
                self.assertEqual(written, json.dumps(json.loads(written), separators=(",", ":"), ensure_ascii=False))
                self.assertEqual(image.names(), names)
                self.assertEqual(done["flasher"], prefix == "flash-")
                self.assertEqual((done["device_type"], done["os_version"]), (SLUG, "6.6.0+rev1"))
                self.assertNotIn(SECRET, json.dumps(done))
                self.assertEqual(["config.json: ümlaut is no documented key; it is kept as it is"], done["warnings"])

    def test_settings_change_what_is_there(self):
        """Without --config the image's own configuration is changed; again and again, with a clean file system."""
        image = self.image(files=boot_files(**{"config.json": json.dumps({**CONFIG, "developmentMode": "true"})}))
        done = self.configure(image, "--set", "hostname=till-3", "--set", "os.network.connectivity.interval=600")
        self.assertIn("developmentMode has to be true or false, and is a string; it is kept", str(done["warnings"]))
        self.configure(image, "--set", "developmentMode=true", "--set", 'os.udevRules.56-a.rules=ENV{X}=="1"')
        self.assertEqual(json.loads(image.read("config.json")), {
            **CONFIG, "hostname": "till-3", "developmentMode": True,
            "os": {"network": {"connectivity": {"interval": "600"}}, "udevRules": {"56-a.rules": 'ENV{X}=="1"'}}})

    def test_a_second_run_changes_nothing(self):
        """The same configuration twice is the same image, byte for byte."""
        image = self.image()
        arguments = ["--config", self.config(), "--system-connection", self.file("office", "[connection]\nid=office\n")]
        self.configure(image, *arguments)
        first = image.path.read_bytes()
        self.configure(image, *arguments)
        self.assertEqual(image.path.read_bytes(), first)

    def test_wifi_starts_from_the_images_sample(self):
        """resin-wifi comes from the sample; a second time from itself. The passphrase is from file or environment."""
        image = self.image()
        secret = self.file("passphrase", "correct horse\n")
        self.configure(image, "--network-wifi", "shop", "--wifi-passphrase-file", secret)
        expected = ("[connection]\nid=balena-sample\ntype=wifi\n\n[wifi]\nssid=shop\nband=bg\n\n[wifi-security]\n"
                    "psk=correct horse\n")
        self.assertEqual(image.read("system-connections/resin-wifi").decode(), expected)
        done = self.configure(image, "--network-wifi", "Café", env={PASSPHRASE: "battery staple"})
        self.assertIn("ssid=67;97;102;195;169;\nband=bg", image.read("system-connections/resin-wifi").decode())
        self.assertIn("psk=battery staple", image.read("system-connections/resin-wifi").decode())
        self.assertNotIn("battery", json.dumps(done))
        self.assertIn("super_secret", image.read("system-connections/resin-sample.ignore").decode())

    def test_wifi_of_the_configuration(self):
        """wifiSsid and wifiKey of config.json make the profile too, also where the image has no sample."""
        image = self.image(files=boot_files(**{"system-connections/resin-sample.ignore": None}))
        self.configure(image, "--config", self.config(wifiSsid="shop", wifiKey="correct horse", network="wifi"))
        profile = image.read("system-connections/resin-wifi").decode()
        self.assertIn("[wifi]\nssid=shop\n", profile)
        self.assertIn("psk=correct horse\n", profile)
        self.assertIn("key-mgmt=wpa-psk\n", profile)
        self.configure(image, "--set", "wifiSsid=other")
        self.assertIn("[wifi]\nssid=other\n", image.read("system-connections/resin-wifi").decode())
        self.refuse(image, 2, "--set", "wifiKey=short", says="8 to 63")
        self.refuse(image, 2, "--set", "wifiSsid=shop", "--system-connection", self.file("resin-wifi", "[connection]\n"),
                    says="another name")

    def test_wifi_passphrase_on_a_terminal(self):
        """Without file and variable the passphrase is asked for, and not shown."""
        image = self.image()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(TOOL, [TOOL, "image", "configure", str(image.path), "--network-wifi", "shop"])
        shown = b""
        while b"network shop: " not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, b"correct horse\n")
        try:
            while part := os.read(terminal, 1000):
                shown += part
        except OSError:
            pass  # the other end is closed
        os.close(terminal)
        self.assertEqual(os.waitpid(pid, 0)[1], 0, shown)
        self.assertNotIn(b"horse", shown)
        self.assertIn(b"psk=correct horse", image.read("system-connections/resin-wifi"))

    def test_connections_keys_and_splash(self):
        """Profiles keep their names and bytes; SSH keys are added once; the splash has the name that the OS version wants."""
        keys = [public_key("a"), public_key("b"), public_key("c", b"ssh-rsa")]
        office = "[connection]\nid=office\n\n[ipv4]\nmethod=auto\n"
        for version, name in (("6.6.0+rev1", "balena-logo.png"), ("2.53.0", "balena-logo.png"), ("2.52.9", "resin-logo.png"),
                              ("2022.1.0", "balena-logo.png")):
            with self.subTest(version=version):
                image = self.image(files=boot_files(**{
                    "os-release": OS_RELEASE.replace("6.6.0+rev1", version),
                    "config.json": json.dumps({"deviceType": SLUG, "os": {"sshKeys": [keys[0]]}})}))
                done = self.configure(
                    image, "--system-connection", self.file("office.nmconnection", office),
                    "--ssh-key", self.file("two.pub", f"# mine\n{keys[0]}\n\n{keys[1]}\r\n"),
                    "--ssh-key", self.file("one.pub", keys[2]), "--splash", self.file("new.png", PNG + b"new"))
                self.assertEqual(json.loads(image.read("config.json"))["os"]["sshKeys"], keys)
                self.assertEqual(image.read("system-connections/office.nmconnection").decode(), office)
                self.assertEqual(image.read("splash/" + name), PNG + b"new")
                self.assertEqual([x["path"] for x in done["written"]],
                                 ["/config.json", "/system-connections/office.nmconnection", "/splash/" + name])

    def test_identity_is_not_shown(self):
        """A configuration for one device is taken, and said to be one; what is secret in it is never shown."""
        image = self.image()
        identity = {"uuid": "fedcba9876543210fedcba9876543210", "deviceApiKey": SECRET, "deviceId": 99, "registered_at": "17"}
        path = self.config(**identity)
        done = self.configure(image, "--config", path)
        self.assertEqual(done["device_uuid"], "fedcba9...")
        self.assertIn("identity of one device", str(done["warnings"]))
        text = run("image", "configure", image.path, "--config", path)
        for shown in (json.dumps(done), text.stdout, text.stderr):
            self.assertNotIn(SECRET, shown)
            self.assertNotIn(identity["uuid"], shown)
        self.assertEqual(json.loads(image.read("config.json"))["deviceApiKey"], SECRET)

    def test_device_type_has_to_agree(self):
        """A configuration for another device type is refused; an alias of the image's type is the same type."""
        image = self.image()
        self.configure(image, "--config", self.config(deviceType="older-name"))
        error = self.refuse(image, 4, "--config", self.config(deviceType="raspberrypi5"))
        self.assertIn("raspberrypi5", error)
        self.assertIn(SLUG, error)

    def test_wrong_values_are_refused(self):
        """Each with the key, what it is and what it has to be."""
        image = self.image()
        self.refuse(image, 4, "--config", self.config(developmentMode="yes"),
                    says="developmentMode has to be true or false, and is a string")
        self.refuse(image, 4, "--set", "developmentMode=yes", says="developmentMode has to be true or false")
        self.refuse(image, 4, "--config", self.config(apiKey=[SECRET]), says="apiKey has to be a string, and is an array")
        self.refuse(image, 4, "--config", self.file("c.json", "[1]"), says="has to be an object")
        self.refuse(image, 4, "--config", self.file("c.json", '{"a": 1'), says="c.json")
        self.refuse(image, 4, "--config", self.file("c.json", '{"deviceType": "a", "deviceType": "b"}'), says="deviceType")
        self.refuse(image, 4, "--config", self.dir / "nothing", says="nothing")
        self.refuse(image, 2, "--set", "hostname", says="KEY=VALUE")
        self.refuse(image, 2, says="nothing to configure")
        self.refuse(image, 2, "--network-wifi", "shop", env={PASSPHRASE: "short"}, says="8 to 63")
        self.refuse(image, 2, "--network-wifi", "x" * 33, env={PASSPHRASE: "long enough"}, says="SSID")
        self.refuse(image, 2, "--network-wifi", "shop", says="--wifi-passphrase-file")
        self.refuse(image, 2, "--wifi-passphrase-file", self.config(), says="--network-wifi")
        self.refuse(image, 2, "--system-connection", self.file("office", "no keyfile"), says="[connection]")
        self.refuse(image, 2, "--system-connection", self.file("off ice", "[connection]\n"), says="off ice")
        self.refuse(image, 2, "--ssh-key", self.file("key", "-----BEGIN OPENSSH PRIVATE KEY-----\n" + SECRET), says=".pub")
        self.refuse(image, 2, "--ssh-key", self.file("key", public_key() + "\nssh-ed25519 AAAA\n"), says="line 2")
        self.refuse(image, 2, "--ssh-key", self.file("key", "\n"), says="no public SSH key")
        self.refuse(image, 2, "--splash", self.file("logo.png", b"GIF89a"), says="PNG")

    def test_unsuitable_images_are_refused(self):
        """Compressed, without a table, without device-type.json, without /splash, or too full."""
        config = self.config()
        image = self.image(files=boot_files(**{"device-type.json": None}))
        self.refuse(image, 4, "--config", config, says="device-type.json")
        image = self.image(files=boot_files(**{"device-type.json": device_type(slug="../x")}))
        self.refuse(image, 4, "--config", config, says="names no device type")
        image = self.image(files=boot_files(**{"device-type.json": device_type(
            configuration={"config": {"image": "a", "path": "/other.json"}})}))
        self.refuse(image, 4, "--config", config, says="/other.json")
        image = self.image(files=boot_files(**{"splash/balena-logo.png": None}))
        self.refuse(image, 4, "--splash", self.file("logo.png", PNG), says="splash")
        image = self.image(files=boot_files(**{"config.json": "{broken"}))
        self.refuse(image, 4, "--set", "hostname=x", says="--config")
        image = self.image(files=boot_files(fill=b"x" * (39 << 20)))
        self.refuse(image, 5, "--config", config, "--splash", self.file("logo.png", PNG + b"x" * (1 << 20)), says="no room")
        packed = self.file("disk.img.gz", gzip.compress(self.image().path.read_bytes()[:1 << 20]))
        self.refuse(packed, 4, "--config", config, says="gzip -d")
        self.refuse(self.file("none.img", b"\0" * (1 << 20)), 4, "--config", config, says="no partition table")

    def test_two_programs_do_not_change_one_image(self):
        """While another one holds the lock, nothing is done."""
        image = self.image()
        with open(image.path, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.refuse(image, 1, "--config", self.config(), says="another program")
        self.configure(image, "--config", self.config())

    def test_without_privileges(self):
        """Another user without capabilities can do all of it with a file of theirs."""
        image = self.image()
        for path in (self.dir, image.path, self.config()):
            os.chown(path, 65534, 65534)
        done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all",
                               TOOL, "image", "configure", image.path, "--config", self.dir / "config.json"],
                              env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIsNone(image.faults())
        self.assertEqual(json.loads(image.read("config.json")), CONFIG)

    def test_mtools_missing(self):
        """Without mtools the error names the package."""
        image = self.image()
        self.refuse(image, 4, "--config", self.config(), env={"PATH": "/nonexistent"}, says="apt install mtools")


if __name__ == "__main__":
    unittest.main()
