"""bundle-tool image inspect: what it shows of images that are configured, preloaded, damaged or closed, and what it never shows."""
import json
import subprocess
import unittest

from ou_image import look, shapes, stores
from ou_image.case import COMMIT, INPUT_ERROR, ImageTest, apps_json, image_name, run
from ou_device import disk
from ou_lab import images

SECRETS = {"apiKey": "secret-of-the-fleet", "deviceApiKey": "secret-of-the-device", "wifiKey": "secret-of-the-air",
           "uuid": "fedcba9876543210fedcba9876543210", "os": {"sshKeys": ["ssh-ed25519 secret-of-the-owner"]}}
OPEN = {"applicationId": 1234, "deviceType": "generic-amd64", "apiEndpoint": "https://api.example.com"}


def write_boot(image, path, content):
    offset = look.partition(image, "boot").offset
    subprocess.run(["mcopy", "-o", "-i", f"{image}@@{offset}", "-", "::/" + path], input=content.encode(), check=True)


class Inspect(ImageTest):

    def inspected(self, image):
        return run("image", "inspect", image).stdout, json.loads(run("image", "inspect", "--json", image).stdout)

    def test_a_configured_image_shows_its_fleet_and_no_secrets(self):
        """Which keys are set is shown, and the values of those that are no secret; of the uuid seven characters."""
        image = self.copy(shapes.TINY_X86)
        write_boot(image, "config.json", json.dumps(OPEN | SECRETS))
        offset = look.partition(image, "boot").offset
        subprocess.run(["mmd", "-D", "s", "-i", f"{image}@@{offset}", "::/system-connections"], check=False, capture_output=True)
        write_boot(image, "system-connections/shop-floor", "[connection]\npsk=secret-of-the-profile\n")
        text, seen = self.inspected(image)
        self.assertEqual(seen["config"]["settings"], OPEN)
        self.assertEqual(sorted(seen["config"]["hidden_keys"]), sorted(SECRETS))
        self.assertEqual((seen["config"]["state"], seen["config"]["device_uuid"]), ("device", "fedcba9"))
        self.assertIn("shop-floor", seen["network_profiles"])
        for shown in ("fleet 1234", "device fedcba9...", "shop-floor", *SECRETS):
            self.assertIn(shown, text)
        for output in (text, json.dumps(seen)):
            self.assertNotIn("secret-of-", output)
            self.assertNotIn(SECRETS["uuid"], output)

    def test_a_preloaded_image_shows_its_release(self):
        """Commit, pin, services with their images, and one that is missing; sizes are the engine's."""
        image = self.copy(shapes.TINY_X86)
        archive = images.write_image(self.dir / "web.tar", [images.base_layer()], "exec sleep 1000000\n")
        with stores.on_data_partition(image) as (engine, data):
            identity = disk.load(engine, archive)
            subprocess.run(["docker", "-H", f"unix://{engine.socket_path}", "tag", identity, image_name("web") + ":latest"], check=True)
            size = engine.client.image(identity)["Size"]
            (data / "apps.json").write_text(json.dumps(apps_json(["web", "ghost"]) | {"pinDevice": True}))
        text, seen = self.inspected(image)
        release = seen["release"]
        self.assertEqual((release["commit"], release["pin_device"]), (COMMIT, True))
        self.assertEqual((release["services"]["web"]["image_id"], release["services"]["web"]["size_bytes"]), (identity, size))
        self.assertNotIn("image_id", release["services"]["ghost"])
        self.assertEqual({one["image_id"]: one["size_bytes"] for one in seen["images"]}[identity], size)
        for shown in (COMMIT, "pinned", image_name("web"), "which is not there"):
            self.assertIn(shown, text)

    def test_free_space_is_what_the_kernel_says(self):
        """Of a file system that is mounted read-only, so that nothing changes."""
        image = shapes.image(shapes.TINY_X86)
        parts = {part["role"]: part for part in json.loads(run("image", "inspect", "--json", image).stdout)["partitions"]}
        for suffix in ("rootA", "data"):
            with look.mounted(image, suffix) as mounted:
                kernel = subprocess.run(["stat", "-f", "-c", "%f %S", mounted], check=True, capture_output=True, text=True).stdout.split()
                self.assertEqual(parts[suffix]["free_bytes"], int(kernel[0]) * int(kernel[1]))

    def test_closed_flashers_are_explained(self):
        """Signed and encrypted: what that means, in words."""
        text, seen = self.inspected(shapes.image(shapes.SIGNED))
        self.assertTrue(seen["inner"]["signed"])
        self.assertIn("signed for secure boot", text)
        self.assertEqual(seen["device_type"], shapes.SIGNED.slug)
        text, seen = self.inspected(shapes.image(shapes.ENCRYPTED))
        self.assertTrue(seen["inner"]["encrypted"])
        self.assertIn("carry the applications in a bundle", text)
        self.assertNotIn("os", seen)

    def test_a_part_that_cannot_be_read_is_a_line(self):
        """Without a superblock on the data partition all else is still shown."""
        image = self.copy(shapes.TINY_X86)
        with open(image, "r+b") as file:
            file.seek(look.partition(image, "data").offset + 1024)
            file.write(bytes(1024))
        text, seen = self.inspected(image)
        self.assertIn("version", seen["os"])
        self.assertTrue(any("data partition" in problem or "data" in problem for problem in seen["problems"]), seen["problems"])
        self.assertIn("not readable: ", text)

    def test_what_is_no_image_is_an_error(self):
        (self.dir / "none.img").write_bytes(b"nothing\n" * 1000)
        done = self.expect(INPUT_ERROR, "image", "inspect", self.dir / "none.img")
        self.assertIn("none.img", done.stderr)


if __name__ == "__main__":
    unittest.main()
