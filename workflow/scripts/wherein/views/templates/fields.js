"use strict";
// The list of fields.
(() => {
  const { get, el, tile, number, known, words, missing, proteinLink, table } = wherein;
  const fields = get("fields");
  const measure = (name, title, help, digits) => fields[name] ? [{ title, help, numeric: true, value: (i) => fields[name][i], show: (i) => number(fields[name][i], digits) }] : [];
  table(document.getElementById("table"), {
    count: fields.field_id.length,
    caption: "Fields",
    size: 25,
    placeholder: "Search fields, proteins, reagents, reasons",
    search: (i) => [fields.field_id[i], fields.protein[i], fields.reagent[i], fields.cell_line[i], fields.condition[i], words(fields.reason[i]), fields.detail[i], fields.labels[i]].flat().filter(known).join(" "),
    filters: [
      { title: "Reason", value: (i) => fields.reason[i] },
      { title: "Source", value: (i) => fields.source[i] },
      { title: "Cell line", value: (i) => fields.cell_line[i] },
      { title: "Curator", value: (i) => known(fields.override[i]) ? "decided by a curator" : null },
    ],
    columns: [
      { title: "Picture", show: (i) => fields.picture[i] ? el("div", { style: "width:132px" }, tile("fields", fields.picture[i][0], fields.picture[i][1], 132, `field ${fields.field_id[i]}; ${fields.shownAt[i]}`), el("details", {}, el("summary", { class: "note" }, "contrast"), el("span", { class: "note" }, fields.shownAt[i]))) : missing(!fields.pixels[i] ? "a vector made elsewhere: there are no pixels" : fields.status[i] === "failed" ? "the field cannot be read" : "no picture kept: report.field_pictures limits them") },
      { title: "Field", head: true, value: (i) => fields.field_id[i], show: (i) => [fields.field_id[i], el("div", { class: "note" }, [fields.source[i], fields.cell_line[i], fields.reagent[i], fields.condition[i]].filter(known).join(" · "))] },
      { title: "Protein", value: (i) => fields.protein[i], show: (i) => known(fields.protein[i]) ? proteinLink(fields.protein[i]) : missing("no gene is given for this field") },
      { title: "Verdict", value: (i) => fields.reason[i], show: (i) => [el("span", { class: fields.status[i] === "passed" ? "tag on" : "tag off" }, words(fields.reason[i])), known(fields.detail[i]) ? el("div", { class: "note", style: "min-width:13rem" }, fields.detail[i]) : null, known(fields.override[i]) ? el("div", { class: "note" }, "curator: ", fields.override[i]) : null] },
      { title: "Cells", numeric: true, value: (i) => fields.kept[i], show: (i) => !fields.pixels[i] && !fields.outlined[i] ? missing("a vector of the whole field, made elsewhere") : fields.status[i] === "passed" ? `${fields.kept[i]} of ${fields.outlined[i]}` : missing("only passed fields are outlined"), help: "kept, of all that were outlined" },
      ...measure("n_nuclei", "Nuclei", "nuclei that do not touch the border"),
      ...measure("n_marker", "Marker objects", "objects on the marker channel that do not touch the border"),
      ...measure("contrast", "Contrast", "share of the source's full scale that the protein channel uses", 3),
      ...measure("focus", "Sharpness", "of the sharpest structural channel; larger is sharper", 3),
      ...measure("saturated", "Saturated", "share of pixels at the maximum, worst channel", 4),
      ...measure("marker_fit", "Fit", "how well the channels fit each other", 3),
    ],
    sort: [1, 1],
  });
})();
