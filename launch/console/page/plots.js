// Small line plots as SVG: no library, no network.
"use strict";
const COLOURS = ["#5aa9e6", "#3fa46a", "#d9a23b", "#c678b8", "#e07a5f", "#9aa5b1"];

function plot(title, curves) {
  const W = 200, H = 96, L = 32, R = 6, T = 6, B = 14;
  const names = Object.keys(curves), all = names.flatMap(name => curves[name]);
  const xs = all.map(p => p[0]), ys = all.map(p => p[1]);
  let [x0, x1] = [Math.min(...xs), Math.max(...xs)], [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (title === "success" || title === "interventions") [y0, y1] = [0, 1];
  if (y1 - y0 < 1e-9) [y0, y1] = [y0 - .5, y1 + .5];
  if (x1 === x0) x1 = x0 + 1;
  const X = x => (L + (x - x0) / (x1 - x0) * (W - L - R)).toFixed(1);
  const Y = y => (H - B - (y - y0) / (y1 - y0) * (H - T - B)).toFixed(1);
  const lines = names.map((name, i) => {
    const path = curves[name].map(p => X(p[0]) + "," + Y(p[1])).join(" ");
    return `<polyline points="${path}" fill="none" stroke="${COLOURS[i % COLOURS.length]}"
      stroke-width="1.4"/>`;
  }).join("");
  const mark = (x, y, text, anchor) => `<text x="${x}" y="${y}" fill="#8d99a6" font-size="9"
    text-anchor="${anchor}">${text}</text>`;
  const legend = names.length < 2 ? "" : names.map((name, i) =>
    `<text x="${W - R}" y="${T + 9 + 10 * i}" font-size="8.5" text-anchor="end"
      fill="${COLOURS[i % COLOURS.length]}">${safe(name)}</text>`).join("");
  return `<div><h4>${safe(title)}</h4><svg viewBox="0 0 ${W} ${H}">
    <path d="M${L} ${T}V${H - B}H${W - R}" stroke="#46515d" fill="none"/>${lines}
    ${mark(L - 3, T + 8, short(y1), "end")}${mark(L - 3, H - B, short(y0), "end")}
    ${mark(L, H - 3, short(x0), "start")}${mark(W - R, H - 3, short(x1), "end")}${legend}
    </svg></div>`;
}
function short(v) {
  const a = Math.abs(v);
  if (a >= 1e6) return (v / 1e6).toFixed(1) + "M";
  if (a >= 1e4) return (v / 1e3).toFixed(0) + "k";
  return a >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toPrecision(2);
}
function safe(text) {
  return String(text).replace(/[&<>"']/g, c => "&#" + c.charCodeAt(0) + ";");
}
