"""Is the learner there, is it ours, and how fast is the way to it? For `serl doctor --learner`."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serl.channel import channel_pb2 as pb
from serl.channel import channel_pb2_grpc as pb_grpc
from serl.channel.codec import PROTOCOL
from serl.errors import UserError
from serl.rpc import MIB, Address, Limits, Tls, dial, explain, parse_address
from serl.types import Spec, first_difference

NAMES = (
    "resolve",
    "connect",
    "token",
    "TLS",
    "protocol",
    "spec",
    "round trip",
    "MB/s",
    "clock offset",
    "spool disk",
)
TIMEOUT_S = 5.0
CLOCK_OFFSET_MAX_S = 0.5
SPOOL_LIMIT_BYTES = 20_000_000_000


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis."""

    name: str
    ok: bool
    text: str


def diagnose(
    address: str,
    contract: Mapping[str, Any],
    spec: Spec,
    token: str | None = None,
    tls: Tls | None = None,
    spool_dir: Path | str = ".",
    *,
    insecure_lan: bool = False,
) -> list[Check]:
    """One check for each of NAMES, in that order; those that could not be made are not ok."""
    target = parse_address(address)
    found: dict[str, Check] = {}
    for check in _checks(target, contract, spec, token, tls, insecure_lan):
        found[check.name] = check
    disk = _spool_disk(Path(spool_dir))
    found[disk.name] = disk
    return [found.get(n) or Check(n, False, "not checked: an earlier check failed") for n in NAMES]


def trunk_name(
    address: str,
    *,
    token: str | None = None,
    tls: Tls | None = None,
    insecure_lan: bool = False,
) -> str | None:
    """Name of the frozen trunk a learner runs, '' for none; None while no learner answers."""
    limits = Limits(max_receive_bytes=64 * MIB)
    with dial(address, token=token, tls=tls, insecure_lan=insecure_lan, limits=limits) as channel:
        try:
            return (
                pb_grpc.LearnerStub(channel).Probe(pb.ProbeRequest(), timeout=TIMEOUT_S).trunk_name
            )
        except grpc.RpcError as error:
            final = explain(error, f"learner at {address}")
            if final is not None:
                raise final from error
            return None


def _checks(
    target: Address,
    contract: Mapping[str, Any],
    spec: Spec,
    token: str | None,
    tls: Tls | None,
    insecure_lan: bool,
) -> Iterator[Check]:
    """Every check that needs the network, until one fails on which the others depend."""
    resolve = _resolve(target)
    yield resolve
    if not resolve.ok:
        return
    connect = _connect(target)
    yield connect
    if not connect.ok:
        return
    try:
        limits = Limits(max_receive_bytes=64 * MIB)
        channel = dial(str(target), token=token, tls=tls, insecure_lan=insecure_lan, limits=limits)
    except UserError as error:
        yield Check("TLS", False, str(error))
        return
    with channel:
        stub = pb_grpc.LearnerStub(channel)
        try:
            reply = stub.Probe(pb.ProbeRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            yield from _explain(error, tls, target)
            return
        yield Check("token", True, "accepted" if reply.token else "none asked for")
        yield Check("TLS", True, "encrypted" if reply.tls else _plain(target))
        yield _protocol(reply)
        yield _spec(reply, contract, spec)
        yield from _timing(stub)


def _resolve(target: Address) -> Check:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        text = f"{target.host}: {error.strerror}; check the name, or give the address in numbers"
        return Check("resolve", False, text)
    numbers = sorted({str(entry[4][0]) for entry in found})
    return Check("resolve", True, f"{target.host} is {', '.join(numbers)}")


def _connect(target: Address) -> Check:
    began = time.perf_counter()
    try:
        socket.create_connection((target.host, target.port), TIMEOUT_S).close()
    except OSError as error:
        text = f"{target}: {error.strerror or error}; is the learner running, and the port open?"
        return Check("connect", False, text)
    return Check("connect", True, f"{target} in {(time.perf_counter() - began) * 1e3:.1f} ms")


def _plain(target: Address) -> str:
    return "off, within this machine" if target.is_loopback else "off: readable on the network"


def _explain(error: grpc.RpcError, tls: Tls | None, target: Address) -> Iterator[Check]:
    """Which check a failed first call belongs to."""
    code, details = error.code(), error.details()  # type: ignore[attr-defined]
    if code is grpc.StatusCode.UNAUTHENTICATED:
        yield Check("token", False, f"{details}; give the token the learner was started with")
        yield Check("TLS", True, "encrypted" if tls else _plain(target))
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        yield Check("protocol", False, "something else than a learner answers at this address")
    else:
        said = "with" if tls else "without"
        advice = "check the certificate files" if tls else "does the learner ask for TLS?"
        yield Check("TLS", False, f"no answer {said} TLS ({code.name}: {details}); {advice}")


def _protocol(reply: pb.ProbeReply) -> Check:
    if reply.protocol == PROTOCOL:
        return Check("protocol", True, f"version {PROTOCOL} on both sides, run {reply.run_id}")
    text = f"version {PROTOCOL} here, {reply.protocol} there; install the same version on both"
    return Check("protocol", False, text)


def _spec(reply: pb.ProbeReply, contract: Mapping[str, Any], spec: Spec) -> Check:
    here = {**contract, "spec": json.loads(spec.to_json())}
    there = {**json.loads(reply.contract_json), "spec": json.loads(reply.spec_json)}
    difference = first_difference(here, there)
    if difference is None:
        return Check("spec", True, "the same experiment on both sides")
    text = f"another experiment ({difference}); start both from the same file"
    return Check("spec", False, text)


def _timing(stub: pb_grpc.LearnerStub) -> Iterator[Check]:
    """Round trip, throughput up and clock offset."""
    samples = []
    for _ in range(50):
        mono, wall = time.perf_counter(), time.time_ns()
        reply = stub.Probe(pb.ProbeRequest(), timeout=TIMEOUT_S)
        span_s = time.perf_counter() - mono
        samples.append((span_s, (reply.stamp_wall_ns - wall) / 1e9 - span_s / 2))
    median_ms = statistics.median(span for span, _ in samples) * 1e3
    yield Check("round trip", True, f"{median_ms:.2f} ms, median of {len(samples)}")
    payload = pb.ProbeRequest(payload=bytes(MIB))
    began = time.perf_counter()
    for _ in range(16):
        stub.Probe(payload, timeout=TIMEOUT_S)
    spent_s = time.perf_counter() - began
    yield Check("MB/s", True, f"{16 * MIB / 1e6 / spent_s:.0f} MB/s to the learner")
    span_s, offset_s = min(samples)
    text = (
        f"the learner's clock is {offset_s * 1e3:+.1f} ms from this one, +- {span_s * 500:.1f} ms"
    )
    if abs(offset_s) > CLOCK_OFFSET_MAX_S:
        yield Check("clock offset", False, f"{text}; set both by NTP, or stamps cannot be compared")
    else:
        yield Check("clock offset", True, text)


def _spool_disk(directory: Path) -> Check:
    """Room where the spool is or will be."""
    existing = directory.resolve()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for the spool in {directory}"
    if free < SPOOL_LIMIT_BYTES:
        return Check("spool disk", False, f"{text}; its limit is {SPOOL_LIMIT_BYTES / 1e9:.0f} GB")
    return Check("spool disk", True, text)
