// Opened as a file, a page may not read other pages: results come without excerpts.
if (location.protocol === "file:") {
  addEventListener("DOMContentLoaded", () => {
    const note = document.createElement("p");
    note.className = "as-file";
    note.textContent = "This book was opened as a file: the search lists pages, "
      + "without excerpts. For excerpts: make serve.";
    document.querySelector("#search-results, .bd-article").before(note);
  });
}
