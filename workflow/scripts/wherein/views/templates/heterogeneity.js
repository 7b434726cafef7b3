"use strict";
// Proteins and fields whose cells differ.
(() => {
  const { get, load, el, tile, number, known, missing, proteinLink, onModel, table } = wherein;

  const strip = (cells, text) => cells.length ? el("span", { class: "strip" }, cells.slice(0, 4).map(([id, sheet, , plain]) => tile("cells", sheet, plain, 56, `${text}: ${id}`))) : missing("no picture kept");
  const column = (rows, name, title, help, digits) => ({ title, help, numeric: true, value: (i) => rows[name][i], show: (i) => number(rows[name][i], digits) });
  const sure = (value) => known(value) && value <= get("run").maxQ;

  async function draw(model) {
    const places = { proteins: document.getElementById("proteins"), fields: document.getElementById("fields") };
    if (!model) return Object.values(places).forEach((place) => place.replaceChildren(el("p", { class: "empty" }, "No model ran.")));
    const { proteins, fields } = await load(`heterogeneity-${model}`);
    const level = get("run").models.find((each) => each.name === model).level;
    const why = level === "field" ? "This model describes fields, not cells: choose another model above." : "No protein has enough cells.";
    if (!proteins.gene.length) places.proteins.replaceChildren(el("p", { class: "empty" }, why));
    else table(places.proteins, {
      count: proteins.gene.length, caption: "Proteins by the spread of their cells", size: 20, placeholder: "Search proteins, cell lines, locations",
      search: (i) => [proteins.gene[i], proteins.cell_line[i], proteins.top_location[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => proteins.cell_line[i] }, { title: "Significant", value: (i) => sure(proteins.q[i]) ? "yes" : "no" }],
      columns: [
        { title: "Protein", head: true, value: (i) => proteins.gene[i], show: (i) => proteinLink(proteins.gene[i]) },
        { title: "Cell line", value: (i) => proteins.cell_line[i], show: (i) => known(proteins.cell_line[i]) ? proteins.cell_line[i] : missing() },
        { title: "Most like each other", show: (i) => strip(proteins.low[i], "typical cell"), help: "cells near the middle of the protein's cells, protein channel" },
        { title: "Most different", show: (i) => strip(proteins.high[i], "unusual cell"), help: "cells far from the middle, protein channel" },
        column(proteins, "spread_z", "Spread, z"),
        { title: "q", numeric: true, value: (i) => proteins.q[i], show: (i) => el("span", { class: sure(proteins.q[i]) ? "good" : "" }, number(proteins.q[i], 3)) },
        column(proteins, "label_entropy", "Entropy of locations"),
        { title: "Most frequent location", value: (i) => proteins.top_location[i], show: (i) => known(proteins.top_location[i]) ? `${proteins.top_location[i]} ${known(proteins.top_location_share[i]) ? Math.round(proteins.top_location_share[i] * 100) + "%" : ""}` : missing("the model predicts no locations") },
        column(proteins, "n_cells", "Cells"), column(proteins, "n_fields", "Fields"),
      ],
      sort: [4, -1],
    });
    if (!fields.gene.length) places.fields.replaceChildren(el("p", { class: "empty" }, why));
    else table(places.fields, {
      count: fields.gene.length, caption: "Fields by the spread of their cells", size: 20, placeholder: "Search fields, proteins, cell lines",
      search: (i) => [fields.field_id[i], fields.gene[i], fields.cell_line[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => fields.cell_line[i] }],
      columns: [
        { title: "Field", head: true, value: (i) => fields.field_id[i], show: (i) => fields.field_id[i] },
        { title: "Protein", value: (i) => fields.gene[i], show: (i) => known(fields.gene[i]) ? proteinLink(fields.gene[i]) : missing() },
        { title: "Dimmest cells", show: (i) => strip(fields.dim[i], "dim cell"), help: "of the cells with pictures, protein channel" },
        { title: "Brightest cells", show: (i) => strip(fields.bright[i], "bright cell"), help: "of the cells with pictures, protein channel" },
        column(fields, "intensity_cv", "Variation of intensity"), column(fields, "intensity_cv_z", "its z"),
        column(fields, "spread_z", "Spread, z"), column(fields, "label_entropy", "Entropy of locations"), column(fields, "n_cells", "Cells"),
      ],
      sort: [5, -1],
    });
  }

  onModel(draw);
})();
