"""From offline-updater-agent identity export on a device to bundle-tool identity open at its owner's."""

import base64
import json
import os
import stat
import subprocess
import unittest

from bundles import PASSWORD, ToolTest, run

AGENT = os.environ["AGENT"]
CONFIG = ('{"uuid": "aa11bb22", "deviceType": "generic-amd64",\n "applicationId": "42", '
          '"deviceApiKey": "very-secret", "country": "GB"}\n')


class Identity(ToolTest):

    def setUp(self):
        super().setUp()
        self.boot = self.dir / "host/mnt/boot"
        (self.boot / "system-connections").mkdir(parents=True)
        (self.boot / "EFI/BOOT").mkdir(parents=True)
        (self.boot / "config.json").write_text(CONFIG)
        (self.boot / "system-connections/office").write_text("psk=hidden")
        (self.boot / "EFI/BOOT/grub_extraenv").write_text("extra_os_cmdline=quiet")
        (self.boot / "EFI/BOOT/grubenv").write_text("resin_root_part=2")
        (self.dir / "host/mnt/state").mkdir()
        (self.dir / "host/mnt/state/machine-id").write_text("0123456789abcdef\n")

    def agent(self, *arguments, status=0):
        environment = {**os.environ, "OFFLINE_UPDATER_HOST_ROOT": str(self.dir / "host"),
                       "OFFLINE_UPDATER_RUNTIME_DIR": str(self.dir / "run"),
                       "OFFLINE_UPDATER_DBUS_ADDRESS": "unix:path=/nonexistent"}
        done = subprocess.run([AGENT, "identity", *map(str, arguments)], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
                              check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def identity_key(self, name="owner"):
        run("identity", "keygen", "--output", self.dir / (name + ".key"), "--no-password")
        return self.dir / (name + ".key")

    def export(self, key, name="device.identity"):
        self.agent("export", "--to", key.with_suffix(".pub"), "--output", self.dir / name)
        return self.dir / name

    def test_export_and_open(self):
        """What the device sealed, its owner has byte for byte, and nobody else reads."""
        key = self.identity_key()
        export = self.export(key)
        self.assertEqual(stat.S_IMODE(export.stat().st_mode), 0o600)
        for secret in (b"very-secret", b"aa11bb22", b"psk"):
            self.assertNotIn(secret, export.read_bytes())
        opened = json.loads(run("identity", "open", "--key", key, "--json", export).stdout)
        self.assertEqual(base64.b64decode(opened["files"]["config.json"]).decode(), CONFIG)
        self.assertEqual(opened["config"], json.loads(CONFIG))
        self.assertEqual(opened["machine_id"], "0123456789abcdef")
        self.assertEqual(set(opened["files"]), {"config.json", "EFI/BOOT/grub_extraenv",
                                                "system-connections/office"})
        shown = run("identity", "open", "--key", key, export).stdout
        self.assertIn("aa11bb22", shown)
        self.assertNotIn("very-secret", shown)

    def test_open_to_a_directory(self):
        """The files are written for their owner alone, and only to a new directory."""
        key = self.identity_key()
        export = self.export(key)
        out = self.dir / "out"
        run("identity", "open", "--key", key, "--output", out, export)
        self.assertEqual((out / "config.json").read_text(), CONFIG)
        self.assertEqual((out / "system-connections/office").read_text(), "psk=hidden")
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((out / "config.json").stat().st_mode), 0o600)
        self.expect(6, "identity", "open", "--key", key, "--output", out, export)

    def test_wrong_key(self):
        """Another key, a signing key and a damaged export each fail with a word of why."""
        key = self.identity_key()
        export = self.export(key)
        other = self.expect(7, "identity", "open", "--key", self.identity_key("other"), export)
        self.assertIn("sealed for key", other.stderr)
        signing = self.expect(7, "identity", "open", "--key", self.key("signing"), export)
        self.assertIn("identity keygen", signing.stderr)
        self.agent("export", "--to", self.dir / "signing.pub", "--output", self.dir / "x", status=1)
        self.assertFalse((self.dir / "x").exists())
        export.write_bytes(export.read_bytes()[:-1])
        self.assertIn("damaged", self.expect(3, "identity", "open", "--key", key, export).stderr)

    def test_key_with_a_password(self):
        """An encrypted key opens with its password alone; keys are never overwritten."""
        key = self.dir / "locked.key"
        run("identity", "keygen", "--output", key, env={PASSWORD: "swordfish"})
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        export = self.export(key)
        run("identity", "open", "--key", key, export, env={PASSWORD: "swordfish"})
        self.expect(7, "identity", "open", "--key", key, export, env={PASSWORD: "no"})
        before = key.read_bytes()
        self.expect(6, "identity", "keygen", "--output", key, "--no-password")
        self.assertEqual(key.read_bytes(), before)
        self.expect(2, "identity", "keygen", "--output", self.dir / "owner", "--no-password")

    def test_export_overwrites_nothing(self):
        """A file that is there is kept."""
        key = self.identity_key()
        export = self.export(key)
        before = export.read_bytes()
        done = self.agent("export", "--to", key.with_suffix(".pub"), "--output", export, status=1)
        self.assertIn("already", done.stderr)
        self.assertEqual(export.read_bytes(), before)

    def test_show(self):
        """Secrets are masked; nothing is changed, also not a write that another program began."""
        leftover = self.boot / ".config.json.12345678.00000000000000000000000000000000.md5sum"
        leftover.write_text("half")
        shown = self.agent("show").stdout
        self.assertIn("uuid: aa11bb22", shown)
        self.assertIn("deviceApiKey: (set)", shown)
        self.assertNotIn("very-secret", shown)
        report = json.loads(self.agent("show", "--json").stdout)
        self.assertTrue(report["complete"])
        self.assertEqual(report["machine_id"], "0123456789abcdef")
        self.assertIn("identity-backup", report["backups"]["state"])
        self.assertTrue(leftover.exists())
        (self.boot / "config.json").write_text('{"uuid":')
        self.assertFalse(json.loads(self.agent("show", "--json", status=1).stdout)["complete"])

    def test_restore_without_a_service_manager(self):
        """Where the supervisor cannot be stopped, config.json is not touched."""
        (self.boot / "config.json").write_text("{}")
        self.agent("restore", status=1)
        self.assertEqual((self.boot / "config.json").read_text(), "{}")
        self.agent("restore", "--new-device", status=2)
        self.agent("restore", "--from-backup", "elsewhere", status=2)


if __name__ == "__main__":
    unittest.main()
