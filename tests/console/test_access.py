"""Who may open the console."""

import asyncio

import pytest
from console.stands import StandFeed, opened, talk

from launch.arguments import Parser
from launch.console.access import Access
from launch.console.beside import access, add_console, console_address, show_page
from serl.errors import UserError

pytest.importorskip("aiohttp")
TOKEN = "a-token-of-24-characters"


def get(console, path="/", *, method="GET", headers=None, data=None):
    """Status, headers and text of one answer; redirections are not followed."""
    import aiohttp

    async def run():
        async with aiohttp.ClientSession() as session:
            call = session.request(
                method,
                console.url.rstrip("/") + path,
                headers=headers,
                data=data,
                allow_redirects=False,
            )
            async with call as answer:
                return answer.status, answer.headers, await answer.text()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def locked():
    with opened(StandFeed(), token=TOKEN) as console:
        yield console


@pytest.fixture(scope="module")
def open_console():
    with opened(StandFeed()) as console:
        yield console


@pytest.mark.parametrize(
    ("access", "why"),
    [
        ({"bind": "0.0.0.0:0"}, "needs a token and TLS"),
        ({"bind": "0.0.0.0:0", "token": TOKEN}, "without encryption"),
        ({"token": "short"}, "has 5 characters"),
    ],
)
def test_beyond_loopback_a_token_is_needed_and_tls_or_a_word(access, why):
    with pytest.raises(UserError, match=why):
        Access(**access)


def test_a_network_that_is_trusted_needs_the_token_and_a_word():
    assert Access(bind="0.0.0.0:0", token=TOKEN, insecure_lan=True).token == TOKEN


def test_a_port_that_is_taken_is_one_line(open_console):
    with pytest.raises(UserError, match=f"port {open_console.address.port} .* in use"):
        opened(StandFeed(), bind=str(open_console.address)).start()


@pytest.mark.parametrize("text", ["70000", "x", ":80", "1.2.3.4:"])
def test_an_address_that_is_none_is_refused(text):
    import argparse

    with pytest.raises(argparse.ArgumentTypeError, match="is not PORT"):
        console_address(text)


def given(*words):
    parser = Parser("teleop", "x")
    parser.add_argument("--device")
    add_console(parser)
    return access(parser.parse(words))


def test_a_page_to_drive_from_has_its_server_unasked():
    assert given("--device", "spacemouse") is None
    assert given("--device", "browser").bind == "127.0.0.1:8765"
    assert given("--device", "spacemouse", "--console").bind == "127.0.0.1:8765"
    assert given("--device", "browser", "--console", "8001").bind == "127.0.0.1:8001"


def test_where_there_is_no_browser_the_address_is_said(monkeypatch):
    said = []
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    show_page("http://127.0.0.1:1/", True, said.append)
    assert said == ["no browser to be found here; open http://127.0.0.1:1/ yourself."]


@pytest.mark.parametrize("path", ["/console.js", "/socket", "/view/"])
def test_without_the_token_nothing_is_shown(locked, path):
    status, _, text = get(locked, path)
    assert status == 401
    assert "token" in text


def test_the_first_page_asks_for_the_token_and_then_knows_the_browser(locked):
    status, _, text = get(locked)
    assert status == 401
    assert "Token of this console" in text
    assert TOKEN not in text
    status, _, text = get(locked, "/login", method="POST", data={"token": "wrong" + TOKEN})
    assert status == 401
    assert "not this console" in text
    status, headers, _ = get(locked, "/login", method="POST", data={"token": TOKEN})
    assert status == 303
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    status, _, text = get(locked, headers={"Cookie": cookie.split(";")[0]})
    assert status == 200
    assert "EMERGENCY STOP" in text


def test_a_socket_without_the_token_is_refused_and_with_it_served(locked):
    import aiohttp

    async def first_state(session, page):
        return await page.next("state")

    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        talk(locked, first_state)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert talk(locked, first_state, headers=bearer)["title"] == "standing"


def test_another_sites_page_may_not_use_the_console(open_console):
    """A WebSocket knows no same-origin rule: any site could drive an arm on localhost."""
    import aiohttp

    async def nothing(session, page):
        return None

    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        talk(open_console, nothing, origin="http://evil.example")
    own = open_console.url.rstrip("/")
    talk(open_console, nothing, origin=own)
    evil = {"Origin": "http://evil.example"}
    assert get(open_console, "/estop", method="POST", headers=evil)[0] == 403
    assert get(open_console, "/estop", method="POST", headers={"Origin": own})[0] == 200


def test_a_name_that_only_points_here_is_refused(open_console):
    """DNS rebinding: evil.example resolves to 127.0.0.1, and its page is then of one origin."""
    status, _, text = get(open_console, headers={"Host": "evil.example"})
    assert status == 403
    assert "localhost" in text
