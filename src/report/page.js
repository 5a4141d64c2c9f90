"use strict";
// The page's own part: theme, the table of configurations, which one is in front. Everything a person reads is there without it.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
root.classList.add("js");
/** Called whenever what figures show has changed: theme, width, what is selected or filtered. */
const redraws = [];
const redraw = (what) => redraws.forEach((draw) => draw(what));

// ---- light and dark: the system's choice until the reader makes one ----
const themes = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");
const remembered = () => { try { return localStorage.getItem("votive-theme"); } catch { return null; } };
const setTheme = (theme) => {
  if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
  themeButton.textContent = theme;
  themeButton.setAttribute("aria-label", `Colours: ${theme}. Choose ${themes[(themes.indexOf(theme) + 1) % 3]}`);
};
let theme = themes.includes(remembered()) ? remembered() : "auto";
setTheme(theme);
themeButton.addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % 3];
  try { localStorage.setItem("votive-theme", theme); } catch { /* a page from a file may not remember */ }
  setTheme(theme);
  redraw("theme");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw("theme"));

// On paper everything is open and light.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => { details.open = true; });
  root.dataset.theme = "light";
  redraw("theme");
});
window.addEventListener("afterprint", () => {
  opened.forEach((details) => { details.open = false; });
  setTheme(theme);
  redraw("theme");
});

// ---- configurations, best first ----
const places = new Map(data.configurations.map((c, index) => [c.number, { ...c, index }]));
const named = (number) => places.get(number)?.name || `configuration ${number}`;
let selected = null;
/** Configurations that the filter leaves; null where it leaves all. */
let kept = null;
const isKept = (number) => kept === null || kept.has(number);

// ---- the table: headings sort, words filter, a row comes forward in the figures ----
const table = document.getElementById("leaderboard");
const body = table.tBodies[0];
const headings = [...table.tHead.rows[0].cells];
const sortBy = (column) => {
  const heading = headings[column];
  const up = heading.getAttribute("aria-sort") !== "ascending";
  const number = heading.classList.contains("number");
  const rows = [...body.rows].map((row) => ({ row, key: row.cells[column].dataset.sort }));
  rows.forEach((entry) => { entry.value = number ? Number(entry.key) : entry.key; });
  rows.sort((a, b) => {
    // Empty cells stay last.
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    const order = number ? a.value - b.value : a.value.localeCompare(b.value, "en", { numeric: true });
    return up ? order : -order;
  });
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows.map((entry) => entry.row));
  stopAtFirst();
};
headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => sortBy(column)));

const select = (number) => {
  selected = selected === number ? null : number;
  for (const row of body.rows) {
    if (Number(row.dataset.configuration) === selected) row.setAttribute("aria-selected", "true"); else row.removeAttribute("aria-selected");
  }
  redraw("selection");
};
// One row is reached by the tab key, the others from it by the arrows.
const isShown = (row) => row.offsetParent !== null;
const stopAt = (row) => {
  for (const other of body.querySelectorAll("tr[tabindex='0']")) other.tabIndex = -1;
  row.tabIndex = 0;
};
/** Whatever is filtered, sorted or cut off, the tab key reaches a row that is there. */
const stopAtFirst = () => {
  const first = [...body.rows].find(isShown);
  if (first) stopAt(first);
};
const focusRow = (row) => {
  if (!row) return;
  stopAt(row);
  row.focus();
};
const beside = (row, next) => {
  do { row = next ? row.nextElementSibling : row.previousElementSibling; } while (row && !isShown(row));
  return row;
};
for (const row of body.rows) row.tabIndex = -1;
body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row && String(getSelection()) === "") select(Number(row.dataset.configuration));
});
body.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const act = { Enter: () => select(Number(row.dataset.configuration)), " ": () => select(Number(row.dataset.configuration)),
    ArrowDown: () => focusRow(beside(row, true)), ArrowUp: () => focusRow(beside(row, false)) }[event.key];
  if (act) { event.preventDefault(); act(); }
});

// Of many rows the first forty, in whatever order, until all are asked for or some are looked for.
const all = document.getElementById("all");
let isShort = body.rows.length > 40;
const shorten = () => {
  table.classList.toggle("short", isShort && kept === null);
  all.hidden = !(isShort && kept === null);
  stopAtFirst();
};
shorten();
all.addEventListener("click", () => { isShort = false; shorten(); });

// Every word has to begin a word of the row, or of a heading and its cell: `64 off`, `batch=16`.
const filter = document.getElementById("filter");
const said = document.getElementById("filtered");
const titles = headings.map((heading) => heading.textContent.trim().toLowerCase());
const texts = new Map([...body.rows].map((row) => [row, [...row.cells].map((cell) => cell.textContent.trim().toLowerCase())]));
const fits = (cells, word) => {
  const [key, value] = word.split("=");
  if (value !== undefined) {
    return cells.some((cell, at) => titles[at].split(" ").some((part) => part.startsWith(key)) && (value === "" || cell === value || cell.split(" ")[0] === value));
  }
  return cells.some((cell) => cell.split(/[\s,;·]+/).some((part) => part.startsWith(word)));
};
let typed = 0;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set();
  for (const row of body.rows) {
    row.hidden = !words.every((word) => fits(texts.get(row), word));
    if (!row.hidden) found.add(Number(row.dataset.configuration));
  }
  kept = words.length > 0 ? found : null;
  shorten();
  said.textContent = kept === null ? "" : `${found.size} of ${body.rows.length}`;
  // Figures follow when the typing pauses.
  clearTimeout(typed);
  typed = setTimeout(() => redraw("filter"), 150);
});
for (const control of document.querySelectorAll(".controls")) control.hidden = false;
