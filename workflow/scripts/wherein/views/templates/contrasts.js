"use strict";
// Tables of contrasts: proteins with cells of either side, and changed classes.
(() => {
  const { get, load, el, tile, number, known, missing, proteinLink, onModel, table } = wherein;

  const strip = (cells, text) => cells.length ? el("span", { class: "strip" }, cells.slice(0, 4).map(([id, sheet, , plain]) => tile("cells", sheet, plain, 56, `${text}: ${id}`))) : missing("no picture kept");
  const sure = (value) => known(value) && value <= get("run").maxQ;
  const column = (rows, name, title, digits, help) => ({ title, help, numeric: true, value: (i) => rows[name][i], show: (i) => number(rows[name][i], digits) });
  const q = (rows, name, title) => ({ title, numeric: true, value: (i) => rows[name][i], show: (i) => el("span", { class: sure(rows[name][i]) ? "good" : "" }, number(rows[name][i], 3)) });
  const line = (rows) => ({ title: "Cell line", value: (i) => rows.cell_line[i], show: (i) => known(rows.cell_line[i]) ? rows.cell_line[i] : missing() });
  const protein = (rows) => ({ title: "Protein", head: true, value: (i) => rows.protein[i], show: (i) => proteinLink(rows.protein[i]) });
  const change = (rows, side) => ({ title: side === "from" ? "From" : "To", value: (i) => rows[`${side}_class`][i] ?? "", show: (i) => known(rows[`${side}_class`][i]) ? `${rows[`${side}_class`][i]} ${rows[`${side}_change`][i] > 0 ? "+" : ""}${Math.round(100 * rows[`${side}_change`][i])}%` : missing("no prediction") });

  async function fill(section) {
    const { proteins, classes } = await load(section.dataset.key);
    const lines = proteins.cell_line.some(known);
    table(section.querySelector(".proteins"), {
      count: proteins.protein.length, caption: "Proteins by how certainly they moved", size: 20, placeholder: "Search proteins, classes, cell lines",
      search: (i) => [proteins.protein[i], proteins.cell_line[i], proteins.from_class[i], proteins.to_class[i], proteins.labels[i]].join(" "),
      filters: [{ title: "Moved", value: (i) => proteins.moved[i] ? "yes" : "no" }, { title: "From", value: (i) => proteins.from_class[i] }, { title: "To", value: (i) => proteins.to_class[i] }],
      columns: [
        protein(proteins), ...(lines ? [line(proteins)] : []),
        { title: "Cells of a", show: (i) => strip(proteins.a[i], "cell of side a"), help: "drawn by chance, protein channel" },
        { title: "Cells of b", show: (i) => strip(proteins.b[i], "cell of side b"), help: "drawn by chance, protein channel" },
        change(proteins, "from"), change(proteins, "to"),
        column(proteins, "shift", "Shift"),
        { title: "p", numeric: true, value: (i) => proteins.p[i], show: (i) => known(proteins.p[i]) ? number(proteins.p[i], 3) : missing(proteins.reason[i]) },
        q(proteins, "q", "q"),
        column(proteins, "log2_ratio", "Amount, log₂"), q(proteins, "q_abundance", "its q"),
        { title: "Replicates", numeric: true, value: (i) => Math.min(proteins.n_a[i], proteins.n_b[i]), show: (i) => `${proteins.n_a[i]}, ${proteins.n_b[i]}`, help: "of a, of b" },
        { title: "Not tested", value: (i) => proteins.reason[i] ?? "", show: (i) => proteins.reason[i] ?? "" },
      ],
      sort: [lines ? 7 : 6, 1],
    });
    const place = section.querySelector(".classes");
    if (!classes.protein || !classes.protein.length) place.replaceChildren(el("p", { class: "empty" }, "No class was tested: the model predicts none, or no protein has replicates enough."));
    else table(place, {
      count: classes.protein.length, caption: "Classes by how certainly their share changed", size: 10, placeholder: "Search proteins, classes",
      search: (i) => [classes.protein[i], classes.cell_line[i], classes.class[i]].join(" "),
      filters: [{ title: "Class", value: (i) => classes.class[i] }],
      columns: [
        protein(classes), ...(classes.cell_line.some(known) ? [line(classes)] : []),
        { title: "Class", value: (i) => classes.class[i], show: (i) => classes.class[i] },
        column(classes, "share_a", "Share in a"), column(classes, "share_b", "Share in b"), column(classes, "change", "Change"),
        column(classes, "t", "t"), column(classes, "p", "p", 3), q(classes, "q", "q"),
      ],
      sort: [classes.cell_line.some(known) ? 7 : 6, 1],
    });
  }

  onModel((model) => {
    for (const section of document.querySelectorAll(".contrast")) {
      if (section.dataset.model === model && !section.dataset.filled) { section.dataset.filled = "yes"; fill(section); }
    }
  });
})();
