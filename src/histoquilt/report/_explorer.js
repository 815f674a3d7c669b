"use strict";
/* Genes by name, selections of spots, and files of what is shown, for maps of domains and of predictions. Runs after _drawing.js. */
const { makeGenes, geneField, wireExplorer, save } = (() => {
  const SUGGESTED = 40; // names offered while a gene is typed
  const MOST_GENES = 8; // genes listed for a selection
  const beside = new Map(); // of the file of a page: digest -> promise of its chunks, group by group

  window.histoquiltGenes = (digest, chunks) => { beside.get(digest)?.take(chunks); };

  /* The chunks of the file beside the page, loaded once; a page on a disk may load a script and nothing else. */
  function fileOf({ file, digest }) {
    if (!beside.has(digest)) {
      const entry = {};
      entry.chunks = new Promise((resolve, reject) => {
        entry.take = resolve;
        const script = document.createElement("script");
        script.src = encodeURIComponent(file);
        const fail = () => {
          beside.delete(digest); // it may be put there, and the gene asked for again
          reject(new Error(`Expression of this gene is in ${file}, which must lie beside this page and be of the same run.`));
        };
        script.onerror = fail;
        script.onload = () => setTimeout(fail); // rejects nothing if the file was taken
        document.head.append(script);
      });
      beside.set(digest, entry);
    }
    return beside.get(digest).chunks;
  }

  async function unzip(text) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new DataView(await new Response(stream).arrayBuffer());
  }

  /* Expression of one AnnData; null if the page holds none. A gene is unpacked to a shade for every drawn spot. */
  function makeGenes(choice, group) {
    if (!choice) return null;
    const { names, lows, tops, per_chunk: perChunk, n_rows: nRows } = choice, every = Uint32Array.from({ length: lows.length && nRows }, (_, i) => i);
    const lower = names.map((name) => name.toLowerCase()), wide = nRows >= 65536, unpacked = new Map();
    async function chunk(number) {
      if (!unpacked.has(number)) {
        const text = choice.chunks[number] ?? (await fileOf(choice))[group][number - choice.chunks.length];
        unpacked.set(number, await unzip(text));
      }
      return unpacked.get(number);
    }
    /* Call each(gene, rows, shades), typed arrays of the spots that express it, for the genes of a chunk. */
    async function read(number, each) {
      const view = await chunk(number), first = number * perChunk, n = Math.min(perChunk, names.length - first);
      if (lows.length) { // a shade for every spot
        for (let i = 0; i < n; i++) each(first + i, every, new Uint8Array(view.buffer, i * nRows, nRows));
        return;
      }
      const sizes = Array.from({ length: n }, (_, i) => view.getUint32(4 * i, true)), total = sizes.reduce((sum, size) => sum + size, 0);
      const Rows = wide ? Uint32Array : Uint16Array, rows = new Rows(view.buffer, 4 * n, total);
      const shades = new Uint8Array(view.buffer, 4 * n + rows.byteLength, total);
      sizes.reduce((start, size, i) => { each(first + i, rows.subarray(start, start + size), shades.subarray(start, start + size)); return start + size; }, 0);
    }
    async function shades(gene) {
      const found = new Uint8Array(nRows);
      await read(Math.floor(gene / perChunk), (one, rows, values) => { if (one === gene) rows.forEach((row, j) => { found[row] = values[j]; }); });
      return found;
    }
    return {
      names, lows, tops, shades,
      value: (gene, shade) => (lows[gene] ?? 0) + (tops[gene] - (lows[gene] ?? 0)) * shade / 254,
      async eachHere(each) { for (let number = 0; number * perChunk < this.nHere(); number++) await read(number, each); },
      nHere: () => Math.min(Math.max(choice.chunks.length, ...[...unpacked.keys()].map((n) => n + 1)) * perChunk, names.length),
      leftOut: choice.n_left_out,
      find: (typed) => lower.indexOf(typed.trim().toLowerCase()),
      suggest(typed) {
        const wanted = typed.trim().toLowerCase(), starts = [], holds = [];
        for (let i = 0; i < names.length && starts.length < SUGGESTED; i++) {
          if (lower[i].startsWith(wanted)) starts.push(names[i]); else if (lower[i].includes(wanted)) holds.push(names[i]);
        }
        return [...starts, ...holds].slice(0, SUGGESTED);
      },
    };
  }

  function save(content, name, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /* PNG of SVG text, at twice its size. */
  function rasterise(svg, done) {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = 2 * image.naturalWidth;
      canvas.height = 2 * image.naturalHeight;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(done, "image/png");
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
  }

  function cell(row, kind, text, number) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (number) made.className = "number";
    row.append(made);
    return made;
  }
  function table(heads, rows) {
    const made = document.createElement("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    heads.forEach((text, i) => { cell(head, "th", text, i > 0).scope = "col"; });
    for (const values of rows) {
      const row = body.insertRow();
      values.forEach((value, i) => {
        const made = cell(row, i ? "td" : "th", value.text ?? value, i > 0);
        if (value.color) { const dot = document.createElement("i"); dot.className = "dot"; dot.style.background = value.color; made.prepend(dot); }
      });
    }
    return made;
  }

  /* Genes that differ most between the selected spots and the others of the map, among those that are at hand. */
  async function genesOf(genes, chosen, spots, offset) {
    const inside = new Uint8Array(spots.n), found = [], others = spots.n - chosen.length;
    for (const i of chosen) inside[i] = 1;
    if (others) await genes.eachHere((gene, rows, shades) => {
      let own = 0, all = 0;
      for (let j = 0; j < rows.length; j++) {
        const i = rows[j] - offset;
        if (i < 0 || i >= spots.n) continue;
        all += shades[j];
        if (inside[i]) own += shades[j];
      }
      found.push([genes.names[gene], genes.value(gene, own / chosen.length), genes.value(gene, (all - own) / others)]);
    });
    return found.sort((a, b) => (b[1] - b[2]) - (a[1] - a[2])).slice(0, MOST_GENES).filter((row) => row[1] > row[2]);
  }

  /* The field in which a gene is typed: loads its expression, calls back, and says what is wrong. */
  function geneField(figure, genes, changed) {
    const pick = figure.querySelector(".gene-pick"), field = figure.querySelector(".gene-name"), note = figure.querySelector(".gene-note");
    const shown = { gene: -1, shades: null };
    if (!genes) return shown;
    const offered = figure.querySelector("datalist");
    offered.id = "genes-" + (geneField.made = (geneField.made ?? 0) + 1);
    field.setAttribute("list", offered.id);
    const say = (text) => { note.textContent = text; note.hidden = !text; field.setAttribute("aria-invalid", String(Boolean(text))); };
    async function show(gene) {
      shown.gene = gene;
      try {
        const shades = await genes.shades(gene);
        if (shown.gene !== gene) return; // another one was typed meanwhile
        shown.shades = shades;
        say("");
      } catch (error) {
        if (shown.gene === gene) { shown.gene = -1; say(error.message); }
      }
      changed();
    }
    field.addEventListener("input", () => {
      const gene = genes.find(field.value);
      if (gene >= 0) return show(gene);
      offered.replaceChildren(...genes.suggest(field.value).map((name) => { const option = document.createElement("option"); option.value = name; return option; }));
    });
    field.addEventListener("change", () => {
      if (field.value.trim() && genes.find(field.value) < 0) {
        say(`No gene ${field.value.trim()} here.` + (genes.leftOut ? ` ${genes.leftOut.toLocaleString("en")} genes are not in this report.` : ""));
      }
    });
    const choose = (gene) => { field.value = genes.names[gene]; return show(gene); };
    return Object.assign(shown, { pick, choose, start() { if (shown.gene < 0) choose(0); } });
  }

  /* The tools of a section: select spots by box or lasso, list them, save them; with addMap, a second map beside the first.
     Spots are counted by classes, if there are any: title, column of the CSV, class of each spot, list of name and color. */
  function wireExplorer(explorer, { spots, classes, unlabelled, genes, offset, name, link, addMap }) {
    const panel = explorer.querySelector(".selection"), count = panel.querySelector(".count"), tables = panel.querySelector(".tables");
    const tools = [...explorer.querySelectorAll("[data-tool]")];
    let chosen = [];
    function byClass(found) {
      const counts = new Map(), all = new Map(), { of, list, title } = classes;
      for (let i = 0; i < spots.n; i++) all.set(of[i], (all.get(of[i]) ?? 0) + 1);
      for (const i of found) counts.set(of[i], (counts.get(of[i]) ?? 0) + 1);
      const percent = (share) => (100 * share).toFixed(share < 0.1 ? 1 : 0) + " %";
      const rows = [...counts].sort((a, b) => b[1] - a[1]).map(([code, n]) => [
        { text: list[code]?.name ?? "none", color: list[code]?.color ?? unlabelled },
        n.toLocaleString("en"), percent(n / found.length), percent(n / all.get(code)),
      ]);
      return table([title, "Spots", "Of selection", "Of " + title.toLowerCase()], rows);
    }
    for (const button of tools) {
      button.addEventListener("click", () => {
        link.tool = button.dataset.tool;
        for (const other of tools) other.setAttribute("aria-pressed", String(other === button));
        for (const part of link.parts) part.moved();
      });
    }
    link.select = async (found) => {
      chosen = found;
      panel.hidden = !found.length;
      if (!found.length) return;
      count.textContent = `${found.length.toLocaleString("en")} of ${spots.n.toLocaleString("en")} spots selected.`;
      tables.replaceChildren(...(classes ? [byClass(found)] : []));
      if (!genes) return;
      const higher = await genesOf(genes, found, spots, offset);
      if (chosen !== found) return; // another selection was made meanwhile
      const shown = table([`Higher here, of ${genes.nHere().toLocaleString("en")} genes`, "Selected", "Others"], higher.map(([gene, own, rest]) => [gene, own.toFixed(2), rest.toFixed(2)]));
      tables.append(shown);
    };
    panel.querySelector(".clear").addEventListener("click", () => link.parts[0].clear());
    panel.querySelector(".save-spots").addEventListener("click", () => {
      const quoted = (text) => /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
      const classOf = (i) => classes ? [classes.list[classes.of[i]]?.name ?? ""] : [];
      const lines = chosen.map((i) => [name, spots.names[i], ...classOf(i)].map(quoted).join());
      const head = ["section", "obs_name", ...(classes ? [classes.column] : [])].join();
      save([head, ...lines, ""].join("\n"), `${name || "section"}_selected.csv`, "text/csv");
    });
    if (!addMap) return;
    const first = explorer.querySelector(".map"), blank = first.cloneNode(true);
    let second = null;
    explorer.querySelector(".two-maps").addEventListener("change", (event) => {
      if (!second) {
        second = blank;
        first.after(second);
        addMap(second);
      }
      second.hidden = !event.target.checked;
    });
    addMap(first);
  }

  return { makeGenes, geneField, wireExplorer, save: (map, name, format) => {
    const svg = map.svg();
    if (format === "svg") save(svg, name + ".svg", "image/svg+xml"); else rasterise(svg, (blob) => save(blob, name + ".png"));
  } };
})();
