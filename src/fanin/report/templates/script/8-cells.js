// The list of all cells: a hundred rows at a time, so that a list of thousands opens at once.

const PER_PAGE = 100;

function startCells(element, cells) {
  const details = element.querySelector("details");
  let started = false;
  const start = () => {
    if (!started && details.open) { started = true; showCells(details, cells); }
  };
  details.addEventListener("toggle", start);
  start();
}

function readCell(cells, column, row) {
  const { values, words } = cells.columns[column];
  return words ? words[values[row]] : values[row];
}

function showCells(details, cells) {
  const state = { order: null, sort: null, sign: 1, first: 0, words: "" };
  const all = Array.from({ length: cells.count }, (_, i) => i);
  const input = make("input", { type: "search", id: `${details.id}-filter`, autocomplete: "off", spellcheck: "false" });
  const said = make("output", { "aria-live": "polite" });
  const back = make("button", { type: "button" }, "Previous"), forth = make("button", { type: "button" }, "Next");
  const body = make("tbody");
  const heads = cells.columns.map((column, number) => {
    const button = make("button", { type: "button" }, column.title);
    const head = make("th", { scope: "col", "aria-sort": "none", class: column.number ? "number" : null }, button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      Object.assign(state, { sort: next === "none" ? null : number, sign: next === "descending" ? -1 : 1, first: 0 });
      arrange();
    });
    return head;
  });
  const text = (row) => cells.columns.map((_, column) => readCell(cells, column, row)).join(" ").toLowerCase();
  const arrange = () => {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    let order = words.length ? all.filter((row) => { const line = text(row); return words.every((word) => line.includes(word)); }) : all;
    if (state.sort !== null) {
      const key = (row) => { const value = readCell(cells, state.sort, row); return value === null ? NaN : value; };
      order = [...order].sort((a, b) => compareKeys(key(a), key(b), state.sign));
    }
    state.order = order;
    show();
  };
  const show = () => {
    const { order, first } = state, last = Math.min(first + PER_PAGE, order.length);
    body.replaceChildren(...order.slice(first, last).map((row) => makeCellRow(cells, row)));
    said.textContent = order.length ? `${(first + 1).toLocaleString("en-US")} to ${last.toLocaleString("en-US")} of ${order.length.toLocaleString("en-US")} cells` : "No cell has all of these words";
    back.disabled = first === 0;
    forth.disabled = last >= order.length;
  };
  back.addEventListener("click", () => { state.first = Math.max(0, state.first - PER_PAGE); show(); });
  forth.addEventListener("click", () => { state.first += PER_PAGE; show(); });
  input.addEventListener("input", () => { state.words = input.value; state.first = 0; arrange(); });
  details.append(
    make("div", { class: "tools" }, make("label", { for: input.id }, "Find ", input), said, make("span", { class: "pager" }, back, forth)),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Every cell" }, make("table", { class: "cells" }, make("thead", {}, make("tr", {}, ...heads)), body)),
  );
  arrange();
}

function makeCellRow(cells, row) {
  return make("tr", {}, ...cells.columns.map((column, number) => {
    const value = readCell(cells, number, row);
    if (column.key === "outcome") {
      const message = cells.messages[row];
      return make("td", { class: "words" }, make("span", { class: `badge ${value}` }, value), message === undefined ? null : make("pre", { class: "message" }, cells.texts[message]));
    }
    if (column.key === "cell") return make("td", { class: "words" }, make("code", {}, value));
    return make("td", { class: column.number ? "number" : "words" }, value === null ? "–" : String(value));
  }));
}
