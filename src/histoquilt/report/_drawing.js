"use strict";
/* Maps of spots and sortable tables, for all reports. Positions are whole numbers of a grid (uint16, base64). */
const { makeMap, makeSortable, bytes, shorts, paint, fit, RAMP } = (() => {
  const VIRIDIS = [[68, 1, 84], [68, 57, 131], [49, 104, 142], [33, 145, 140], [53, 183, 121], [144, 215, 67], [253, 231, 37]];
  const MANY = 20000; // spots, from which they are drawn as squares, which is faster
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
     together. */
  function makeMap(figure, map, spots, look, link = { view: { zoom: 1, x: 0, y: 0 }, current: -1, parts: [] }) {
    const controls = figure.closest(".linked") ?? figure;
    const box = figure.querySelector(".canvas-box"), base = figure.querySelector(".base"), over = figure.querySelector(".over");
    const tip = figure.querySelector(".tooltip"), said = figure.querySelector(".said");
    const showImage = controls.querySelector(".show-image"), opacity = controls.querySelector(".opacity");
    const nearest = buckets(spots, map.pitch);
    const view = link.view; // x, y: the grid position at the left and top edge
    let width = 0, height = 0, image = null, dragged = null;
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
      const current = link.current;
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
    link.parts.push({
      ring: drawRing,
      moved: () => {
        over.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
        tip.hidden = true;
        draw();
      },
    });
    if (link.parts.length === 1) for (const button of controls.querySelectorAll("[data-zoom]")) {
      const factor = { in: 1.5, out: 1 / 1.5, reset: 0 }[button.dataset.zoom];
      button.addEventListener("click", () => zoomTo(view.zoom * factor, width / 2, height / 2));
    }
    opacity.addEventListener("input", draw);
    if (showImage) showImage.addEventListener("change", draw);
    new ResizeObserver(resize).observe(box);
    return draw;
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

  return { makeMap, makeSortable, bytes, shorts, paint, fit, RAMP };
})();
