"""Pages and the one hand: who drives, what is a release, what a page may say."""

from contextlib import suppress

import pytest
from console.stands import StandFeed, opened, talk, until

from envs.devices.browser import BrowserConfig
from launch.console.hand import parse_input
from launch.console.run_feed import RunFeed

pytest.importorskip("aiohttp")


@pytest.fixture
def console():
    feed = StandFeed()
    with opened(feed) as console:
        yield console, feed


def test_the_first_page_drives_and_its_keys_move(console):
    server, feed = console

    async def drive(session, page):
        floor = await page.next("floor")
        assert floor["driver"] == floor["you"]
        await page.send("input", keys=["w"], taps=["w"])
        return until(lambda: (reading := feed.device.read()).moves and reading)

    reading = talk(server, drive)
    assert reading.twist[0] > 0
    assert "w" in reading.pressed


def test_a_gamepad_in_the_browser_moves_too(console):
    server, feed = console

    async def drive(session, page):
        await page.next("floor")
        await page.send("input", sticks=[0, -1, 0, 0, 1, 0], buttons=["start"])
        return until(lambda: (reading := feed.device.read()).moves and reading)

    reading = talk(server, drive)
    assert reading.twist[0] == 1.0
    assert reading.gripper == -1.0
    assert "pad_start" in reading.held


@pytest.mark.parametrize("how", ["release", "silence", "gone"])
def test_silence_blur_and_a_closed_page_are_a_release(console, how):
    server, feed = console

    async def let_go(session, page):
        await page.next("floor")
        await page.send("input", keys=["w"])
        until(lambda: feed.device.read().moves)
        if how == "release":
            await page.send("release")
            until(lambda: not feed.device.read().live)
        elif how == "silence":
            until(lambda: "nothing for" in feed.device.read().trouble)

    talk(server, let_go)
    reading = until(lambda: not (r := feed.device.read()).live and r)
    assert not reading.moves
    assert not reading.held


def test_one_page_drives_the_other_watches_until_it_takes_the_controls(console):
    server, feed = console

    async def second(session, first):
        await first.next("floor")
        async with session.ws_connect(f"{server.url}socket".replace("http", "ws")) as other_socket:
            other = type(first)(other_socket)
            floor = await other.next("floor")
            assert floor["driver"] != floor["you"]
            await other.send("input", keys=["s"])
            await other.send("order", what="gains")
            assert "take the controls" in (await other.next("problem"))["text"]
            assert not feed.device.read().moves
            await first.send("input", keys=["w"])
            until(lambda: feed.device.read().moves)
            await other.send("take")
            for page in (first, other):
                said = await page.next("notes", lambda m: m["lines"])
                assert "took the controls" in said["lines"][-1]
                await page.next("floor", lambda m: m["driver"] == floor["you"])
            assert not feed.device.read().moves  # the first one's key is no longer held
            await other.send("input", keys=["s"])
            return until(lambda: (r := feed.device.read()).moves and r)

    assert talk(server, second).twist[0] < 0
    assert feed.orders == []


def test_the_controls_of_a_page_that_went_are_given_to_nobody_unasked(console):
    server, _ = console

    async def left(session, first):
        await first.next("floor")
        async with session.ws_connect(f"{server.url}socket".replace("http", "ws")) as other_socket:
            other = type(first)(other_socket)
            await other.next("floor")
            await first.socket.close()
            floor = await other.next("floor", lambda m: m["pages"] == 1)
            assert floor["driver"] is None
            await other.send("take")
            return await other.next("floor", lambda m: m["driver"] == m["you"])

    talk(server, left)


def test_anyone_may_stop_the_arm(console):
    server, feed = console

    async def stop(session, page):
        await page.next("floor")
        async with session.post(f"{server.url}estop") as answer:
            return await answer.text()

    assert talk(server, stop) == "did estop"
    assert feed.orders == [("estop", {})]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"t": "input", "keys": 3}', '{"t": "fly"}', '{"t": "input", "taps": [1]}']
)
def test_what_a_page_says_wrongly_is_said_to_it_and_changes_nothing(console, text):
    server, feed = console

    async def babble(session, page):
        await page.next("floor")
        await page.socket.send_str(text)
        problem = await page.next("problem")
        assert not feed.device.read().moves
        return problem["text"]

    assert "not understood" in talk(server, babble)


@pytest.mark.parametrize(
    "message",
    [{"keys": ["w" * 33]}, {"keys": ["w"] * 65}, {"sticks": [float("nan")] * 6}, {"taps": [1]}],
)
def test_an_input_out_of_bounds_is_refused(message):
    with pytest.raises(ValueError, match=r"keys|sticks|taps"):
        parse_input(message)


def test_every_key_and_button_with_a_word_may_be_held():
    """The dead man's own key was refused for its length, and with it all that was down."""
    names = list(BrowserConfig.words)
    assert parse_input({"keys": names}).keys == set(names)


def test_a_stick_never_asks_for_more_than_all():
    assert parse_input({"sticks": [5, -5, 0, 0, 0, 0]}).sticks.left_x == 1.0


def test_a_refusal_of_the_arm_is_said_to_everyone(console):
    server, _ = console

    async def ask(session, page):
        await page.next("floor")
        await page.send("order", what="recover")
        return await page.next("notes", lambda m: m["lines"])

    assert "nothing to recover from" in talk(server, ask)["lines"][-1]


def test_frames_come_once_each_and_name_their_camera(console):
    import io

    import numpy as np
    from PIL import Image

    server, feed = console

    async def look(session, page):
        await page.next("frame")
        state = await page.next("state", lambda m: m["cameras"])
        assert state["cameras"] == ["wrist"]
        feed.picture = np.full((8, 12, 3), 200, np.uint8)
        return await page.next("frame")

    frame = talk(server, look)
    assert frame[0] == 0
    picture = np.asarray(Image.open(io.BytesIO(frame[1:])))
    assert picture.shape == (8, 12, 3)
    assert abs(picture.astype(int) - 200).max() < 5
    assert server.shown == 2

    async def look_later(session, page):
        return await page.next("frame")

    assert talk(server, look_later) == frame  # nothing new has come since


def test_a_hand_that_only_speaks_is_at_rest_while_nobody_looks():
    """A console beside a SpaceMouse used to be shown as a lost device until a page was opened."""
    feed = StandFeed(moves=False)
    with opened(feed):
        until(lambda: feed.device.read().live)
        assert feed.device.read().trouble == ""


def test_a_console_that_dies_says_so_and_releases_the_hand():
    told = []
    feed = StandFeed()
    console = opened(feed)
    console._tell = told.append

    async def die(session, page):
        await page.next("floor")
        await page.send("input", keys=["w"])
        until(lambda: feed.device.read().moves)
        feed.state = lambda: 1 / 0
        until(lambda: told)

    with console, suppress(OSError):  # the page's connection may end either way
        talk(console, die)
    assert "the console has died (ZeroDivisionError" in told[0]
    assert not feed.device.read().moves


def test_a_run_is_watched_and_grows(tmp_path):
    import json

    from launch.runs import Run
    from serl.metrics import write_status

    run = Run(tmp_path)
    feed = RunFeed(run)
    assert feed.curves() == {}
    write_status(run.status_path("learner"), {"phase": "learning", "updates": 10})
    file = tmp_path / "metrics.jsonl"
    rows = [
        {"name": "actor", "step": k, "episode/success_last_20": k / 1000, "critic/loss": 1.0}
        for k in range(1000)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1001, "cri')
    curves = feed.curves()
    success = curves["success"]["last 20"]
    assert len(success) <= 300
    assert success[0] == [0, 0.0]
    assert success[-1][0] > 900
    assert curves["losses"].keys() == {"critic"}
    with file.open("a") as more:
        more.write('tic/loss": 7.5}\n')
    assert feed.curves()["losses"]["critic"][-1][0] in (1001, success[-1][0], 998, 996)
    state = feed.state()
    assert state["phase"] == "learning"
    assert not feed.hand.listens
