// Formulas, tables and code that scroll in their own box can be reached with the Tab key
// and scrolled with the arrows.
const boxes = () => document.querySelectorAll("article :is(table, pre, .katex-display)");
function reach() {
  for (const box of boxes()) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
// Not the event "resize": side bars come and go after it.
const sizes = new ResizeObserver(reach);
for (const moment of ["load", "formulas-drawn"]) {
  addEventListener(moment, () => boxes().forEach((box) => sizes.observe(box)));
}
