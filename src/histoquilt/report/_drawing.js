"use strict";
/* Maps of spots and sortable tables, for all reports. Positions are whole numbers of a grid (uint16, base64). */
const { makeMap, newLink, makeSortable, drawLabelings, bytes, shorts, paint, fit, RAMP } = (() => {
  const VIRIDIS = [[68, 1, 84], [68, 57, 131], [49, 104, 142], [33, 145, 140], [53, 183, 121], [144, 215, 67], [253, 231, 37]];
  const MANY = 20000; // spots, from which they are drawn as squares, pixel by pixel, which is faster
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

  /* Draw every spot as a square of whole pixels. */
  function paintSquares(ctx, spots, classes, colors, k, tx, ty, diameter) {
    const ratio = window.devicePixelRatio || 1, { width, height } = ctx.canvas, side = Math.max(Math.ceil(diameter * k * ratio), 1);
    const made = ctx.createImageData(width, height), pixels = new Uint32Array(made.data.buffer);
    const values = Uint32Array.from(colors, (color) => {
      if (!color) return 0;
      const [r, g, b] = color[0] === "#" ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)) : color.match(/\d+/g).map(Number);
      return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    });
    for (let i = 0; i < spots.n; i++) {
      const value = values[classes[i]], x = Math.round((spots.x[i] * k + tx) * ratio - side / 2), y = Math.round((spots.y[i] * k + ty) * ratio - side / 2);
      if (!value || x >= width || y >= height || x + side <= 0 || y + side <= 0) continue;
      const left = Math.max(x, 0), right = Math.min(x + side, width), bottom = Math.min(y + side, height);
      for (let row = Math.max(y, 0); row < bottom; row++) pixels.fill(value, row * width + left, row * width + right);
    }
    const layer = new OffscreenCanvas(width, height);
    layer.getContext("2d").putImageData(made, 0, 0);
    ctx.drawImage(layer, 0, 0, width / ratio, height / ratio);
  }

  /* Draw every spot that is in view, colour by colour: changing the fill style is what costs time. */
  function paint(ctx, spots, classes, colors, k, tx, ty, diameter) {
    if (spots.n > MANY) return paintSquares(ctx, spots, classes, colors, k, tx, ty, diameter);
    const r = Math.max(diameter * k / 2, 0.5);
    const ratio = window.devicePixelRatio || 1, right = ctx.canvas.width / ratio + r, bottom = ctx.canvas.height / ratio + r;
    const of = colors.map(() => []);
    for (let i = 0; i < spots.n; i++) {
      const x = spots.x[i] * k + tx, y = spots.y[i] * k + ty;
      if (x > -r && y > -r && x < right && y < bottom) of[classes[i]].push(x, y);
    }
    of.forEach((places, c) => {
      if (!places.length || !colors[c]) return;
      ctx.fillStyle = colors[c];
      ctx.beginPath();
      for (let j = 0; j < places.length; j += 2) { ctx.moveTo(places[j] + r, places[j + 1]); ctx.arc(places[j], places[j + 1], r, 0, 6.2832); }
      ctx.fill();
    });
  }

  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1, ctx = canvas.getContext("2d");
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    return ctx;
  }

  /* The spots within a closed outline of [x, y]. */
  function within(spots, outline) {
    const found = [], xs = outline.map((p) => p[0]), ys = outline.map((p) => p[1]);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < spots.n; i++) {
      const x = spots.x[i], y = spots.y[i];
      if (x < left || x > right || y < top || y > bottom) continue;
      let inside = false;
      for (let a = 0, b = outline.length - 1; a < outline.length; b = a++) {
        if (ys[a] > y !== ys[b] > y && x < xs[a] + (y - ys[a]) / (ys[b] - ys[a]) * (xs[b] - xs[a])) inside = !inside;
      }
      if (inside) found.push(i);
    }
    return found;
  }

  /* Find the nearest spot by buckets of about one spot each. */
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

  /* A map with zoom and tooltips. `look` paints the spots (paint), fills the tooltip of one (tell), and is called after
     drawing (drawn). Maps with a common `link` are in one ".linked" element, which holds their controls, and move
     together; a tool of the link (box, lasso) selects spots by an outline, and select is called with them. */
  const newLink = () => ({ view: { zoom: 1, x: 0, y: 0 }, current: -1, parts: [], tool: "", outline: null, select: null });
  function makeMap(figure, map, spots, look, link) {
    const controls = figure.closest(".linked") ?? figure;
    const box = figure.querySelector(".canvas-box"), base = figure.querySelector(".base"), over = figure.querySelector(".over");
    const tip = figure.querySelector(".tooltip"), said = figure.querySelector(".said");
    const showImage = controls.querySelector(".show-image"), opacity = controls.querySelector(".opacity");
    const nearest = buckets(spots, map.pitch);
    const view = link.view; // x, y: the grid position at the left and top edge
    let waiting = false; // for the next frame
    let width = 0, height = 0, image = null, dragged = null, outlining = null, corner = null;
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
      look.paint(ctx, (classes, colors) => paint(ctx, spots, classes, colors, k, tx, ty, diameter));
      ctx.globalAlpha = 1;
      drawBar(ctx, k);
      drawRing();
      if (look.drawn) look.drawn();
    }

    function barOf(k) {
      if (map.um === null) return null;
      const longest = width / 4 / k * map.um;
      const power = 10 ** Math.floor(Math.log10(longest)), um = [5, 2, 1].find((f) => f * power <= longest) * power;
      return { length: um / map.um * k, label: um >= 1000 ? um / 1000 + " mm" : um + " µm" };
    }
    function drawBar(ctx, k) {
      const bar = barOf(k);
      if (!bar) return;
      const { length, label } = bar;
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
      const ctx = fit(over, width, height), k = scale(), current = link.current;
      if (link.outline) {
        ctx.beginPath();
        for (const [x, y] of link.outline) ctx.lineTo((x - view.x) * k, (y - view.y) * k);
        ctx.closePath();
        for (const [color, line] of [["#fff", 4], ["#111", 1.6]]) { ctx.strokeStyle = color; ctx.lineWidth = line; ctx.stroke(); }
      }
      if (current < 0) return;
      const x = (spots.x[current] - view.x) * k, y = (spots.y[current] - view.y) * k;
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
      if (i === link.current && !aloud) return;
      link.current = i;
      for (const part of link.parts) part.ring();
      tip.hidden = i < 0;
      if (i < 0) return;
      tip.replaceChildren();
      look.tell(i, (tag, text) => { const node = document.createElement(tag); node.textContent = text; tip.append(node); return node; });
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
      for (const part of link.parts) part.moved();
    }

    function outline(points, done) {
      link.outline = points;
      for (const part of link.parts) part.ring();
      if (!done) return;
      const found = points ? within(spots, points) : [];
      if (!found.length) { link.outline = null; for (const part of link.parts) part.ring(); }
      link.select(found);
    }
    const rectangle = ([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v]];
    function boxByKey() { // from one spot to another, both within
      if (link.current < 0) return;
      const here = [spots.x[link.current], spots.y[link.current]], half = map.pitch / 2;
      if (!corner) { corner = here; said.textContent = "First corner of a box. Press B again at the other corner."; return; }
      const ends = [0, 1].map((d) => [Math.min(corner[d], here[d]) - half, Math.max(corner[d], here[d]) + half]);
      corner = null;
      outline(rectangle([ends[0][0], ends[1][0]], [ends[0][1], ends[1][1]]), true);
    }

    function step(dx, dy) {
      const current = link.current;
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
    const onGrid = (event) => { const [px, py] = place(event), k = scale(); return [view.x + px / k, view.y + py / k]; };
    over.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (outlining) {
        if (link.tool === "box") outlining = rectangle(outlining[0], onGrid(event)); else outlining.push(onGrid(event));
        return outline(outlining, false);
      }
      if (dragged) return moveTo(dragged.x - (px - dragged.px) / scale(), dragged.y - (py - dragged.py) / scale());
      show(nearest(view.x + px / scale(), view.y + py / scale()), false);
    });
    over.addEventListener("pointerdown", (event) => {
      const [px, py] = place(event);
      if (link.tool) { outlining = [onGrid(event)]; over.setPointerCapture(event.pointerId); }
      else if (view.zoom > 1) { dragged = { px, py, x: view.x, y: view.y }; over.setPointerCapture(event.pointerId); }
      else show(nearest(view.x + px / scale(), view.y + py / scale()), false);
    });
    for (const name of ["pointerup", "pointercancel"]) over.addEventListener(name, () => {
      if (outlining) outline(outlining, true);
      dragged = outlining = null;
    });
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
      else if (event.key === "Escape") { show(-1, false); corner = null; if (link.outline) outline(null, true); }
      else if (event.key.toLowerCase() === "b" && link.select && !event.ctrlKey && !event.metaKey) boxByKey();
      else if (event.key === "+" || event.key === "=") zoomTo(view.zoom * 1.5, width / 2, height / 2);
      else if (event.key === "-") zoomTo(view.zoom / 1.5, width / 2, height / 2);
      else return;
      event.preventDefault();
    });
    link.parts.push({
      ring: drawRing,
      clear: () => outline(null, true),
      moved: () => {
        over.style.touchAction = view.zoom > 1 || link.tool ? "none" : "pan-y";
        tip.hidden = true;
        if (waiting) return;
        waiting = true;
        requestAnimationFrame(() => { waiting = false; draw(); });
      },
    });
    if (link.parts.length === 1) for (const button of controls.querySelectorAll("[data-zoom]")) {
      const factor = { in: 1.5, out: 1 / 1.5, reset: 0 }[button.dataset.zoom];
      button.addEventListener("click", () => zoomTo(view.zoom * factor, width / 2, height / 2));
    }
    opacity.addEventListener("input", draw);
    if (showImage) showImage.addEventListener("change", draw);
    new ResizeObserver(resize).observe(box);

    /* The map as SVG text: what is in view, with scale bar and legend. */
    function svg() {
      const k = scale(), r = Math.max(map.pitch * k * 0.48, 0.5), side = 190, parts = [], round = (value) => +value.toFixed(2);
      if (image && image.complete && image.naturalWidth && showImage.checked) {
        const [x, y, w, h] = map.image.box;
        parts.push(`<image href="${map.image.src}" x="${round((x - view.x) * k)}" y="${round((y - view.y) * k)}" width="${round(w * k)}" height="${round(h * k)}" preserveAspectRatio="none"/>`);
      }
      const ctx = { globalAlpha: opacity.value / 100 };
      look.paint(ctx, (classes, colors) => {
        const of = colors.map(() => []);
        for (let i = 0; i < spots.n; i++) {
          const x = (spots.x[i] - view.x) * k, y = (spots.y[i] - view.y) * k;
          if (x > -r && y > -r && x < width + r && y < height + r) of[classes[i]].push(`<circle cx="${round(x)}" cy="${round(y)}" r="${round(r)}"/>`);
        }
        of.forEach((circles, c) => { if (circles.length && colors[c]) parts.push(`<g fill="${colors[c]}" fill-opacity="${round(ctx.globalAlpha)}">${circles.join("")}</g>`); });
      });
      const text = (x, y, words, anchor = "start") => `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${words.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)}</text>`;
      const key = [text(width + 14, 20, look.title())];
      look.key().forEach(([color, words], i) => key.push(`<rect x="${round(width + 14)}" y="${30 + 20 * i}" width="13" height="13" fill="${color}"/>`, text(width + 34, 41 + 20 * i, words)));
      const bar = barOf(k);
      if (bar) key.push(`<rect x="${round(width + 14)}" y="${round(height - 16)}" width="${round(bar.length)}" height="3"/>`, text(width + 14, height - 22, bar.label));
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width + side)}" height="${round(height)}" font-family="Helvetica, Arial, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/><svg width="${round(width)}" height="${round(height)}">${parts.join("")}</svg>${key.join("")}</svg>`;
    }
    return { draw, svg };
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
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

  /* Small maps side by side: domains by merging and by a mixture; the annotation, the domains, and where they disagree. */
  function drawLabelings(article, group, all) {
    const domains = [...group.domains.map((d) => d.color), group.unlabelled];
    const looks = { codes: domains, mixture: domains };
    if (group.annotation) {
      const { colors, stands_for } = group.annotation;
      looks.annotation = [...colors, group.unlabelled];
      looks.differs = ["#9ecae1", "#b30000", group.unlabelled];
      for (const spots of all) if (spots.annotation) {
        const differs = (code, i) => spots.annotation[i] >= colors.length || !(code in stands_for) ? 2 : Number(stands_for[code] !== spots.annotation[i]);
        spots.differs = spots.codes.map(differs);
      }
    }
    for (const canvas of article.querySelectorAll(".labelings canvas")) {
      const map = group.maps[canvas.dataset.map], spots = all[canvas.dataset.map], kind = canvas.dataset.kind;
      new ResizeObserver(() => {
        const width = canvas.clientWidth, k = width / map.size[0], height = map.size[1] * k;
        if (canvas.dataset.drawn === String(width)) return;
        canvas.dataset.drawn = width;
        canvas.style.height = height + "px";
        paint(fit(canvas, width, height), spots, spots[kind], looks[kind], k, 0, 0, map.pitch);
      }).observe(canvas);
    }
  }

  return { makeMap, newLink, makeSortable, drawLabelings, bytes, shorts, paint, fit, RAMP };
})();
