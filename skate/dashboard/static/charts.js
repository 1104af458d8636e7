// What ran when (a canvas, with the same in a table below), and flame graphs (a tree that the keyboard can walk).
import { clock, count, h, seconds } from "./dom.js";

const LANE = 18;
const LANES_MAX = 60;
const COLOURS = ["#2a7391", "#946420", "#7a56ad", "#387650", "#a14d5d", "#5a6b7f", "#636f24", "#3f62a8"]; // white is read on each

function colour(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return COLOURS[sum % COLOURS.length];
}

export function timeline(bars, open) {
  const lanes = [...new Set(bars.map((bar) => `${bar.node}:${bar.pid}`))].sort().slice(0, LANES_MAX);
  const place = new Map(lanes.map((lane, at) => [lane, at]));
  const begin = Math.min(...bars.map((bar) => bar.start));
  const end = Math.max(...bars.map((bar) => bar.end), begin + 0.001);
  const canvas = h("canvas", { role: "img", tabindex: "-1" });
  const tip = h("p", { class: "muted" }, "Point at a bar to see the task; the table has the same.");
  canvas.setAttribute("aria-label", `${bars.length} tasks on ${lanes.length} workers in ${seconds(end - begin)}; the table of tasks has the same`);
  const left = 110;
  const draw = () => {
    const width = canvas.clientWidth || 800;
    const height = lanes.length * LANE + 22;
    const ratio = devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--muted");
    lanes.forEach((lane, at) => pen.fillText(`node ${lane.replace(":", " · ").replace(/ 0$/, " not known")}`, 0, at * LANE + 13));
    for (let step = 0; step <= 4; step += 1) {
      const x = left + ((width - left - 60) * step) / 4;
      pen.fillText(step ? `+${seconds(((end - begin) * step) / 4)}` : clock(begin * 1000), x, height - 5);
    }
    const bad = style.getPropertyValue("--bad");
    for (const bar of bars) {
      const lane = place.get(`${bar.node}:${bar.pid}`);
      if (lane === undefined) continue;
      const x = left + ((bar.start - begin) / (end - begin)) * (width - left);
      const wide = Math.max(1, ((bar.end - bar.start) / (end - begin)) * (width - left));
      pen.fillStyle = bar.state === "FAILED" ? bad : colour(bar.name);
      pen.fillRect(x, lane * LANE + 2, wide, LANE - 4);
    }
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const lane = lanes[Math.floor((event.clientY - box.top) / LANE)];
    const slack = ((end - begin) / Math.max(1, box.width - left)) * 2;
    const time = begin + ((event.clientX - box.left - left) / (box.width - left)) * (end - begin);
    return bars.find((bar) => `${bar.node}:${bar.pid}` === lane && bar.start - slack <= time && time <= bar.end + slack);
  };
  canvas.addEventListener("mousemove", (event) => {
    const bar = at(event);
    tip.textContent = bar ? `${bar.name}, ${bar.state}, ${seconds(bar.end - bar.start)}, worker ${bar.pid} on node ${bar.node}` : "Point at a bar to see the task; the table has the same.";
  });
  canvas.addEventListener("click", (event) => { const bar = at(event); if (bar) open(bar); });
  const names = [...new Set(bars.map((bar) => bar.name))].slice(0, 12);
  const legend = h("div", { class: "legend" }, names.map((name) => { const mark = h("span", { "aria-hidden": "true" }, "■ "); mark.style.color = colour(name); return h("span", {}, mark, name); }));
  requestAnimationFrame(draw);
  const watch = new ResizeObserver(draw);
  watch.observe(canvas);
  return h("div", {}, canvas, tip, legend, lanes.length === LANES_MAX ? h("p", { class: "muted" }, `The first ${LANES_MAX} workers.`) : null);
}

// A flame graph as nested lists of buttons: width is the share of samples; arrows walk the tree, Enter looks closer.
export function flames(root) {
  const box = h("div", { class: "panel" });
  const words = h("p", { class: "muted" }, `${count(root.count)} stacks were taken. Enter or a click looks closer; arrows walk.`);
  const area = h("div", { role: "tree", "aria-label": "Flame graph" });
  box.append(words, area);
  let items = [];
  const show = (top) => {
    area.replaceChildren();
    items = [];
    const rows = [];
    const place = (frame, depth, from, parent) => {
      if (depth > 60) return;
      const width = (frame.count / top.count) * 100;
      if (width < 0.4) return;
      const percent = Math.round((frame.count / root.count) * 100);
      const item = h("button", { type: "button", role: "treeitem", tabindex: "-1", "aria-level": depth + 1, title: `${frame.name}, ${percent} %`, "aria-label": `${frame.name}, ${percent} percent` }, frame.name);
      Object.assign(item.style, { position: "absolute", left: `${from}%`, width: `${width}%`, top: `${depth * 24}px`, height: "22px", padding: "0 4px", overflow: "hidden", whiteSpace: "nowrap", textAlign: "left", fontSize: "12px", color: "#fff", background: colour(frame.name), border: "0", borderRadius: "3px" });
      const entry = { item, frame, parent, children: [] };
      items.push(entry);
      if (parent) parent.children.push(entry);
      item.addEventListener("click", () => { show(frame === top && frame !== root ? root : frame); items[0].item.focus(); });
      item.addEventListener("focus", () => { words.textContent = `${frame.name}: ${count(frame.count)} of ${count(root.count)} stacks, ${percent} %`; });
      item.addEventListener("mouseenter", () => { words.textContent = `${frame.name}: ${count(frame.count)} of ${count(root.count)} stacks, ${percent} %`; });
      item.addEventListener("keydown", (event) => walk(event, entry));
      area.append(item);
      rows.push(depth);
      let at = from;
      for (const child of frame.children) { place(child, depth + 1, at, entry); at += (child.count / top.count) * 100; }
    };
    place(top, 0, 0, null);
    Object.assign(area.style, { position: "relative", height: `${(Math.max(...rows) + 1) * 24}px` });
    items[0].item.tabIndex = 0;
  };
  const walk = (event, entry) => {
    const siblings = entry.parent ? entry.parent.children : [entry];
    const at = siblings.indexOf(entry);
    const to = { ArrowDown: entry.children[0], ArrowUp: entry.parent, ArrowRight: siblings[at + 1], ArrowLeft: siblings[at - 1] }[event.key];
    if (!(event.key in { ArrowDown: 1, ArrowUp: 1, ArrowLeft: 1, ArrowRight: 1 })) return;
    event.preventDefault();
    if (!to) return;
    entry.item.tabIndex = -1;
    to.item.tabIndex = 0;
    to.item.focus();
  };
  show(root);
  return box;
}
