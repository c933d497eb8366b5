"""bundle-tool image configure and inspect on whole images: what goes where, and that nothing else changes. How JSON, profiles
and FAT are written in every case is for the unit tests; that the official modules read it, for config_modules_test."""
import json
import unittest

from ou_image import hostapps, look, shapes
from ou_image.case import ImageTest, run
from ou_lab.device import APP_ID

SECRET = "not-to-be-shown-to-anybody"
PROFILE = f"[connection]\nid=shop\ntype=ethernet\n\n[802-1x]\npassword={SECRET}\n"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh owner@host"


class Configure(ImageTest):

    def config(self, shape):
        """A file as the cloud gives it, pretty-printed."""
        config = {"applicationId": APP_ID, "deviceType": shape.slug, "userId": 42, "apiEndpoint": "https://api.balena-cloud.com",
                  "apiKey": SECRET, "appUpdatePollInterval": 900000, "listenPort": "48484", "vpnPort": "443"}
        (self.dir / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        return config

    def steps(self):
        """Each operation by itself."""
        (self.dir / "shop.nmconnection").write_text(PROFILE)
        (self.dir / "key.pub").write_text(PUBLIC_KEY + "\n")
        (self.dir / "logo.png").write_bytes(hostapps.png(7))
        (self.dir / "passphrase").write_text(SECRET + "\n")
        return [["--config", self.dir / "config.json"], ["--set", "hostname=shop-7"], ["--set", "persistentLogging=true"],
                ["--network-wifi", "Guest Net", "--wifi-passphrase-file", self.dir / "passphrase"],
                ["--system-connection", self.dir / "shop.nmconnection"],
                ["--ssh-key", self.dir / "key.pub"], ["--splash", self.dir / "logo.png"]]

    def check_written(self, shape, image, config):
        """All of the steps are in the boot partition, and what the build put there."""
        look.fsck_fat(image)
        written = look.read_boot(image, "config.json")
        expected = {**config, "hostname": "shop-7", "persistentLogging": True}
        seen = json.loads(written)
        self.assertEqual({key: seen.get(key) for key in expected}, expected)
        self.assertEqual(seen["os"]["sshKeys"], [PUBLIC_KEY])
        self.assertEqual(len(written), len(json.dumps(seen, separators=(",", ":"), ensure_ascii=False).encode()))  # compact
        self.assertEqual(look.read_boot(image, "system-connections/shop.nmconnection").decode(), PROFILE)
        self.assertIn(b"ssid=Guest Net", look.read_boot(image, "system-connections/resin-wifi"))
        self.assertEqual(look.read_boot(image, "splash/balena-logo.png"), hostapps.png(7))
        for name, content in hostapps.boot_files(shape.slug, shape.architecture, shape.flasher).items():
            if name not in ("config.json", "splash/balena-logo.png"):
                self.assertEqual(look.read_boot(image, name), content, name)

    def test_every_shape(self):
        """Everything goes to the boot partition of the image, also of a flasher, and every other byte is what it was."""
        for shape in shapes.COMPLETE:
            with self.subTest(shape=shape.name):
                image, config = self.copy(shape), self.config(shape)
                before, table, size = look.contents(image, "boot"), look.partitions(image), image.stat().st_size
                run("image", "configure", image, *[word for step in self.steps() for word in step])
                self.check_written(shape, image, config)
                self.assertEqual(look.contents(image, "boot"), before)
                self.assertEqual((look.partitions(image), image.stat().st_size), (table, size))

    def test_step_by_step(self):
        """After each operation FAT is clean and every byte outside of it is what it was; together they are as all at once."""
        for shape in shapes.TINY:
            image, config = self.copy(shape), self.config(shape)
            before = look.contents(image, "boot")
            for step in self.steps():
                with self.subTest(shape=shape.name, step=str(step[:2])):
                    run("image", "configure", image, *step)
                    look.fsck_fat(image)
                    self.assertEqual(look.contents(image, "boot"), before)
            with self.subTest(shape=shape.name):
                self.check_written(shape, image, config)

    def test_signed_images_are_configured_too(self):
        """What is signed or encrypted is the image inside; the flasher's own boot partition takes the configuration."""
        for shape in shapes.REFUSED:
            with self.subTest(shape=shape.name):
                image, config = self.copy(shape), self.config(shape)
                before = look.contents(image, "boot")
                run("image", "configure", image, "--config", self.dir / "config.json")
                self.assertEqual(json.loads(look.read_boot(image, "config.json"))["applicationId"], config["applicationId"])
                self.assertEqual(look.contents(image, "boot"), before)

    def test_inspect_says_what_is_there_and_no_secrets(self):
        """Device type, OS version, partitions with their sizes, hostapp, supervisor; after configure, that it is configured."""
        for shape in shapes.COMPLETE:
            with self.subTest(shape=shape.name):
                image = self.copy(shape)
                text = run("image", "inspect", image).stdout
                seen = json.dumps(json.loads(run("image", "inspect", image, "--json").stdout))
                hostapp = look.archive_digests(hostapps.hostapp(shape.slug, shape.architecture)).config
                for shown in (shape.slug, hostapps.OS_VERSION, hostapps.SUPERVISOR_VERSION, hostapp):
                    self.assertIn(shown, seen)
                for shown in (shape.slug, hostapps.OS_VERSION, hostapps.SUPERVISOR_VERSION):
                    self.assertIn(shown, text)
                for part in look.partitions(image):
                    if part.name != "extended":
                        self.assertIn(str(part.size), seen, part.name)
                self.assert_unchanged(image, shape)
                self.config(shape)
                run("image", "configure", image, "--config", self.dir / "config.json", *self.steps()[3], *self.steps()[4])
                configured = run("image", "inspect", image, "--json").stdout
                self.assertNotEqual(json.loads(configured)["config"]["state"], json.loads(seen)["config"]["state"])
                for shown in (run("image", "inspect", image).stdout, configured):
                    self.assertNotIn(SECRET, shown)

    def test_compressed_images_are_inspected_as_they_are(self):
        """inspect says the same of a compressed image as of the raw one."""
        def facts(image):
            seen = json.loads(run("image", "inspect", image, "--json").stdout)
            return {key: value for key, value in seen.items() if key not in ("image", "path", "compression", "file", "file_size_bytes")}
        expected = facts(shapes.image(shapes.TINY_PI))
        for kind in ("zip", "gz", "bz2", "xz", "zst"):
            with self.subTest(kind=kind):
                self.assertEqual(facts(shapes.compressed(shapes.TINY_PI, kind)), expected)


if __name__ == "__main__":
    unittest.main()
