"use strict";
// The list of proteins.
(() => {
  const { get, el, tile, number, known, missing, proteinLink, onModel, table, shares } = wherein;
  const proteins = get("proteins");

  function draw(model) {
    const own = proteins.models[model];
    const of = (name) => (i) => own ? own[name][i] : null;
    const level = (get("run").models.find((each) => each.name === model) || {}).level;
    const mark = (i) => own && own.moves.row[i] !== null ? own.moves.mark[i] : null;
    const tags = (list) => list.length ? list.flatMap((name) => [el("span", { class: "tag" }, name), " "]) : missing("no location was published");
    table(document.getElementById("table"), {
      count: proteins.name.length,
      caption: "Proteins",
      placeholder: "Search genes, ids, reagents, locations",
      search: (i) => [proteins.name[i], proteins.ensembl[i], proteins.labels[i], proteins.lines[i], proteins.reagents[i], of("predicted")(i) || []].flat(3).join(" "),
      filters: [
        { title: "Published location", value: (i) => proteins.labels[i] },
        { title: "Predicted location", value: (i) => (of("predicted")(i) || []).map(([name]) => name) },
        { title: "Cell line", value: (i) => proteins.lines[i] },
        { title: "Cluster", value: of("cluster") },
        { title: "Change", value: (i) => mark(i) },
        { title: "Source", value: (i) => proteins.sources[i] },
      ],
      columns: [
        { title: "", show: (i) => proteins.picture[i] ? tile("cells", proteins.picture[i][0], proteins.picture[i][1], 48, `a cell of ${proteins.name[i]}`) : missing("no cell was kept") },
        { title: "Protein", head: true, value: (i) => proteins.name[i], show: (i) => [proteinLink(proteins.name[i]), mark(i) ? [" ", el("a", { class: `tag mark-${mark(i)}`, href: "releases.html", title: `since ${own.moves.old_state}` }, mark(i))] : null] },
        { title: "Published", value: (i) => proteins.labels[i].join(", ") || null, show: (i) => tags(proteins.labels[i]) },
        { title: "Predicted", value: (i) => own && own.predicted[i].length ? own.predicted[i][0][0] : null, show: (i) => own && own.predicted[i].length ? shares(own.predicted[i]) : missing("the model gave no prediction"), help: "mean probability over the protein's cells or fields" },
        { title: "Cluster", value: of("cluster"), show: (i) => known(of("cluster")(i)) ? own.cluster[i] : missing("not in the atlas") },
        { title: "Cells", numeric: true, value: (i) => proteins.n_cells[i], show: (i) => number(proteins.n_cells[i]) },
        { title: "Fields", numeric: true, value: (i) => proteins.n_fields[i], show: (i) => proteins.n_passed[i] === proteins.n_fields[i] ? number(proteins.n_fields[i]) : `${proteins.n_passed[i]} of ${proteins.n_fields[i]}`, help: "passed, of all" },
        { title: "Differs from cell to cell, z", numeric: true, value: of("spread_z"), help: "spread of the cells against cells of other proteins in the same cell line",
          show: (i) => known(of("spread_z")(i)) ? el("span", { class: known(own.q[i]) && own.q[i] <= get("run").maxQ && own.spread_z[i] > 0 ? "good" : "", title: known(own.q[i]) ? `q ${own.q[i]}` : "" }, number(own.spread_z[i])) : missing(level === "field" ? "the model describes fields, not cells" : "too few cells") },
      ],
      sort: [1, 1],
    });
  }

  onModel(draw);
})();
