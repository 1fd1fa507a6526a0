// A heat map: a number for each pair of values of two factors, in places that are shares of the axes.

// Cividis: reads in grey and for colour-blind people.
const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];

function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const i = Math.min(Math.floor(at), CIVIDIS.length - 2), part = at - i;
  return `rgb(${CIVIDIS[i].map((from, k) => Math.round(from + (CIVIDIS[i + 1][k] - from) * part)).join(",")})`;
}

// The panel of what is shown, if it has several statistics to choose from.
function chooseCells(panel, state) {
  return panel.m ? { ...panel, cells: [], axis: "", ...panel.m[state.metric] } : panel;
}

function drawHeatPanel(figure, whole, state, size) {
  const panel = chooseCells(whole, state);
  const longest = Math.max(3, ...panel.y.labels.map((label) => shorten(label, 16).length));
  const box = { left: 22 + longest * 6, right: size.width - 12, top: 12, bottom: 0 };
  const height = Math.min(Math.max(panel.y.labels.length * 20, 150), 300);
  box.bottom = box.top + height;
  const slanted = !panel.x.thin && panel.x.labels.some((label) => label.length * 6 > (box.right - box.left) / panel.x.labels.length - 4);
  const svg = makeSvg("svg", { viewBox: `0 0 ${size.width} ${box.bottom + (slanted ? 96 : 66)}`, "aria-hidden": "true", focusable: "false" });
  const px = (share) => box.left + share * (box.right - box.left), py = (share) => box.bottom - share * height;
  const extent = panel.extent ?? findExtent(panel.cells.flat()) ?? [0, 1];
  const isLog = figure.mayBeLog && extent[0] > 0 && extent[1] / extent[0] > LOG_SPAN;
  const grade = (value) => isLog ? Math.log(value / extent[0]) / Math.log(extent[1] / extent[0]) : (value - extent[0]) / (extent[1] - extent[0] || 1);
  const good = (value) => (figure.better === "max" ? grade(value) : 1 - grade(value));
  panel.cells.forEach((row, i) => row.forEach((value, j) => {
    const lost = panel.lost?.[i]?.[j];
    if (value === null && !lost) return;
    const [x0, x1] = [px(panel.x.edges[j]), px(panel.x.edges[j + 1])];
    // Words on the vertical axis are read from above: their edges descend.
    const [y0, y1] = [py(panel.y.edges[i]), py(panel.y.edges[i + 1])].sort((a, b) => a - b);
    const words = `${panel.x.title} ${panel.x.labels[j]}, ${panel.y.title} ${panel.y.labels[i]}: ${value === null ? "" : formatValue(value)}${lost ? ` ${lost} diverged` : ""}`;
    svg.append(makeSvg("rect", { class: value === null ? "lost" : "cell", x: x0.toFixed(1), y: y0.toFixed(1), width: Math.max(x1 - x0 - 0.6, 0.8).toFixed(1), height: Math.max(y1 - y0 - 0.6, 0.8).toFixed(1), fill: value === null ? null : shade(good(value)) }, makeSvg("title", {}, words)));
    if (lost) svg.append(makeCross((x0 + x1) / 2, (y0 + y1) / 2, Math.min(3, (y1 - y0) / 4)));
  }));
  for (const curve of panel.curves ?? []) {
    const d = curve.map(([u, v], i) => `${i ? "L" : "M"}${px(u).toFixed(1)} ${py(v).toFixed(1)}`).join("");
    svg.append(makeSvg("path", { class: "halo", d }), makeSvg("path", { class: "theory", d }));
  }
  drawHeatAxes(svg, panel, box, { px, py, slanted });
  drawHeatKey(svg, size, panel, box.bottom + (slanted ? 78 : 48), { extent, isLog, reverse: figure.better !== "max" });
  return { svg, lines: [], title: panel.axis };
}

function drawHeatAxes(svg, panel, box, { px, py, slanted }) {
  const axis = makeSvg("g", { class: "axis" });
  let before = Infinity;
  panel.y.labels.forEach((label, i) => {
    const y = py((panel.y.edges[i] + panel.y.edges[i + 1]) / 2);
    if (Math.abs(before - y) < 10) return;
    before = y;
    axis.append(makeSvg("text", { x: box.left - 5, y: y + 3.6, "text-anchor": "end" }, shorten(label, 16)));
  });
  let end = -Infinity;
  panel.x.labels.forEach((label, j) => {
    const x = px((panel.x.edges[j] + panel.x.edges[j + 1]) / 2), text = shorten(label, slanted ? 16 : 30);
    const half = slanted ? 5 : text.length * 3;
    if (x - half < end + (slanted ? 2 : 6)) return;
    end = x + half;
    axis.append(slanted
      ? makeSvg("text", { transform: `translate(${x + 4} ${box.bottom + 10}) rotate(-32)`, "text-anchor": "end" }, text)
      : makeSvg("text", { x, y: box.bottom + 13, "text-anchor": "middle" }, text));
  });
  axis.append(
    makeTitle(panel.x.title, box.left, box.right, box.bottom + (slanted ? 62 : 29)),
    makeSvg("text", { class: "title", transform: `translate(10 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, panel.y.title),
  );
  svg.append(axis);
}

function drawHeatKey(svg, size, panel, top, { extent, isLog, reverse }) {
  const left = 90, right = size.width - 90, steps = 24, key = makeSvg("g", { class: "axis" });
  for (let i = 0; i < steps; i++) {
    const share = (i + 0.5) / steps;
    key.append(makeSvg("rect", { x: (left + (i / steps) * (right - left)).toFixed(1), y: top, width: ((right - left) / steps + 0.5).toFixed(1), height: 7, fill: shade(reverse ? 1 - share : share) }));
  }
  key.append(
    makeSvg("text", { x: left - 6, y: top + 7.5, "text-anchor": "end" }, formatTick(Number(extent[0].toPrecision(3)))),
    makeSvg("text", { x: right + 6, y: top + 7.5 }, formatTick(Number(extent[1].toPrecision(3)))),
    makeSvg("text", { x: (left + right) / 2, y: top + 18, "text-anchor": "middle" }, `${panel.axis}${isLog ? " (log)" : ""}`),
  );
  svg.append(key);
}
