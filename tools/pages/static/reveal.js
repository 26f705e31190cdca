// A link may lead to a cell inside a collapsed solution: open what holds it.
function reveal() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = id && document.getElementById(id);
  if (!target) return;
  for (let box = target; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
    if (box.classList.contains("toggle-hidden")) box.querySelector(".toggle-button").click();
  }
  target.scrollIntoView();
}
for (const moment of ["load", "formulas-drawn", "hashchange"]) {
  addEventListener(moment, reveal);
}
