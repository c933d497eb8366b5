"""STAND-IN for systemd on a private D-Bus daemon: the few calls of org.freedesktop.systemd1.Manager that the agent
makes, for two units: one runs the stand-in supervisor (and starts it again a second after it has died), the other is
the timer that could restart it."""
from __future__ import annotations

import asyncio
import json
import sys

from dbus_next import BusType, DBusError
from dbus_next.aio import MessageBus
from dbus_next.service import PropertyAccess, ServiceInterface, dbus_property, method, signal

RESTART_SECONDS = 1


class Unit(ServiceInterface):
    def __init__(self, name: str, command: list[str] | None, log: str):
        super().__init__("org.freedesktop.systemd1.Unit")
        self.unit_name = name
        self.command = command
        self.log = log
        self.wanted = False
        self.process: asyncio.subprocess.Process | None = None
        self.keeper: asyncio.Task | None = None

    @dbus_property(access=PropertyAccess.READ)
    def ActiveState(self) -> "s":  # noqa: N802, F821
        return "active" if self.wanted else "inactive"

    async def start(self) -> None:
        if self.wanted:
            return
        self.wanted = True
        if self.command:
            self.keeper = asyncio.create_task(self.keep_running())

    async def keep_running(self) -> None:
        while self.wanted:
            with open(self.log, "ab") as log:
                self.process = await asyncio.create_subprocess_exec(*self.command, stdout=log, stderr=log)
            await self.process.wait()
            if self.wanted:
                await asyncio.sleep(RESTART_SECONDS)

    async def stop(self) -> None:
        self.wanted = False
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        if self.keeper:
            self.keeper.cancel()


class Manager(ServiceInterface):
    def __init__(self, units: dict[str, Unit]):
        super().__init__("org.freedesktop.systemd1.Manager")
        self.units = units
        self.jobs = 0

    def unit(self, name: str) -> Unit:
        if name not in self.units:
            raise DBusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not loaded.")
        return self.units[name]

    def job(self, work, name: str) -> str:
        self.jobs += 1
        number, path = self.jobs, f"/org/freedesktop/systemd1/job/{self.jobs}"

        async def run() -> None:
            await work()
            self.JobRemoved(number, path, name, "done")

        asyncio.create_task(run())
        return path

    @method()
    def Subscribe(self):  # noqa: N802
        pass

    @method()
    def StartUnit(self, name: "s", mode: "s") -> "o":  # noqa: N802, F821
        return self.job(self.unit(name).start, name)

    @method()
    def StopUnit(self, name: "s", mode: "s") -> "o":  # noqa: N802, F821
        return self.job(self.unit(name).stop, name)

    @method()
    def LoadUnit(self, name: "s") -> "o":  # noqa: N802, F821
        return f"/org/freedesktop/systemd1/unit/{list(self.units).index(self.unit(name).unit_name)}"

    @signal()
    def JobRemoved(self, number, job, unit, result) -> "uoss":  # noqa: N802, F821
        return [number, job, unit, result]


async def main() -> None:
    address, config_file = sys.argv[1:3]
    with open(config_file) as file:
        config = json.load(file)
    bus = await MessageBus(bus_address=address, bus_type=BusType.SESSION).connect()
    units = {name: Unit(name, unit.get("command"), unit["log"]) for name, unit in config.items()}
    for index, unit in enumerate(units.values()):
        bus.export(f"/org/freedesktop/systemd1/unit/{index}", unit)
    bus.export("/org/freedesktop/systemd1", Manager(units))
    await bus.request_name("org.freedesktop.systemd1")
    for unit in units.values():
        await unit.start()
    print("ready", flush=True)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (15, 2):
        loop.add_signal_handler(number, stopping.set)
    await stopping.wait()
    for unit in units.values():
        await unit.stop()


asyncio.run(main())
