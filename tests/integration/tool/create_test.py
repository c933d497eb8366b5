"""bundle-tool create: what it makes, that it makes it again, and what it refuses."""

import json
import os
import signal
import subprocess
import time
import unittest

from bundles import FLEET, TOOL, ToolTest, docker_archive, layer_tar, noise, run, tree


class Create(ToolTest):

    def test_create_verify_inspect_copy(self):
        """The whole way: create, verify, inspect, copy."""
        bundle = self.create("a.bundle", self.key())
        run("verify", "--trust", self.dir / "owner.pub", bundle)
        seen = json.loads(run("inspect", "--json", bundle).stdout)
        self.assertEqual(seen["sequence"], 7)
        self.assertEqual(seen["fleet_uuid"], FLEET)
        self.assertEqual(seen["created_at"], 1700000000)
        self.assertEqual(seen["services"]["main"]["image_id"], self.main_id)
        self.assertEqual(seen["services"]["db"]["image_id"], self.db_id)
        self.assertFalse(seen["signatures_verified"])
        text = run("inspect", bundle).stdout
        self.assertIn("NOT VERIFIED", text)
        for shown in ("LOG_LEVEL=info", '"restart":"always"', '"data:/data"'):
            self.assertIn(shown, text)
        trusted = run("inspect", "--trust", self.dir / "owner.pub", bundle).stdout
        self.assertNotIn("NOT VERIFIED", trusted)
        stick = self.dir / "stick"
        stick.mkdir()
        run("copy", "--trust", self.dir / "owner.pub", bundle, stick)
        self.assertEqual(tree(bundle), tree(stick / "a.bundle"))

    def test_same_inputs_same_bytes(self):
        """Two runs with other numbers of threads give the same bytes, signatures included."""
        key = self.key()
        one = self.create("one.bundle", key, "--threads", "1", "--name", "n")
        two = self.create("two.bundle", key, "--threads", "3", "--name", "n")
        self.assertEqual(tree(one), tree(two))
        self.assertEqual(sorted(x.name for x in one.iterdir()),
                         ["blobs", "index.json", "manifest.json", "manifest.json.minisig",
                          "oci-layout"])

    def test_order_of_images_does_not_matter(self):
        """The order of --image changes nothing."""
        one = self.create("one.bundle", None, "--name", "n")
        arguments = self.create_arguments("two.bundle")
        arguments[-1], arguments[-3] = arguments[-3], arguments[-1]
        run(*arguments, "--name", "n")
        self.assertEqual(tree(one), tree(self.dir / "two.bundle"))

    def test_content_changes_the_ids(self):
        """Another environment value gives another commit, other image names and another bundle id."""
        one = json.loads(run("inspect", "--json", self.create("one.bundle")).stdout)
        compose = self.dir / "compose.yml"
        compose.write_text(compose.read_text().replace("info", "debug"))
        two = json.loads(run("inspect", "--json", self.create("two.bundle")).stdout)
        self.assertNotEqual(one["commit"], two["commit"])
        self.assertNotEqual(one["bundle_id"], two["bundle_id"])
        self.assertNotEqual(one["services"]["db"]["image"], two["services"]["db"]["image"])
        self.assertEqual(one["services"]["db"]["image_id"], two["services"]["db"]["image_id"])

    def test_layers_are_shared(self):
        """A layer of two images is stored once."""
        bundle = self.create()
        layouts = json.loads((bundle / "index.json").read_text())["manifests"]
        self.assertEqual(len(layouts), 2)
        used = set()
        for entry in layouts:
            document = json.loads((bundle / "blobs/sha256" / entry["digest"][7:]).read_text())
            used.add(tuple(x["digest"] for x in document["layers"]))
        lower = {layers[0] for layers in used}
        self.assertEqual(len(lower), 1)
        # two configurations, two OCI manifests, three layers
        self.assertEqual(len(list((bundle / "blobs/sha256").iterdir())), 7)

    def test_image_names(self):
        """Generated image names exist nowhere and differ from service to service."""
        seen = json.loads(run("inspect", "--json", self.create()).stdout)["services"]
        pattern = r"^offline-updater\.invalid/v2/[0-9a-f]{32}@sha256:[0-9a-f]{64}$"
        names = [seen[x]["image"] for x in ("main", "db")]
        for name in names:
            self.assertRegex(name, pattern)
        self.assertNotEqual(names[0].split("@")[0], names[1].split("@")[0])

    def test_target_state(self):
        """A target state keeps its names, ids and commit; a digest is added to a name without."""
        commit = "46ba751f55679ce8fbf2d4266f1fc6b9"
        kept = "registry2.balena-cloud.com/v2/9e2dd224c83bddd78dbe9c0a91f585f4@sha256:" + "a" * 64
        service = {"id": 5, "image_id": 6, "environment": {}, "labels": {}}
        state = {"apps": {FLEET: {"id": 1, "name": "f", "releases": {commit: {"id": 2, "services": {
            "main": {**service, "image": kept},
            "db": {**service, "image": "registry2.balena-cloud.com/v2/" + "b" * 32}}}}}},
            "config": {"RESIN_X": "1"}, "pinDevice": True}
        (self.dir / "apps.json").write_text(json.dumps(state))
        arguments = self.create_arguments()
        arguments[arguments.index("--compose")] = "--target-state"
        arguments[arguments.index(self.dir / "compose.yml")] = self.dir / "apps.json"
        warnings = run(*arguments).stderr
        self.assertIn("config is left out", warnings)
        self.assertIn("pinDevice is left out", warnings)
        seen = json.loads(run("inspect", "--json", self.dir / "a.bundle").stdout)
        self.assertEqual(seen["commit"], commit)
        self.assertEqual(seen["services"]["main"]["image"], kept)
        self.assertRegex(seen["services"]["db"]["image"],
                         "^registry2.balena-cloud.com/v2/b{32}@sha256:[0-9a-f]{64}$")

    def test_missing_and_unknown_images(self):
        """Images that are missing or of no service are refused, and the services are listed."""
        arguments = self.create_arguments()
        missing = self.expect(2, *arguments[:-2])
        self.assertIn("no image for: db", missing.stderr)
        unknown = self.expect(2, *arguments, "--image", "web=oci:x")
        self.assertIn("db, main", unknown.stderr)
        self.assertEqual(list(self.dir.glob("a.bundle*")), [])

    def test_bad_sources(self):
        """A source that is missing, damaged or of no known kind says so and leaves nothing."""
        arguments = self.create_arguments()
        (self.dir / "broken.tar").write_bytes((self.dir / "main.tar").read_bytes()[:200_000])
        for source in ("oci:/nowhere", "docker-archive:" + str(self.dir / "broken.tar"), "x:y"):
            with self.subTest(source):
                done = self.expect(4, *arguments[:-1], "db=" + source)
                self.assertIn("service db", done.stderr)
                self.assertEqual(list(self.dir.glob("a.bundle*")), [])

    def test_altered_source_layer(self):
        """A layer that does not hash to its diff ID is refused."""
        data = (self.dir / "main.tar").read_bytes()
        place = data.index(noise(2, 64))
        (self.dir / "main.tar").write_bytes(data[:place] + b"\0" + data[place + 1:])
        self.expect(4, *self.create_arguments())
        self.assertEqual(list(self.dir.glob("a.bundle*")), [])

    def test_existing_output(self):
        """An existing bundle stays as it is without --force and is replaced with it."""
        bundle = self.create()
        before = tree(bundle)
        self.expect(6, *self.create_arguments(), "--name", "other")
        self.assertEqual(tree(bundle), before)
        run(*self.create_arguments(), "--name", "other", "--force")
        self.assertNotEqual(tree(bundle), before)
        self.assertEqual([x.name for x in self.dir.glob("a.bundle*")], ["a.bundle"])

    def test_interrupted(self):
        """A run that is killed leaves nothing under the final name, and the next one succeeds."""
        docker_archive(self.dir / "main.tar", [layer_tar({"big": noise(3, 48_000_000)})])
        arguments = [str(x) for x in self.create_arguments()] + ["--level", "19", "--threads", "1"]
        partial = self.dir / "a.bundle.partial"
        with subprocess.Popen([TOOL, *arguments], stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not list(partial.glob("blobs/sha256/*")):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            process.kill()
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertTrue(partial.exists())
        self.assertFalse((self.dir / "a.bundle").exists())
        self.create()
        self.assertFalse((self.dir / "a.bundle.partial").exists())

    def test_wrong_options(self):
        """Values that devices could not use are refused before anything is done."""
        good = self.create_arguments()
        for more in (["--commit", "xyz"], ["--min-os", "v5"], ["--chunk-size", "1KiB"],
                     ["--device-uuid", "short"], ["--health", "fine"], ["--level", "25"],
                     ["--sequence", "0"], ["--confirm-seconds", "0"], ["--registry-name", "localhost"],
                     ["--target-state", "x"]):
            with self.subTest(more):
                self.expect(2, *good, *more)
        for option, value in (("--fleet-uuid", "shop"), ("--device-type", "Raspberry Pi"),
                              ("--output", self.dir / "a")):
            with self.subTest(option):
                changed = list(good)
                changed[changed.index(option) + 1] = value
                self.expect(2, *changed)
        self.assertEqual(list(self.dir.glob("a*")), [])

    def test_json_error(self):
        """With --json an error is one object on standard output."""
        done = self.expect(2, *self.create_arguments()[:-2], "--json")
        self.assertEqual(json.loads(done.stdout)["error"]["name"], "usage")

    def test_device_list(self):
        """Devices come from options and a file with comments, sorted and each once."""
        (self.dir / "devices").write_text(f"# spare ones\n{'b' * 32}  # shop 2\n\n{'a' * 32}\r\n")
        bundle = self.create("a.bundle", None, "--device-list", self.dir / "devices",
                             "--device-uuid", "b" * 32)
        seen = json.loads(run("inspect", "--json", bundle).stdout)
        self.assertEqual(seen["device_uuids"], ["a" * 32, "b" * 32])

    def test_unprivileged(self):
        """No root, no capabilities, no home: create, sign, verify and copy as uid 65534."""
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.dir.chmod(0o777)
        for file in self.dir.rglob("*"):
            file.chmod(0o777 if file.is_dir() else 0o666)
        (self.dir / "stick").mkdir(mode=0o777)
        (self.dir / "stick").chmod(0o777)
        lowered = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                   "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", TOOL]
        for arguments in (["key", "generate", self.dir / "own", "--no-password"],
                          self.create_arguments("a.bundle", self.dir / "own.key"),
                          ["verify", "--trust", self.dir / "own.pub", self.dir / "a.bundle"],
                          ["copy", self.dir / "a.bundle", self.dir / "stick"]):
            done = subprocess.run([*lowered, *map(str, arguments)], capture_output=True, text=True,
                                  env={"PATH": os.environ["PATH"]}, check=False, timeout=200)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
