"""A page to crop a camera's frame with the mouse, where no window can be opened.

One file with the frame inside: it needs no server and no network, any browser opens it.
"""

from __future__ import annotations

import html
import json

import numpy as np
from numpy.typing import NDArray

from serl.rewards.pictures import data_uri


def crop_page(frame: NDArray[np.uint8], snippet: str) -> str:
    """The page.

    Args:
        snippet: the config, with {crop} where the numbers go.
    """
    height, width, _ = frame.shape
    return (
        PAGE.replace("@FRAME@", data_uri(frame))
        .replace("@WIDTH@", str(width))
        .replace("@HEIGHT@", str(height))
        .replace("@PLAIN@", html.escape(snippet))
        .replace("@SNIPPET@", json.dumps(snippet).replace("<", "\\u003c"))
    )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Crop</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; background: #f6f6f4; color: #222 }
canvas { cursor: crosshair; border: 1px solid #999; touch-action: none }
#part { width: 128px; height: 128px }
pre { background: #fff; border: 1px solid #ccc; padding: .8rem; overflow-x: auto }
.row { display: flex; gap: 1.5rem; flex-wrap: wrap; align-items: flex-start }
</style>
<h1>Crop</h1>
<p>Drag a rectangle over the frame (@WIDTH@ x @HEIGHT@ px; a line every 40). With Shift it is a
square, which a square observation does not stretch. Then copy the lines below into the config.</p>
<div class="row"><canvas id="frame" width="@WIDTH@" height="@HEIGHT@"></canvas>
<div>What the agent sees, 128 x 128:<br><canvas id="part" width="128" height="128"></canvas>
<p id="size"></p></div></div>
<pre id="config">@PLAIN@</pre>
<script>
const image = new Image(), canvas = document.getElementById("frame");
const pen = canvas.getContext("2d"), part = document.getElementById("part").getContext("2d");
const snippet = @SNIPPET@, W = @WIDTH@, H = @HEIGHT@;
let box = [0, 0, W, H], start = null;
function ruler() {
  pen.lineWidth = 1; pen.font = "11px sans-serif"; pen.fillStyle = "#fff";
  pen.strokeStyle = "rgba(255,255,255,.25)";
  for (let x = 0; x < W; x += 40) {
    pen.strokeRect(x, 0, 0, H);
    if (x % 80 == 0) pen.fillText(x, x + 2, 11);
  }
  for (let y = 0; y < H; y += 40) {
    pen.strokeRect(0, y, W, 0);
    if (y % 80 == 0) pen.fillText(y, 2, y + 11);
  }
}
function draw() {
  const [x, y, w, h] = box;
  pen.drawImage(image, 0, 0); ruler();
  pen.strokeStyle = "#ffd400"; pen.lineWidth = 2; pen.strokeRect(x, y, w, h);
  part.drawImage(image, x, y, w, h, 0, 0, 128, 128);
  document.getElementById("config").textContent =
    snippet.replace("{crop}", "(" + box.join(", ") + ")");
  document.getElementById("size").textContent = "x " + x + ", y " + y + ", " + w + " x " + h
    + " px" + (w == h ? "" : ": not square, so stretched");
}
function at(event) {
  const r = canvas.getBoundingClientRect();
  const clip = (v, most) => Math.max(0, Math.min(most, Math.round(v)));
  return [clip(event.clientX - r.left - 1, W), clip(event.clientY - r.top - 1, H)];
}
canvas.onpointerdown = event => { start = at(event); canvas.setPointerCapture(event.pointerId); };
canvas.onpointerup = () => { start = null; };
canvas.onpointermove = event => {
  if (!start) return;
  let [x, y] = at(event), [a, b] = start;
  if (event.shiftKey) {
    const room = Math.min(x < a ? a : W - a, y < b ? b : H - b);
    const side = Math.min(Math.max(Math.abs(x - a), Math.abs(y - b)), room);
    x = a + (x < a ? -side : side);
    y = b + (y < b ? -side : side);
  }
  const w = Math.abs(x - a), h = Math.abs(y - b);
  if (w && h) { box = [Math.min(x, a), Math.min(y, b), w, h]; draw(); }
};
image.onload = draw;
image.src = "@FRAME@";
</script></html>
"""
