// Formulas, tables and code that scroll in their own box can be reached with the Tab key
// and scrolled with the arrows.
function reach() {
  for (const box of document.querySelectorAll("article :is(table, pre, .katex-display)")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
for (const moment of ["load", "formulas-drawn", "resize"]) addEventListener(moment, reach);
