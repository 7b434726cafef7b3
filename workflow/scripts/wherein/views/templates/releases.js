"use strict";
// What a release changed: proteins that moved, with arrows on the map, and every changed field.
(() => {
  const { get, load, el, number, known, missing, proteinLink, onModel, table } = wherein;
  const proteins = get("proteins");
  const changes = get("releases");
  const place = (id) => document.getElementById(id);
  const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const list = (text) => known(text) ? text.split(";") : [];
  const tags = (names) => names.flatMap((name) => [el("span", { class: "tag" }, name), " "]);
  const link = (name, has) => !known(name) ? missing("no protein named") : has ? proteinLink(name) : name;
  const sign = (mark) => el("span", { class: `tag mark-${mark}` }, mark);

  // Labels as they are now, with what came and what went.
  function labels(rows, i) {
    const added = list(rows.labels_added[i]);
    const removed = list(rows.labels_removed[i]);
    const now = list(rows.labels_after[i]);
    if (!now.length && !removed.length) return missing("no location was published");
    return [now.flatMap((name) => [el("span", { class: added.includes(name) ? "tag on" : "tag", title: added.includes(name) ? "new" : null }, added.includes(name) ? `+ ${name}` : name), " "]),
      removed.flatMap((name) => [el("span", { class: "tag off", title: "not published anymore" }, `− ${name}`), " "])];
  }

  async function draw(model) {
    const own = model && proteins.models[model].moves;
    if (!own || !own.state) {
      place("compared").textContent = "";
      place("arrows").replaceChildren(el("p", { class: "empty" }, model ? "Nothing to compare with: this model has worked on one release only." : "No model ran."));
      place("moved").replaceChildren();
      return;
    }
    const { rows } = own;
    const count = rows.protein.length;
    place("compared").textContent = `${model} saw ${plural(own.compared, "protein")} in both ${own.old_state} and ${own.state}: ${own.moved.toLocaleString("en")} of the ${own.tested.toLocaleString("en")} that could be tested moved further than other fields of the same protein would make ${own.moved === 1 ? "it" : "them"}; of ${own.relabelled.toLocaleString("en")} more the published locations alone changed.`;
    if (!count) {
      place("arrows").replaceChildren(el("p", { class: "empty" }, "No protein moved, and none was relabelled."));
      place("moved").replaceChildren();
      return;
    }
    place("arrows").replaceChildren(...arrows(await load(`map-${model}`), rows));
    table(place("moved"), {
      count, caption: "Proteins that moved or were relabelled", size: 20, placeholder: "Search proteins, locations",
      search: (i) => [rows.protein[i], rows.protein_before[i], rows.labels_before[i], rows.labels_after[i], rows.mark[i]].join(" "),
      filters: [{ title: "Change", value: (i) => rows.mark[i] }, { title: "New location", value: (i) => list(rows.labels_added[i]) }, { title: "Lost location", value: (i) => list(rows.labels_removed[i]) }],
      columns: [
        { title: "Protein", head: true, value: (i) => rows.protein[i], show: (i) => [link(rows.protein[i], proteins.name.includes(rows.protein[i])), rows.protein_before[i] !== rows.protein[i] ? el("div", { class: "note" }, `was ${rows.protein_before[i]}`) : null] },
        { title: "Change", value: (i) => rows.mark[i], show: (i) => sign(rows.mark[i]) },
        { title: "Published locations", value: (i) => rows.labels_after[i], show: (i) => labels(rows, i) },
        { title: "Shift", numeric: true, value: (i) => rows.shift[i], show: (i) => number(rows.shift[i]), help: "distance of the two means in the model's scaled space" },
        { title: "Expected", numeric: true, value: (i) => rows.expected[i], show: (i) => number(rows.expected[i]), help: "what exchanging these fields brings about if the protein stayed where it is" },
        { title: "q", numeric: true, value: (i) => rows.q[i], show: (i) => number(rows.q[i], 3), help: "false discovery rate; none where the fields are the same" },
        { title: "Neighbours kept", numeric: true, value: (i) => rows.neighbours_kept[i], show: (i) => known(rows.neighbours_kept[i]) ? `${Math.round(rows.neighbours_kept[i] * 100)}%` : missing(), help: "of the 10 nearest proteins" },
        { title: "Fields", numeric: true, value: (i) => rows.n_fields_after[i], show: (i) => `${rows.n_fields_before[i]} → ${rows.n_fields_after[i]}`, help: "before and now" },
      ],
      sort: [5, 1],
    });
  }

  // The map of proteins in grey, and an arrow from the old place to the present one of each marked protein.
  function arrows(map, rows) {
    const own = map.proteins;
    const ends = rows.protein.map((name, i) => ({ name, mark: rows.mark[i], x0: rows.umap_1_before[i], y0: rows.umap_2_before[i], x1: rows.umap_1[i], y1: rows.umap_2[i] }))
      .filter((end) => [end.x0, end.y0, end.x1, end.y1].every(known));
    if (!ends.length || !own.x.length) return [el("p", { class: "empty" }, "There is no map to draw arrows on: there were too few proteins for a UMAP.")];
    const xs = [...own.x, ...ends.flatMap((end) => [end.x0, end.x1])];
    const ys = [...own.y, ...ends.flatMap((end) => [end.y0, end.y1])];
    const low = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
    const [left, right, bottom, top] = [low(xs), high(xs), low(ys), high(ys)];
    const scale = 1000 / Math.max(right - left, (top - bottom) * 1.9, 1e-6);
    const [w, h] = [(right - left) * scale + 120, (top - bottom) * scale + 60];
    const at = (x, y) => [(x - left) * scale + 30, (top - y) * scale + 30];
    const svg = (tag, attributes, ...children) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      node.append(...children);
      return node;
    };
    const dots = svg("g", { class: "dots" });
    for (let i = 0; i < own.x.length; i++) { const [x, y] = at(own.x[i], own.y[i]); dots.append(svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 3 })); }
    const taken = [];
    const moves = ends.sort((a, b) => (a.mark === "moved" ? 0 : 1) - (b.mark === "moved" ? 0 : 1)).map((end) => {
      const [x0, y0] = at(end.x0, end.y0);
      const [x1, y1] = at(end.x1, end.y1);
      const length = Math.hypot(x1 - x0, y1 - y0);
      const told = svg("title", {}, `${end.name}: ${end.mark}`);
      const group = svg("a", { href: `protein.html#${encodeURIComponent(end.name)}`, class: `arrow mark-${end.mark}` }, told);
      if (end.mark === "moved" && length > 8) {
        const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
        const [bx, by] = [x1 - ux * 9, y1 - uy * 9];
        group.append(svg("line", { x1: x0, y1: y0, x2: bx, y2: by }), svg("circle", { cx: x0, cy: y0, r: 3, class: "from" }),
          svg("path", { d: `M${x1} ${y1}L${bx - uy * 4.5} ${by + ux * 4.5}L${bx + uy * 4.5} ${by - ux * 4.5}Z` }));
      } else group.append(end.mark === "moved" ? svg("circle", { cx: x1, cy: y1, r: 5 }) : svg("rect", { x: x1 - 4.5, y: y1 - 4.5, width: 9, height: 9 }));
      const half = end.name.length * 3.6;
      if (!taken.some(([x, y, other]) => Math.abs(x - x1 - half) < other + half && Math.abs(y - y1) < 13)) {
        taken.push([x1 + half, y1, half]);
        group.append(svg("text", { x: x1 + 9, y: y1 + 4 }, end.name));
      }
      return group;
    });
    return [
      el("p", { class: "note" }, el("span", { class: "tag mark-moved" }, "moved"), " arrow from the old place to the present one; ", el("span", { class: "tag mark-relabelled" }, "relabelled"), " square: other published locations alone. Grey: all proteins of the present map. The old map is laid over it by the proteins of both."),
      el("div", { class: "arrows" }, svg("svg", { viewBox: `0 0 ${w.toFixed(0)} ${h.toFixed(0)}`, role: "img", "aria-label": `Map of proteins with ${ends.length} that moved or were relabelled; the table below tells the same in words` }, dots, ...moves)),
    ];
  }

  function fields() {
    const count = changes.change.length;
    if (!count) return place("changes").replaceChildren(el("p", { class: "empty" }, "No field has changed since its source's first release."));
    const names = (text) => tags(list(text));
    const shown = (i, which) => changes.change[i] === "relabelled" ? (known(changes[which][i]) ? names(changes[which][i]) : missing("no location")) : known(changes[which][i]) ? el("span", { class: "note" }, changes[which][i]) : missing(which === "old" ? "it was not there" : "it is not there anymore");
    table(place("changes"), {
      count, caption: "Changed fields", size: 25, placeholder: "Search fields, proteins, locations",
      search: (i) => [changes.field_id[i], changes.protein[i], changes.source[i], changes.change[i], changes.old[i], changes.new[i]].join(" "),
      filters: [{ title: "Change", value: (i) => changes.change[i] }, { title: "Source", value: (i) => changes.source[i] }, { title: "Release", value: (i) => `${changes.source[i]} ${changes.release[i]}` }],
      columns: [
        { title: "Field", head: true, value: (i) => changes.field_id[i], show: (i) => changes.field_id[i] },
        { title: "Protein", value: (i) => changes.protein[i], show: (i) => link(changes.protein[i], changes.known[i]) },
        { title: "Change", value: (i) => changes.change[i], show: (i) => el("span", { class: "tag", title: changes.meaning[changes.change[i]] }, changes.change[i]) },
        { title: "Before", value: (i) => changes.old[i], show: (i) => shown(i, "old"), help: "version, or published locations" },
        { title: "Now", value: (i) => changes.new[i], show: (i) => shown(i, "new") },
        { title: "From", value: (i) => `${changes.source[i]} ${changes.old_release[i]}`, show: (i) => `${changes.source[i]} ${changes.old_release[i]}` },
        { title: "To", value: (i) => changes.release[i], show: (i) => changes.release[i] },
      ],
      sort: [5, -1],
    });
    if (changes.total > count) place("changes").append(el("p", { class: "note" }, `The newest ${count.toLocaleString("en")} of ${changes.total.toLocaleString("en")} changes; all are in results/catalog/release_diff.tsv.`));
  }

  fields();
  onModel(draw);
})();
