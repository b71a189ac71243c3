"""Desk's brakes, FCI and control token, against a fake of the calls that franky's client makes.

The fake knows the paths and replies of franky-control 2.0.0's Desk class, not of a real Desk: what
is proved is our use of the client, not the arm's web interface.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from robot_servers.backends.franky import desk
from serl.errors import UserError

pytest.importorskip("franky")

USER, PASSWORD = "operator", "secret"


class FakeDesk:
    """One arm's Desk."""

    def __init__(self):
        self.brakes = ["Locked"] * 7
        self.fci = "Inactive"
        self.owner = None
        self.log = []

    def answer(self, method, path, headers, body):
        """(HTTP status, JSON reply)."""
        if not path.startswith("/api/"):
            return 404, {}
        login = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("Authorization") != login:
            return 401, {"code": "Unauthorized"}
        if method == "GET":
            reads = {
                "/api/system": {"status": "Started"},
                "/api/arm/joints": [{"brakeStatus": b} for b in self._read_brakes()],
                "/api/fci": {"status": self.fci},
                "/api/system/operating-mode": {"status": "Execution"},
                "/api/system/control-token": {"owner": self.owner, "tokenId": 7},
            }
            return (200, reads[path]) if path in reads else (404, {})
        self.log.append(path)
        if path == "/api/system/control-token:take":
            if self.owner not in (None, USER):
                return 424, {"code": "Timeout"}
            self.owner = body["owner"]
            return 200, {"tokenId": 7, "token": "token-7"}
        if headers.get("X-Control-Token") != "token-7":
            return 403, {"code": "NoControl"}
        if path == "/api/arm/joints:unlock":
            self.opening = 7
        elif path == "/api/arm/joints:lock":
            self.brakes = ["Locked"] * 7
        elif path == "/api/fci:activate":
            self.fci = "Active"
        elif path == "/api/system/control-token:release":
            self.owner = None
        else:
            return 404, {}
        return 200, {}

    opening = 0

    def _read_brakes(self):
        """Brakes open one by one."""
        if self.opening:
            self.brakes[7 - self.opening] = "Unlocked"
            self.opening -= 1
        return self.brakes


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def arm(certificate):
    """(fake, address)."""
    fake = FakeDesk()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parsed = json.loads(body) if body else {}
            code, reply = fake.answer(self.command, self.path, self.headers, parsed)
            data = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815  (http.server's names)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield fake, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_unlock_opens_the_brakes_activates_the_fci_and_gives_control_back(arm):
    fake, address = arm
    desk.unlock(address, USER, PASSWORD)
    assert fake.brakes == ["Unlocked"] * 7
    assert fake.fci == "Active"
    assert fake.owner is None
    assert fake.log == [
        "/api/system/control-token:take",
        "/api/arm/joints:unlock",
        "/api/fci:activate",
        "/api/system/control-token:release",
    ]
    expected = {"brakes": "unlocked", "mode": "Execution", "fci": "Active"}
    assert desk.status(address, USER, PASSWORD) == expected
    desk.unlock(address, USER, PASSWORD)
    assert fake.log.count("/api/arm/joints:unlock") == 1, "open brakes are left alone"
    desk.lock(address, USER, PASSWORD)
    assert desk.status(address, USER, PASSWORD)["brakes"] == "locked"


def test_what_stands_in_the_way_is_one_line(arm):
    fake, address = arm
    with pytest.raises(UserError, match=r"HTTP 401 .* check user and password"):
        desk.unlock(address, USER, "wrong")
    fake.owner = "somebody"
    with pytest.raises(UserError, match="nobody gave up control"):
        desk.unlock(address, USER, PASSWORD)
    with pytest.raises(UserError, match="try api = 'v1'"):
        desk.unlock(address, USER, PASSWORD, api="legacy")
    with pytest.raises(UserError, match="no Desk interface 'v9'"):
        desk.unlock(address, USER, PASSWORD, api="v9")
    with pytest.raises(UserError, match=r"no Desk at 127\.0\.0\.1:1 "):
        desk.unlock("127.0.0.1:1", USER, PASSWORD)
