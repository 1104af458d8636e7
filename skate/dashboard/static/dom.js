// Building elements, asking the server, and writing numbers. Text is always set as text, never as markup.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
export function s(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    location.assign("/login");
    throw new Error("log in first");
  }
  const value = await answer.json().catch(() => ({ error: `the dashboard has answered ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error || `the dashboard has answered ${answer.status}`);
  return value;
}

export function post(path, body = {}) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export const count = (value) => (value ?? 0).toLocaleString("en", { maximumFractionDigits: 1 });

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value ?? 0;
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit += 1) size /= 1024;
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 2 : 0)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const clock = (ms) => (ms ? CLOCK.format(ms) : "");
export const when = (ms) => (ms ? `${new Date(ms).toISOString().slice(0, 10)} ${clock(ms)}` : "");

export const several = (value, name) => `${count(value)} ${name}${value === 1 ? "" : "s"}`;

export const holders = (value) => Object.entries(value ?? {}).map(([who, times]) => (times === 1 ? who : `${who} x${times}`)).join(", ");

export function text(value) {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "object") {
    if (Array.isArray(value)) return value.map(text).join(", ");
    return Object.entries(value).map(([name, each]) => `${name} ${text(each)}`).join(", ");
  }
  return String(value);
}

const BAD = new Set(["FAILED", "DEAD", "ERROR", "LOST", "INFEASIBLE", "REMOVED"]);
const GOOD = new Set(["RUNNING", "ALIVE", "FINISHED", "SUCCEEDED", "CREATED", "IN_STORE", "INLINE"]);
const WARN = new Set(["WARNING", "SPILLED", "DRAINING", "AWAY", "RESTARTING", "STOPPED"]);
export function tone(state) {
  const word = String(state ?? "").toUpperCase();
  if (BAD.has(word)) return "bad";
  if (WARN.has(word) || word.startsWith("PENDING")) return "warn";
  return GOOD.has(word) ? "good" : "";
}

export function empty(title, ...rest) {
  return h("div", { class: "empty" }, h("strong", {}, title), ...rest);
}

// Said once to a screen reader: only what the reader has asked for, never each tick.
let pending = 0;
export function announce(words) {
  clearTimeout(pending);
  pending = setTimeout(() => { document.getElementById("announce").textContent = words; }, 150);
}
