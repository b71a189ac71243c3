"""The console in a real browser (Debian's Chromium, headless) against the simulator."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from console.stands import until

from envs.devices.browser import BrowserConfig
from envs.operator import OperatorConfig
from envs.tasks.reach import ReachConfig
from launch.console.access import Access
from launch.console.cell_feed import CellFeed
from launch.console.server import Console
from launch.teleop_hand import endless, hand_env
from serl.data.demos import list_episodes, load_episode
from serl.types import Source

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def missing(what):
    """Skips where a person has no browser; a CI without one proves nothing."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{what} is missing, and CI must drive the console in a browser")
    pytest.skip(f"no {what}: apt-get install chromium, pip install playwright")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("Chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    """An empty page that draws no 3-D: a machine without a GPU would do nothing else."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    outside = []
    page.on("request", lambda r: outside.append(r.url) if "127.0.0.1" not in r.url else None)
    page.route("**/view/**", lambda route: route.abort())
    yield page
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []
    context.close()


def held(page, key, moved):
    """Hold a key until something has moved."""
    page.keyboard.down(key)
    try:
        until(lambda: page.wait_for_timeout(50) or moved(), 60.0)
    finally:
        page.keyboard.up(key)


def tool_m(page):
    """Where the page says that the tool is."""
    text = page.get_attribute("#arms td[data-pos]", "data-pos")
    return np.array([float(v) for v in text.split()])


def test_clicks_and_keys_record_a_successful_demonstration(tab, tmp_path):
    words = ["record", "--task", "reach", "--device", "browser", "--judge", "person"]
    words += ["--demos", "1", "--into", tmp_path / "demos", "--console", "0"]
    recorder = subprocess.Popen(
        [sys.executable, "-m", "serl", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in recorder.stdout:
            said.append(line)
            if line.startswith("console  "):
                break
        assert said[-1].startswith("console  "), said
        tab.goto(said[-1].split()[1])
        tab.get_by_text("you drive").wait_for()
        tab.get_by_text("move when you are ready").wait_for()
        begin = tool_m(tab)
        held(tab, "w", lambda: tool_m(tab)[0] > begin[0] + 0.02)
        tab.click("[data-word=success]")
        out, _ = recorder.communicate(timeout=120)
    finally:
        recorder.kill()
    assert recorder.returncode == 0, [*said, out]
    (path,) = list_episodes(tmp_path / "demos")
    episode = load_episode(path)
    assert episode.meta.success
    assert episode.records["success"][-1]
    assert (episode.records["source"][1:] == int(Source.HUMAN)).all()


class Loop:
    """A policy that does nothing, with a person who may take over, on the wall clock."""

    def __init__(self):
        config = endless(hand_env(ReachConfig(), None, episode_s=600.0))
        self.operator = OperatorConfig(devices={"": BrowserConfig()}, mode="touch").make()
        self.operator.all_devices[0].open()
        self.env = dataclasses.replace(config, intervention_hold_s=0.3).make(
            intervention=self.operator
        )
        self.sources: list[int] = []
        self.words: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        env = self.env
        rest = env.get_wrapper_attr("rest")
        env.unwrapped.waiter.interrupted = self.stop.is_set
        env.reset(seed=0)
        while not self.stop.is_set():
            *_, terminated, truncated, info = env.step(rest())
            self.sources.append(info.get("source", int(Source.POLICY)))
            self.words += self.operator.words()
            if terminated or truncated:
                env.reset(seed=0)

    @property
    def tool_m(self):
        return self.env.unwrapped.states[""].T_base_tcp[:3, 3].copy()

    @property
    def human(self):
        return self.sources[-1] == int(Source.HUMAN)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.sources)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(20)
        self.operator.close()
        self.env.close()


def test_a_person_intervenes_and_closing_the_tab_gives_the_arm_back_where_it_is(tab):
    with Loop() as loop:
        feed = CellFeed(loop.env, loop.operator, title=lambda: "a policy acts", tuning=True)
        with Console(feed, Access(bind="127.0.0.1:0")) as console:
            tab.goto(console.url)
            tab.get_by_text("you drive").wait_for()
            assert not loop.human
            begin = loop.tool_m
            held(tab, "ArrowUp", lambda: loop.human and loop.tool_m[0] > begin[0] + 0.02)
            until(lambda: not loop.human)  # let go, and a while later it is the policy's again

            tab.hover("#pads [data-key=e]")
            tab.mouse.down()
            tab.wait_for_timeout(300)
            assert not loop.human  # an arrow alone moves nothing
            tab.mouse.up()
            tab.keyboard.down("Shift")
            tab.mouse.down()
            high = loop.tool_m
            until(lambda: tab.wait_for_timeout(50) or loop.tool_m[2] > high[2] + 0.01, 60.0)
            tab.mouse.up()
            tab.keyboard.up("Shift")

            tab.click("[data-word=success]")
            until(lambda: "success" in loop.words)

            tab.click("#estop")
            tab.wait_for_selector("#recover:enabled")
            time.sleep(0.5)  # the step under way ends, and the loop meets the gate
            steps = len(loop.sources)
            time.sleep(0.3)
            assert len(loop.sources) == steps  # no new episode begins by itself
            tab.click("#recover")
            until(lambda: len(loop.sources) > steps + 5)

            tab.keyboard.down("a")
            until(lambda: tab.wait_for_timeout(20) or loop.human)
            tab.close()
            until(lambda: not loop.human)
            time.sleep(0.5)
            there = loop.tool_m
            time.sleep(0.5)
            assert np.abs(loop.tool_m - there).max() < 1e-3
