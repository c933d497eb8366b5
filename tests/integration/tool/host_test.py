"""bundle-tool with host OS, supervisor and configuration: create, inspect, verify, sign, copy."""

import json
import unittest

from bundles import FLEET, ToolTest, docker_archive, hostapp, layer_tar, run, tree

SECRET = "psk=correct horse"
CONNECTION = f"[connection]\nid=shop\ntype=wifi\n\n[wifi-security]\n{SECRET}\n"
SUPERVISOR = "registry2.balena-cloud.com/v2/" + "0a" * 16


class Host(ToolTest):

    def setUp(self):
        super().setUp()
        self.os_id = hostapp(self.dir / "os.tar")
        self.supervisor_id = docker_archive(self.dir / "supervisor.tar",
                                            [self.base, layer_tar({"supervisor": b"s"})])
        (self.dir / "shop.nmconnection").write_text(CONNECTION)
        (self.dir / "patch.json").write_text('{"hostname": "shop-7", "os": {"network": null}}')
        self.os = ["--os-image", f"docker-archive:{self.dir}/os.tar"]
        self.supervisor = ["--supervisor-image", f"docker-archive:{self.dir}/supervisor.tar",
                           "--supervisor-name", SUPERVISOR, "--supervisor-version", "17.0.1"]

    def alone(self, name="os.bundle", key=None):
        """The arguments for a bundle without a release and without a device type."""
        signing = ["--sign-key", key] if key else ["--unsigned"]
        return ["create", "--output", self.dir / name, *signing, "--fleet-uuid", FLEET,
                "--sequence", "8", *self.os]

    def test_os_alone(self):
        """A host OS alone: facts are read from the image, and all commands take the bundle."""
        made = json.loads(run(*self.alone(key=self.key()), "--json").stdout)
        self.assertEqual(made["os_version"], "6.6.0+rev1")
        bundle = self.dir / "os.bundle"
        manifest = self.manifest(bundle)
        self.assertEqual(manifest["format"], 2)
        self.assertNotIn("release", manifest)
        self.assertEqual(manifest["targets"]["device_types"], ["raspberrypi4-64"])
        self.assertEqual(manifest["os"], {
            "image": self.os_id, "version": "6.6.0+rev1", "meta_version": "6.6.0",
            "device_type": "raspberrypi4-64", "signed": False, "boot_volume_bytes": 8192,
            "boot_files": {"config.txt": 1, "EFI/BOOT/grub.cfg": 100}})
        run("verify", "--trust", self.dir / "owner.pub", bundle)
        seen = json.loads(run("inspect", "--json", bundle).stdout)
        self.assertEqual(seen["os"], {
            "version": "6.6.0+rev1", "meta_version": "6.6.0", "device_type": "raspberrypi4-64",
            "image_id": self.os_id, "boot_files": 2, "boot_bytes": 101,
            "boot_volume_bytes": 8192, "signed_for_secure_boot": False})
        self.assertEqual(seen["services"], {})
        self.assertIsNone(seen["commit"])
        text = run("inspect", bundle).stdout
        for shown in ("balenaOS 6.6.0+rev1", "raspberrypi4-64", "not signed for secure boot"):
            self.assertIn(shown, text)
        self.assertNotIn("release ", text)
        second = self.key("second")
        signed = run("sign", "--sign-key", second, bundle)
        self.assertIn("balenaOS 6.6.0+rev1 for raspberrypi4-64", signed.stdout)
        stick = self.dir / "stick"
        stick.mkdir()
        run("copy", bundle, stick)
        self.assertEqual(tree(bundle), tree(stick / "os.bundle"))

    def test_everything(self):
        """Release, OS, supervisor, patch and connection together; nothing secret is shown."""
        key = self.key()
        bundle = self.create("all.bundle", key, *self.os, *self.supervisor,
                             "--config-patch", self.dir / "patch.json",
                             "--system-connection", self.dir / "shop.nmconnection",
                             "--allow-os-downgrade", "--stage")
        self.assertEqual(self.findings(bundle, self.dir / "owner.pub"), set())
        manifest = self.manifest(bundle)
        self.assertEqual(manifest["config"], {
            "patch": {"hostname": "shop-7", "os": {"network": None}},
            "connections": {"shop.nmconnection": CONNECTION}})
        names = {x["annotations"]["org.opencontainers.image.ref.name"]
                 for x in json.loads((bundle / "index.json").read_text())["manifests"]}
        self.assertEqual(names, {"main", "db", "host/os", "host/supervisor"})
        done = run("inspect", "--json", bundle)
        seen = json.loads(done.stdout)
        self.assertEqual(seen["supervisor"], {
            "name": SUPERVISOR, "version": "17.0.1", "image_id": self.supervisor_id})
        self.assertEqual(seen["config"], {"keys": ["hostname", "os"],
                                          "connections": ["shop.nmconnection"]})
        self.assertTrue(seen["policy"]["allow_os_downgrade"])
        self.assertTrue(seen["policy"]["stage"])
        text = run("inspect", bundle).stdout
        for shown in (SUPERVISOR, "17.0.1", "hostname", "shop.nmconnection", "older host OS",
                      "copied to the device first", "not encrypted"):
            self.assertIn(shown, text)
        self.assertNotIn(SECRET, text + done.stdout)

    def test_same_inputs_same_bytes(self):
        """A bundle with an OS is as reproducible as one without."""
        run(*self.alone("one.bundle"), *self.supervisor, "--name", "n")
        run(*self.alone("two.bundle"), *self.supervisor, "--name", "n", "--threads", "1")
        self.assertEqual(tree(self.dir / "one.bundle"), tree(self.dir / "two.bundle"))

    def test_release_alone_is_format_1(self):
        """Without anything new, a bundle stays in format 1, which every device reads."""
        manifest = self.manifest(self.create())
        self.assertEqual(manifest["format"], 1)
        self.assertEqual(sorted(manifest["policy"]),
                         ["confirm_seconds", "health", "override_update_lock", "pin"])
        self.assertEqual(self.manifest(self.create("s.bundle", None, "--stage"))["format"], 2)

    def test_device_type(self):
        """The device type given must be exactly the image's."""
        run(*self.alone(), "--device-type", "raspberrypi4-64")
        for types in (["intel-nuc"], ["raspberrypi4-64", "intel-nuc"]):
            given = [x for y in types for x in ("--device-type", y)]
            done = self.expect(4, *self.alone("t.bundle"), *given)
            self.assertIn("raspberrypi4-64 and nothing else", done.stderr)
        self.assertFalse((self.dir / "t.bundle").exists())

    def test_no_hostapp(self):
        """An image that is no host OS is refused with what is missing."""
        self.os = ["--os-image", f"docker-archive:{self.dir}/main.tar"]
        done = self.expect(4, *self.alone())
        error = json.loads(self.expect(4, *self.alone(), "--json").stdout)["error"]
        self.assertEqual(error["name"], "os-image-invalid")
        self.assertIn("/etc/os-release", done.stderr)
        hostapp(self.dir / "noslug.tar", b"VERSION=5.0.0\n")
        self.os = ["--os-image", f"docker-archive:{self.dir}/noslug.tar"]
        self.assertIn("SLUG", self.expect(4, *self.alone()).stderr)
        (self.dir / "balena.img").write_bytes(b"\xeb" * 4096)
        self.os = ["--os-image", f"docker-archive:{self.dir}/balena.img"]
        self.assertIn("disk image", self.expect(4, *self.alone()).stderr)
        self.assertFalse((self.dir / "os.bundle").exists())

    def test_architecture(self):
        """An OS for another processor than the release's images is refused."""
        hostapp(self.dir / "amd.tar", architecture="amd64")
        done = self.expect(4, *self.create_arguments(), "--os-image",
                           f"docker-archive:{self.dir}/amd.tar")
        self.assertIn("arm64", done.stderr)
        self.assertIn("amd64", done.stderr)

    def test_config_patch(self):
        """Identity and endpoints are refused, with the list of what is allowed."""
        patch = self.dir / "bad.json"
        for key in ("uuid", "deviceApiKey", "apiEndpoint", "installer"):
            patch.write_text(json.dumps({"hostname": "a", key: "x"}))
            done = self.expect(2, *self.alone(), "--config-patch", patch)
            self.assertIn(key, done.stderr)
            self.assertIn("hostname, ntpServers, os", done.stderr)
        for content in ("[]", "{}", "{"):
            patch.write_text(content)
            self.expect(2, *self.alone(), "--config-patch", patch)

    def test_connections(self):
        """A connection file must be a keyfile, in UTF-8, under a name of its own."""
        cases = {"none": b"[wifi]\nssid=a\n", "latin": b"[connection]\nid=\xe9\n",
                 ".hidden": b"[connection]\n", "a b": b"[connection]\n"}
        for name, content in cases.items():
            (self.dir / name).write_bytes(content)
            self.expect(2, *self.alone(), "--system-connection", self.dir / name)
        (self.dir / "other").mkdir()
        (self.dir / "other" / "SHOP.nmconnection").write_text(CONNECTION)
        done = self.expect(2, *self.alone(),
                           "--system-connection", self.dir / "shop.nmconnection",
                           "--system-connection", self.dir / "other" / "SHOP.nmconnection")
        self.assertIn("two files", done.stderr)

    def test_wrong_options(self):
        """Options that do not go together are refused before any image is read."""
        no_os = self.alone()[:-2]
        for arguments, word in (
                (no_os, "--os-image"),
                ([*no_os, *self.supervisor], "--os-image"),
                ([*self.alone(), "--supervisor-version", "1.0"], "--supervisor-image"),
                ([*self.alone(), *self.supervisor[:2]], "--supervisor-name"),
                ([*self.alone(), *self.supervisor[:3], SUPERVISOR + ":latest",
                  *self.supervisor[4:]], "without tag"),
                ([*self.alone(), "--commit", "0" * 32], "--commit"),
                ([*self.create_arguments(), "--allow-os-downgrade"], "--os-image"),
                ([*self.alone(), *self.os], "--os-image")):
            self.assertIn(word, self.expect(2, *arguments).stderr)
        without_fleet = [x for x in self.alone() if x not in ("--fleet-uuid", FLEET)]
        self.assertIn("--fleet-uuid", self.expect(2, *without_fleet).stderr)


if __name__ == "__main__":
    unittest.main()
