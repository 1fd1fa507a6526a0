// Elements, numbers and colours. Text of anybody becomes a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function makeSvg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A minus sign before negative numbers, as the tables have it.
function setMinus(text) {
  return text.replace(/^-/, "−");
}

// "0.979", "50.6k", "4.9e9": as the ticks of the printed figures.
function formatTick(value) {
  return setMinus(formatPlainTick(value));
}

function formatPlainTick(value) {
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) {
    const [mantissa, exponent] = value.toExponential(2).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  }
  if (size >= 1e4) return `${Number((value / 1000).toPrecision(6))}k`;
  return String(Number(value.toPrecision(6)));
}

// A value to read: four or five significant digits.
function formatValue(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return setMinus(formatPlainValue(value));
}

function formatPlainValue(value) {
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toExponential(3).replace("e+", "e");
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: size >= 1e5 ? 0 : 1 });
  return String(Number(value.toPrecision(size < 1 ? 4 : 5)));
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// Colours are classes, so that the style sheet decides what they are on light and dark paper.
const COLOURS = 10;
const MARKERS = ["circle", "square", "up", "diamond", "down", "plus", "pentagon", "hexagon", "left", "right"];

function colourClass(number) {
  return `c${number % COLOURS}`;
}

// A second round of colours is dashed.
function dashFor(number) {
  return [null, "5 2.5", "1.5 2.5", "7 2 1.5 2"][Math.floor(number / COLOURS) % 4];
}

function polygon(corners, radius, turn) {
  return Array.from({ length: corners }, (_, i) => {
    const angle = turn + (2 * Math.PI * i) / corners;
    return `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
  });
}

// One marker at (x, y); open markers show that a number is no mean.
function makeMarker(number, x, y, size, open = false, shape = MARKERS[number % MARKERS.length]) {
  const attributes = { class: `mark ${colourClass(number)}${open ? " open" : ""}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` };
  if (shape === "circle") return makeSvg("circle", { ...attributes, r: size });
  if (shape === "plus") {
    const a = size * 0.45, b = size * 1.15;
    return makeSvg("path", { ...attributes, d: `M${-a} ${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}Z` });
  }
  const turns = { square: [4, Math.PI / 4], diamond: [4, 0], up: [3, -Math.PI / 2], down: [3, Math.PI / 2], left: [3, Math.PI], right: [3, 0], pentagon: [5, -Math.PI / 2], hexagon: [6, 0] };
  const [corners, turn] = turns[shape];
  return makeSvg("path", { ...attributes, d: `M${polygon(corners, size * 1.2, turn).join("L")}Z` });
}

function makeCross(x, y, size) {
  const s = size;
  return makeSvg("path", { class: "diverged-mark", d: `M${x - s} ${y - s}L${x + s} ${y + s}M${x - s} ${y + s}L${x + s} ${y - s}` });
}
