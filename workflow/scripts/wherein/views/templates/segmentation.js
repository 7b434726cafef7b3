"use strict";
// Every outlined field with the quality of its outlines.
(() => {
  const { get, number, known, words, missing, proteinLink, table, el } = wherein;
  const fields = get("segmentation");
  const any = (name) => fields[name].some(known);
  const measure = (name, title, help, digits = 2) => any(name) ? [{ title, help, numeric: true, value: (i) => fields[name][i], show: (i) => number(fields[name][i], digits) }] : [];
  table(document.getElementById("table"), {
    count: fields.field_id.length,
    caption: "Quality of the outlines of every field",
    size: 25,
    placeholder: "Search fields, proteins, cell lines",
    search: (i) => [fields.field_id[i], fields.protein[i], fields.cell_line[i], fields.source[i], fields.detail[i]].filter(known).join(" "),
    filters: [
      { title: "Source", value: (i) => fields.source[i] },
      { title: "Cell line", value: (i) => fields.cell_line[i] },
      { title: "Method", value: (i) => fields.method[i] },
      { title: "Reason", value: (i) => known(fields.reason[i]) ? fields.reason[i] : null },
    ],
    columns: [
      { title: "Field", head: true, value: (i) => fields.field_id[i], show: (i) => [fields.field_id[i], el("div", { class: "note" }, [fields.source[i], fields.cell_line[i], fields.method[i]].filter(known).join(" · ")), known(fields.reason[i]) ? el("span", { class: "tag off", title: fields.detail[i] }, words(fields.reason[i])) : null] },
      { title: "Protein", value: (i) => fields.protein[i], show: (i) => known(fields.protein[i]) ? proteinLink(fields.protein[i]) : missing("no gene is given for this field") },
      ...measure("doubt", "Doubt", "of the field's outlines beside those of its source, 0 to 1: a tenth of its cells are more doubtful than this"),
      ...measure("n_nuclei", "Nuclei", "outlined"),
      ...measure("n_cells", "Cells", "outlined"),
      ...measure("contrast", "Contrast", "median over the cells: how much brighter the inside of an outline is than the outside; near 0 is doubtful"),
      ...measure("solidity", "Solidity", "median over the cells: area over that of the convex hull; low is doubtful"),
      ...measure("disagreement", "Disagreement", "median over the cells: 1 - overlap with the second method; high is doubtful"),
      ...measure("lost", "Lost", "share of the second method's cells that the first has not"),
      ...measure("f1_nucleus", "F1 of nuclei", "against the truth, at an overlap of 0.6"),
      ...measure("f1_cell", "F1 of cells", "against the truth, at an overlap of 0.6"),
      ...measure("seconds", "Seconds", "that the method took"),
    ],
    sort: [2, -1],
  });
})();
