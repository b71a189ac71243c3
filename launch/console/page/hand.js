// What the hand does: keys, on-screen buttons and gamepad, sent 30 times a second as all that is
// down. Blur, a hidden tab and a closed page are a release.
"use strict";
const PERIOD_MS = 1000 / 30;
const NAMES = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right",
  PageUp: "pageup", PageDown: "pagedown", Enter: "enter", Backspace: "backspace", " ": "space",
  Tab: "tab", Escape: "escape", Delete: "delete", Home: "home", End: "end", Insert: "insert" };
const PAD = ["a", "b", "x", "y", "leftshoulder", "rightshoulder", "", "", "back", "start",
  "leftstick", "rightstick", "dpup", "dpdown", "dpleft", "dpright", "guide"];
// The arrows on the screen: what is shown, the key each is, what it does.
const ARROWS = [["↑", "w", "away"], ["↓", "s", "towards you"], ["←", "a", "left"],
  ["→", "d", "right"], ["⤒", "e", "up"], ["⤓", "q", "down"],
  ["grip", "c", "close"], ["⟲x", "j", "turn about x, -"],
  ["⟳x", "l", "turn about x, +"], ["⟲y", "k", "turn about y, -"], ["⟳y", "i", "turn about y, +"],
  ["⟲z", "o", "turn about z, -"], ["⟳z", "u", "turn about z, +"],
  ["open", "v", "open"]];

function makeHand(send) {
  const keys = new Map(), screen = new Set(), taps = [];
  let drives = false, deadman = false, holdKeys = [], padWas = new Set(), sending = false;

  const looked = () => document.hasFocus() && !document.hidden;
  function clear() { keys.clear(); screen.clear(); deadman = false; padWas = new Set(); mark(); }
  function release() {
    clear();
    if (sending) { sending = false; send({ t: "release" }); }
  }
  function mark() {
    document.getElementById("deadman").classList.toggle("down", deadman);
    for (const button of document.querySelectorAll("#pads button"))
      button.classList.toggle("down", screen.has(button.dataset.key));
  }
  function setDeadman(on) { deadman = on; if (!on) screen.clear(); mark(); }

  function nameOf(event) {
    if (event.key in NAMES) return NAMES[event.key];
    if (/^Digit\d$/.test(event.code)) return event.code.slice(5);
    if (/^F\d+$/.test(event.key)) return event.key.toLowerCase();
    return event.key.length === 1 ? event.key.toLowerCase() : null;
  }
  const typing = target => target.matches && target.matches("input, textarea");

  addEventListener("keydown", event => {
    if (event.key === "Shift") { setDeadman(true); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const name = nameOf(event);
    if (!name || !drives) return;
    event.preventDefault();  // Space must not press the button that was clicked last
    if (!event.repeat) { keys.set(event.code, name); taps.push(name); }
  });
  addEventListener("keyup", event => {
    if (event.key === "Shift") setDeadman(false);
    keys.delete(event.code);
  });
  addEventListener("blur", release);
  addEventListener("pagehide", release);
  document.addEventListener("visibilitychange", () => { if (document.hidden) release(); });

  for (const [sign, key, about] of ARROWS) {
    const button = document.createElement("button");
    button.textContent = sign; button.title = about; button.dataset.key = key;
    button.addEventListener("pointerdown", () => { if (deadman) { screen.add(key); mark(); } });
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      button.addEventListener(end, () => { screen.delete(key); mark(); });
    document.getElementById("pads").append(button);
  }
  const dead = document.getElementById("deadman");
  dead.addEventListener("pointerdown", event => {
    dead.setPointerCapture(event.pointerId); setDeadman(true);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    dead.addEventListener(end, () => setDeadman(false));

  function gamepad() {
    const pad = [...(navigator.getGamepads ? navigator.getGamepads() : [])]
      .find(p => p && p.connected && p.mapping === "standard");
    if (!pad) { padWas = new Set(); return { buttons: [], sticks: null }; }
    const down = pad.buttons.map((b, i) => b.pressed && PAD[i]).filter(Boolean);
    for (const name of down) if (!padWas.has(name)) taps.push("pad_" + name);
    padWas = new Set(down);
    const trigger = i => pad.buttons[i] ? pad.buttons[i].value : 0;
    return { buttons: down, sticks: [...pad.axes.slice(0, 4), trigger(6), trigger(7)] };
  }

  setInterval(() => {
    if (!drives || !looked()) { release(); return; }
    const held = new Set([...keys.values(), ...screen]);
    if (deadman) for (const key of holdKeys) held.add(key);
    sending = true;
    send({ t: "input", keys: [...held], taps: taps.splice(0, 30), ...gamepad() });
  }, PERIOD_MS);

  return {
    drive(on) { if (drives !== on) { drives = on; taps.length = 0; if (!on) clear(); } },
    tap(key) { taps.push(key); },
    holds(key) { holdKeys = key ? [key] : []; },
    get looked() { return looked(); },
  };
}
