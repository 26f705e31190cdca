// Draws the formulas of the page with KaTeX, in slices, so that a phone stays responsive.
// One that KaTeX cannot read shows its source in red (.katex-error).
// When all are drawn: <html data-formulas="drawn"> and the event "formulas-drawn".
// Sphinx puts formulas of several lines into "split", which KaTeX sets to the right.
const preProcess = (tex) =>
  tex.replace(/^\s*\\begin\{split\}([^]*)\\end\{split\}\s*$/,
    "\\begin{aligned}$1\\end{aligned}");

addEventListener("DOMContentLoaded", async () => {
  let start = performance.now();
  for (const box of document.querySelectorAll(".math")) {
    renderMathInElement(box, { throwOnError: false, preProcess });
    if (performance.now() - start > 12) {
      await new Promise((next) => setTimeout(next));
      start = performance.now();
    }
  }
  document.documentElement.dataset.formulas = "drawn";
  dispatchEvent(new Event("formulas-drawn"));
});
