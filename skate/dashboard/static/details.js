// All that is known of one thing, and what can be looked at from there: its log, its stack, a flame graph.
import { ask, bytes, h, holders, post, seconds, text, tone, when } from "./dom.js";
import { flames } from "./charts.js";

const TIMES = /_ms$|^start_time$|^end_time$/;
const BYTES = /_bytes$|^object_size$|^memory_(used|total)$|^store_(used|total)$|^spilled$/;

export function dialog(title, ...content) {
  const box = h("dialog", { "aria-label": title });
  const shut = h("button", { type: "button", onclick: () => box.close() }, "Close");
  box.append(h("header", {}, h("h2", {}, title), shut), ...content);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

function written(name, value) {
  if (typeof value === "number" && TIMES.test(name)) return when(value);
  if (typeof value === "number" && BYTES.test(name)) return bytes(value);
  if (name === "holders") return holders(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return text(value);
}

export function facts(row) {
  const names = Object.keys(row).filter((name) => written(name, row[name]) !== "");
  return h("table", { class: "plain" }, h("tbody", {}, names.map((name) =>
    h("tr", {}, h("th", { scope: "row" }, name.replaceAll("_", " ")), h("td", { class: /state|status/.test(name) ? tone(row[name]) : null }, written(name, row[name]))))));
}

export function lines(found, none) {
  if (!found.lines.length) return h("p", { class: "muted" }, found.missing.length ? found.missing.join("; ") : none);
  return h("pre", { class: "out", tabindex: "0", role: "group", "aria-label": "Output" },
    found.lines.map((line) => h("span", { class: line.error ? "bad" : null }, `${line.text}\n`)));
}

export function section(title, load) {
  const place = h("div", {}, h("p", { class: "muted" }, "…"));
  load().then((content) => place.replaceChildren(content), (error) => place.replaceChildren(h("p", { class: "note error", role: "alert" }, error.message)));
  return h("section", { "aria-label": title }, h("h2", {}, title), place);
}

export async function stack(node, pid) {
  const { threads } = await ask(`/api/ui/stacks?node=${node}&pid=${pid}`);
  return h("div", {}, threads.map((thread) => h("div", {}, h("p", {}, h("b", {}, thread.name)), h("pre", { class: "out", tabindex: "0", role: "group", "aria-label": `Stack of ${thread.name}` }, thread.frames.slice().reverse().join("\n")))));
}

function process(box, node, pid) {
  const place = h("div", {});
  const button = (title, act) => h("button", { type: "button", onclick: async () => {
    place.replaceChildren(h("p", { class: "muted", role: "status" }, "It is being looked at …"));
    try { place.replaceChildren(await act()); } catch (error) { place.replaceChildren(h("p", { class: "note error", role: "alert" }, error.message)); }
  } }, title);
  box.append(h("div", { class: "bar-tools" },
    button("Stack now", () => stack(node, pid)),
    button("Flame graph", async () => flames(await post("/api/ui/profile", { node, pid }))),
    button("Output", async () => lines(await ask(`/api/ui/logs?node=${node}&pid=${pid}`), "It has printed nothing."))), place);
}

const KEYS = { tasks: "task_id", actors: "actor_id", objects: "object_id", nodes: "node_id", workers: "worker_id", jobs: "job_id", "placement-groups": "placement_group_id" };

export async function openThing(kind, row) {
  const ident = row.submission_id || row[KEYS[kind]];
  const name = row.name || row.class_name || row.entrypoint || ident;
  const box = dialog(`${kind.replace(/s$/, "").replace("-", " ")} ${name}`, h("div", {}, facts(row)));
  if (kind !== "events" && ident) {
    ask(`/api/ui/thing/${kind}/${encodeURIComponent(ident)}`).then(({ rows }) => {
      if (rows.length) box.children[1].replaceChildren(...rows.map((each, at) => h("div", {}, rows.length > 1 ? h("h2", {}, `Attempt ${each.attempt_number ?? at}`) : null, facts(each))));
    }, () => {});
  }
  if (kind === "tasks") {
    if (row.start_time_ms && row.end_time_ms) box.append(h("p", {}, `It ran for ${seconds((row.end_time_ms - row.start_time_ms) / 1000)}.`));
    box.append(section("Output", async () => lines(await ask(`/api/ui/logs?task=${row.task_id}`), "It has printed nothing.")));
  }
  if (kind === "actors") box.append(section("Output", async () => lines(await ask(`/api/ui/logs?actor=${row.actor_id}`), "It has printed nothing.")));
  const pid = row.pid || (kind === "tasks" && row.state === "RUNNING" ? row.worker_pid : 0) || row.driver_pid;
  if (pid && row.node_no !== undefined && !["DEAD"].includes(row.state)) process(box, row.node_no ?? 0, pid);
  if (kind === "jobs" && row.submission_id) job(box, row);
}

function job(box, row) {
  const path = `/api/jobs/${encodeURIComponent(row.submission_id)}`;
  box.append(section("Log", async () => {
    const found = await ask(`${path}/logs`);
    return found.logs ? h("pre", { class: "out", tabindex: "0", role: "group", "aria-label": "Log" }, found.logs) : h("p", { class: "muted" }, "It has printed nothing.");
  }));
  if (["PENDING", "RUNNING"].includes(row.status)) {
    const said = h("span", { role: "status" });
    const stop = h("button", { type: "button", onclick: async () => {
      if (stop.dataset.sure) {
        try { await post(`${path}/stop`); said.textContent = "It is being stopped."; stop.disabled = true; } catch (error) { said.textContent = error.message; }
      } else { stop.dataset.sure = "1"; stop.textContent = "Stop it, really"; }
    } }, "Stop this job");
    box.append(h("div", { class: "bar-tools" }, stop, said));
  }
}
