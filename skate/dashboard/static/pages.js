// The pages. Each is a function of (place, query) that fills the place, and returns what is to be done with a tick and at the end.
import { ask, bytes, clock, count, empty, h, holders, seconds, several, text, tone, when } from "./dom.js";
import { live } from "./live.js";
import { Plot } from "./plot.js";
import { Sheet } from "./table.js";
import { timeline } from "./charts.js";
import { lines, openThing } from "./details.js";

function heading(title, lead) {
  return [h("h1", { id: "title" }, title), h("p", { class: "lead" }, lead)];
}

const code = (words) => h("code", {}, words);

function listed(kind, columns, title, lead, nothing, extra = {}) {
  return (place, query) => {
    const sheet = new Sheet(kind, columns, { open: (row) => openThing(kind, row), nothing: nothing(), query, ...extra });
    place.replaceChildren(...heading(title, lead), sheet.element);
    sheet.refresh();
    return { tick: () => sheet.refresh(), close: () => sheet.close(), sheet };
  };
}

// ------------------------------------------------------------ overview

function overview(place) {
  const plots = [
    new Plot("Processors", [{ name: "machine", key: "cpu" }, { name: "asked for by tasks", key: "cpus" }], { unit: " %", most: 100 }),
    new Plot("Memory", [{ name: "machine", key: "memory" }, { name: "object store", key: "store" }], { unit: " %", most: 100 }),
    new Plot("Tasks ended per second", [{ name: "now", key: "tasks" }], { unit: " /s", digits: 1 }),
    new Plot("Tasks unfinished", [{ name: "now", key: "unfinished" }]),
  ];
  const names = ["Nodes", "CPUs in use", "Memory", "Object store", "Tasks ended", "Unfinished", "Workers", "Actors"];
  const figures = Object.fromEntries(names.map((name) => [name, h("dd", {}, "…")]));
  const functions = h("div", { class: "panel" });
  const waiting = h("div", { class: "panel" });
  const trouble = h("div", {});
  place.replaceChildren(...heading("Overview", "What the cluster has and does."), trouble,
    h("dl", { class: "figures" }, names.map((name) => h("div", {}, h("dt", {}, name), figures[name]))),
    h("div", { class: "grid" }, plots.map((plot) => plot.element)),
    h("div", { class: "grid" }, functions, waiting));
  const set = (name, words, most) => {
    const said = most ? `${words} of ${most}` : words;
    if (figures[name].textContent !== said) figures[name].replaceChildren(words, ...(most ? [h("small", {}, ` of ${most}`)] : []));
  };
  let shown = "";
  const tick = () => {
    const { state, samples } = live;
    if (!state.counts) return;
    const now = state.counts;
    set("Nodes", count(Object.values(state.nodes).filter((node) => node.state === "ALIVE").length));
    set("CPUs in use", count(now.cpus_used), count(now.cpus_total));
    set("Memory", bytes(now.memory_used), bytes(now.memory_total));
    set("Object store", bytes(now.store_used), bytes(now.store_total));
    set("Tasks ended", count(now.ended));
    set("Unfinished", count(now.unfinished));
    set("Workers", count(now.workers));
    set("Actors", count(now.actors));
    for (const plot of plots) plot.update(samples);
    const key = JSON.stringify([state.names, state.waiting, state.failures, state.missing]);
    if (key === shown) return;
    shown = key;
    trouble.replaceChildren(...(state.missing.length ? [h("p", { class: "note" }, state.missing.join("; "))] : []));
    functions.replaceChildren(h("h2", {}, "Functions"), state.names.length
      ? h("div", { class: "scroll" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["Name", "Finished", "Failed"].map((each) => h("th", { scope: "col" }, each)))),
        h("tbody", {}, state.names.slice(0, 10).map((row) => h("tr", {}, h("td", {}, h("a", { href: `#/tasks?q=${encodeURIComponent(`name=${row.name}`)}` }, row.name)), h("td", {}, count(row.finished)), h("td", { class: row.failed ? "bad" : null }, count(row.failed)))))))
      : empty("No task has ended yet", "Call a function that has ", code("@skate.remote"), " with ", code(".remote()"), "."));
    waiting.replaceChildren(h("h2", {}, "What waits, and what failed"),
      state.waiting.length || state.failures.length
        ? h("ul", {}, state.waiting.map((each) => h("li", {}, `${count(each.count)} × ${each.wants}: ${each.reason}`)), state.failures.map((each) => h("li", { class: "bad" }, each.text)))
        : empty("Nothing waits for resources", "Why a single task waits: ", code("skate why TASK"), "."));
  };
  tick();
  return { tick };
}

// ------------------------------------------------------------ nodes

function nodes(place) {
  const grid = h("div", { class: "grid" });
  place.replaceChildren(...heading("Nodes", "The machines of the cluster, what they have, and what is in use."), grid);
  let shown = "";
  const tick = () => {
    const found = Object.values(live.state.nodes || {});
    const key = JSON.stringify(found);
    if (key === shown) return;
    shown = key;
    grid.replaceChildren(...found.map(nodeCard));
  };
  tick();
  return { tick };
}

function nodeCard(node) {
  const meter = (name, used, total, write) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, `${write(used)} of ${write(total)}`, h("progress", { class: "bar", max: total || 1, value: Math.min(used, total || 1), "aria-label": `${name} in use` })));
  const plain = Object.keys(node.total).filter((name) => name !== "memory" && name !== "object_store_memory");
  return h("section", { class: "panel", "aria-label": `Node ${node.no} ${node.name}` },
    h("h2", {}, `${node.no ? `Node ${node.no}` : "This machine"}: ${node.name} `, h("span", { class: tone(node.state) }, node.state)),
    h("p", { class: "muted" }, `${node.host}${node.port ? `:${node.port}` : ""} · ${several(node.workers, "worker")}, of them ${several(node.actors, "actor")} · ${several(node.objects, "object")}`),
    node.reason ? h("p", { class: "note" }, node.reason) : null,
    h("table", { class: "plain" }, h("tbody", {},
      plain.map((name) => meter(name, Math.max(0, node.total[name] - (node.free[name] ?? 0)), node.total[name], count)),
      meter("Memory", node.memory_used, node.memory_total, bytes),
      meter("Object store", node.store_used, node.store_total, bytes),
      node.spilled ? h("tr", {}, h("th", { scope: "row" }, "Spilled"), h("td", {}, bytes(node.spilled))) : null)),
    h("p", { class: "muted mono" }, node.node_id), Object.keys(node.labels).length ? h("p", { class: "muted" }, text(node.labels)) : null);
}

// ------------------------------------------------------------ tasks

const TASKS = [
  { key: "task_id", title: "Task", width: "10rem", id: true },
  { key: "name", title: "Name", width: "9rem" },
  { key: "state", title: "State", width: "14.5rem", tone: true },
  { key: "job_id", title: "Job", width: "5.5rem" },
  { key: "node_no", title: "Node", width: "4rem", num: true },
  { key: "worker_pid", title: "Worker", width: "5rem", num: true, show: (row) => text(row.worker_pid || "") },
  { key: "start_time_ms", title: "Since", width: "5.5rem", show: (row) => clock(row.start_time_ms || row.creation_time_ms) },
  { key: "ran", title: "Ran", width: "5rem", num: true, show: (row) => (row.end_time_ms && row.start_time_ms ? seconds((row.end_time_ms - row.start_time_ms) / 1000) : "") },
  { key: "error_type", title: "Error", width: "6.5rem" },
];
const noTasks = () => empty("No task is known", "Run a program that uses skate: ", code("skate run program.py"), ". Tasks stay here after they have ended.");

function tasks(place, query) {
  const panel = h("div", { role: "tabpanel", id: "task-view" });
  const tabs = ["Table", "Timeline"].map((name) => h("button", { type: "button", role: "tab", "aria-controls": "task-view", onclick: () => choose(name) }, name));
  const list = h("div", { role: "tablist", "aria-label": "Views", class: "tabs" }, tabs);
  list.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs[document.activeElement === tabs[0] ? 1 : 0];
    other.focus();
    other.click();
  });
  place.replaceChildren(...heading("Tasks", "Those that have not ended first, then the last that have."), list, panel);
  let view = { tick: () => {} };
  const choose = (name) => {
    if (view.close) view.close();
    tabs.forEach((tab) => { const on = tab.textContent === name; tab.setAttribute("aria-selected", on); tab.tabIndex = on ? 0 : -1; });
    view = name === "Table" ? taskTable(panel, query) : taskTimeline(panel);
  };
  choose(query.view === "timeline" ? "Timeline" : "Table");
  return { tick: () => view.tick(), close: () => view.close && view.close() };
}

function taskTable(place, query) {
  const sheet = new Sheet("tasks", TASKS, { open: (row) => openThing("tasks", row), nothing: noTasks(), query });
  place.replaceChildren(sheet.element);
  sheet.refresh();
  return { tick: () => sheet.refresh(), close: () => sheet.close() };
}

function taskTimeline(place) {
  const box = h("div", { class: "panel" }, h("p", { class: "muted" }, "…"));
  const again = h("button", { type: "button", onclick: () => load() }, "Read again");
  place.replaceChildren(h("div", { class: "bar-tools" }, again, h("span", { class: "muted" }, "All of it, for Perfetto: ", code("skate timeline FILE"))), box);
  const load = async () => {
    try {
      const { bars } = await ask("/api/ui/timeline");
      box.replaceChildren(bars.length ? timeline(bars, (bar) => openThing("tasks", bar)) : noTasks());
    } catch (error) { box.replaceChildren(h("p", { class: "note error", role: "alert" }, error.message)); }
  };
  load();
  return { tick: () => {} };
}

// ------------------------------------------------------------ lists

const jobs = listed("jobs", [
  { key: "submission_id", title: "Submission", width: "14rem" },
  { key: "job_id", title: "Job", width: "7rem" },
  { key: "status", title: "Status", width: "8rem", tone: true },
  { key: "type", title: "Type", width: "8rem" },
  { key: "entrypoint", title: "Entrypoint", width: "20rem" },
  { key: "start_time_ms", title: "Started", width: "11rem", show: (row) => when(row.start_time_ms) },
  { key: "message", title: "Message", width: "16rem" },
], "Jobs", "Programs: those that were submitted, and drivers that have connected themselves.",
() => empty("No job is known", "Submit one: ", code("skate job submit -- python program.py"), "."));

const actors = listed("actors", [
  { key: "actor_id", title: "Actor", width: "10rem", id: true },
  { key: "class_name", title: "Class", width: "12rem" },
  { key: "name", title: "Name", width: "10rem" },
  { key: "state", title: "State", width: "10rem", tone: true },
  { key: "node_no", title: "Node", width: "4.5rem", num: true },
  { key: "pid", title: "Process", width: "6rem", num: true },
  { key: "num_restarts", title: "Restarts", width: "6rem", num: true },
  { key: "death_cause", title: "Why it died", width: "13rem" },
], "Actors", "Enter opens an actor: its log, its stack, a flame graph.",
() => empty("No actor is known", "Make one: a class with ", code("@skate.remote"), ", and ", code("Class.remote()"), "."));

const objects = listed("objects", [
  { key: "object_id", title: "Object", width: "13rem", id: true },
  { key: "object_size", title: "Size", width: "7rem", num: true, show: (row) => bytes(row.object_size) },
  { key: "status", title: "Status", width: "8rem", tone: true },
  { key: "node_no", title: "Node", width: "4.5rem", num: true },
  { key: "owner", title: "Made by", width: "10rem" },
  { key: "holders", title: "Held by", width: "14rem", show: (row) => holders(row.holders) },
  { key: "call_site", title: "Where", width: "18rem" },
], "Objects and memory", "Objects in shared memory, and those that more than one process knows of, the largest first: where and by whom they were made, and who holds them.",
() => empty("No object is shared", "A small object that only its maker knows of is not here. ", code("skate.put(value)"), " of a large one is, or passing the reference on."));

const workers = listed("workers", [
  { key: "worker_id", title: "Worker", width: "10rem", id: true },
  { key: "worker_type", title: "Type", width: "7rem" },
  { key: "state", title: "State", width: "8rem" },
  { key: "node_no", title: "Node", width: "4.5rem", num: true },
  { key: "pid", title: "Process", width: "7rem", num: true },
  { key: "job_id", title: "Job", width: "8rem" },
], "Workers", "Processes that run tasks and actors, and drivers. Enter opens one: its stack, a flame graph, its output.",
() => empty("No worker runs", "Workers are started when there is something to do."));

const groups = listed("placement-groups", [
  { key: "placement_group_id", title: "Group", width: "10rem", id: true },
  { key: "name", title: "Name", width: "9rem" },
  { key: "state", title: "State", width: "8rem", tone: true },
  { key: "strategy", title: "Strategy", width: "9rem" },
  { key: "bundles", title: "Bundles", width: "20rem" },
  { key: "bundles_to_node_id", title: "Where", width: "16rem" },
], "Placement groups", "Resources that were reserved together.",
() => empty("There is no placement group", "Make one: ", code("skate.util.placement_group([{\"CPU\": 1}])"), "."));

const events = listed("events", [
  { key: "time", title: "When", width: "11rem", show: (row) => when(row.time * 1000) },
  { key: "severity", title: "Severity", width: "7rem", tone: true },
  { key: "source", title: "Of", width: "10rem" },
  { key: "node_no", title: "Node", width: "4.5rem", num: true },
  { key: "text", title: "What", width: "40rem" },
], "Events", "What has happened: jobs, deaths and why, actors, nodes, placement groups.",
() => empty("Nothing has happened yet", "Events come with jobs, actors, and deaths of workers."));

// ------------------------------------------------------------ datasets and logs

function datasets(place) {
  const box = h("div", {});
  place.replaceChildren(...heading("Datasets", "Executions of skate.data that go on, operator by operator."), box);
  let shown = "";
  const tick = () => {
    const found = live.state.datasets || [];
    const key = JSON.stringify(found);
    if (key === shown && shown) return;
    shown = key;
    box.replaceChildren(...(found.length ? found.map(execution) : [h("div", { class: "panel" }, empty("No dataset is being executed", "Start one: ", code("skate.data.range(1000000).map_batches(f).take_all()"), ". Small ones run in the program itself, and are not here."))]));
  };
  tick();
  return { tick };
}

function execution(found) {
  const columns = ["Operator", "About done", "Tasks ended", "Running", "Queued", "Blocks", "Rows", "Bytes", "State"];
  const part = (each) => [`${Math.round(each.part * 100)} %`, h("progress", { class: "bar", max: 1, value: each.part, "aria-label": `Progress of ${each.name}` })];
  return h("section", { class: "panel", "aria-label": `Execution in process ${found.pid}` },
    h("h2", {}, `Process ${found.pid} on node ${found.node}, for ${Math.round(found.seconds)} s`),
    h("div", { class: "scroll" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, columns.map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", {}, found.operators.map((each) => h("tr", {}, h("th", { scope: "row" }, each.name), h("td", {}, part(each)),
        [each.tasks, each.running, each.queued, each.blocks, each.rows].map((number) => h("td", {}, count(number))),
        h("td", {}, bytes(each.bytes)), h("td", { class: each.done ? "good" : null }, each.done ? "done" : "running")))))));
}

function logs(place, query) {
  const field = (name, title) => h("input", { name, placeholder: title, "aria-label": title, value: query[name] || null, size: 12 });
  const fields = [field("job", "Job id"), field("actor", "Actor id"), field("task", "Task id"), field("node", "Node number"), field("pid", "Process id")];
  const errors = h("input", { type: "checkbox", id: "errors" });
  const follow = h("input", { type: "checkbox", id: "follow" });
  const out = h("div", { class: "panel" });
  const form = h("form", { class: "bar-tools", role: "search", "aria-label": "Whose output" }, fields, h("label", { for: "errors" }, errors, " only stderr"), h("label", { for: "follow" }, follow, " follow"), h("button", { class: "main", type: "submit" }, "Show"));
  let busy = false;
  const load = async () => {
    if (busy) return;
    busy = true;
    const wish = new URLSearchParams(fields.filter((each) => each.value.trim()).map((each) => [each.name, each.value.trim()]));
    if (errors.checked) wish.set("errors", "1");
    try {
      const found = await ask(`/api/ui/logs?${wish}`);
      out.replaceChildren(...(found.lines.length && found.missing.length ? [h("p", { class: "note" }, found.missing.join("; "))] : []),
        found.lines.length || found.missing.length ? lines(found, "") : empty("Nothing was printed", "What tasks and actors print is kept here, also when they are dead."));
      const pre = out.querySelector("pre");
      if (pre) pre.scrollTop = pre.scrollHeight;
    } catch (error) { out.replaceChildren(h("p", { class: "note error", role: "alert" }, error.message)); }
    busy = false;
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); load(); });
  place.replaceChildren(...heading("Logs", "What tasks and actors have printed: of all of them, or of one. The beginning of an id is enough."), form, out);
  load();
  return { tick: () => { if (follow.checked) load(); } };
}

export const PAGES = {
  "": ["Overview", overview], nodes: ["Nodes", nodes], jobs: ["Jobs", jobs], tasks: ["Tasks", tasks], actors: ["Actors", actors],
  workers: ["Workers", workers], objects: ["Objects", objects], "placement-groups": ["Placement groups", groups], datasets: ["Datasets", datasets], logs: ["Logs", logs], events: ["Events", events],
};
