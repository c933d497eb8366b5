"""STAND-IN for how balena's supervisor takes its first target from /mnt/data/apps.json when it starts: what
shared/reference/engine-and-supervisor.md sections 1 and 2 say, and no more. Only the form of supervisors since 13 is read."""
from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any, Callable

PROVISIONED = ("uuid", "apiEndpoint", "registered_at", "deviceId")
VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class InvalidApps(Exception):
    """The path of the bad field, and what it should be."""


def _check(good: bool, path: str, what: str) -> None:
    if not good:
        raise InvalidApps(f"{path}: {what}")


def _number(holder: dict, key: str, path: str) -> int:
    value = holder.get(key)
    numeric = isinstance(value, int) and not isinstance(value, bool) or isinstance(value, str) and value.isdigit()
    _check(numeric, f"{path}.{key}", "a number")
    return int(value)


def _text(holder: dict, key: str, path: str) -> str:
    _check(isinstance(holder.get(key), str) and 0 < len(holder[key]) <= 255, f"{path}.{key}", "text of at most 255 characters")
    return holder[key]


def _texts(holder: dict, key: str, path: str, names: re.Pattern | None = None) -> dict[str, str]:
    value = holder.get(key)
    _check(isinstance(value, dict), f"{path}.{key}", "an object")
    for name, text in value.items():
        _check(isinstance(text, str), f"{path}.{key}.{name}", "text")
        _check(names is None or names.fullmatch(name) is not None, f"{path}.{key}.{name}", "a variable's name")
    return value


def _service(name: str, body: Any, path: str, ids: dict) -> dict:
    _check(isinstance(body, dict), path, "an object")
    service = {"image": _text(body, "image", path), "running": body.get("running", True),
               "environment": _texts(body, "environment", path, VARIABLE), "labels": _texts(body, "labels", path),
               "imageId": _number(body, "image_id", path), "serviceId": _number(body, "id", path), "serviceName": name, **ids}
    _check(isinstance(service["running"], bool), f"{path}.running", "true or false")
    return {**service, **{key: body[key] for key in ("contract", "composition") if key in body}}


def _app(uuid: str, body: Any, source: str) -> dict:
    """The row of an app."""
    path = f"apps.{uuid}"
    _check(re.fullmatch(r"[0-9a-f]{32}", uuid) is not None, path, "an app's uuid: a numeric key asks the cloud, which is not there")
    _check(isinstance(body, dict) and isinstance(body.get("releases"), dict), f"{path}.releases", "an object")
    _check(len(body["releases"]) == 1, f"{path}.releases", "exactly one release")
    app_id = _number(body, "id", path)
    (commit, release), = body["releases"].items()
    path = f"{path}.releases.{commit}"
    _check(bool(commit) and isinstance(release, dict), path, "a release")
    ids = {"appId": app_id, "appUuid": uuid, "releaseId": _number(release, "id", path), "commit": commit}
    services = [_service(name, service, f"{path}.services.{name}", ids) for name, service in release.get("services", {}).items()]
    return {"name": _text(body, "name", f"apps.{uuid}"), "releaseId": ids["releaseId"], "commit": commit, "appId": app_id,
            "services": json.dumps(services), "networks": json.dumps(release.get("networks", {})),
            "volumes": json.dumps(release.get("volumes", {})), "source": source, "uuid": uuid,
            "class": body.get("class", "fleet"), "isHost": int(body.get("is_host", False))}


def load(file: Path, database: sqlite3.Connection, config: dict, find_image: Callable[[dict], str]) -> None:
    """Takes the target from `file` if the supervisor would; says in the log why not.
    \\param find_image raises when a service's image is not in the engine"""
    target_set = database.execute("SELECT 1 FROM config WHERE key = 'targetStateSet'").fetchone()
    if not file.exists() or target_set and all(config.get(key) for key in PROVISIONED):
        return
    try:
        document = json.loads(file.read_text())
        _check(isinstance(document, dict), "", "an object")
        settings = _texts({"config": {}, **document}, "config", "")
        apps = [_app(uuid, body, config.get("apiEndpoint", "")) for uuid, body in document.get("apps", {}).items()]
    except (InvalidApps, ValueError) as error:
        print(f"Invalid apps.json: {error}", flush=True)
        return
    if not apps and not settings:
        return
    try:
        for app in apps:
            for service in json.loads(app["services"]):
                find_image(service)
    except Exception as error:  # whatever it is, the real one only writes a debug line
        print(f"Loading preloaded apps failed: {error}", flush=True)
        return
    with database:
        for app in apps:
            database.execute("DELETE FROM app WHERE source = ?", (app["source"],))
        for app in apps:
            columns = ", ".join(f'"{name}"' for name in app)
            database.execute(f"INSERT INTO app ({columns}) VALUES ({', '.join('?' * len(app))})", tuple(app.values()))
        database.execute("INSERT OR REPLACE INTO config (key, value) VALUES ('targetStateSet', 'true')")
    done = file.with_name(file.name + ".preloaded")
    if not done.exists():
        file.rename(done)
        file.write_text("{}")
    if document.get("pinDevice") and apps:
        pin = json.dumps({"app": apps[0]["appId"], "commit": apps[0]["commit"]})
        with database:
            database.execute("INSERT OR REPLACE INTO config (key, value) VALUES ('pinDevice', ?)", (pin,))
