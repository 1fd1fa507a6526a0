// A figure: its controls, its legend, its panels (drawn when they come into sight), its numbers.

const DRAW = { lines: drawLinePanel, dots: drawDotPanel, ranks: drawRankPanel, heat: drawHeatPanel };
const unseen = new Map();
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target);
}, { rootMargin: "400px 0px" });

function drawNow(holder) {
  const draw = unseen.get(holder);
  if (!draw) return;
  unseen.delete(holder);
  observer.unobserve(holder);
  draw();
}

// A printed page has everything.
window.addEventListener("beforeprint", () => [...unseen.keys()].forEach(drawNow));

function makeSwatch(number) {
  const svg = makeSvg("svg", { class: "swatch", viewBox: "0 0 24 12", "aria-hidden": "true" });
  svg.append(makeSvg("line", { class: colourClass(number), x1: 1, x2: 23, y1: 6, y2: 6, "stroke-dasharray": dashFor(number) }), makeMarker(number, 12, 6, 3.2));
  return svg;
}

function startFigure(element, figure) {
  const state = { metric: figure.metrics?.[0]?.key, hidden: new Set(), runs: Boolean(figure.runs), pages: 1 };
  const stage = make("div", { class: `panels ${figure.panels.length === 1 ? "one" : figure.wide ? "wide" : ""}` });
  const controls = make("div", { class: "controls" }), legend = make("div", { class: "legend" });
  const redraw = () => drawPanels(stage, figure, state);
  if ((figure.metrics?.length ?? 0) > 1) controls.append(makeChooser(element.id, figure, state, redraw));
  if (figure.mayShowRuns) controls.append(makeRunsSwitch(figure, state, redraw));
  if (figure.legend && figure.names.length > 1) fillLegend(legend, figure, state, redraw);
  const before = element.querySelector(".waiting");
  before?.remove();
  const caption = element.querySelector("figcaption");
  caption.after(...[controls, legend].filter((part) => part.childElementCount), stage, makeNumbers(figure, state));
  redraw();
}

function makeChooser(id, figure, state, redraw) {
  const select = make("select", { id: `${id}-metric` }, ...figure.metrics.map((metric) => make("option", { value: metric.key }, metric.title)));
  select.addEventListener("change", () => { state.metric = select.value; redraw(); });
  return make("label", { for: `${id}-metric` }, "Show ", select);
}

function makeRunsSwitch(figure, state, redraw) {
  const box = make("input", { type: "checkbox" });
  box.checked = state.runs;
  box.addEventListener("change", () => { state.runs = box.checked; redraw(); });
  return make("label", {}, box, " every replicate");
}

// A button for each line switches it off and on; Shift leaves it alone.
function fillLegend(legend, figure, state, redraw) {
  const used = new Set(figure.panels.flatMap((panel) => (panel.lines ?? panel.rows).map((line) => line.c)));
  const buttons = [];
  figure.names.forEach((name, c) => {
    if (!used.has(c)) return;
    const button = make("button", { type: "button", "aria-pressed": "true" }, makeSwatch(c), name);
    button.addEventListener("click", (event) => {
      if (event.shiftKey) {
        const alone = [...used].every((other) => other === c || state.hidden.has(other));
        state.hidden = new Set(alone ? [] : [...used].filter((other) => other !== c));
      } else if (!state.hidden.delete(c)) state.hidden.add(c);
      buttons.forEach(([number, one]) => one.setAttribute("aria-pressed", String(!state.hidden.has(number))));
      redraw();
    });
    buttons.push([c, button]);
    legend.append(button);
  });
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", "Switch lines on and off; with Shift, show one alone");
}

const TOGETHER = 12;

function drawPanels(stage, figure, state) {
  for (const holder of stage.children) { unseen.delete(holder); observer.unobserve(holder); }
  const shown = figure.panels.slice(0, state.pages * TOGETHER);
  stage.replaceChildren(...shown.map((panel) => makePanel(figure, panel, state)));
  if (shown.length < figure.panels.length) {
    const more = make("button", { type: "button", class: "more" }, `Show ${Math.min(TOGETHER, figure.panels.length - shown.length)} more of ${figure.panels.length} panels`);
    more.addEventListener("click", () => {
      const first = shown.length;
      state.pages += 1;
      drawPanels(stage, figure, state);
      stage.children[first]?.focus();
    });
    stage.append(more);
  }
}

function makePanel(figure, panel, state) {
  const isReadable = figure.kind === "lines";
  const holder = make("div", { class: `panel ${figure.kind}`, role: "group", "aria-label": panel.title || figure.title, tabindex: isReadable ? "0" : "-1" });
  if (panel.title) holder.append(make("p", { class: "panel-title" }, panel.title));
  holder.append(make("div", { class: "space" }));
  unseen.set(holder, () => {
    const size = measure(holder);
    const drawn = DRAW[figure.kind](figure, panel, state, size);
    holder.querySelector(".space").replaceWith(drawn.svg);
    if (isReadable) addReading(holder, drawn, figure, panel, size);
    if (panel.note) holder.append(make("p", { class: "panel-note" }, panel.note));
    holder.dataset.drawn = "yes";
  });
  observer.observe(holder);
  return holder;
}

// One unit of a drawing is one pixel where it stands, so that letters have one size everywhere.
function measure(holder) {
  const width = Math.min(Math.max(holder.clientWidth, 280), 760);
  return { width, height: Math.round(Math.min(Math.max(width * 0.5, 224), 320)) };
}

// The same numbers as a table, made when it is opened.
function makeNumbers(figure, state) {
  const details = make("details", { class: "numbers" }, make("summary", {}, "The numbers of this figure"));
  details.addEventListener("toggle", () => {
    details.querySelector(".scroll")?.remove();
    if (details.open) details.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers: ${figure.title}` }, tabulate(figure, state)));
  });
  return details;
}

const MOST_ROWS = 1500;

function tabulate(figure, state) {
  const rows = [];
  for (const panel of figure.panels) {
    if (rows.length >= MOST_ROWS) break;
    rows.push(...LISTS[figure.kind](figure, panel, state));
  }
  const head = HEADS[figure.kind](figure, state);
  const isText = head.map((_, i) => rows.some((row) => typeof row[i] === "string" && row[i] !== "–"));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((title, i) => make("th", { scope: "col", class: isText[i] ? null : "number" }, title)))),
    make("tbody", {}, ...rows.slice(0, MOST_ROWS).map((row) => make("tr", {}, ...row.map((value, i) => make("td", { class: isText[i] ? "words" : "number" }, typeof value === "string" ? value : formatValue(value)))))));
}

const HEADS = {
  lines: (figure) => ["panel", "line", figure.axis.title, "value", "low", "high"],
  dots: () => ["panel", "name", "value", "low", "high", "diverged"],
  ranks: () => ["panel", "name", "mean rank"],
  heat: (figure) => ["panel", figure.panels[0].y.title, figure.panels[0].x.title, "value", "diverged"],
};

const LISTS = {
  lines: (figure, panel, state) => selectLines(panel, state.metric, new Set()).flatMap((line) => listXs(line).map((x, i) => [panel.title, figure.names[line.c], x, line.y[i], line.lo?.[i], line.hi?.[i]]).filter((row) => isNumber(row[3]))),
  dots: (figure, panel) => panel.rows.map((row) => [panel.title, row.name ?? figure.names[row.c], row.y, row.lo, row.hi, row.diverged ? `${row.diverged} of ${row.planned}` : "–"]),
  ranks: (figure, panel) => panel.rows.map((row) => [panel.title, figure.names[row.c], row.rank]),
  heat: (figure, panel, state) => chooseCells(panel, state).cells.flatMap((row, i) => row.map((value, j) => [panel.title, panel.y.labels[i], panel.x.labels[j], value, panel.lost?.[i]?.[j] ?? "–"])).filter((row) => row[3] !== null || row[4] !== "–"),
};
