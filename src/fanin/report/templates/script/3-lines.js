// A panel of lines: means with bands over replicates, single replicates, and a reading at the pointer.

function makeBox(size, labels) {
  return { left: 10 + labels, right: size.width - 10, top: 26, bottom: size.height - 34 };
}

function selectLines(panel, key, hidden) {
  return panel.lines
    .filter((line) => !hidden.has(line.c) && line.m[key])
    .map((line) => ({ c: line.c, diverged: line.diverged, planned: line.planned, ...line.m[key] }));
}

function listXs(line) {
  return line.x ?? line.y.map((_, i) => i + 1);
}

function* listYs(lines, withRuns) {
  for (const line of lines) {
    yield* line.y ?? [];
    yield* line.lo ?? [];
    yield* line.hi ?? [];
    if (withRuns || !hasNumbers(line.y)) for (const run of line.runs ?? []) yield* run.y ?? run;
  }
}

function hasNumbers(values) {
  return (values ?? []).some(isNumber);
}

function runXs(line, run) {
  return run.x ?? (line.rx ?? listXs(line)).slice(0, (run.y ?? run).length);
}

// Where the axis has to reach: replicates count if they are drawn.
function listDrawnXs(line, withRuns) {
  const runs = withRuns || !hasNumbers(line.y) ? (line.runs ?? []) : [];
  return [...listXs(line), ...runs.flatMap((run) => runXs(line, run))];
}

function drawPath(xs, ys, x, y) {
  let d = "", pen = "M";
  ys.forEach((value, i) => {
    if (!isNumber(value) || !isNumber(xs[i]) || (y.log && value <= 0)) { pen = "M"; return; }
    d += `${pen}${x.place(xs[i]).toFixed(1)} ${y.place(value).toFixed(1)}`;
    pen = "L";
  });
  return d;
}

function drawBand(xs, low, high, x, y) {
  const there = xs.map((_, i) => i).filter((i) => isNumber(low[i]) && isNumber(high[i]));
  if (there.length < 2) return "";
  const floor = y.log ? y.low : -Infinity;
  const at = (i, values) => `${x.place(xs[i]).toFixed(1)} ${y.place(Math.max(values[i], floor)).toFixed(1)}`;
  return `M${there.map((i) => at(i, high)).join("L")}L${there.reverse().map((i) => at(i, low)).join("L")}Z`;
}

function drawLinePanel(figure, panel, state, size) {
  const key = state.metric;
  const lines = selectLines(panel, key, state.hidden);
  const near = lines.some((line) => !line.far) ? lines.filter((line) => !line.far) : lines;
  const svg = makeSvg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, "aria-hidden": "true", focusable: "false" });
  const title = panel.axes?.[key] ?? figure.metrics.find((metric) => metric.key === key)?.title ?? "";
  const ys = [...listYs(near, state.runs)];
  if (!ys.some(isNumber)) {
    const words = panel.empty ?? (state.hidden.size ? "Nothing to show of what is switched on" : "No result yet");
    svg.append(makeSvg("text", { class: "nothing", x: size.width / 2, y: size.height / 2, "text-anchor": "middle" }, words));
    return { svg, lines: [], title };
  }
  const mayBeLog = !(title.includes("accuracy"));
  const probe = fitScale(ys, 1, 0, { mayBeLog });
  const box = makeBox(size, widestLabel(probe.list(4)));
  const y = fitScale(ys, box.bottom, box.top, { mayBeLog });
  const xs = figure.ticks ?? near.flatMap((line) => listDrawnXs(line, state.runs));
  const x = fitScale(xs, box.left, box.right, { log: Boolean(figure.axis.log), margin: figure.axis.whole ? 0.02 : 0.05 });
  drawAxes(svg, box, x, y, {
    xTitle: figure.axis.title, yTitle: y.log ? `${title} (log)` : title,
    xTicks: figure.ticks && thin(figure.ticks, x), whole: Boolean(figure.axis.whole),
  });
  const bands = makeSvg("g"), strokes = makeSvg("g"), marks = makeSvg("g");
  for (const line of near) drawOneLine(line, { x, y, box, state, figure, bands, strokes, marks });
  lines.filter((line) => !near.includes(line)).forEach((line, i) => marks.append(...makeFarMark(line, figure.names[line.c], box, i)));
  svg.append(bands, strokes, marks);
  return { svg, lines, title, x, y, box };
}

// A line beyond the axis: a triangle at the right end of the edge that it lies behind, its name, its last value.
function makeFarMark(line, name, box, number) {
  const up = line.far > 0, at = box.right - 4;
  const y = up ? box.top + 8 + 14 * number : box.bottom - 8 - 14 * number;
  const tip = up ? -4 : 4;
  return [
    makeSvg("path", { class: `mark ${colourClass(line.c)}`, d: `M${at - 4} ${y - tip}L${at + 4} ${y - tip}L${at} ${y + tip}Z` }),
    makeSvg("text", { class: "aside", x: at - 8, y: y + 3.6, "text-anchor": "end" }, `${shorten(name, 20)} ${formatValue(line.y.findLast(isNumber))}`),
  ];
}

function drawOneLine(line, { x, y, box, state, figure, bands, strokes, marks }) {
  const at = listXs(line), dash = dashFor(line.c), colour = colourClass(line.c);
  const mean = drawPath(at, line.y, x, y);
  if (line.lo) bands.append(makeSvg("path", { class: `band ${colour}`, d: drawBand(at, line.lo, line.hi, x, y) }));
  if ((state.runs || !mean) && line.runs) {
    for (const run of line.runs) strokes.append(makeSvg("path", { class: `run ${colour}`, d: drawPath(runXs(line, run), run.y ?? run, x, y) }));
  }
  for (const epoch of line.stops ?? []) marks.append(makeCross(x.place(epoch), box.top + 5, 3.2));
  if (!mean) return;
  strokes.append(makeSvg("path", { class: `mean ${colour}`, d: mean, "stroke-dasharray": dash }));
  if (figure.marks) {
    at.forEach((value, i) => {
      if (isNumber(line.y[i])) marks.append(makeMarker(line.c, x.place(value), y.place(line.y[i]), 3.2, Boolean(line.open?.[i])));
      if (line.lost?.[i]) marks.append(makeCross(x.place(value), box.bottom - 5 - 2 * (line.c % 4), 2.6));
    });
  } else {
    const last = line.y.findLastIndex(isNumber);
    marks.append(makeMarker(line.c, x.place(at[last]), y.place(line.y[last]), 3));
  }
}

// The ticks that have room for their labels.
function thin(ticks, x) {
  const kept = [];
  let end = -Infinity;
  for (const tick of ticks) {
    const half = (formatTick(tick).length * DIGIT) / 2;
    if (x.place(tick) - half > end + 6) {
      kept.push(tick);
      end = x.place(tick) + half;
    }
  }
  return kept;
}

// What the lines say at one place of the horizontal axis, the largest number first.
function readLines(lines, figure, at) {
  const found = [];
  for (const line of lines) {
    const index = listXs(line).indexOf(at);
    if (index >= 0 && isNumber(line.y[index])) {
      const half = line.hi && isNumber(line.hi[index]) && line.kind === "interval" ? line.hi[index] - line.y[index] : null;
      found.push({ c: line.c, name: figure.names[line.c], value: line.y[index], half });
    }
  }
  return found.sort((a, b) => b.value - a.value);
}

// A line across the panel that follows the pointer or the arrow keys, and the numbers there.
function addReading(holder, drawn, figure, panel, size) {
  const { svg, lines, x, box } = drawn;
  if (!lines.length) return;
  const places = [...new Set(lines.flatMap(listXs))].filter(isNumber).sort((a, b) => a - b);
  const cursor = makeSvg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  svg.append(cursor);
  const note = make("div", { class: "reading", role: "status", hidden: true });
  holder.append(note);
  let current = -1;
  const show = (index) => {
    current = index;
    const at = places[index], px = x.place(at);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, px.toFixed(1));
    cursor.setAttribute("visibility", "visible");
    const items = readLines(lines, figure, at).map(({ c, name, value, half }) =>
      make("li", {}, makeSwatch(c), `${name} `, make("b", {}, half === null ? formatValue(value) : `${formatValue(value)} ± ${formatValue(half)}`)));
    note.replaceChildren(make("p", {}, `${figure.axis.title} ${panel.places?.[at - 1] ?? formatTick(at)}`), make("ul", {}, ...items));
    note.hidden = false;
    note.classList.toggle("west", px > size.width / 2);
  };
  const hide = () => {
    note.hidden = true;
    cursor.setAttribute("visibility", "hidden");
    current = -1;
  };
  const find = (event) => {
    const frame = svg.getBoundingClientRect();
    const px = ((event.clientX - frame.left) / frame.width) * size.width;
    let best = 0;
    places.forEach((place, i) => { if (Math.abs(x.place(place) - px) < Math.abs(x.place(places[best]) - px)) best = i; });
    return best;
  };
  svg.addEventListener("pointermove", (event) => show(find(event)));
  svg.addEventListener("pointerleave", hide);
  holder.addEventListener("blur", hide);
  holder.addEventListener("keydown", (event) => {
    const last = places.length - 1;
    const next = { ArrowRight: Math.min(current + 1, last), ArrowLeft: current < 0 ? last : Math.max(current - 1, 0), Home: 0, End: last }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      show(next);
    } else if (event.key === "Escape") hide();
  });
}
