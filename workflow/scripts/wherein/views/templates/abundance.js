"use strict";
// How much of each protein there is.
(() => {
  const { get, el, number, known, missing, proteinLink, onModel, table } = wherein;
  const rows = get("abundance");
  const column = (name, title, digits, help) => ({ title, help, numeric: true, value: (i) => rows[name][i], show: (i) => number(rows[name][i], digits) });
  const between = (i, name) => known(rows[`${name}_low`][i]) ? el("span", { class: "note" }, " ", number(rows[`${name}_low`][i]), " to ", number(rows[`${name}_high`][i])) : "";
  const tell = (i) => rows.detected[i] === null ? "not tested" : rows.detected[i] ? "yes" : "no";

  function draw() {
    const place = document.getElementById("table");
    if (!rows.protein.length) return place.replaceChildren(el("p", { class: "empty" }, "No cell of a protein has an intensity."));
    const conditions = rows.condition.some(known);
    table(place, {
      count: rows.protein.length, caption: "Proteins by intensity above background", size: 20, placeholder: "Search proteins, locations, cell lines",
      search: (i) => [rows.protein[i], rows.labels[i], rows.cell_line[i], rows.condition[i], rows.source[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => rows.cell_line[i] }, { title: "Condition", value: (i) => rows.condition[i] }, { title: "Detected", value: tell }],
      columns: [
        { title: "Protein", head: true, value: (i) => rows.protein[i], show: (i) => proteinLink(rows.protein[i]) },
        { title: "Cell line", value: (i) => rows.cell_line[i], show: (i) => known(rows.cell_line[i]) ? rows.cell_line[i] : missing() },
        ...(conditions ? [{ title: "Condition", value: (i) => rows.condition[i], show: (i) => known(rows.condition[i]) ? rows.condition[i] : missing() }] : []),
        { title: "Published locations", value: (i) => rows.labels[i], show: (i) => known(rows.labels[i]) ? rows.labels[i].replaceAll(";", ", ") : missing() },
        { title: "Above background", numeric: true, value: (i) => rows.signal[i], show: (i) => [number(rows.signal[i]), between(i, "signal")], help: "mean intensity, and 95 % over replicates" },
        { title: "Cells above", numeric: true, value: (i) => rows.share_above[i], show: (i) => known(rows.share_above[i]) ? `${Math.round(100 * rows.share_above[i])}%` : missing("no controls"), help: "share of cells above the controls' limit" },
        { title: "q", numeric: true, value: (i) => rows.q[i], show: (i) => known(rows.q[i]) ? el("span", { class: rows.detected[i] ? "good" : "" }, number(rows.q[i], 3)) : missing(rows.reason[i]) },
        { title: "Detected", value: tell, show: tell },
        { title: "% of full scale", numeric: true, value: (i) => rows.relative[i], show: (i) => known(rows.relative[i]) ? number(100 * rows.relative[i]) : missing("the full scale is not known") },
        column("integrated", "Integrated", 0, "sum over the cell above background, cells at the border left out"),
        column("log2_over_controls", "Over controls, log₂"),
        { title: "Background", value: (i) => rows.background_from[i], show: (i) => rows.background_from[i].replaceAll(";", ", ") },
        column("n_samples", "Replicates"), column("n_cells", "Cells"),
        column("cells_in_saturated_fields", "In saturated fields", 0, "cells of fields with saturated pixels in the protein channel"),
      ],
      sort: [conditions ? 4 : 3, -1],
    });
  }

  onModel(draw);
})();
