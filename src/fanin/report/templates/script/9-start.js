// Light and dark, and the start of everything.

function startTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", isDark() ? "Switch to light paper" : "Switch to dark paper"); };
  button.hidden = false;
  button.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();
}

function startPage() {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  startTheme(document.getElementById("theme"));
  document.querySelectorAll("table.sortable").forEach(startTable);
  for (const [id, figure] of Object.entries(data.figures)) startFigure(document.getElementById(id), figure);
  for (const [id, cells] of Object.entries(data.cells)) startCells(document.getElementById(id), cells);
  document.documentElement.dataset.ready = "yes";
  performance.mark("fanin-ready");
}

startPage();
