// The page: one WebSocket, what it says shown, what is pressed sent.
"use strict";
const $ = id => document.getElementById(id);
const WORDS = ["success", "failure", "rerecord", "ready", "pause", "stop"];
const LABELS = { success: "Success", failure: "Failure", rerecord: "Re-record", ready: "Ready",
  pause: "Pause", stop: "Stop" };
let socket = null, floor = {}, state = {}, shownWords = "", shownTuning = "";
const hand = makeHand(message => {
  if (socket && socket.readyState === 1 && socket.bufferedAmount < 4096)
    socket.send(JSON.stringify(message));
});
const order = (what, values) =>
  socket && socket.send(JSON.stringify({ t: "order", what, values: values || {} }));

function connect() {
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/socket");
  socket.binaryType = "arraybuffer";
  socket.onmessage = event => {
    if (event.data instanceof ArrayBuffer) { showFrame(event.data); return; }
    const message = JSON.parse(event.data);
    ({ state: showState, floor: showFloor, notes: showNotes, curves: showCurves,
       problem: m => { $("notes").textContent = m.text; $("notecard").hidden = false; } })[message.t](message);
  };
  socket.onclose = () => {
    floor = {}; state = {}; hand.drive(false); showDrives();
    $("phase").textContent = "the console is gone; trying again ...";
    setTimeout(connect, 1000);
  };
}

function showFloor(message) { floor = message; hand.drive(floor.you === floor.driver); showDrives(); }
function showDrives() {
  const mine = floor.you !== undefined && floor.you === floor.driver;
  const [text, kind] = floor.you === undefined ? ["not connected", "off"]
    : !mine ? [floor.driver === null ? "nobody drives" : `page ${floor.driver} drives, you watch`, ""]
    : !hand.looked ? ["controls released: click this page", "off"]
    : state.paused ? ["paused", "off"] : ["you drive", "on"];
  $("drives").textContent = text; $("drives").className = "pill " + kind;
  $("take").hidden = mine || floor.you === undefined;
  for (const button of document.querySelectorAll("#words button, #pads button, #deadman, #recover"))
    button.disabled = !mine || button.dataset.off === "1";
  for (const input of document.querySelectorAll("#sliders input")) input.disabled = !mine;
}
setInterval(showDrives, 200);

function showState(message) {
  state = message;
  $("title").textContent = state.title || "serl console";
  $("phase").textContent = state.phase || "";
  const pace = state.pace || {};
  $("pace").textContent = pace.achieved_hz ? `${pace.achieved_hz.toFixed(1)} Hz` : "";
  const trouble = [state.stopped, ...(state.arms || []).map(arm => arm.fault), state.trouble,
    ...(state.silent || [])].filter(Boolean).join("\n");
  $("trouble").textContent = trouble; $("trouble").hidden = !trouble;
  const faulty = state.stopped || (state.arms || []).some(arm => arm.fault);
  $("recover").dataset.off = faulty ? "" : "1";
  $("stops").hidden = !state.arms;
  showDrives();
  $("arms").innerHTML = (state.arms || []).map(arm => `<tr><td>arm ${safe(arm.name)}</td>
    <td class="n" data-pos="${arm.pos_m.join(" ")}">${arm.pos_m.map(v => v.toFixed(3)).join("  ")} m</td>
    <td class="n">${arm.force_n.toFixed(1)} N</td><td class="n">${arm.gripper_mm} mm</td>
    <td${arm.fault ? ' class="bad"' : ""}>${safe(arm.mode)}</td></tr>`).join("");
  $("devices").innerHTML = (state.devices || []).map(device => `<tr><td>${safe(device.name)}</td>
    <td>${device.live ? device.twist.map(v => v.toFixed(1)).join(" ") : "released"}</td></tr>`).join("")
    + (state.moves_arm ? `<tr><td>moves</td><td>${safe(state.moves_arm)}</td></tr>` : "");
  $("judged").innerHTML = Object.entries(state.judged || {}).map(([name, p]) =>
    `<div class="meter">${safe(name)}<i><b></b></i>${p.toFixed(2)}</div>`).join("");
  for (const [i, bar] of [...document.querySelectorAll("#judged b")].entries())
    bar.style.width = 100 * Object.values(state.judged)[i] + "%";
  $("runcard").hidden = !state.run;
  $("run").innerHTML = (state.run || []).map(([name, value]) =>
    `<tr><td>${safe(name)}</td><td class="n">${safe(value)}</td></tr>`).join("");
  showWords(); showCameras(); showTuning();
}

function showWords() {
  const key = JSON.stringify(state.words || {});
  if (key === shownWords) return;
  shownWords = key;
  const words = state.words || {};
  const first = word => (words[word] || []).find(k => !k.startsWith("pad_")) || (words[word] || [])[0];
  hand.holds(first("hold"));
  $("words").replaceChildren(...WORDS.filter(word => words[word]).map(word => {
    const button = document.createElement("button"), small = document.createElement("small");
    button.className = word; button.dataset.word = word;
    small.textContent = first(word);
    button.append(LABELS[word], small);
    button.onclick = () => { hand.tap(first(word)); button.blur(); };
    return button;
  }));
  $("words").parentElement.hidden = !Object.keys(words).length;
  $("hand").hidden = !state.moves;
  showDrives();
}

const figures = [];
function showCameras() {
  (state.cameras || []).forEach((name, i) => {
    if (figures[i]) return;
    const figure = document.createElement("figure");
    figure.innerHTML = `<img alt="${safe(name)}"><figcaption>${safe(name)}<span></span></figcaption>`;
    figures[i] = { image: figure.querySelector("img"), rate: figure.querySelector("span"), count: 0 };
    $("cameras").append(figure);
  });
}
function showFrame(data) {
  const figure = figures[new Uint8Array(data, 0, 1)[0]];
  if (!figure) return;
  const url = URL.createObjectURL(new Blob([new Uint8Array(data, 1)], { type: "image/jpeg" }));
  figure.image.onload = () => URL.revokeObjectURL(url);
  figure.image.src = url;
  figure.count += 1;
}
setInterval(() => {
  for (const figure of figures) { figure.rate.textContent = figure.count / 2 + "/s"; figure.count = 0; }
}, 2000);

function showNotes(message) {
  $("notes").textContent = message.lines.join("\n"); $("notecard").hidden = !message.lines.length;
}
function showCurves(message) {
  const groups = Object.entries(message.curves);
  $("plots").hidden = !groups.length;
  $("plots").innerHTML = groups.map(([title, curves]) => plot(title, curves)).join("");
}

function showTuning() {
  const key = JSON.stringify(state.tuning || null);
  if (key === shownTuning || $("sliders").matches(":focus-within")) return;
  shownTuning = key;
  $("tuning").hidden = !state.tuning;
  if (!state.tuning) return;
  const sliders = state.tuning.gains.map(([name, unit, low, high, value]) =>
    slider(`${name.replace(/_(n|nm)_.*/, "").replaceAll("_", " ")} [${unit}]`, low, high, value,
      v => order("gains", { [name]: v })));
  for (const [arm, box] of Object.entries(state.tuning.boxes))
    for (const end of [0, 1]) for (const axis of [0, 1, 2]) {
      const low = box.least[0][axis], high = box.least[1][axis];
      sliders.push(slider(`${arm} ${"xyz"[axis]} ${["from", "to"][end]} [m]`, low, high,
        box.now[end][axis], v => {
          const now = box.now.map(corner => [...corner]);
          now[end][axis] = v;
          order("box", { arm, low_m: now[0], high_m: now[1] });
        }));
    }
  $("sliders").replaceChildren(...sliders);
  showDrives();
}
function slider(name, low, high, value, act) {
  const label = document.createElement("label"), input = document.createElement("input");
  const number = document.createElement("b");
  Object.assign(input, { type: "range", min: low, max: high, step: "any" });
  input.value = value;
  number.textContent = short(value);
  input.oninput = () => { number.textContent = short(+input.value); };
  input.onchange = () => { act(Math.min(high, Math.max(low, +input.value))); input.blur(); };
  label.append(name, number, input);
  return label;
}

$("tuning").addEventListener("toggle", () => document.activeElement.blur());
$("take").onclick = () => { socket.send(JSON.stringify({ t: "take" })); $("take").blur(); };
$("estop").onclick = () => { fetch("/estop", { method: "POST" }); $("estop").blur(); };
$("recover").onclick = () => { order("recover"); $("recover").blur(); };
fetch("/view/", { method: "HEAD" }).then(answer => {
  if (answer.ok) $("cell").src = "/view/"; else $("view").classList.add("none");
});
connect();
