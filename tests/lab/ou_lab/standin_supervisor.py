"""STAND-IN for balena's supervisor. Behaves as shared/reference/engine-and-supervisor.md says, and no more:
target from its database at start, image lookup and tagging, the order of an update, update locks, the clean-up
of images, the API with its half-truths. Containers run with networking off; with --host, on a machine of their own, with the
options of their compose file and what balena's feature labels give (balenaos.md section 10)."""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ou_lab import preloaded_apps  # noqa: E402
from ou_lab.engine import EngineClient, EngineError  # noqa: E402

SUPERVISOR_UID = 65534
VERSION = os.environ.get("SUPERVISOR_VERSION", "17.6.23")
APPLIED_LIE_SECONDS = 0.6  # the status says `applied` with the old release for a moment after a start


class Locked(Exception):
    pass


def repository(reference: str) -> str:
    name = reference.split("@")[0]
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    return name if colon < 0 else name[:colon]


class StandInSupervisor:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.engine = EngineClient(options.engine)
        self.started = time.monotonic()
        self.status = {"appState": "applied", "release": "", "update_failed": False, "overallDownloadProgress": None}
        self.stop = threading.Event()
        config = json.loads(Path(options.config_json).read_text())
        self.api_endpoint = config.get("apiEndpoint", "")
        try:
            with self.database() as db:
                if options.apps_json:
                    preloaded_apps.load(Path(options.apps_json), db, config, self.find_image)
                self.apps = [dict(row) for row in db.execute("SELECT * FROM app")]
                secret = db.execute("SELECT key FROM apiSecret WHERE appId = 0").fetchone()
                commit = db.execute("SELECT \"commit\" FROM currentCommit LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            print(f"database: {error}", file=sys.stderr)
            sys.exit(1)  # SQLITE_BUSY at start ends the real one too
        self.api_key = secret[0]
        self.status["release"] = commit[0] if commit else ""

    def database(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.options.database, timeout=1)
        db.row_factory = sqlite3.Row
        return db

    # The life of a target

    def run(self) -> None:
        self.stop.wait(APPLIED_LIE_SECONDS)
        wait = 1.0
        while not self.stop.is_set():
            try:
                for app in self.apps:
                    self.apply(app)
                self.status.update(appState="applied", update_failed=False)
                break
            except (Locked, EngineError, OSError) as error:
                print(f"update failed, retrying in {wait:g} s: {error}", file=sys.stderr, flush=True)
                self.status.update(appState="applying", update_failed=True)
                self.stop.wait(wait)
                wait = min(wait * 2, 900)
        self.stop.wait()

    def apply(self, app: dict) -> None:
        if app["source"] != self.api_endpoint:
            self.destroy(app)  # the app counts as removed: services and volumes go
            return
        services = json.loads(app["services"])
        if self.changes(app, services):
            self.status.update(appState="applying")
            self.check_locks(app["appId"])
        images = {service["serviceName"]: self.find_image(service) for service in services}
        self.save_images(app, services, images)
        keep = {}
        wanted = {service["serviceName"]: service for service in services}
        for container in self.containers(app):
            name = container["Config"]["Labels"]["io.balena.service-name"]
            service = wanted.get(name)
            if service and name not in keep and self.same(container, service, images[name]):
                keep[name] = container
            else:
                self.engine.call("POST", f"/containers/{container['Id']}/kill") if container["State"]["Running"] else None
                self.engine.call("DELETE", f"/containers/{container['Id']}?force=1")
        self.remove_old_images(app, services)
        self.make_volumes(app)
        for service in services:
            self.start(app, service, images[service["serviceName"]], keep.get(service["serviceName"]))
        with self.database() as db:
            db.execute("DELETE FROM currentCommit WHERE appId = ?", (app["appId"],))
            db.execute("INSERT INTO currentCommit (appId, \"commit\") VALUES (?, ?)", (app["appId"], app["commit"]))
        self.status.update(release=app["commit"])

    def changes(self, app: dict, services: list) -> bool:
        names = {service["serviceName"] for service in services}
        return self.status["release"] != app["commit"] or names != {
            c["Config"]["Labels"]["io.balena.service-name"] for c in self.containers(app)}

    def check_locks(self, app_id: int) -> None:
        for lock in Path(self.options.locks).glob(f"{app_id}/*/*updates.lock"):
            if lock.lstat().st_uid != SUPERVISOR_UID:
                raise Locked("Updates are locked")

    def containers(self, app: dict) -> list[dict]:
        return [c for c in self.engine.containers()
                if c["Config"]["Labels"].get("io.balena.supervised")
                and c["Config"]["Labels"].get("io.balena.app-id") == str(app["appId"])]

    def find_image(self, service: dict) -> str:
        reference = service["image"]
        image = self.engine.image(reference)
        if image:
            return image["Id"]
        for image in self.engine.images():
            if any(repository(tag) == repository(reference) for tag in image["RepoTags"] or []):
                return image["Id"]
        digest = reference.split("@")[-1]
        with self.database() as db:
            row = db.execute("SELECT dockerImageId FROM image WHERE name LIKE ?", (f"%@{digest}",)).fetchone()
        if row and row[0] and self.engine.image(row[0]):
            return row[0]
        raise EngineError(404, f"image {reference} is missing and cannot be downloaded")

    def save_images(self, app: dict, services: list, images: dict) -> None:
        with self.database() as db:
            for service in services:
                image = images[service["serviceName"]]
                self.engine.call("POST", f"/images/{image}/tag?repo={repository(service['image'])}&tag=latest")
                db.execute("DELETE FROM image WHERE name = ?", (service["image"],))
                db.execute(
                    "INSERT INTO image (name, appId, serviceId, serviceName, imageId, releaseId, dockerImageId, appUuid,"
                    " \"commit\") VALUES (?,?,?,?,?,?,?,?,?)",
                    (service["image"], app["appId"], service["serviceId"], service["serviceName"], service["imageId"],
                     app["releaseId"], image, app["uuid"], app["commit"]))

    def remove_old_images(self, app: dict, services: list) -> None:
        wanted = {service["image"] for service in services}
        with self.database() as db:
            old = [row[0] for row in db.execute("SELECT name FROM image WHERE appId = ?", (app["appId"],))
                   if row[0] not in wanted]
        wanted_names = {repository(name) for name in wanted}
        for name in old:
            if repository(name) not in wanted_names:
                try:
                    self.engine.call("DELETE", f"/images/{repository(name)}:latest?noprune=0")
                except EngineError as error:
                    if error.status != 404:
                        raise  # 409: for ever, as the real one
            with self.database() as db:
                db.execute("DELETE FROM image WHERE name = ?", (name,))

    def definition(self, volume: object) -> str:
        return hashlib.sha256(json.dumps(volume or {}, sort_keys=True).encode()).hexdigest()

    def make_volumes(self, app: dict) -> None:
        for name, definition in json.loads(app["volumes"]).items():
            full = f"{app['appId']}_{name}"
            try:
                present = self.engine.call("GET", f"/volumes/{full}")
                if present["Labels"].get("lab.definition") == self.definition(definition):
                    continue
                self.engine.call("DELETE", f"/volumes/{full}?force=1")  # data lost, as with the real one
            except EngineError as error:
                if error.status != 404:
                    raise
            self.engine.call("POST", "/volumes/create", {"Name": full, "Labels": {
                "io.balena.supervised": "1", "lab.definition": self.definition(definition)}})

    def config_hash(self, service: dict, image: str) -> str:
        text = json.dumps([image, service["environment"], service["labels"], service.get("composition")], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def same(self, container: dict, service: dict, image: str) -> bool:
        return (container["Image"] == image
                and container["Config"]["Labels"].get("lab.config") == self.config_hash(service, image))

    def start(self, app: dict, service: dict, image: str, container: dict | None) -> None:
        name = f"{service['serviceName']}_{service['imageId']}_{app['releaseId']}_{app['commit']}"
        if container:
            if container["Name"] != "/" + name:
                self.engine.call("POST", f"/containers/{container['Id']}/rename?name={name}")
            if not container["State"]["Running"] and not container["State"]["Restarting"]:
                self.engine.call("POST", f"/containers/{container['Id']}/start")
            return
        composition = service.get("composition") or {}
        binds = [f"{app['appId']}_{volume}" if ":" not in volume else f"{app['appId']}_{volume}"
                 for volume in composition.get("volumes", [])]
        body = {
            "Image": image,
            "Env": [f"{key}={value}" for key, value in service["environment"].items()] + ["BALENA=1"],
            "Labels": {**service["labels"], "io.balena.supervised": "true", "io.balena.app-id": str(app["appId"]),
                       "io.balena.app-uuid": app["uuid"], "io.balena.service-name": service["serviceName"],
                       "io.balena.service-id": str(service["serviceId"]),
                       "lab.config": self.config_hash(service, image)},
            "HostConfig": {"NetworkMode": "none", "Binds": binds,
                           "RestartPolicy": {"Name": composition.get("restart", "always")}},
        }
        if self.options.host:
            self.add_host_features(app, service, composition, body)
        if "command" in composition:
            command = composition["command"]
            body["Cmd"] = command if isinstance(command, list) else ["/bin/sh", "-c", command]
        created = self.engine.call("POST", f"/containers/create?name={name}", body)
        if service.get("running", True):
            self.engine.call("POST", f"/containers/{created['Id']}/start")

    def add_host_features(self, app: dict, service: dict, composition: dict, body: dict) -> None:
        name, labels, host = service["serviceName"], service["labels"], body["HostConfig"]
        locks = Path(self.options.locks) / str(app["appId"]) / name
        locks.mkdir(parents=True, exist_ok=True)
        host["Binds"].append(f"{locks}:/tmp/balena")
        host["Privileged"] = bool(composition.get("privileged"))
        host["PidMode"] = composition.get("pid", "")
        if composition.get("network_mode") == "host":
            host["NetworkMode"] = "host"
        environment = {"BALENA_APP_ID": app["appId"], "BALENA_SERVICE_NAME": name}
        if labels.get("io.balena.features.dbus"):
            host["Binds"].append("/run/dbus:/host/run/dbus")
        if labels.get("io.balena.features.balena-socket"):
            host["Binds"].append(f"{self.options.engine}:/host/run/balena-engine.sock")
            environment["DOCKER_HOST"] = "unix:///host/run/balena-engine.sock"
        if labels.get("io.balena.features.supervisor-api"):
            environment["BALENA_SUPERVISOR_ADDRESS"] = f"http://127.0.0.1:{self.options.port}"
            environment["BALENA_SUPERVISOR_API_KEY"] = self.api_key
        body["Env"] += [f"{key}={value}" for key, value in environment.items()]

    def destroy(self, app: dict) -> None:
        for container in self.containers(app):
            self.engine.call("DELETE", f"/containers/{container['Id']}?force=1")
        for volume in self.engine.call("GET", "/volumes")["Volumes"] or []:
            if volume["Name"].startswith(f"{app['appId']}_"):
                self.engine.call("DELETE", f"/volumes/{volume['Name']}?force=1")

    # The API

    def reply(self, path: str, key: str) -> tuple[int, str]:
        if path == "/ping":
            return 200, "OK"
        if path == "/v1/healthy":
            return 200, "OK"
        if key != self.api_key:
            return 401, "Unauthorized"
        if path == "/v2/version":
            return 200, json.dumps({"status": "success", "version": VERSION})
        if path == "/v2/state/status":
            return 200, json.dumps({"status": "success", **self.status, "containers": [], "images": []})
        if path == "/v1/device":
            return 200, json.dumps({"api_port": self.options.port, "supervisor_version": VERSION, "status": "Idle",
                                    "commit": self.status["release"], "update_failed": self.status["update_failed"]})
        if path == "/v2/local/target-state":
            return 200, json.dumps({"status": "success", "state": {"local": {"apps": {
                str(app["appId"]): {"commit": app["commit"]} for app in self.apps}}}})
        return 404, "Not found"

    def serve(self) -> ThreadingHTTPServer:
        supervisor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                key = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, body = supervisor.reply(self.path.split("?")[0], key)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.options.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--locks", required=True)
    parser.add_argument("--config-json", required=True)
    parser.add_argument("--apps-json", help="where the factory's target is, if there is one")
    parser.add_argument("--host", action="store_true", help="containers get the host's features that they ask for")
    supervisor = StandInSupervisor(parser.parse_args())
    supervisor.serve()
    supervisor.run()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
