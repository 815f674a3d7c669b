"use strict";
/* Sortable and searchable tables; predicted genes: two linked maps a section. Data: JSON in #prediction-data; runs after _drawing.js. */
(() => {
  const holder = document.getElementById("prediction-data");
  const all = holder ? JSON.parse(holder.textContent) : { sections: [] };

  function showSection(article, section) {
    const x = shorts(section.x), n = x.length;
    const spots = { n, x, y: shorts(section.y), names: section.names.split("\n") };
    const values = {};
    for (const kind of ["measured", "predicted"]) if (section[kind]) values[kind] = bytes(section[kind].shades);
    const unlike = section.unlike === null ? null : bytes(section.unlike);
    const choice = article.querySelector(".gene-choice"), colorBy = article.querySelector(".color-by");
    const picks = [...article.querySelectorAll(".pick")], colors = [...RAMP, all.unknown];
    const annotation = section.annotation === null ? null : shorts(section.annotation), regions = section.regions;
    const first = article.querySelector(".map").dataset.kind; // shows the annotation, next to the predicted gene
    const mode = (kind) => colorBy === null || (colorBy.value === "annotation" && kind !== first) ? "gene" : colorBy.value;
    const shadesOf = (kind) => values[kind].subarray(Number(choice.value) * n, (Number(choice.value) + 1) * n);
    const number = (kind, i) => {
      const shade = shadesOf(kind)[i], [low, high] = section[kind].ends[choice.value];
      const text = (low + (high - low) * shade / 254).toFixed(2);
      return shade === 0 ? "\u2264 " + low : shade === 254 ? "\u2265 " + high : text;
    };
    const link = newLink();
    const redraw = [...article.querySelectorAll(".map")].map((figure) => {
      const kind = figure.dataset.kind;
      return makeMap(figure, section, spots, {
        paint(ctx, place) {
          if (mode(kind) === "annotation") return place(annotation, [...regions.map((region) => region.color), all.unknown]);
          place(mode(kind) === "unlike" ? unlike : shadesOf(kind), colors);
        },
        tell(i, add) {
          add("b", spots.names[i]);
          for (const one of ["measured", "predicted"]) if (values[one]) add("div", one + " " + number(one, i));
          if (annotation) add("div", "annotation: " + (regions[annotation[i]]?.name ?? "none"));
          if (unlike && unlike[i] < 255) add("em", "unlike training: " + (unlike[i] === 254 ? "2 or more" : (unlike[i] / 127).toFixed(2)));
        },
        drawn() {
          const drawn = mode(kind);
          figure.querySelector(".kind").textContent = drawn === "annotation" ? drawn : kind;
          figure.querySelector(".scale > span").style.visibility = drawn === "annotation" ? "hidden" : "";
          const ends = drawn === "unlike" ? ["0", "2 or more (limit 1)"] : section[kind].ends[choice.value];
          figure.querySelector(".low").textContent = ends[0];
          figure.querySelector(".high").textContent = ends[1];
        },
      }, link).draw;
    });

    function choose(gene) {
      choice.value = gene;
      const row = picks[gene].closest("tr"), text = (name) => row.querySelector("." + name)?.textContent.trim();
      article.querySelector(".gene-name").textContent = section.genes[gene];
      article.querySelector(".gene-fact").textContent = "reliability " + text("reliability")
        + (text("adjusted") ? ", at equal depth " + text("adjusted") : "") + (text("here") ? ", here " + text("here") : "")
        + (text("here-adjusted") ? " (" + text("here-adjusted") + " at equal depth)" : "")
        + (text("beats") === "no" ? ", does not beat the mean" : "");
      for (const pick of picks) pick.setAttribute("aria-pressed", String(pick === picks[gene]));
      for (const draw of redraw) draw();
    }
    choice.addEventListener("change", () => choose(Number(choice.value)));
    if (colorBy) colorBy.addEventListener("change", () => {
      if (annotation) article.querySelector(".of-annotation").hidden = mode(first) !== "annotation";
      redraw.forEach((draw) => draw());
    });
    for (const pick of picks) pick.addEventListener("click", () => choose(Number(pick.dataset.gene)));
    choose(0);
    article.querySelectorAll(".card.annotation").forEach((card, place) => {
      const { codes, regions: ofSpots, ...shown } = section.labelings[place];
      drawLabelings(card, { ...shown, unlabelled: all.unknown, maps: [section] }, [{ ...spots, codes: shorts(codes), annotation: shorts(ofSpots) }]);
    });
  }

  for (const article of document.querySelectorAll("article[data-section]")) showSection(article, all.sections[article.dataset.section]);
  for (const table of document.querySelectorAll(".sortable")) makeSortable(table);
  for (const find of document.querySelectorAll(".find")) {
    const rows = [...find.closest("section").querySelectorAll("tbody tr")];
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  }
})();
