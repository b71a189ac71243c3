"""The page of `serl data view`: frames above, below a line for each element of the action."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Demonstrations</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; background: #f6f6f4; color: #222 }
canvas.cam { border: 1px solid #999; image-rendering: pixelated; background: #000 }
.row { display: flex; gap: 1rem; flex-wrap: wrap; align-items: flex-end; margin: .6rem 0 }
.plot { display: grid; grid-template-columns: 9rem 1fr 5rem; align-items: center; gap: .5rem }
.plot canvas { width: 100%; height: 46px; background: #fff; border: 1px solid #ccc }
.plot span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.value { font-variant-numeric: tabular-nums; text-align: right }
input[type=range] { width: 100% } button, select { font: inherit }
#who { color: #555 }
</style>
<h1 id="title"></h1>
<div class="row"><label>Episode <select id="episode"></select></label>
<button id="play">play</button>
<label>speed <select id="speed"><option>0.25<option>0.5<option selected>1<option>2<option>4
</select></label><span id="who"></span></div>
<div class="row" id="cameras"></div>
<div class="plot"><span id="step"></span><input id="time" type="range" min="0" value="0">
<span></span></div>
<div id="plots"></div>
<p>Arrow keys go step by step, the space bar plays. At record 0 no action has led to what is seen;
the strip says who acted: <span id="legend"></span></p>
<script>
const D = @DATA@, $ = id => document.getElementById(id);
const COLOURS = ["#ddd", "#7a7a7a", "#d9822b", "#2b7bd9", "#a64ca6"];
let e, k = 0, timer = null, pictures = {}, asked = 0;
const make = (tag, parent, text) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};
$("title").textContent = D.title;
document.title = D.title;
D.episodes.forEach((episode, i) => {
  const one = make("option", $("episode"),
    episode.name + ", " + (episode.rewards.length - 1) + " steps, " + (episode.outcome || "?"));
  one.value = i;
});
D.sources.forEach((name, i) => {
  const one = make("span", $("legend"), " " + name + " ");
  one.style.borderBottom = "4px solid " + COLOURS[i];
});
const lines = D.actions.map((name, i) => ({name, low: D.low[i], high: D.high[i], of: i}));
lines.push({name: "reward", of: -1}, {name: "who acted", of: -2});
for (const line of lines) {
  const row = make("div", $("plots"));
  row.className = "plot";
  make("span", row, line.name).title = line.name;
  line.canvas = make("canvas", row);
  line.value = make("span", row);
  line.value.className = "value";
  line.canvas.onpointerdown = line.canvas.onpointermove = event => {
    if (event.type == "pointermove" && !event.buttons) return;
    const r = line.canvas.getBoundingClientRect();
    go(Math.round((event.clientX - r.left) / r.width * (e.rewards.length - 1)));
  };
}
function choose(i) {
  e = D.episodes[i];
  $("who").textContent = [e.by && "by " + e.by, e.created, "ends: " + e.end]
    .filter(Boolean).join("; ");
  $("time").max = e.rewards.length - 1;
  $("cameras").replaceChildren();
  pictures = {};
  const now = ++asked;
  for (const [name, camera] of Object.entries(e.cameras)) {
    const box = make("div", $("cameras"));
    make("div", box, name);
    const canvas = make("canvas", box), image = new Image();
    canvas.className = "cam";
    canvas.width = camera.width; canvas.height = camera.height;
    canvas.style.width = 2 * camera.width + "px";
    image.onload = () => { if (now == asked) frame(name); };
    image.src = camera.sheet;
    pictures[name] = {canvas, image, camera};
  }
  go(0);
}
function frame(name) {
  const {canvas, image, camera} = pictures[name], i = Math.floor(k / D.stride);
  const x = i % D.columns * camera.width, y = Math.floor(i / D.columns) * camera.height;
  canvas.getContext("2d").drawImage(image, x, y, camera.width, camera.height,
    0, 0, camera.width, camera.height);
}
function plot(line) {
  const canvas = line.canvas, n = e.rewards.length;
  const W = canvas.width = canvas.clientWidth || 600, H = canvas.height = 46;
  const pen = canvas.getContext("2d"), X = i => n > 1 ? i / (n - 1) * (W - 2) + 1 : 1;
  if (line.of == -2) {
    for (let i = 1; i < n; i++) {
      pen.fillStyle = COLOURS[e.source[i]];
      pen.fillRect(X(i - 1), 8, X(i) - X(i - 1) + 1, 30);
    }
    line.value.textContent = D.sources[e.source[k]];
  } else {
    const values = line.of == -1 ? e.rewards : e.actions.map(a => a[line.of]);
    const low = Math.min(line.low ?? 0, ...values), high = Math.max(line.high ?? 1, ...values);
    const Y = v => H - 4 - (v - low) / (high - low || 1) * (H - 8);
    pen.strokeStyle = "#ddd"; pen.beginPath(); pen.moveTo(0, Y(0)); pen.lineTo(W, Y(0));
    pen.stroke();
    pen.strokeStyle = line.of == -1 ? "#2a8a4a" : "#2b5fd9"; pen.lineWidth = 1.5;
    pen.beginPath();
    for (let i = 1; i < n; i++) {
      pen.lineTo(X(i - 1), Y(values[i])); pen.lineTo(X(i), Y(values[i]));
    }
    pen.stroke();
    line.value.textContent = k ? values[k].toFixed(3) : "";
  }
  pen.strokeStyle = "#d33"; pen.lineWidth = 1; pen.beginPath();
  pen.moveTo(X(k), 0); pen.lineTo(X(k), H); pen.stroke();
}
function go(to) {
  k = Math.max(0, Math.min(e.rewards.length - 1, to));
  $("time").value = k;
  $("step").textContent = "record " + k + (D.hz ? ", " + (k / D.hz).toFixed(2) + " s" : "");
  for (const name in pictures) frame(name);
  lines.forEach(plot);
}
function play(on) {
  clearInterval(timer);
  timer = null;
  $("play").textContent = on ? "pause" : "play";
  if (!on) return;
  if (k == e.rewards.length - 1) go(0);
  timer = setInterval(() => {
    go(k + 1);
    if (k == e.rewards.length - 1) play(false);
  }, 1000 / (D.hz || 10) / $("speed").value);
}
$("episode").onchange = event => { play(false); choose(event.target.value); };
$("time").oninput = event => go(Number(event.target.value));
$("play").onclick = () => play(timer === null);
$("speed").onchange = () => { if (timer !== null) play(true); };
onresize = () => lines.forEach(plot);
onkeydown = event => {
  if (event.target.tagName == "SELECT") return;
  if (event.key == "ArrowRight") { event.preventDefault(); go(k + 1); }
  if (event.key == "ArrowLeft") { event.preventDefault(); go(k - 1); }
  if (event.key == " ") { event.preventDefault(); play(timer === null); }
};
choose(0);
</script></html>
"""
