// Scales from values to places, with their ticks.

const LOG_SPAN = 30;

function findExtent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!isNumber(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? null : [low, high];
}

// A scale that holds the values; logarithmic if they span more than a factor of 30 and may be.
function fitScale(values, from, to, { mayBeLog = true, log = null, margin = 0.05 } = {}) {
  const extent = findExtent(values);
  if (!extent) return makeLinear(0, 1, from, to);
  let [low, high] = extent;
  const isLog = low > 0 && (log === null ? mayBeLog && high / low > LOG_SPAN : log);
  if (isLog) {
    const factor = high > low ? (high / low) ** margin : 1.5;
    return makeLogarithmic(low / factor, high * factor, from, to);
  }
  const space = margin * (high - low) || 0.05 * Math.abs(high) || 0.5;
  return makeLinear(low - space, high + space, from, to);
}

function makeLinear(low, high, from, to) {
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  const invert = (at) => low + ((at - from) / (to - from)) * (high - low);
  return { low, high, log: false, place, invert, list: (count, whole) => listTicks(low, high, count, whole) };
}

function makeLogarithmic(low, high, from, to) {
  const a = Math.log10(low), b = Math.log10(high);
  const place = (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
  const invert = (at) => 10 ** (a + ((at - from) / (to - from)) * (b - a));
  return { low, high, log: true, place, invert, list: (count) => listPowers(low, high, count) };
}

// Round numbers, about as many as asked for and at least three.
function listTicks(low, high, count, whole = false) {
  for (let wanted = count; ; wanted++) {
    const ticks = listSteps(low, high, wanted, whole);
    if (ticks.length >= 3 || wanted > count + 3) return ticks;
  }
}

function listSteps(low, high, count, whole) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function listPowers(low, high, count) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  if (last - first < 1) {
    const fine = [];
    for (let e = first - 1; e <= last + 1; e++) for (const m of [1, 2, 5]) fine.push(m * 10 ** e);
    const inside = fine.filter((value) => value >= low && value <= high);
    return inside.length > 1 ? inside : listTicks(low, high, count);
  }
  const step = Math.max(1, Math.ceil((last - first) / count));
  const ticks = [];
  for (let e = first; e <= last; e += step) ticks.push(Number(`1e${e}`));
  return ticks;
}

// About as wide as a digit of the labels; no measuring, which would lay the page out again.
const DIGIT = 5.7;

function widestLabel(ticks) {
  return Math.max(2, ...ticks.map((tick) => formatTick(tick).length)) * DIGIT;
}

function drawAxes(svg, box, x, y, { xTitle, yTitle, xTicks, whole = false, yTicks = null }) {
  const grid = makeSvg("g", { class: "axis" });
  for (const tick of yTicks ?? y.list(4)) {
    const at = y.place(tick).toFixed(1);
    grid.append(
      makeSvg("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }),
      makeSvg("text", { x: box.left - 5, y: Number(at) + 3.6, "text-anchor": "end" }, formatTick(tick)),
    );
  }
  for (const tick of xTicks ?? x.list(Math.max(2, Math.floor((box.right - box.left) / 60)), whole)) {
    const at = x.place(tick).toFixed(1);
    grid.append(
      makeSvg("line", { class: "tick", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 3.5 }),
      makeSvg("text", { x: at, y: box.bottom + 14, "text-anchor": "middle" }, formatTick(tick)),
    );
  }
  grid.append(makeSvg("line", { class: "frame", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  if (xTitle) grid.append(makeTitle(xTitle, box.left, box.right, box.bottom + 28));
  if (yTitle) grid.append(makeSvg("text", { class: "title", x: 4, y: box.top - 8 }, yTitle));
  svg.append(grid);
}

// Below an axis: in its middle, or against its right end if it is longer than the axis.
function makeTitle(text, left, right, y) {
  const isLong = text.length * 5.4 > right - left;
  return makeSvg("text", { class: "title", x: isLong ? right : (left + right) / 2, y, "text-anchor": isLong ? "end" : "middle" }, text);
}
