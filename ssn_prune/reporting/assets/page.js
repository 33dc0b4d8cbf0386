"use strict";
// Filters and sorting; the page is complete without them.
(() => {
  const table = document.querySelector("table.layers");
  const all = (selector) => [...document.querySelectorAll(selector)];

  for (const code of all("[data-copy]")) {
    const button = document.createElement("button");
    button.className = "plain";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // clipboards may be forbidden
        button.textContent = "Selected";
      }
    });
    code.after(button);
  }

  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const links = new Map(all(".strip a").map((link) => [link.getAttribute("href").slice(1), link]));
  // A gate that is not one-hot shows ratios instead of a name.
  const pairs = new Map(rows.map((row) => [
    row, row.dataset.pair ?? `${row.cells[2].textContent}/${row.cells[3].textContent}`,
  ]));
  let pair = null;

  // The filter above the table: a search field, and the number of rows left.
  const filter = document.createElement("div");
  filter.className = "filter";
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("span");
  const clear = document.createElement("button");
  label.textContent = "Filter ";
  input.type = "search";
  input.placeholder = "name, BN/LN, form or reason";
  count.setAttribute("role", "status");
  clear.className = "plain";
  clear.textContent = "Show all";
  clear.hidden = true;
  label.append(input);
  filter.append(label, count, clear);
  table.parentElement.before(filter);

  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = `${row.textContent} ${pairs.get(row)}`.toLowerCase();
      const fits = (!pair || pairs.get(row) === pair) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
      links.get(row.id)?.classList.toggle("dim", !fits);
    }
    const filtered = pair || words.length;
    count.textContent = filtered
      ? `${shown} of ${rows.length} layers${pair ? `, mean/variance ${pair}` : ""}`
      : "";
    clear.hidden = !filtered;
    for (const button of all(".matrix button")) {
      button.setAttribute("aria-pressed", String(button.dataset.pair === pair));
    }
  };
  input.addEventListener("input", apply);
  clear.addEventListener("click", () => {
    input.value = "";
    pair = null;
    apply();
    input.focus();
  });

  for (const cell of all(".matrix .some")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = cell.className;
    button.textContent = cell.textContent;
    button.dataset.pair = cell.dataset.pair;
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", `${cell.textContent} layers with mean/variance ${cell.dataset.pair}: show them`);
    button.addEventListener("click", () => {
      pair = pair === button.dataset.pair ? null : button.dataset.pair;
      apply();
    });
    cell.replaceWith(button);
  }

  // A column of the strip links to its row, even if the row was filtered out.
  for (const link of links.values()) {
    link.addEventListener("click", () => {
      if (link.classList.contains("dim")) clear.click();
    });
  }

  const value = (row, column) => {
    const key = row.cells[column].textContent;
    const number = key.replace(/\s*ms$/, "");
    return key === "" ? null : Number.isNaN(Number(number)) ? key : Number(number);
  };
  const compare = (a, b) => {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1; // missing values last
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row, index) => [value(row, column), index, row]);
      keyed.sort(([a, i], [b, j]) => {
        const order = compare(a, b);
        return (down && a !== null && b !== null ? -order : order) || i - j;
      });
      body.append(...keyed.map(([, , row]) => row));
    });
  });
})();
