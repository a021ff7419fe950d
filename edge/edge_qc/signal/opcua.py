"""Verdicts over OPC UA: edge-qc serves, with names after OPC 40100-1, Machine Vision (docs/plc.md, OPC UA)."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_qc.domain import Inspection, Outcome, Signalled
from edge_qc.sections import OpcUa
from edge_qc.signal.background import Inbox, Job, ServerThread
from edge_qc.signal.base import StationState

if TYPE_CHECKING:
    from asyncua import Node, Server

NAMESPACE = "urn:edge-qc"
# More than this waits only when the server's thread hangs; a verdict that would wait behind it is not in time.
MOST_WAITING = 64
MOST_CLIENTS = 16  # asyncua's own bound is 1000: too many for a small machine
# OPC 40100-1, section 8.2: what the states of ours are called there.
VISION_STATES: dict[StationState, str] = {"online": "Operational", "degraded": "Operational", "offline": "Halted"}
# OPC 40100-1, section 12.19: 1 completed, 4 failed.
COMPLETED, FAILED = 1, 4

# Folder, variable, type of OPC UA, value before the first part.
MACHINE, RESULT, STATION = "VisionStateMachine", "ResultManagement.Results.Latest", "Station"
VARIABLES: tuple[tuple[str, str, str, Any], ...] = (
    (MACHINE, "CurrentState", "String", "Preoperational"),
    (STATION, "Name", "String", ""),
    (STATION, "Session", "String", ""),
    (STATION, "Model", "String", ""),
    (STATION, "State", "String", "offline"),
    (STATION, "Reasons", "String", ""),
    (STATION, "Heartbeat", "UInt32", 0),
    (RESULT, "IsPartial", "Boolean", False),
    (RESULT, "ResultState", "Int32", 0),
    (RESULT, "CreationTime", "DateTime", datetime(1970, 1, 1, tzinfo=UTC)),
    (RESULT, "PartId", "String", ""),
    (RESULT, "InternalConfigurationId", "String", ""),
    (RESULT, "Seq", "UInt32", 0),
    (RESULT, "Verdict", "String", ""),
    (RESULT, "Reason", "String", ""),
    (RESULT, "Label", "String", ""),
    (RESULT, "Score", "Double", math.nan),
    (RESULT, "AgeMs", "UInt32", 0),
    (RESULT, "ResultContent", "String", ""),
    (RESULT, "Reject", "Boolean", False),
    (RESULT, "ResultId", "String", ""),  # written last: a client that sees it change finds the rest in place
)


class OpcUaSignal:
    """See ``Signal``. A client with an activated session is the connection.

    Args:
        settings: where it listens, and how long a reject stays.
        station: the station's name.
        session: 8 hexadecimal digits, new at each start.
        model: name and version of the bundle.
        reject_on: outcomes that make ``Reject`` true.
    """

    def __init__(self, settings: OpcUa, station: str, session: str, model: str, reject_on: frozenset[Outcome]) -> None:
        self._settings, self._reject_on = settings, reject_on
        self._names = {"Name": station, "Session": session, "Model": model}
        self._server = ServerThread("opcua", f"{settings.host}:{settings.port}", self._serve)
        self._served: Server | None = None
        self._nodes: dict[str, Node] = {}
        self._beats = 0
        self._state: tuple[StationState, tuple[str, ...]] = ("offline", ("starting",))
        self._rejected: str | None = None
        self._waiting, self._lock = 0, threading.Lock()

    @property
    def connected(self) -> bool:
        """Whether a client has a session."""
        binary = self._served.bserver if self._served is not None else None
        processors = [client.processor for client in list(binary.clients)] if binary is not None else []
        return any(p is not None and p.session is not None and p.session.is_activated() for p in processors)

    def start(self) -> None:
        """See ``Signal``. Waits until it listens, which takes seconds: OPC UA's own nodes come first.

        Raises:
            SignalError: if the port is taken, or asyncua is not installed.
        """
        self._server.start()

    def send(self, inspection: Inspection) -> Signalled:
        """See ``Signal``. The server's thread looks at the deadline once more before it writes."""
        if inspection.part.deadline_ns <= time.monotonic_ns():
            return "expired"
        if not self.connected or self._waiting >= MOST_WAITING:
            return "offline"
        return "sent" if self._post(partial(self._write_result, inspection)) else "offline"

    def heartbeat(self, seq: int) -> None:  # noqa: ARG002 - the port's signature; the result holds the last part's own
        """See ``Signal``."""
        self._beats += 1
        if self._waiting < MOST_WAITING:
            self._post(partial(self._write, {"Heartbeat": self._beats & 0xFFFF_FFFF}))

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """See ``Signal``."""
        self._state = (state, reasons)
        self._post(self._write_state)

    def model(self, model: str) -> None:
        """See ``Signal``."""
        self._names["Model"] = model
        self._post(partial(self._write, {"Model": model}))

    def stop(self) -> None:
        """See ``Signal``."""
        self.state("offline", ("stopped",))
        self._server.stop()
        self._served = None

    def _post(self, job: Job) -> bool:
        with self._lock:
            self._waiting += 1
        posted = self._server.post(partial(self._do, job))
        if not posted:
            self._done()
        return posted

    async def _do(self, job: Job) -> None:
        try:
            await job()
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._waiting -= 1

    async def _write_state(self) -> None:
        state, reasons = self._state
        await self._write({"CurrentState": VISION_STATES[state], "Reasons": ", ".join(reasons), "State": state})

    async def _write_result(self, inspection: Inspection) -> None:
        if inspection.part.deadline_ns <= time.monotonic_ns():
            return
        payload, verdict = inspection.payload(), inspection.verdict
        result_id = f"{inspection.session}-{inspection.part.seq}"
        rejected = verdict.outcome in self._reject_on
        await self._end_reject(self._rejected)  # so that a reject after a reject is a change as well
        values = {
            "ResultState": FAILED if verdict.outcome is Outcome.NOT_INSPECTED else COMPLETED,
            "CreationTime": inspection.decided_at.astimezone(UTC),
            "PartId": inspection.part.id,
            "InternalConfigurationId": inspection.model,
            "Seq": inspection.part.seq,
            "Verdict": verdict.outcome.value,
            "Reason": verdict.reason,
            "Label": verdict.label or "",
            "Score": math.nan if verdict.score is None else verdict.score,
            "AgeMs": payload["age_ms"],
            "ResultContent": json.dumps(payload, separators=(",", ":"), ensure_ascii=False),
            "Reject": rejected,
            "ResultId": result_id,
        }
        await self._write(values, inspection.decided_at)
        if rejected:
            self._rejected = result_id
            end = partial(self._server.post, partial(self._end_reject, result_id))
            asyncio.get_running_loop().call_later(self._settings.pulse_ms / 1000, end)

    async def _end_reject(self, result_id: str | None) -> None:
        if result_id is not None and result_id == self._rejected:
            self._rejected = None
            await self._write({"Reject": False})

    async def _write(self, values: dict[str, Any], at: datetime | None = None) -> None:
        """Writes variables in the order given, all with one source timestamp."""
        from asyncua import ua  # noqa: PLC0415 - loaded by now

        types = {name: kind for _, name, kind, _ in VARIABLES}
        now = datetime.now(UTC)
        for name, value in values.items():
            variant = ua.Variant(value, ua.VariantType[types[name]])
            await self._nodes[name].write_value(
                ua.DataValue(variant, SourceTimestamp=(at or now).astimezone(UTC), ServerTimestamp=now)
            )

    async def _serve(self, inbox: Inbox, ready: Callable[[], None]) -> None:
        server = await self._build()
        await server.start()
        self._served = server
        ready()
        try:
            while (job := await inbox.get()) is not None:
                await job()
        finally:
            self._served = None
            await server.stop()

    async def _build(self) -> "Server":
        from asyncua import Server, ua  # noqa: PLC0415 - an extra, and 0.6 s of import that only its users should pay

        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._settings.host}:{self._settings.port}")
        server.set_server_name("edge-qc")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        # Else anybody who says that he is "admin" may write, without a password.
        server.allow_remote_admin(allow=False)
        server.iserver.max_connections, server.iserver.max_subscriptions = MOST_CLIENTS, MOST_CLIENTS * 4
        space = await server.register_namespace(NAMESPACE)
        await self._add_nodes(server, space)
        await self._write(self._names)
        await self._write_state()
        return server

    async def _add_nodes(self, server: "Server", space: int) -> None:
        from asyncua import ua  # noqa: PLC0415

        folders = {"": await server.nodes.objects.add_object(ua.NodeId("VisionSystem", space), f"{space}:VisionSystem")}
        for folder, name, kind, value in VARIABLES:
            parent = ""
            for step in folder.split("."):
                path = f"{parent}.{step}".lstrip(".")
                if path not in folders:
                    node_id = ua.NodeId(f"VisionSystem.{path}", space)
                    folders[path] = await folders[parent].add_object(node_id, f"{space}:{step}")
                parent = path
            node_id = ua.NodeId(f"VisionSystem.{folder}.{name}", space)
            variant = ua.Variant(value, ua.VariantType[kind])
            self._nodes[name] = await folders[folder].add_variable(node_id, f"{space}:{name}", variant)
