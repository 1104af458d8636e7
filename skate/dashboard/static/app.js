// Which page is shown, the theme, the keys, and the sign that says whether the cluster answers.
import { ask, h, post } from "./dom.js";
import { listen, live, start } from "./live.js";
import { PAGES } from "./pages.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
let page = {};

nav.append(h("ul", {}, Object.entries(PAGES).map(([name, [title]]) => h("li", {}, h("a", { href: `#/${name}`, "data-page": name }, title)))));

function show(focus) {
  const [path, words = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const name = path in PAGES ? path : "";
  const [title, build] = PAGES[name];
  if (page.close) page.close();
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} - skate`;
  main.replaceChildren();
  page = build(main, Object.fromEntries(new URLSearchParams(words))) || {};
  main.setAttribute("aria-labelledby", "title");
  if (focus) { main.focus(); scrollTo(0, 0); }
}

document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });

addEventListener("hashchange", () => {
  for (const box of document.querySelectorAll("dialog[open]")) box.close(); // it is about something of the page before
  show(true);
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const search = main.querySelector("input[type=search]");
  if (search && !document.querySelector("dialog[open]")) { event.preventDefault(); search.focus(); search.select(); }
});

const theme = document.getElementById("theme");
function dress(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
}
theme.value = localStorage.getItem("skate-theme") || "";
dress(theme.value);
theme.addEventListener("change", () => {
  localStorage.setItem("skate-theme", theme.value);
  dress(theme.value);
});

const pulse = document.getElementById("pulse");
const words = document.getElementById("pulse-text");
listen(() => {
  const trouble = live.state.error;
  const on = live.connected && !trouble;
  const said = trouble ? `the cluster does not answer: ${trouble}` : on ? "live" : live.ticks ? "not connected" : "connecting";
  pulse.className = `pulse ${on ? "on" : live.ticks ? "off" : ""}`;
  if (words.textContent !== said) words.textContent = said;
  if (page.tick) page.tick();
});

async function about() {
  const { login } = await ask("/api/ui/about");
  if (!login) return;
  const out = h("button", { type: "button", onclick: async () => { await post("/logout"); location.assign("/login"); } }, "Log out");
  document.querySelector(".tools").append(out);
}

show(false);
start();
about();
