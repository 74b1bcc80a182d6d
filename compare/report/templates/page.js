// --- contents: open beside the text, closed above it ---

if (window.matchMedia("(max-width: 70rem)").matches) document.querySelector("nav details").open = false;

// --- on paper, everything is unfolded ---

const unfolded = [];
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not([open])")) {
    details.open = true;
    unfolded.push(details);
  }
});
window.addEventListener("afterprint", () => {
  for (const details of unfolded.splice(0)) details.open = false;
});

// --- tables: up, down, as it was; what has no number stays last ---

function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  function order(column, direction) {
    const numeric = headings[column].classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      return numeric ? (cell.dataset.key === undefined ? null : Number(cell.dataset.key)) : cell.textContent || null;
    };
    const compare = (one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    body.append(...(direction ? [...rows].sort(compare) : rows));
  }

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = { ascending: "descending", descending: null }[now];
      const wanted = next === undefined ? "ascending" : next;
      for (const other of headings) other.removeAttribute("aria-sort");
      if (wanted) heading.setAttribute("aria-sort", wanted);
      order(column, { ascending: 1, descending: -1 }[wanted] ?? 0);
    });
  });
}

document.querySelectorAll(".scroll > table").forEach(sortable);
