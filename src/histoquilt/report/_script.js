"use strict";
/* The pages of histoquilt reports of domains. Data: JSON in #report-data and #study-data; runs after _drawing.js. */
(() => {
  const groups = JSON.parse(document.getElementById("report-data").textContent);

  function unpack(map) {
    const x = shorts(map.x);
    return {
      n: x.length, x, y: shorts(map.y), codes: shorts(map.codes), names: map.names ? map.names.split("\n") : [],
      confidence: map.confidence === null ? null : bytes(map.confidence),
      stabilities: map.stabilities.map(bytes), parts: map.parts === null ? null : shorts(map.parts), mixture: map.mixture === null ? null : shorts(map.mixture),
      annotation: map.annotation === null ? null : shorts(map.annotation),
    };
  }

  /* The slider of levels, if there is one. A level gives each domain its class (of), or spots have their own (parents). */
  function levelsOf(element, owner) {
    const slider = element.querySelector(".level-slider"), name = element.querySelector(".level-name");
    const flat = { of: owner.domains.map((d, code) => code).concat(owner.domains.length), names: owner.domains.map((d) => d.name), colors: owner.domains.map((d) => d.color) };
    const current = () => slider ? owner.levels[slider.value] : flat;
    const say = () => { name.textContent = current().title; slider.setAttribute("aria-valuetext", current().title); };
    if (slider) { slider.addEventListener("input", say); say(); }
    return {
      slider, current,
      stability: (spots) => spots.stabilities[slider ? slider.value : 0],
      classes: (spots) => { const of = current().of; return of ? spots.codes.map((code) => of[code]) : spots.parts; },
      colors: () => [...current().colors, owner.unlabelled],
      isIn: (code, domain) => current().of ? current().of[domain] === code : current().parents[code] === domain,
    };
  }

  /* Shades of the spots by confidence or stability; null if they are coloured by domain. */
  function shadesOf(colorBy, spots, levels) {
    const shown = colorBy === null ? "domain" : colorBy.value;
    return shown === "confidence" ? spots.confidence : shown === "stability" ? levels.stability(spots) : null;
  }

  /* Say what a colour scale shows; without words it is hidden. */
  function nameRamp(ramp, words) {
    ramp.hidden = !words;
    ramp.querySelector(".what").textContent = words;
  }

  /* Colours and tooltips of a map of domains. */
  function domainLook(figure, spots, group, state, genes, offset, changed) {
    const colorBy = figure.querySelector(".color-by"), opacity = figure.closest(".linked").querySelector(".opacity"), ramp = figure.querySelector(".ramp");
    const levels = levelsOf(figure, group), typed = geneField(figure, genes, changed);
    const ofMap = () => typed.shades.subarray(offset, offset + spots.n);
    const byGene = () => colorBy.value === "gene" && typed.shades !== null;
    const isDomains = () => colorBy.value === "domain" || (colorBy.value === "gene" && typed.shades === null);
    const isRamp = () => !isDomains() && colorBy.value !== "annotation";
    return {
      slider: levels.slider,
      title: () => byGene() ? genes.names[typed.gene] + ", log1p CP10K" : isDomains() ? "domain" : colorBy.value,
      key() {
        if (colorBy.value === "annotation") return group.annotation.names.map((name, code) => [group.annotation.colors[code], name]);
        if (isDomains()) return levels.current().names.map((name, code) => [levels.colors()[code], name]);
        const top = byGene() ? genes.tops[typed.gene] : 1;
        return [1, 0.75, 0.5, 0.25, 0].map((part) => [RAMP[Math.round(part * 254)], (part * top).toFixed(2)]);
      },
      paint(ctx, place) {
        if (byGene()) return place(ofMap(), [...RAMP, group.unlabelled]);
        if (colorBy.value === "annotation") return place(spots.annotation, [...group.annotation.colors, group.unlabelled]);
        const shades = shadesOf(colorBy, spots, levels);
        if (shades) return place(shades, [...RAMP, group.unlabelled]);
        const classes = levels.classes(spots), colors = levels.colors();
        if (state.domain < 0) return place(classes, colors);
        ctx.globalAlpha *= 0.5;
        place(classes, colors.map((color, code) => levels.isIn(code, state.domain) ? null : group.unlabelled));
        ctx.globalAlpha = Math.max(opacity.value / 100, 0.5);
        place(classes, colors.map((color, code) => levels.isIn(code, state.domain) ? color : null));
      },
      drawn() {
        nameRamp(ramp, byGene() ? genes.names[typed.gene] + ", log1p of counts per 10,000" : isRamp() ? colorBy.value : "");
        ramp.querySelector(".high").textContent = byGene() ? genes.tops[typed.gene] : "1";
      },
      recolour() {
        if (typed.pick) typed.pick.hidden = colorBy.value !== "gene";
        if (colorBy.value === "gene") typed.start();
      },
      tell(i, add) {
        const domain = group.domains[spots.codes[i]];
        add("b", spots.names[i]);
        const line = add("div", "");
        const dot = document.createElement("i");
        dot.style.background = domain ? domain.color : group.unlabelled;
        line.append(dot, domain ? "Domain " + domain.name : "No domain");
        const level = levels.current(), there = level.names[level.of ? level.of[spots.codes[i]] : spots.parts[i]];
        if (domain && there !== domain.name) line.append(", at this level " + there);
        if (spots.confidence && spots.confidence[i] < 255) line.append(", confidence " + (spots.confidence[i] / 254).toFixed(2));
        const stability = levels.stability(spots);
        if (stability && stability[i] < 255) line.append(", stability " + (stability[i] / 254).toFixed(2));
        if (byGene()) {
          const shade = ofMap()[i], top = genes.tops[typed.gene];
          add("div", genes.names[typed.gene] + " " + (shade === 254 ? "\u2265 " : "") + (shade / 254 * top).toFixed(2));
        }
        if (spots.annotation) add("div", "Annotation: " + (group.annotation.names[spots.annotation[i]] ?? "none"));
        if (domain && domain.top.length) add("em", "Markers: " + domain.top.join(", "));
      },
    };
  }

  function drawGenes(article, group, all) {
    // sections of one AnnData lie one after the other in the values; they are drawn side by side
    for (const figure of article.querySelectorAll("[data-gene]")) {
      const gene = group.genes[figure.dataset.gene];
      for (const canvas of figure.querySelectorAll("canvas")) {
        const values = bytes(gene[canvas.dataset.kind].values);
        const total = group.maps.reduce((sum, map) => sum + map.size[0], 0), tall = Math.max(...group.maps.map((map) => map.size[1]));
        new ResizeObserver(() => {
          const width = canvas.clientWidth, k = width / total, height = tall * k;
          if (canvas.dataset.drawn === String(width)) return;
          canvas.dataset.drawn = width;
          canvas.style.height = height + "px";
          const ctx = fit(canvas, width, height);
          let offset = 0, tx = 0;
          group.maps.forEach((map, m) => {
            const spots = all[m];
            paint(ctx, spots, values.subarray(offset, offset + spots.n), [...RAMP, group.unlabelled], k, tx, 0, map.pitch);
            offset += spots.n;
            tx += map.size[0] * k;
          });
        }).observe(canvas);
      }
    }
  }

  /* The overview of a study: thumbnails of all sections, and the same in their common frame. */
  function drawStudy(article, study, state) {
    const levels = levelsOf(article, study);
    const overview = study.overview.map(unpack), colorBy = article.querySelector(".color-by"), ramp = article.querySelector(".ramp");
    const spotsOf = {
      overview, aligned: study.aligned.map((map, m) => ({ ...overview[m], x: shorts(map.x), y: shorts(map.y) })),
    };
    let outline = null; // of the first section, drawn once for each width
    function outlineAt(width, height, k) {
      if (outline && outline.dataset.width === String(width)) return outline;
      outline = document.createElement("canvas");
      outline.dataset.width = width;
      const ctx = fit(outline, width, height), spots = spotsOf.aligned[0], tissue = new Uint8Array(spots.n);
      const wide = study.aligned[0].pitch * 1.5; // neighbours run into each other
      paint(ctx, spots, tissue, ["#222"], k, 0, 0, wide + 3 / k);
      ctx.globalCompositeOperation = "destination-out"; // what is left is the rim
      paint(ctx, spots, tissue, ["#000"], k, 0, 0, wide);
      return outline;
    }
    function draw(canvas) {
      const view = canvas.dataset.view, m = canvas.dataset.map, map = study[view][m], spots = spotsOf[view][m];
      const width = canvas.clientWidth, k = width / map.size[0], height = map.size[1] * k;
      if (!width) return;
      canvas.style.height = height + "px";
      const ctx = fit(canvas, width, height), shades = shadesOf(colorBy, spots, levels);
      const faint = (color, code) => state.domain < 0 || levels.isIn(code, state.domain) ? color : study.unlabelled;
      if (shades) paint(ctx, spots, shades, [...RAMP, study.unlabelled], k, 0, 0, map.pitch);
      else paint(ctx, spots, levels.classes(spots), levels.colors().map(faint), k, 0, 0, map.pitch);
      if (view === "aligned") ctx.drawImage(outlineAt(width, height, k), 0, 0, width, height);
      nameRamp(ramp, shades ? colorBy.value : "");
    }
    const canvases = [...article.querySelectorAll(".thumbs canvas")];
    for (const canvas of canvases) {
      new ResizeObserver(() => {
        if (canvas.dataset.drawn === String(canvas.clientWidth)) return;
        canvas.dataset.drawn = canvas.clientWidth;
        draw(canvas);
      }).observe(canvas);
    }
    if (colorBy) colorBy.addEventListener("change", () => canvases.forEach(draw));
    if (levels.slider) levels.slider.addEventListener("input", () => canvases.forEach(draw));
    return () => canvases.forEach(draw);
  }

  /* Sortable tables, and a legend that highlights one domain and lists its markers only. */
  function wire(article, domains, state, redraw) {
    for (const table of article.querySelectorAll(".sortable")) makeSortable(table);
    const legend = [...article.querySelectorAll(".legend")], rows = [...article.querySelectorAll(".markers tbody tr")];
    for (const button of legend) {
      button.addEventListener("click", () => {
        const code = Number(button.dataset.domain);
        state.domain = state.domain === code ? -1 : code;
        for (const other of legend) other.setAttribute("aria-pressed", String(Number(other.dataset.domain) === state.domain));
        const name = state.domain < 0 ? null : domains[state.domain].name;
        for (const row of rows) row.hidden = name !== null && row.dataset.domain !== name;
        const note = article.querySelector(".filter-note");
        if (note) note.textContent = name === null ? "" : "of domain " + name;
        for (const again of redraw) again();
      });
    }
  }

  const common = document.getElementById("study");
  if (common) {
    const study = JSON.parse(document.getElementById("study-data").textContent), state = { domain: -1 };
    wire(common, study.domains, state, [drawStudy(common, study, state)]);
  }
  for (const article of document.querySelectorAll("article[data-group]")) {
    const group = groups[article.dataset.group], state = { domain: -1 }, all = group.maps.map(unpack), redraw = [];
    const genes = makeGenes(group.choice, article.dataset.group);
    let offset = 0;
    [...article.querySelectorAll(".explorer")].forEach((explorer, m) => {
      const map = group.maps[m], spots = all[m], link = newLink(), start = offset;
      offset += spots.n;
      const addMap = (figure) => {
        const look = domainLook(figure, spots, group, state, genes, start, () => drawn.draw());
        const drawn = makeMap(figure, map, spots, look, link);
        if (look.slider) look.slider.addEventListener("input", drawn.draw);
        figure.querySelector(".color-by").addEventListener("change", () => { look.recolour(); drawn.draw(); });
        for (const button of figure.querySelectorAll("[data-format]")) {
          button.addEventListener("click", () => save(drawn, (map.name || "section") + "_map", button.dataset.format));
        }
        redraw.push(drawn.draw);
      };
      const classes = { title: "Domain", column: "domain", of: spots.codes, list: group.domains };
      wireExplorer(explorer, { spots, classes, unlabelled: group.unlabelled, genes, offset: start, name: map.name, link, addMap });
    });
    drawGenes(article, group, all);
    drawLabelings(article, group, all);
    wire(article, group.domains, state, redraw);
  }
})();
