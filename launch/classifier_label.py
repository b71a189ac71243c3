"""Changing labels: a page of pictures to click, served on loopback, or ranges as words."""

from __future__ import annotations

import html
import json
import re
import secrets
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serl.errors import UserError
from serl.rewards.frames import (
    UNLABELLED,
    Episode,
    frame_count,
    list_episodes,
    load_episode,
    relabel,
    save_labels,
)
from serl.rewards.pictures import beside, png

_RANGE = re.compile(r"(\d+):(\d+)(?:-(\d+))?=(.+)")
MOST_POSTED = 1 << 16


def apply_ranges(folder: Path, ranges: Sequence[str], by: str = "hand") -> int:
    """Set labels from words like '3:10-19=success' (episode 3, frames 10 to 19; '-' leaves out).

    Nothing is stored unless all of them are right. Returns how many frames were set.
    """
    paths = {_number(path): path for path in list_episodes(folder)}
    changed: dict[int, Episode] = {}
    count = 0
    for word in ranges:
        said = _RANGE.fullmatch(word)
        if said is None:
            raise UserError(f"--set {word!r} must be EPISODE:FROM-TO=LABEL, as 3:10-19=success.")
        number, first, last = int(said[1]), int(said[2]), int(said[3] or said[2])
        if number not in paths:
            raise UserError(f"--set {word}: {folder} has no episode {number}.")
        if last < first:
            raise UserError(f"--set {word}: the range runs backwards.")
        episode = changed.get(number) or load_episode(paths[number])
        label = label_of(said[4], episode.header.classes)
        changed[number] = relabel(episode, range(first, last + 1), label, by)
        count += last - first + 1
    for episode in changed.values():
        save_labels(episode)
    return count


def label_of(word: str, classes: Sequence[str]) -> int:
    """A class by name or number; '-' is no label."""
    if word == "-":
        return UNLABELLED
    if word in classes:
        return classes.index(word)
    if word.isdigit() and int(word) < len(classes):
        return int(word)
    raise UserError(
        f"label {word!r} is none of {', '.join(classes)}, 0 to {len(classes) - 1} or -."
    )


class LabelServer:
    """The page, on loopback; its address holds a secret, so that no other page can post. `with`."""

    def __init__(self, folder: Path, port: int = 0, by: str = "hand") -> None:
        self.folder, self._by = folder, by
        self._paths = {_number(path): path for path in list_episodes(folder)}
        if not self._paths:
            raise UserError(f"no episodes in {folder}; `serl classifier record` makes them.")
        self._lock = threading.Lock()
        self._secret = secrets.token_urlsafe(12)
        self._cached: tuple[int, Episode] | None = None
        try:
            self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise UserError(
                f"cannot serve on port {port}: {error.strerror or error}. Give another --port, or "
                "none for a free one."
            ) from error
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/{self._secret}/"

    def __enter__(self) -> LabelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[str, bytes]:
        """Content type and body of a GET below the secret. Raises KeyError for what is absent."""
        if path == "":
            return "text/html; charset=utf-8", self._page().encode()
        if found := re.fullmatch(r"(\d+)\.json", path):
            episode = self._episode(int(found[1]))
            return "application/json", json.dumps({"label": episode.label.tolist()}).encode()
        if found := re.fullmatch(r"(\d+)/(\d+)\.png", path):
            episode, k = self._episode(int(found[1])), int(found[2])
            if k >= len(episode):
                raise KeyError(path)
            return "image/png", png(beside([frames[k] for frames in episode.frames.values()]))
        raise KeyError(path)

    def take(self, posted: Any) -> None:
        """Store {"episode": 3, "frames": [1, 2], "label": 1}. Raises UserError or KeyError."""
        try:
            number, label = int(posted["episode"]), int(posted["label"])
            frames = [int(k) for k in posted["frames"]]
        except (TypeError, ValueError) as error:
            raise UserError(f"what was posted is malformed ({error}).") from error
        with self._lock:
            episode = relabel(self._load(number), frames, label, self._by)
            save_labels(episode)
            self._cached = (number, episode)

    def _episode(self, number: int) -> Episode:
        with self._lock:
            return self._load(number)

    def _load(self, number: int) -> Episode:
        if self._cached is None or self._cached[0] != number:
            self._cached = (number, load_episode(self._paths[number]))
        return self._cached[1]

    def _page(self) -> str:
        counts = {number: frame_count(self._paths[number]) for number in sorted(self._paths)}
        classes = self._episode(min(counts)).header.classes
        return (
            PAGE.replace("@EPISODES@", json.dumps(counts))
            .replace("@CLASSES@", json.dumps(list(classes)).replace("<", "\\u003c"))
            .replace("@FOLDER@", html.escape(str(self.folder)))
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(lambda path: server.answer(path))

            def do_POST(self) -> None:
                self._reply(self._taken)

            def _taken(self, path: str) -> tuple[str, bytes]:
                size = int(self.headers.get("Content-Length") or 0)
                if path != "labels" or not 0 < size <= MOST_POSTED:
                    raise KeyError(path)
                server.take(json.loads(self.rfile.read(size)))
                return "application/json", b"{}"

            def _reply(self, answer: Any) -> None:
                prefix = f"/{server._secret}/"
                try:
                    if not self.path.startswith(prefix):
                        raise KeyError(self.path)
                    kind, body = answer(self.path.removeprefix(prefix))
                    code = 200
                except (KeyError, IndexError):
                    code, kind, body = 404, "text/plain", b"not here"
                except (UserError, ValueError) as error:
                    code, kind, body = 400, "text/plain", str(error).encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the terminal shows the address."""

        return Handler


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("episode_"))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Labels</title><style>
body { font:15px/1.5 system-ui,sans-serif; margin:1rem 2rem; background:#fff; color:#1c2024 }
main { display:flex; flex-wrap:wrap; gap:6px } figure { margin:0; padding:4px; cursor:pointer;
  border-radius:6px; background:#d8dbe0; font-size:.75rem } figure img { height:110px }
figure img { display:block }
.c0 { background:#f0b8a8 } .c1 { background:#9fdcae } .c2 { background:#a8c8f5 }
.c3 { background:#e3c2f2 } .c4 { background:#f2e2a0 } select, button { font:inherit }
</style></head><body>
<p>@FOLDER@ &middot; episode <button id="back">&larr;</button> <select id="which"></select>
<button id="on">&rarr;</button> &middot; a click changes the label, shift-click sets all from the
last click to here, right click leaves the frame out. Stored at once.</p><main></main><script>
const episodes = @EPISODES@, classes = @CLASSES@, main = document.querySelector("main");
const which = document.getElementById("which");
let labels = [], last = 0;
for (const [n, frames] of Object.entries(episodes)) which.add(new Option(`${n} (${frames})`, n));
function paint(k) {
  const label = labels[k], figure = main.children[k];
  figure.className = label < 0 ? "" : "c" + label;
  figure.lastChild.textContent = `${k} ${label < 0 ? "left out" : classes[label]}`;
}
async function set(frames, label) {
  const body = JSON.stringify({episode: +which.value, frames, label});
  const reply = await fetch("labels", {method: "POST", body});
  if (!reply.ok) { alert(await reply.text()); return; }
  for (const k of frames) { labels[k] = label; paint(k); }
}
async function show() {
  labels = (await (await fetch(which.value + ".json")).json()).label;
  main.replaceChildren(...labels.map((_, k) => {
    const figure = document.createElement("figure"), image = new Image();
    image.loading = "lazy"; image.src = `${which.value}/${k}.png`;
    figure.append(image, document.createElement("div"));
    figure.onclick = event => {
      if (event.shiftKey) {
        const [a, b] = [Math.min(last, k), Math.max(last, k)];
        set([...Array(b - a + 1).keys()].map(i => a + i), labels[last]);
      } else set([k], (labels[k] + 1) % classes.length);
      last = k;
    };
    figure.oncontextmenu = event => { event.preventDefault(); set([k], -1); };
    return figure;
  }));
  labels.forEach((_, k) => paint(k));
}
which.onchange = show;
function go(by) { which.selectedIndex = Math.max(0, Math.min(which.length - 1,
  which.selectedIndex + by)); show(); }
document.getElementById("back").onclick = () => go(-1);
document.getElementById("on").onclick = () => go(1);
show();
</script></body></html>
"""
