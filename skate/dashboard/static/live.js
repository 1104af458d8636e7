// The state of the cluster: one stream of server-sent events, each a JSON merge patch and the new samples.
// A hidden tab does not look, so it lets go of the stream, and the cluster is left alone.

const HIDDEN_MS = 10000;
const SAMPLES_MAX = 900;
const listeners = new Set();
export const live = { state: {}, samples: [], connected: false, ticks: 0 };
let stream = null;
let hiding = 0;

export function merge(state, change) {
  if (change === null || typeof change !== "object" || Array.isArray(change)) return change;
  const found = state !== null && typeof state === "object" && !Array.isArray(state) ? { ...state } : {};
  for (const [name, value] of Object.entries(change)) {
    if (value === null) delete found[name];
    else found[name] = merge(found[name], value);
  }
  return found;
}

function tell() {
  for (const listener of [...listeners]) listener(live);
}

export function listen(listener) {
  listeners.add(listener);
  if (live.ticks || !live.connected) listener(live);
  return () => listeners.delete(listener);
}

function open() {
  if (stream) return;
  stream = new EventSource("/api/ui/live");
  let first = true;
  stream.addEventListener("open", () => { first = true; });
  stream.addEventListener("message", (event) => {
    const news = JSON.parse(event.data);
    live.state = merge(first ? {} : live.state, news.state);
    live.samples = (first ? news.samples : live.samples.concat(news.samples)).slice(-SAMPLES_MAX);
    live.connected = true;
    live.ticks += 1;
    first = false;
    tell();
  });
  stream.addEventListener("error", async () => {
    live.connected = false;
    tell();
    if (stream && stream.readyState === EventSource.CLOSED) {
      close();
      const answer = await fetch("/api/version").catch(() => null);
      if (answer && answer.status === 401) location.assign("/login");
      else setTimeout(open, 2000);
    }
  });
}

function close() {
  if (stream) stream.close();
  stream = null;
}

export function start() {
  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(close, HIDDEN_MS);
    else open();
  });
}
