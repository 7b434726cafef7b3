"use strict";
// Proteins and fields whose cells differ.
(() => {
  const { get, load, el, tile, number, known, missing, proteinLink, onModel, table } = wherein;

  const strip = (cells, text) => cells.length ? el("span", { class: "strip" }, cells.slice(0, 4).map(([id, sheet, , plain]) => tile("cells", sheet, plain, 56, `${text}: ${id}`))) : missing("no picture kept");
  const column = (rows, name, title, help, digits) => ({ title, help, numeric: true, value: (i) => rows[name][i], show: (i) => number(rows[name][i], digits) });
  const sure = (value) => known(value) && value <= get("run").maxQ;

  const tested = (rows) => [
    { title: "p", numeric: true, value: (i) => rows.p[i], show: (i) => number(rows.p[i], 3) },
    { title: "q", numeric: true, value: (i) => rows.q[i], show: (i) => el("span", { class: sure(rows.q[i]) ? "good" : "" }, number(rows.q[i], 3)) },
  ];
  const lines = (rows) => [{ title: "Cell line", value: (i) => rows.cell_line[i], show: (i) => known(rows.cell_line[i]) ? rows.cell_line[i] : missing() }];
  const protein = (rows) => ({ title: "Protein", head: true, value: (i) => rows.gene[i], show: (i) => proteinLink(rows.gene[i]) });
  const text = (rows, name, title) => ({ title, value: (i) => rows[name][i], show: (i) => known(rows[name][i]) ? rows[name][i] : missing() });
  const yes = (value) => value ? "yes" : "no";
  const none = (place, sentence) => place.replaceChildren(el("p", { class: "empty" }, sentence));

  function drawSamples(place, rows, why) {
    if (!rows.gene.length) return none(place, why);
    table(place, {
      count: rows.gene.length, caption: "Samples by the test for more than one pattern", size: 20, placeholder: "Search samples, proteins, cell lines",
      search: (i) => [rows.sample[i], rows.gene[i], rows.cell_line[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => rows.cell_line[i] }, { title: "Heterogeneous", value: (i) => yes(rows.heterogeneous[i]) }],
      columns: [
        protein(rows), text(rows, "sample", "Sample"), ...lines(rows),
        { title: "One end", there: (i) => rows.low[i].length > 0, show: (i) => strip(rows.low[i], "cell at one end"), help: "cells at one end of the direction in which they scatter, protein channel" },
        { title: "Other end", there: (i) => rows.high[i].length > 0, show: (i) => strip(rows.high[i], "cell at the other end"), help: "cells at the other end, protein channel" },
        column(rows, "excess", "Excess"), column(rows, "minority_share", "Minority"), ...tested(rows),
        { title: "Follows", value: (i) => rows.explained_by[i] ?? "", show: (i) => rows.explained_by[i] ?? "" },
        { title: "Heterogeneous", value: (i) => yes(rows.heterogeneous[i]), show: (i) => yes(rows.heterogeneous[i]) },
        column(rows, "n_cells", "Cells"),
      ],
      sort: [7, 1],
    });
  }

  function drawExclusive(place, rows, level) {
    if (!rows.gene.length) return none(place, level === "field" ? "This model describes fields, not cells: choose another model above." : "No protein of several image labels has enough cells.");
    table(place, {
      count: rows.gene.length, caption: "Proteins of several image labels", size: 10, placeholder: "Search proteins, locations",
      search: (i) => [rows.gene[i], rows.image_labels[i]].join(" "),
      filters: [{ title: "Exclusive", value: (i) => yes(rows.exclusive[i]) }],
      columns: [
        protein(rows), ...lines(rows), text(rows, "image_labels", "Image labels"), text(rows, "single_labels", "Cells with one label"),
        column(rows, "n_several", "Cells with several"), column(rows, "n_negative", "Cells without"),
        { title: "Exclusive", value: (i) => yes(rows.exclusive[i]), show: (i) => yes(rows.exclusive[i]) },
        ...tested(rows), column(rows, "n_cells", "Cells"),
      ],
      sort: [7, 1],
    });
  }

  function drawLabels(place, rows, level) {
    if (!rows.gene.length) return none(place, level === "field" ? "This model describes fields, not cells: choose another model above." : "No sample has enough cells with labels.");
    table(place, {
      count: rows.gene.length, caption: "Samples by the entropy of their cells' label sets", size: 10, placeholder: "Search proteins, samples, locations",
      search: (i) => [rows.gene[i], rows.sample[i], rows.image_labels[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => rows.cell_line[i] }],
      columns: [
        protein(rows), ...lines(rows), text(rows, "image_labels", "Image labels"), text(rows, "label_sets", "Sets of labels, cells"),
        column(rows, "set_entropy", "Entropy of sets, bits"), column(rows, "cells_as_image", "Share as the image"),
        column(rows, "negative_share", "Share without"), column(rows, "n_cells", "Cells"),
      ],
      sort: [4, -1],
    });
  }

  function drawCompartments(place, rows) {
    if (!rows.gene.length) return none(place, "No pair of locations has proteins enough, or the model describes fields.");
    table(place, {
      count: rows.gene.length, caption: "Proteins of two compartments", size: 10, placeholder: "Search proteins, locations",
      search: (i) => [rows.gene[i], rows.first[i], rows.second[i]].join(" "),
      filters: [{ title: "Pair", value: (i) => `${rows.first[i]}, ${rows.second[i]}` }],
      columns: [
        protein(rows), ...lines(rows), text(rows, "first", "First"), text(rows, "second", "Second"),
        column(rows, "mean", "Mean"), column(rows, "mean_z", "Place"), column(rows, "sd", "Standard deviation"),
        column(rows, "sd_ratio", "Ratio"), column(rows, "n_cells", "Cells"),
      ],
      sort: [6, -1],
    });
  }

  async function draw(model) {
    const places = Object.fromEntries(["proteins", "samples", "exclusive", "labels", "compartments", "fields"].map((id) => [id, document.getElementById(id)]));
    if (!model) return Object.values(places).forEach((place) => place.replaceChildren(el("p", { class: "empty" }, "No model ran.")));
    const { proteins, fields, samples, exclusive, labels, compartments } = await load(`heterogeneity-${model}`);
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
        { title: "Most like each other", there: (i) => proteins.low[i].length > 0, show: (i) => strip(proteins.low[i], "typical cell"), help: "cells near the middle of the protein's cells, protein channel" },
        { title: "Most different", there: (i) => proteins.high[i].length > 0, show: (i) => strip(proteins.high[i], "unusual cell"), help: "cells far from the middle, protein channel" },
        column(proteins, "spread_z", "Spread, z"),
        ...tested(proteins),
        column(proteins, "label_entropy", "Entropy of locations"),
        { title: "Most frequent location", value: (i) => proteins.top_location[i], show: (i) => known(proteins.top_location[i]) ? `${proteins.top_location[i]} ${known(proteins.top_location_share[i]) ? Math.round(proteins.top_location_share[i] * 100) + "%" : ""}` : missing("the model predicts no locations") },
        column(proteins, "n_cells", "Cells"), column(proteins, "n_fields", "Fields"),
      ],
      sort: [5, 1],
    });
    drawSamples(places.samples, samples, why);
    drawExclusive(places.exclusive, exclusive, level);
    drawLabels(places.labels, labels, level);
    drawCompartments(places.compartments, compartments);
    if (!fields.gene.length) places.fields.replaceChildren(el("p", { class: "empty" }, why));
    else table(places.fields, {
      count: fields.gene.length, caption: "Fields by the spread of their cells", size: 20, placeholder: "Search fields, proteins, cell lines",
      search: (i) => [fields.field_id[i], fields.gene[i], fields.cell_line[i]].join(" "),
      filters: [{ title: "Cell line", value: (i) => fields.cell_line[i] }],
      columns: [
        { title: "Field", head: true, value: (i) => fields.field_id[i], show: (i) => fields.field_id[i] },
        { title: "Protein", value: (i) => fields.gene[i], show: (i) => known(fields.gene[i]) ? proteinLink(fields.gene[i]) : missing() },
        { title: "Dimmest cells", there: (i) => fields.dim[i].length > 0, show: (i) => strip(fields.dim[i], "dim cell"), help: "of the cells with pictures, protein channel" },
        { title: "Brightest cells", there: (i) => fields.bright[i].length > 0, show: (i) => strip(fields.bright[i], "bright cell"), help: "of the cells with pictures, protein channel" },
        column(fields, "intensity_cv", "Variation of intensity"), column(fields, "intensity_cv_z", "its z"),
        column(fields, "spread_z", "Spread, z"), column(fields, "label_entropy", "Entropy of locations"), column(fields, "n_cells", "Cells"),
      ],
      sort: [5, -1],
    });
  }

  onModel(draw);
})();
