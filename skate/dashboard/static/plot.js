// Lines over time, as SVG; the same in words for who cannot see it.
import { h, s } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;
const GAP_S = 5; // nobody looked in between: the line is broken
let numbers = 0;

export class Plot {
  // lines: [{name, key}], each a member of a sample; most: the top of the axis, or null for that of the data.
  constructor(title, lines, { unit = "", most = null, digits = 0 } = {}) {
    Object.assign(this, { title, lines, unit, most, digits });
    this.values = lines.map((line, at) => h("span", { class: `key k${at + 1}` }));
    this.now = h("span", {}, this.values.flatMap((value, at) => (at ? [" ", value] : [value])));
    this.label = `plot-${(numbers += 1)}`;
    this.desc = s("desc", {});
    this.title_ = s("title", { id: this.label }, title);
    this.paths = lines.map((_, at) => [s("path", { class: `area s${at + 1}` }), s("path", { class: `line s${at + 1}` })]);
    this.svg = s(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": this.label },
      this.title_, this.desc,
      s("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      s("line", { class: "axis", x1: 0, x2: WIDTH, y1: 0.5, y2: 0.5 }),
      ...this.paths.flat(),
    );
    this.scale = h("span", { class: "muted" });
    this.words = h("p", { class: "quiet" });
    this.element = h("figure", { class: "plot panel" }, h("figcaption", {}, h("b", {}, title), this.now), this.svg, this.scale, this.words);
  }

  write(value) {
    if (value === null || value === undefined) return "not known";
    return `${value.toLocaleString("en", { maximumFractionDigits: this.digits })}${this.unit}`;
  }

  update(samples) {
    if (!samples.length) return;
    const end = samples[samples.length - 1].time;
    const begin = Math.min(samples[0].time, end - 60);
    const values = samples.flatMap((sample) => this.lines.map((line) => sample[line.key] ?? 0));
    const top = this.most ?? Math.max(1, ...values) * 1.1;
    const x = (time) => (((time - begin) / (end - begin)) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 1 - (Math.min(value, top) / top) * (HEIGHT - 4)).toFixed(1);
    this.lines.forEach((line, at) => {
      let path = "";
      let area = "";
      let before = null;
      for (const sample of samples) {
        const value = sample[line.key];
        if (value === null || value === undefined) continue;
        const joined = before !== null && sample.time - before < GAP_S;
        if (!joined && before !== null) area += `L${x(before)} ${HEIGHT}Z`;
        path += `${joined ? "L" : "M"}${x(sample.time)} ${y(value)}`;
        area += joined ? `L${x(sample.time)} ${y(value)}` : `M${x(sample.time)} ${HEIGHT}L${x(sample.time)} ${y(value)}`;
        before = sample.time;
      }
      if (before !== null) area += `L${x(before)} ${HEIGHT}Z`;
      this.paths[at][0].setAttribute("d", area);
      this.paths[at][1].setAttribute("d", path);
    });
    const last = samples[samples.length - 1];
    const parts = this.lines.map((line) => `${line.name} ${this.write(last[line.key])}`);
    parts.forEach((words, at) => { if (this.values[at].textContent !== words) this.values[at].textContent = words; });
    this.scale.textContent = `0 to ${this.write(top)}, last ${Math.max(1, Math.round((end - begin) / 60))} min`;
    const key = this.lines[0].key;
    const known = samples.map((sample) => sample[key]).filter((value) => value !== null && value !== undefined);
    if (known.length) {
      this.desc.textContent = `${parts.join(", ")}; from ${this.write(Math.min(...known))} to ${this.write(Math.max(...known))} in this time.`;
      this.words.textContent = this.desc.textContent;
    }
  }
}
