// The filter of the ledger: by chapter, and by words that a claim contains.
addEventListener("DOMContentLoaded", () => {
  const sections = [...document.querySelectorAll("section:has(> .pst-scrollable-table-container > table.ledger), section:has(> table.ledger)")];
  if (!sections.length) return;
  const form = document.createElement("form");
  form.className = "ledger-filter";
  form.innerHTML = `<label>Chapter <select><option value="">all</option></select></label>
    <label>Words <input type="text" autocomplete="off"></label>
    <output aria-live="polite"></output>`;
  const [select, words, count] = form.querySelectorAll("select, input, output");
  const rows = sections.flatMap((section) =>
    [...section.querySelectorAll("tbody tr")].map((row) =>
      ({ row, section, text: row.textContent.toLowerCase() })));
  for (const section of sections) {
    select.add(new Option(section.querySelector("h2").firstChild.textContent, section.id));
  }
  sections[0].before(form);

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set();
    let number = 0;
    for (const { row, section, text } of rows) {
      const hit = (!select.value || section.id === select.value)
        && wanted.every((word) => text.includes(word));
      row.hidden = !hit;
      if (hit) { shown.add(section); number += 1; }
    }
    for (const section of sections) section.hidden = !shown.has(section);
    count.textContent = `${number} of ${rows.length} claims`;
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  filter();
});
