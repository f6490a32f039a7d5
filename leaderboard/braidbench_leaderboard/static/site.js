// Sorting and filtering of tables, charts, the copy button. Everything is readable without it.
"use strict";

function value(row, column) {
  const cell = row.cells[column];
  const raw = cell.dataset.value;
  if (raw === undefined) return cell.textContent.trim().toLowerCase();
  return raw === "" ? null : Number(raw);
}

function compare(a, b, sign) {
  // What is missing stays at the end, whichever way the rest is sorted.
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b));
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    const label = head.textContent.trim().replace(/\s+/g, " ");
    button.setAttribute("aria-label", `Sort by ${label}`);
    // A heading that is a link stays one; the button stands behind it.
    if (!head.querySelector("a")) button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      for (const body of sorted(table, column, ascending ? 1 : -1)) table.append(body);
    });
  });
}

function sorted(table, column, sign) {
  const bodies = [...table.tBodies];
  for (const body of bodies) {
    const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column), sign));
    body.append(...rows);
  }
  return bodies.sort((a, b) => (a.rows.length && b.rows.length ? compare(value(a.rows[0], column), value(b.rows[0], column), sign) : 0));
}

function filter(input) {
  const table = document.getElementById(input.dataset.filter);
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  input.closest("label").after(status);
  input.addEventListener("input", () => {
    let shown = 0;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        const text = row.cells[0].textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
    }
    status.textContent = words.length ? ` ${shown} shown` : "";
  });
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const soft = style.getPropertyValue("--soft").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { labelColor: soft, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: null,
    view: { stroke: null },
    axis,
    legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, symbolSize: 80, columns: innerWidth < 600 ? 1 : 3 },
    title: { color: ink, fontSize: 13, anchor: "start" },
    // Distinguishable with the common colour-vision deficiencies (Okabe and Ito).
    range: { category: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5cc0", "#8c8c8c"] },
  };
}

function embed(id, spec) {
  // The syntax tree of an expression is walked instead of evaluated, so that the page needs no permission to evaluate.
  return vegaEmbed(`#${id}`, spec, { ast: true, actions: false, renderer: "svg", config: theme(), defaultStyle: false, tooltip: { disableDefaultStyle: true } });
}

function charts() {
  const specs = {};
  for (const script of document.querySelectorAll("script[data-chart]")) {
    specs[script.dataset.chart] = JSON.parse(script.textContent);
  }
  const draw = () => Object.entries(specs).forEach(([id, spec]) => embed(id, spec));
  if (!Object.keys(specs).length) return;
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  for (const button of document.querySelectorAll("button[data-axis]")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("button[data-axis]")) other.setAttribute("aria-pressed", String(other === button));
      for (const layer of specs["cost-plot"].layer) {
        layer.encoding.x.field = button.dataset.axis;
        layer.encoding.x.title = button.dataset.title;
      }
      embed("cost-plot", specs["cost-plot"]);
    });
  }
}

for (const table of document.querySelectorAll("table.sortable")) sortable(table);
for (const input of document.querySelectorAll("input[data-filter]")) filter(input);
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
if (typeof vegaEmbed === "function") charts();
