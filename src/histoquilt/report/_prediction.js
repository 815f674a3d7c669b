"use strict";
/* Sortable and searchable tables; predicted genes: two linked maps a section. Data: JSON in #prediction-data; runs after _drawing.js and, with sections, _explorer.js. */
(() => {
  const holder = document.getElementById("prediction-data");
  const all = holder ? JSON.parse(holder.textContent) : { sections: [] };

  function showSection(article, section, number) {
    const x = shorts(section.x), n = x.length;
    const spots = { n, x, y: shorts(section.y), names: section.names.split("\n") };
    const packs = {};
    for (const [place, kind] of ["predicted", "measured"].entries()) if (section[kind]) packs[kind] = makeGenes(section[kind], 2 * number + place);
    const kinds = ["measured", "predicted"].filter((kind) => packs[kind]), genes = packs.predicted;
    const unlike = section.unlike === null ? null : bytes(section.unlike);
    const colorBy = article.querySelector(".color-by"), explorer = article.querySelector(".explorer");
    const picks = [...article.querySelectorAll(".pick")], colors = [...RAMP, all.unknown], unknown = new Uint8Array(n).fill(255);
    const annotation = section.annotation === null ? null : shorts(section.annotation), regions = section.regions;
    // the first map shows the annotation, next to the predicted gene
    const mode = (kind) => colorBy === null || (colorBy.value === "annotation" && kind !== kinds[0]) ? "gene" : colorBy.value;
    const placeIn = (kind, gene) => packs[kind].names.indexOf(genes.names[gene]); // one may have room for more genes
    async function shades(gene) {
      const found = {};
      for (const kind of kinds) { const at = placeIn(kind, gene); found[kind] = at < 0 ? unknown : await packs[kind].shades(at); }
      return found;
    }
    const typed = geneField(explorer, { ...genes, shades }, changed), link = newLink();
    const shadesOf = (kind) => typed.shades ? typed.shades[kind] : unknown;
    function ends(kind) {
      if (mode(kind) === "unlike") return ["0", "2 or more (limit 1)"];
      const at = placeIn(kind, typed.gene);
      return at < 0 ? ["", ""] : [packs[kind].lows[at], packs[kind].tops[at]];
    }
    function said(kind, i) {
      const shade = shadesOf(kind)[i], at = placeIn(kind, typed.gene);
      if (shade === 255) return "unknown";
      return shade === 0 ? "\u2264 " + packs[kind].lows[at] : shade === 254 ? "\u2265 " + packs[kind].tops[at] : packs[kind].value(at, shade).toFixed(2);
    }
    const maps = [...article.querySelectorAll(".map")].map((figure) => {
      const kind = figure.dataset.kind;
      const map = makeMap(figure, section, spots, {
        title: () => ({ gene: `${genes.names[typed.gene]}, ${kind}`, unlike: "unlike training", annotation: "annotation" })[mode(kind)],
        key() {
          if (mode(kind) === "annotation") return regions.map((region) => [region.color, region.name]);
          const [low, top] = mode(kind) === "unlike" ? [0, 2] : ends(kind).map(Number);
          return [1, 0.75, 0.5, 0.25, 0].map((part) => [RAMP[Math.round(part * 254)], (low + (top - low) * part).toFixed(2)]);
        },
        paint(ctx, place) {
          if (mode(kind) === "annotation") return place(annotation, [...regions.map((region) => region.color), all.unknown]);
          place(mode(kind) === "unlike" ? unlike : shadesOf(kind), colors);
        },
        tell(i, add) {
          add("b", spots.names[i]);
          if (typed.shades) for (const one of kinds) add("div", one + " " + said(one, i));
          if (annotation) add("div", "annotation: " + (regions[annotation[i]]?.name ?? "none"));
          if (unlike && unlike[i] < 255) add("em", "unlike training: " + (unlike[i] === 254 ? "2 or more" : (unlike[i] / 127).toFixed(2)));
        },
        drawn() {
          const drawn = mode(kind), [low, high] = ends(kind);
          figure.querySelector(".kind").textContent = drawn === "annotation" ? drawn : kind;
          figure.querySelector(".ends").style.visibility = drawn === "annotation" ? "hidden" : "";
          figure.querySelector(".low").textContent = low;
          figure.querySelector(".high").textContent = high;
        },
      }, link);
      for (const button of figure.querySelectorAll("[data-format]")) {
        button.addEventListener("click", () => save(map, section.name + "_" + kind, button.dataset.format));
      }
      return map;
    });

    function changed() { // another gene
      const row = picks[typed.gene]?.closest("tr"), text = (name) => row.querySelector("." + name)?.textContent.trim();
      article.querySelector(".gene-shown").textContent = genes.names[typed.gene] ?? "";
      article.querySelector(".gene-fact").textContent = !row ? "" : "reliability " + text("reliability")
        + (text("adjusted") ? ", at equal depth " + text("adjusted") : "") + (text("here") ? ", here " + text("here") : "")
        + (text("here-adjusted") ? " (" + text("here-adjusted") + " at equal depth)" : "")
        + (text("beats") === "no" ? ", does not beat the mean" : "");
      for (const pick of picks) pick.setAttribute("aria-pressed", String(pick === picks[typed.gene]));
      for (const map of maps) map.draw();
    }
    if (colorBy) colorBy.addEventListener("change", () => {
      if (annotation) article.querySelector(".of-annotation").hidden = mode(kinds[0]) !== "annotation";
      for (const map of maps) map.draw();
    });
    for (const pick of picks) pick.addEventListener("click", () => typed.choose(Number(pick.dataset.gene)));
    const classes = annotation && { title: "Region", column: "annotation", of: annotation, list: regions };
    wireExplorer(explorer, { spots, classes, unlabelled: all.unknown, genes, offset: 0, name: section.name, link });
    typed.start();
    article.querySelectorAll(".card.annotation").forEach((card, place) => {
      const { codes, regions: ofSpots, ...shown } = section.labelings[place];
      drawLabelings(card, { ...shown, unlabelled: all.unknown, maps: [section] }, [{ ...spots, codes: shorts(codes), annotation: shorts(ofSpots) }]);
    });
  }

  for (const article of document.querySelectorAll("article[data-section]")) showSection(article, all.sections[article.dataset.section], Number(article.dataset.section));
  for (const table of document.querySelectorAll(".sortable")) makeSortable(table);
  for (const find of document.querySelectorAll(".find")) {
    const rows = [...find.closest("section").querySelectorAll("tbody tr")];
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  }
})();
