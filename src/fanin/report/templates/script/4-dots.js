// Dots with intervals by category, and mean ranks on an axis.

const ROW = 21;

function drawDotPanel(figure, panel, state, size) {
  const rows = panel.rows.filter((row) => !state.hidden.has(row.c));
  const room = Math.min(figure.nameLength ?? 22, Math.floor((size.width * 0.5) / 6.1));
  const names = rows.map((row) => shorten(row.name ?? figure.names[row.c], room));
  const left = 14 + Math.max(6, ...names.map((name) => name.length)) * 6.1;
  const top = 8, height = top + rows.length * ROW + 36;
  const svg = makeSvg("svg", { viewBox: `0 0 ${size.width} ${height}`, "aria-hidden": "true", focusable: "false" });
  const near = rows.filter((row) => !row.far);
  const values = near.flatMap((row) => [row.y, row.lo, row.hi, ...(row.points ?? [])]);
  if (panel.zero) values.push(0);
  const right = size.width - 12 - Math.max(0, ...near.map((row) => describeRow(row).length * 5.8));
  const x = fitScale(values, left, right, { mayBeLog: !panel.zero && !panel.axis.includes("accuracy") });
  const bottom = top + rows.length * ROW;
  const grid = makeSvg("g", { class: "axis" });
  for (const tick of x.list(Math.max(2, Math.floor((size.width - left) / 70)))) {
    const at = x.place(tick).toFixed(1);
    grid.append(
      makeSvg("line", { class: panel.zero && tick === 0 ? "zero" : "grid", x1: at, x2: at, y1: top - 4, y2: bottom }),
      makeSvg("text", { x: at, y: bottom + 14, "text-anchor": "middle" }, formatTick(tick)),
    );
  }
  grid.append(makeTitle(x.log ? `${panel.axis} (log)` : panel.axis, left, size.width - 12, bottom + 29));
  svg.append(grid);
  rows.forEach((row, i) => drawDotRow(svg, row, names[i], { x, y: top + (i + 0.5) * ROW, left, right: size.width - 12 }));
  return { svg, lines: [], title: panel.axis };
}

// What stands at the right end of a row, in words.
function describeRow(row) {
  if (row.note !== undefined) return row.note;
  if (row.diverged) return `${row.diverged}/${row.planned} diverged`;
  return isNumber(row.y) ? "" : "no result";
}

function drawDotRow(svg, row, name, { x, y, left, right }) {
  svg.append(makeSvg("text", { class: "category", x: left - 10, y: y + 4, "text-anchor": "end" }, name));
  if (row.far) {
    const up = row.far > 0;
    svg.append(
      makeSvg("path", { class: `mark ${colourClass(row.c)}`, d: up ? `M${right - 7} ${y - 4}L${right} ${y}L${right - 7} ${y + 4}Z` : `M${left + 7} ${y - 4}L${left} ${y}L${left + 7} ${y + 4}Z` }),
      makeSvg("text", { class: "aside", x: up ? right - 11 : left + 11, y: y + 4, "text-anchor": up ? "end" : "start" }, `${row.note ?? formatValue(row.y)}${row.diverged ? `, ${row.diverged}/${row.planned} diverged` : ""}`),
    );
    return;
  }
  const points = row.points ?? [];
  points.forEach((value, i) => {
    if (isNumber(value)) svg.append(makeSvg("circle", { class: `replicate ${colourClass(row.c)}`, cx: x.place(value).toFixed(1), cy: (y + ((i % 3) - 1) * 2.4).toFixed(1), r: 1.9 }));
  });
  if (isNumber(row.lo) && isNumber(row.hi)) svg.append(makeSvg("line", { class: `interval ${colourClass(row.c)}`, x1: x.place(row.lo).toFixed(1), x2: x.place(row.hi).toFixed(1), y1: y, y2: y }));
  if (isNumber(row.y)) svg.append(makeMarker(row.c, x.place(row.y), y, 4, Boolean(row.open), row.shape));
  const words = describeRow(row);
  if (words) svg.append(makeSvg("text", { class: "aside", x: right, y: y + 4, "text-anchor": "end" }, words));
}

function shorten(text, length) {
  const letters = [...String(text)];
  if (letters.length <= length) return String(text);
  const half = Math.floor((length - 1) / 2);
  return `${letters.slice(0, half).join("")}…${letters.slice(-half).join("")}`;
}

// Mean ranks from 1 (best), with bars over those that cannot be told apart.
function drawRankPanel(figure, panel, state, size) {
  if (size.width < 520) return drawRankRows(figure, panel, state, size);
  const rows = panel.rows.filter((row) => !state.hidden.has(row.c)).sort((a, b) => a.rank - b.rank);
  const count = panel.rows.length, groups = panel.groups ?? [];
  const half = Math.ceil(rows.length / 2);
  const left = 150, right = size.width - 150, top = 44 + groups.length * 8;
  const height = top + half * 18 + 16;
  const svg = makeSvg("svg", { viewBox: `0 0 ${size.width} ${height}`, "aria-hidden": "true", focusable: "false" });
  const x = makeLinear(1, Math.max(count, 2), left, right), axis = makeSvg("g", { class: "axis" });
  axis.append(makeSvg("line", { class: "frame", x1: left, x2: right, y1: 28, y2: 28 }));
  for (let rank = 1; rank <= count; rank += Math.ceil(count / 12)) {
    axis.append(
      makeSvg("line", { class: "tick", x1: x.place(rank), x2: x.place(rank), y1: 24, y2: 28 }),
      makeSvg("text", { x: x.place(rank), y: 19, "text-anchor": "middle" }, String(rank)),
    );
  }
  svg.append(axis);
  groups.forEach(([a, b], i) => svg.append(makeSvg("line", { class: "clique", x1: x.place(a) - 3, x2: x.place(b) + 3, y1: 37 + 8 * i, y2: 37 + 8 * i })));
  if (isNumber(panel.cd)) {
    const end = x.place(1 + panel.cd);
    svg.append(
      makeSvg("path", { class: "measure", d: `M${left} 2V8M${left} 5H${end}M${end} 2V8` }),
      makeSvg("text", { class: "aside", x: end + 5, y: 9 }, `critical difference ${formatValue(panel.cd)}`),
    );
  }
  rows.forEach((row, i) => {
    const west = i < half, level = west ? i : rows.length - 1 - i, y = top + level * 18 + 6;
    const at = x.place(row.rank), end = west ? left - 8 : right + 8;
    svg.append(
      makeSvg("path", { class: `leader ${colourClass(row.c)}`, d: `M${at} 28V${y}H${end}` }),
      makeMarker(row.c, at, 28, 3.6),
      makeSvg("text", { class: "category", x: west ? end - 4 : end + 4, y: y + 4, "text-anchor": west ? "end" : "start" }, `${shorten(figure.names[row.c], 18)} ${row.rank.toFixed(2)}`),
    );
  });
  return { svg, lines: [], title: "mean rank" };
}

// On a narrow page, a row for each.
function drawRankRows(figure, panel, state, size) {
  const rows = [...panel.rows].sort((a, b) => a.rank - b.rank).map(({ c, rank }) => ({ c, y: rank, note: rank.toFixed(2) }));
  const words = isNumber(panel.cd) ? `mean rank (critical difference ${formatValue(panel.cd)})` : "mean rank";
  return drawDotPanel(figure, { axis: words, rows }, state, size);
}
