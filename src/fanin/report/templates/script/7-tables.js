// Sorting and filtering of the tables that the page holds.

function readKey(cell) {
  const value = cell?.dataset.value;
  if (value !== undefined) return value === "" ? NaN : Number(value);
  const text = cell?.textContent.trim().toLowerCase() ?? "";
  return text === "—" ? "" : text;
}

// Ascending, except that nothing (a diverged run, no result) always comes last.
function compareKeys(a, b, sign) {
  const emptyA = a === "" || Number.isNaN(a), emptyB = b === "" || Number.isNaN(b);
  if (emptyA || emptyB) return Number(emptyA) - Number(emptyB);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function startTable(table) {
  const heads = [...table.querySelectorAll("thead th")];
  const bodies = [...table.tBodies];
  const rowsOf = new Map(bodies.map((body) => [body, [...body.rows].filter((row) => !row.classList.contains("section"))]));
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      for (const [body, rows] of rowsOf) {
        const keyed = rows.map((row) => [readKey(row.cells[column]), row]);
        const sorted = next === "none" ? keyed : [...keyed].sort((a, b) => compareKeys(a[0], b[0], next === "ascending" ? 1 : -1));
        body.append(...sorted.map(([, row]) => row));
      }
    });
  });
  const tools = document.getElementById(table.dataset.tools ?? "");
  if (tools) startFilters(tools, table, rowsOf);
}

function startFilters(tools, table, rowsOf) {
  tools.hidden = false;
  const said = tools.querySelector("output");
  const controls = [...tools.querySelectorAll("input, select")];
  const total = [...rowsOf.values()].reduce((sum, rows) => sum + rows.length, 0);
  const apply = () => {
    let count = 0;
    for (const [body, rows] of rowsOf) {
      const heading = body.querySelector("tr.section")?.textContent ?? "";
      let left = 0;
      for (const row of rows) {
        row.hidden = !controls.every((control) => accepts(control, row, body, heading));
        left += Number(!row.hidden);
      }
      body.hidden = left === 0;
      count += left;
    }
    said.textContent = count === total ? `${total.toLocaleString("en-US")} rows` : `${count.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} rows`;
  };
  controls.forEach((control) => control.addEventListener(control.tagName === "SELECT" ? "change" : "input", apply));
  apply();
}

// As it can be typed: small letters, and a hyphen for each minus sign.
function readPlainly(text) {
  return text.toLowerCase().replaceAll("−", "-");
}

function accepts(control, row, body, heading) {
  if (control.value === "") return true;
  if (control.tagName === "INPUT") {
    const text = readPlainly(`${heading} ${row.textContent}`);
    return readPlainly(control.value).split(/\s+/).every((word) => text.includes(word));
  }
  const facts = JSON.parse(row.dataset.facts ?? body.dataset.facts ?? "{}");
  const all = { ...JSON.parse(body.dataset.facts ?? "{}"), ...facts };
  return String(all[control.dataset.factor]) === control.value;
}
