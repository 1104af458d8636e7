// A table of any length: the server sorts, searches and cuts, the page has only the rows that are seen.
// Rows have a fixed height, so where a row is needs no measuring; the elements of rows are used again when the table is scrolled.
import { announce, ask, count, empty, h, text, tone } from "./dom.js";

// An id is long, and differs at its end: its middle is left out.
const ROW = 32;
const BLOCK = 100; // rows of one request
const BLOCKS_MAX = 24;
const MARGIN = 8; // rows beyond the edges

export class Sheet {
  // columns: [{key, title, width, num, show(row)}]; open(row): what Enter and a click do; nothing: an empty state.
  constructor(kind, columns, { open = null, nothing = null, query = {}, filters = [] } = {}) {
    Object.assign(this, { kind, columns, open, nothing, filters });
    this.sort = query.sort || "";
    this.words = query.q || "";
    this.total = -1;
    this.active = 0;
    this.blocks = new Map();
    this.asked = new Map();
    this.age = 0;
    this.rows = [];
    this.build();
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this.sheet);
  }

  build() {
    this.search = h("input", { type: "search", value: this.words, placeholder: "Filter: words, or state=FAILED", "aria-label": `Filter ${this.kind}`, "aria-keyshortcuts": "/" });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => { this.words = this.search.value; this.again(true); }, 200);
    });
    this.counter = h("span", { class: "count" });
    this.problem = h("div", {});
    this.heads = this.columns.map((column) => {
      const button = h("button", { type: "button", onclick: () => this.order(column.key) }, column.title);
      return h("th", { scope: "col", class: column.num ? "num" : null }, button);
    });
    const widths = h("colgroup", {}, this.columns.map((column) => { const col = h("col"); col.style.width = column.width || "auto"; return col; }));
    this.before = this.space();
    this.after = this.space();
    this.body = h("tbody", {}, this.before.row, this.after.row);
    this.table = h("table", { role: "grid", "aria-label": this.kind, "aria-colcount": this.columns.length }, widths, h("thead", {}, h("tr", { "aria-rowindex": 1 }, this.heads)), this.body);
    this.sheet = h("div", { class: "sheet", tabindex: "-1" }, this.table);
    this.sheet.addEventListener("scroll", () => {
      if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
    }, { passive: true });
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => {
      const row = this.rows.find((each) => each.element.contains(event.target));
      if (row && row.data) { this.active = row.index; this.draw(); if (this.open) this.open(row.data); }
    });
    this.body.addEventListener("focusin", (event) => {
      const row = this.rows.find((each) => each.element === event.target);
      if (row) this.active = row.index;
    });
    this.hollow = h("div", {});
    this.element = h("section", { "aria-label": this.kind }, h("div", { class: "bar-tools" }, this.search, this.counter), this.problem, this.sheet, this.hollow);
    this.mark();
  }

  space() {
    const cell = h("td", { colspan: this.columns.length });
    return { cell, row: h("tr", { class: "space", "aria-hidden": "true" }, cell), height: -1 };
  }

  mark() {
    this.columns.forEach((column, at) => {
      const way = this.sort === column.key ? "ascending" : this.sort === `-${column.key}` ? "descending" : "none";
      this.heads[at].setAttribute("aria-sort", way);
      const sign = way === "ascending" ? " ▴" : way === "descending" ? " ▾" : "";
      this.heads[at].firstChild.textContent = column.title + sign;
    });
  }

  order(key) {
    this.sort = this.sort === `-${key}` ? key : this.sort === key ? "" : `-${key}`;
    this.mark();
    this.again(true);
  }

  // Everything is different: begin at the top.
  again(say = false) {
    this.age += 1;
    this.blocks.clear();
    this.asked.clear();
    this.active = 0;
    this.sheet.scrollTop = 0;
    this.say = say;
    this.refresh();
  }

  // Look again at what is seen; called with each tick.
  refresh() {
    const [first, last] = this.seen();
    const from = Math.floor(first / BLOCK);
    const to = Math.floor(Math.max(first, last - 1) / BLOCK);
    for (const block of this.blocks.keys()) if (block < from || block > to) this.blocks.get(block).old = true;
    for (let block = from; block <= to; block += 1) this.load(block);
  }

  async load(block) {
    if (this.asked.has(block)) return;
    this.asked.set(block, true);
    const age = this.age;
    const query = new URLSearchParams({ offset: block * BLOCK, limit: BLOCK });
    if (this.sort) query.set("sort", this.sort);
    const words = [];
    for (const word of this.words.split(/\s+/).filter(Boolean)) {
      if (/^[\w-]+!?=./.test(word)) query.append("filter", word); else words.push(word);
    }
    for (const filter of this.filters) query.append("filter", filter);
    if (words.length) query.set("q", words.join(" "));
    try {
      const found = await ask(`/api/ui/rows/${this.kind}?${query}`);
      if (age !== this.age) return;
      this.blocks.delete(block);
      this.blocks.set(block, { rows: found.rows, old: false });
      while (this.blocks.size > BLOCKS_MAX) this.blocks.delete(this.blocks.keys().next().value);
      this.total = found.matching;
      this.note(found);
      this.draw();
    } catch (error) {
      if (age === this.age) this.problem.replaceChildren(h("p", { class: "note error", role: "alert" }, error.message));
    } finally {
      if (age === this.age) this.asked.delete(block);
    }
  }

  note(found) {
    const cut = found.total > found.looked_at || found.total < 0;
    const words = `${count(found.matching)}${cut ? ` of ${found.total < 0 ? "more" : count(found.total)}` : ""}`;
    if (this.counter.textContent !== words) this.counter.textContent = words;
    const notes = [...found.missing, ...found.notes].join("; ");
    if (this.notes !== notes) {
      this.notes = notes;
      this.problem.replaceChildren(...(notes ? [h("p", { class: "note" }, notes)] : []));
    }
    if (!notes && this.problem.querySelector(".error")) this.problem.replaceChildren();
    if (this.say) announce(`${count(found.matching)} ${this.kind}`);
    this.say = false;
    const none = found.matching === 0;
    this.sheet.hidden = none;
    if (none !== this.none) {
      this.none = none;
      const searched = this.words || this.filters.length;
      this.hollow.replaceChildren(...(none ? [h("div", { class: "panel" }, searched && this.words ? empty("Nothing matches", "Change the filter, or clear it.") : this.nothing || empty(`No ${this.kind}`))] : []));
    }
  }

  seen() {
    const height = this.sheet.clientHeight || 400;
    const first = Math.max(0, Math.floor(this.sheet.scrollTop / ROW) - MARGIN);
    const last = Math.floor(this.sheet.scrollTop / ROW) + Math.ceil(height / ROW) + MARGIN;
    return [first, this.total < 0 ? last : Math.min(last, this.total)];
  }

  draw() {
    if (this.total < 0) return;
    const [first, last] = this.seen();
    const focused = this.body.contains(document.activeElement);
    while (this.rows.length < last - first) {
      const cells = this.columns.map((column) => h("td", { class: column.num ? "num" : null }));
      const element = h("tr", {}, cells);
      this.after.row.before(element);
      this.rows.push({ element, cells, index: -1, data: null, texts: [] });
    }
    while (this.rows.length > last - first) this.rows.pop().element.remove();
    this.stretch(this.before, first * ROW);
    this.stretch(this.after, (this.total - last) * ROW);
    this.table.setAttribute("aria-rowcount", this.total + 1);
    this.rows.forEach((row, at) => this.fill(row, first + at));
    const missing = new Set();
    for (let index = first; index < last; index += 1) if (!this.blocks.has(Math.floor(index / BLOCK))) missing.add(Math.floor(index / BLOCK));
    for (const block of missing) this.load(block);
    if (focused) {
      const row = this.rows.find((each) => each.index === this.active);
      if (!row) this.sheet.focus({ preventScroll: true });
      else if (document.activeElement !== row.element) row.element.focus({ preventScroll: true });
    }
  }

  stretch(space, height) {
    if (space.height === height) return;
    space.height = height;
    space.cell.style.height = `${height}px`;
    space.row.hidden = height === 0;
  }

  fill(row, index) {
    const block = this.blocks.get(Math.floor(index / BLOCK));
    row.data = block ? block.rows[index % BLOCK] ?? null : null;
    if (row.index !== index) {
      row.index = index;
      row.element.setAttribute("aria-rowindex", index + 2);
    }
    const reachable = index === Math.min(this.active, this.total - 1) ? "0" : "-1";
    if (row.element.getAttribute("tabindex") !== reachable) row.element.setAttribute("tabindex", reachable);
    this.columns.forEach((column, at) => {
      const words = row.data ? (column.show ? column.show(row.data) : text(row.data[column.key])) : "…";
      if (row.texts[at] !== words) {
        row.texts[at] = words;
        row.cells[at].textContent = column.id && words.length > 20 ? `${words.slice(0, 4)}…${words.slice(-8)}` : words;
        row.cells[at].title = words.length > 18 ? words : "";
        if (column.tone) row.cells[at].className = tone(words);
      }
    });
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.sheet.clientHeight / ROW) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.open) {
      const row = this.rows.find((each) => each.index === this.active);
      if (row && row.data) { event.preventDefault(); this.open(row.data); }
      return;
    }
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.active = Math.max(0, Math.min(this.total - 1, this.active + steps[event.key]));
    const top = this.active * ROW;
    const room = this.sheet.clientHeight - 2 * ROW;
    if (top < this.sheet.scrollTop) this.sheet.scrollTop = top;
    else if (top > this.sheet.scrollTop + room) this.sheet.scrollTop = top - room;
    this.draw();
    const row = this.rows.find((each) => each.index === this.active);
    if (row) row.element.focus({ preventScroll: true });
  }

  close() {
    this.age += 1;
    this.resize.disconnect();
    clearTimeout(this.typing);
  }
}
