
"use strict";
// Tables whose headings sort, and that show ten rows at first. Without this script they show everything, in the report's order.
const order = new Intl.Collator("en", { numeric: true });
const shown = 10;

for (const table of document.querySelectorAll("table.rows")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  let all = body.rows.length <= shown + 2;

  const cut = () => [...body.rows].forEach((row, at) => { row.hidden = !all && at >= shown; });

  const sort = (heading) => {
    const column = headings.indexOf(heading);
    const number = heading.dataset.sort === "number";
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : number;
    const value = (row) => {
      const cell = row.cells[column];
      return number ? BigInt(cell.dataset.v) : cell.textContent;
    };
    const compare = number ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : order.compare;
    const rows = [...body.rows].map((row) => [value(row), row]);
    rows.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map(([, row]) => row));
    cut();
  };

  for (const heading of headings.filter((heading) => heading.dataset.sort)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.append(button);
  }
  if (!all) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    const say = () => {
      more.textContent = all ? `Show ${shown} only` : `Show all ${body.rows.length}`;
      more.setAttribute("aria-expanded", String(all));
    };
    more.addEventListener("click", () => { all = !all; cut(); say(); });
    table.parentElement.after(more);
    say();
    cut();
  }
}
