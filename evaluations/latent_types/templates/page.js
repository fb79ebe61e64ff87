"use strict";

// --- sentences: by type and by word ---
const filter = document.getElementById("filter");

function showFound() {
  const type = document.getElementById("type").value;
  const word = document.getElementById("word").value.trim().toLowerCase();
  let tokens = 0, sentences = 0;
  for (const sentence of document.querySelectorAll("#examples > li")) {
    let found = 0;
    for (const token of sentence.children) {
      const own = token.firstChild ? token.firstChild.data.toLowerCase().split(/\s+/) : [];
      const ofType = !type || token.dataset.type === type;
      const ofWord = !word || own.join(" ") === word || own.includes(word) || own.includes("##" + word);
      token.classList.toggle("off", !ofType);
      token.classList.toggle("hit", Boolean(word) && ofType && ofWord);
      found += ofType && ofWord;
    }
    sentence.hidden = !found && Boolean(type || word);
    sentences += !sentence.hidden;
    tokens += found;
  }
  const found = `${tokens} ${filter.dataset.unit ?? "tokens"} in ${sentences} sentences`;
  document.getElementById("found").value = type || word ? found : "";
}

if (filter) {
  filter.addEventListener("input", showFound);
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("reset", () => setTimeout(showFound));
}

// --- tables: a click on a heading sorts, another one the other way ---
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    const numeric = heading.classList.contains("number");
    const descending = heading.ariaSort ? heading.ariaSort === "ascending" : numeric;
    const body = heading.closest("table").tBodies[0];
    const value = (row) => (numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent.trim());
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return (numeric ? x - y : x.localeCompare(y)) * (descending ? -1 : 1);
    });
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.ariaSort = descending ? "descending" : "ascending";
    body.append(...rows);
  });
}
