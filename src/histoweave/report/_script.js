"use strict";
/* The maps of a histoweave report. Data: JSON in #report-data; positions are whole numbers of a grid (uint16, base64). */
(() => {
  const groups = JSON.parse(document.getElementById("report-data").textContent);
  const VIRIDIS = [[68, 1, 84], [68, 57, 131], [49, 104, 142], [33, 145, 140], [53, 183, 121], [144, 215, 67], [253, 231, 37]];
  const MANY = 20000; // from here on squares, which are drawn faster than circles
  const MAX_ZOOM = 12;

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  function shorts(text) {
    const from = new DataView(bytes(text).buffer), out = new Uint16Array(from.byteLength / 2);
    for (let i = 0; i < out.length; i++) out[i] = from.getUint16(2 * i, true);
    return out;
  }
  const RAMP = Array.from({ length: 255 }, (_, shade) => {
    const at = shade / 254 * (VIRIDIS.length - 1), low = Math.min(Math.floor(at), VIRIDIS.length - 2), part = at - low;
    return "rgb(" + VIRIDIS[low].map((v, i) => Math.round(v + (VIRIDIS[low + 1][i] - v) * part)).join() + ")";
  });

  /* Draw every spot, one path per colour: changing the fill style is what costs time. */
  function paint(ctx, spots, classes, colors, k, tx, ty, diameter) {
    const r = Math.max(diameter * k / 2, 0.5), square = spots.n > MANY;
    const of = colors.map(() => []);
    for (let i = 0; i < spots.n; i++) of[classes[i]].push(i);
    of.forEach((members, c) => {
      if (!members.length || !colors[c]) return;
      ctx.fillStyle = colors[c];
      ctx.beginPath();
      for (const i of members) {
        const x = spots.x[i] * k + tx, y = spots.y[i] * k + ty;
        if (square) ctx.rect(x - r, y - r, 2 * r, 2 * r);
        else { ctx.moveTo(x + r, y); ctx.arc(x, y, r, 0, 6.2832); }
      }
      ctx.fill();
    });
  }

  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    return ctx;
  }

  /* Buckets of about one spot each answer "which spot is here" without looking at all of them. */
  function buckets(spots, cell) {
    const found = new Map();
    for (let i = 0; i < spots.n; i++) {
      const key = Math.floor(spots.x[i] / cell) * 70000 + Math.floor(spots.y[i] / cell);
      const there = found.get(key);
      if (there) there.push(i); else found.set(key, [i]);
    }
    return (x, y) => {
      const cx = Math.floor(x / cell), cy = Math.floor(y / cell);
      let best = -1, least = cell * cell;
      for (let a = cx - 1; a <= cx + 1; a++) for (let b = cy - 1; b <= cy + 1; b++) {
        for (const i of found.get(a * 70000 + b) || []) {
          const d = (spots.x[i] - x) ** 2 + (spots.y[i] - y) ** 2;
          if (d < least) { least = d; best = i; }
        }
      }
      return best;
    };
  }

  function unpack(map) {
    const x = shorts(map.x);
    return {
      n: x.length, x, y: shorts(map.y), codes: shorts(map.codes), names: map.names ? map.names.split("\n") : [],
      confidence: map.confidence === null ? null : bytes(map.confidence),
    };
  }

  function makeMap(figure, map, spots, group, state) {
    const box = figure.querySelector(".canvas-box"), base = figure.querySelector(".base"), over = figure.querySelector(".over");
    const tip = figure.querySelector(".tooltip"), said = figure.querySelector(".said"), ramp = figure.querySelector(".ramp");
    const colorBy = figure.querySelector(".color-by"), showImage = figure.querySelector(".show-image"), opacity = figure.querySelector(".opacity");
    const colors = [...group.domains.map((d) => d.color), group.unlabelled];
    const nearest = buckets(spots, map.pitch);
    const view = { zoom: 1, x: 0, y: 0 }; // x, y: the grid position at the left and top edge
    let width = 0, height = 0, current = -1, image = null, dragged = null;
    if (map.image) {
      image = new Image();
      image.onload = draw;
      image.src = map.image.src;
    }
    const scale = () => width / map.size[0] * view.zoom;

    function resize() {
      width = box.clientWidth;
      height = Math.min(width * map.size[1] / map.size[0], Math.max(window.innerHeight * 0.82, 320));
      // a tall section is shown narrower rather than cut off
      const across = Math.min(width, height * map.size[0] / map.size[1]);
      box.style.height = height + "px";
      width = across;
      for (const canvas of [base, over]) { canvas.style.width = across + "px"; canvas.style.left = (box.clientWidth - across) / 2 + "px"; }
      draw();
    }

    function draw() {
      if (!width) return;
      const ctx = fit(base, width, height), k = scale(), tx = -view.x * k, ty = -view.y * k;
      if (image && image.complete && image.naturalWidth && showImage.checked) {
        const [x, y, w, h] = map.image.box;
        ctx.drawImage(image, x * k + tx, y * k + ty, w * k, h * k);
      }
      ctx.globalAlpha = opacity.value / 100;
      const onImage = image && showImage.checked;
      const diameter = map.pitch * (spots.n > MANY ? 1 : onImage ? 0.78 : 0.96);
      if (colorBy.value === "confidence") {
        paint(ctx, spots, spots.confidence, [...RAMP, group.unlabelled], k, tx, ty, diameter);
      } else if (state.domain < 0) {
        paint(ctx, spots, spots.codes, colors, k, tx, ty, diameter);
      } else {
        const faded = colors.map((color, code) => code === state.domain ? null : group.unlabelled);
        ctx.globalAlpha *= 0.5;
        paint(ctx, spots, spots.codes, faded, k, tx, ty, diameter);
        ctx.globalAlpha = Math.max(opacity.value / 100, 0.5);
        paint(ctx, spots, spots.codes, colors.map((color, code) => code === state.domain ? color : null), k, tx, ty, diameter);
      }
      ctx.globalAlpha = 1;
      drawBar(ctx, k);
      drawRing();
      ramp.hidden = colorBy.value !== "confidence";
    }

    function drawBar(ctx, k) {
      if (map.um === null) return;
      const longest = width / 4 / k * map.um;
      const power = 10 ** Math.floor(Math.log10(longest)), um = [5, 2, 1].find((f) => f * power <= longest) * power;
      const length = um / map.um * k, label = um >= 1000 ? um / 1000 + " mm" : um + " µm";
      const x = width - length - 16, y = height - 14;
      ctx.font = "12px system-ui, sans-serif";
      const wide = Math.max(length, ctx.measureText(label).width) + 16;
      ctx.fillStyle = "rgba(255,255,255,.82)";
      ctx.fillRect(x + length / 2 - wide / 2, y - 22, wide, 30);
      ctx.fillStyle = "#111";
      ctx.fillRect(x, y, length, 3);
      ctx.textAlign = "center";
      ctx.fillText(label, x + length / 2, y - 6);
    }

    function drawRing() {
      const ctx = fit(over, width, height);
      if (current < 0) return;
      const k = scale(), x = (spots.x[current] - view.x) * k, y = (spots.y[current] - view.y) * k;
      const r = Math.max(map.pitch * k * 0.55, 4);
      for (const [color, line] of [["#fff", 4], ["#111", 2]]) {
        ctx.strokeStyle = color;
        ctx.lineWidth = line;
        ctx.beginPath();
        ctx.arc(x, y, r, 0, 6.2832);
        ctx.stroke();
      }
    }

    function show(i, aloud) {
      if (i === current && !aloud) return;
      current = i;
      drawRing();
      tip.hidden = i < 0;
      if (i < 0) return;
      const domain = group.domains[spots.codes[i]];
      tip.replaceChildren();
      const add = (tag, text) => { const node = document.createElement(tag); node.textContent = text; tip.append(node); return node; };
      add("b", spots.names[i]);
      const line = add("div", "");
      const dot = document.createElement("i");
      dot.style.background = domain ? domain.color : group.unlabelled;
      line.append(dot, domain ? "Domain " + domain.name : "No domain");
      if (spots.confidence && spots.confidence[i] < 255) line.append(", confidence " + (spots.confidence[i] / 254).toFixed(2));
      if (domain && domain.top.length) add("em", "Markers: " + domain.top.join(", "));
      const k = scale(), left = over.offsetLeft + (spots.x[i] - view.x) * k, top = (spots.y[i] - view.y) * k;
      const room = box.clientWidth - tip.offsetWidth - 4, gap = map.pitch * k * 0.55 + 8;
      tip.style.left = Math.max(4, left + gap > room ? left - gap - tip.offsetWidth : left + gap) + "px";
      tip.style.top = Math.max(4, Math.min(top - tip.offsetHeight / 2, box.clientHeight - tip.offsetHeight - 4)) + "px";
      if (aloud) said.textContent = [...tip.children].map((node) => node.textContent).join(". ");
    }

    function zoomTo(zoom, px, py) {
      const before = scale(), gx = view.x + px / before, gy = view.y + py / before;
      view.zoom = Math.min(Math.max(zoom, 1), MAX_ZOOM);
      const k = scale();
      moveTo(gx - px / k, gy - py / k);
    }
    function moveTo(x, y) {
      const k = scale();
      view.x = Math.min(Math.max(x, 0), map.size[0] - width / k);
      view.y = Math.min(Math.max(y, 0), Math.max(map.size[1] - height / k, 0));
      over.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
      tip.hidden = true;
      draw();
    }

    function step(dx, dy) {
      if (current < 0) { // start in the middle of what is seen
        const k = scale(), x = view.x + width / k / 2, y = view.y + height / k / 2;
        return show(closest((i) => (spots.x[i] - x) ** 2 + (spots.y[i] - y) ** 2), true);
      }
      const next = closest((i) => {
        const along = (spots.x[i] - spots.x[current]) * dx + (spots.y[i] - spots.y[current]) * dy;
        const aside = Math.abs((spots.x[i] - spots.x[current]) * dy) + Math.abs((spots.y[i] - spots.y[current]) * dx);
        return along > 0 && aside <= along * 1.8 ? along ** 2 + 2 * aside ** 2 : Infinity;
      });
      if (next >= 0) show(next, true);
    }
    function closest(distance) {
      let best = -1, least = Infinity;
      for (let i = 0; i < spots.n; i++) { const d = distance(i); if (d < least) { least = d; best = i; } }
      return best;
    }

    const place = (event) => { const at = over.getBoundingClientRect(); return [event.clientX - at.left, event.clientY - at.top]; };
    over.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (dragged) return moveTo(dragged.x - (px - dragged.px) / scale(), dragged.y - (py - dragged.py) / scale());
      show(nearest(view.x + px / scale(), view.y + py / scale()), false);
    });
    over.addEventListener("pointerdown", (event) => {
      const [px, py] = place(event);
      if (view.zoom > 1) { dragged = { px, py, x: view.x, y: view.y }; over.setPointerCapture(event.pointerId); }
      else show(nearest(view.x + px / scale(), view.y + py / scale()), false);
    });
    for (const name of ["pointerup", "pointercancel"]) over.addEventListener(name, () => { dragged = null; });
    over.addEventListener("pointerleave", () => { if (!dragged) show(-1, false); });
    over.addEventListener("blur", () => show(-1, false));
    over.addEventListener("wheel", (event) => { // with Ctrl or a pinch; the plain wheel scrolls the page
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomTo(view.zoom * Math.exp(-event.deltaY / 300), ...place(event));
    }, { passive: false });
    over.addEventListener("keydown", (event) => {
      const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key in arrows) step(...arrows[event.key]);
      else if (event.key === "Escape") show(-1, false);
      else if (event.key === "+" || event.key === "=") zoomTo(view.zoom * 1.5, width / 2, height / 2);
      else if (event.key === "-") zoomTo(view.zoom / 1.5, width / 2, height / 2);
      else return;
      event.preventDefault();
    });
    for (const button of figure.querySelectorAll("[data-zoom]")) {
      const factor = { in: 1.5, out: 1 / 1.5, reset: 0 }[button.dataset.zoom];
      button.addEventListener("click", () => zoomTo(view.zoom * factor, width / 2, height / 2));
    }
    opacity.addEventListener("input", draw);
    for (const control of [colorBy, showImage]) if (control) control.addEventListener("change", draw);
    new ResizeObserver(resize).observe(box);
    return draw;
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

  function makeSortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending" || (head.classList.contains("number") && !head.hasAttribute("aria-sort"));
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const order = (a, b) => {
          const x = Number(value(a)), y = Number(value(b));
          return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
        };
        body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
      });
    });
  }

  /* The overview of a study: thumbnails of all sections, and the same in their common frame. */
  function drawStudy(article, study, state) {
    const colors = [...study.domains.map((d) => d.color), study.unlabelled];
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
      const ctx = fit(canvas, width, height), sure = colorBy !== null && colorBy.value === "confidence";
      const faint = (color, code) => state.domain < 0 || code === state.domain ? color : study.unlabelled;
      if (sure) paint(ctx, spots, spots.confidence, [...RAMP, study.unlabelled], k, 0, 0, map.pitch);
      else paint(ctx, spots, spots.codes, colors.map(faint), k, 0, 0, map.pitch);
      if (view === "aligned") ctx.drawImage(outlineAt(width, height, k), 0, 0, width, height);
      ramp.hidden = !sure;
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
    const group = groups[article.dataset.group], state = { domain: -1 }, all = group.maps.map(unpack);
    const redraw = [...article.querySelectorAll(".map")].map((figure, m) => makeMap(figure, group.maps[m], all[m], group, state));
    drawGenes(article, group, all);
    wire(article, group.domains, state, redraw);
  }
})();
