"use strict";
// The page without this script shows everything, and each picture leads to its video. With it: rows play in step,
// filters, the larger view. Nothing is loaded but the videos on screen.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent);
  const VIEWS = ["videos", "problems", "charts"];
  const TOLERANCE_SECONDS = 0.015; // further astray than this, a video runs a little faster or slower
  const LEAD_SECONDS = 0.06; // what the clock may be before the slowest video: less than a frame at 15 a second
  const AHEAD_SECONDS = 0.5; // where a late video goes to wait for the clock
  const PATIENCE_SECONDS = 3; // with a video that does not load, or stands still
  const SETTLE_MILLISECONDS = 120; // what is only scrolled past is not loaded
  document.documentElement.classList.add("scripted");

  // In step: one clock a group. Its videos gather at one place, start together, and play by themselves; the clock waits
  // for the slowest, whoever is ahead waits for the clock, and at the end all gather at the start again. To seek a video
  // that is behind would make it later still: these have one keyframe, and are decoded from there.

  class Group {
    constructor(root, frames, fps) {
      Object.assign(this, { root, frames, fps, position: 0, duration: frames / fps });
      this.videos = new Map(); // to how it does: in step, sent how far ahead, standing still for how long
      this.scrub = $(".scrub", root);
      this.number = $(".frame-number", root);
      this.button = $(".play", root);
      this.scrub.max = frames - 1;
      this.button.addEventListener("click", () => this.set(!this.playing));
      this.scrub.addEventListener("input", () => {
        this.set(false);
        this.show(Number(this.scrub.value));
      });
      this.set(autoplay);
    }

    get frame() {
      return Math.min(Math.floor(this.position * this.fps + 1e-6), this.frames - 1);
    }

    set(playing) {
      this.playing = playing;
      this.button.textContent = playing ? "\u275a\u275a" : "\u25b6";
      this.button.setAttribute("aria-pressed", String(playing));
      for (const video of this.videos.keys()) video.pause();
      if (playing) this.gather(this.position);
      else this.show(this.frame);
      showPlaying();
    }

    /** Stand still on a frame: in its middle, where no rounding reaches the next one. */
    show(frame) {
      this.position = (((frame % this.frames) + this.frames) % this.frames) / this.fps;
      for (const video of this.videos.keys()) if (video.readyState) video.currentTime = this.position + 0.5 / this.fps;
      this.tell();
    }

    tell() {
      const frame = this.frame;
      if (this.told === frame) return;
      this.told = frame;
      this.scrub.value = frame;
      this.scrub.setAttribute("aria-valuetext", `frame ${frame + 1} of ${this.frames}`);
      this.number.textContent = `${frame + 1} / ${this.frames}`;
    }

    add(video) {
      this.videos.set(video, { inStep: false, ahead: 0, still: 0, last: -1 });
      video.addEventListener("loadedmetadata", () => {
        if (!this.playing) video.currentTime = this.position + 0.5 / this.fps;
      });
      if (this.playing && ![...this.videos.values()].some((each) => each.inStep)) this.gather(this.position);
    }

    gather(position) {
      Object.assign(this, { position, gathering: true, waited: 0 });
      for (const [video, each] of this.videos) {
        Object.assign(each, { inStep: false, ahead: 0, still: 0, last: -1 });
        video.pause();
        video.playbackRate = 1;
        if (video.readyState && Math.abs(video.currentTime - position) > 0.5 / this.fps) video.currentTime = position;
      }
    }

    /** Stop for as long as nobody calls `tick`, and gather again after that. */
    rest() {
      if (this.playing) this.gather(this.position);
    }

    tick(seconds) {
      if (!this.playing || !this.videos.size) return;
      if (this.gathering) this.await(seconds);
      else this.advance(seconds);
    }

    await(seconds) {
      const all = [...this.videos.keys()].filter((video) => !video.error);
      const ready = all.filter((video) => video.readyState >= 3 && !video.seeking && this.isNear(video));
      this.waited += seconds;
      for (const video of all) {
        if (video.readyState && !video.seeking && !this.isNear(video)) video.currentTime = this.position;
      }
      if (!ready.length || (ready.length < all.length && this.waited < PATIENCE_SECONDS)) return;
      this.gathering = false;
      for (const video of ready) {
        this.videos.get(video).inStep = true;
        start(video);
      }
    }

    isNear(video) {
      return Math.abs(video.currentTime - this.position) <= 1 / this.fps;
    }

    advance(seconds) {
      let slowest = Infinity;
      let numInStep = 0;
      for (const [video, each] of this.videos) {
        if (!each.inStep) this.join(video, each);
        if (!each.inStep) continue;
        each.still = video.currentTime === each.last && !video.paused ? each.still + seconds : 0;
        each.last = video.currentTime;
        if (video.error || each.still > PATIENCE_SECONDS) each.inStep = false;
        else numInStep += 1;
        if (each.inStep && !video.ended) slowest = Math.min(slowest, video.currentTime);
      }
      if (!numInStep) return this.gather(0);
      this.position = Math.max(this.position, Math.min(this.position + seconds, slowest + LEAD_SECONDS));
      if (this.position >= this.duration - 0.01) return this.gather(0);
      for (const [video, each] of this.videos) {
        if (!each.inStep || video.ended) continue;
        const ahead = video.currentTime - this.position;
        if (video.paused) {
          if (ahead < LEAD_SECONDS / 2) start(video);
        } else if (ahead > 2 * LEAD_SECONDS) {
          video.pause();
        } else {
          setRate(video, Math.abs(ahead) < TOLERANCE_SECONDS ? 1 : Math.min(Math.max(1 - ahead, 0.9), 1.1));
        }
      }
      this.tell();
    }

    /** A video that came late is sent ahead, and starts when the clock comes by. If it comes too late even there, it is
     * sent further, and at last waits for the next round. */
    join(video, each) {
      if (video.error || !video.readyState || video.seeking) return;
      const ahead = video.currentTime - this.position;
      if (!each.ahead || (ahead < -LEAD_SECONDS && each.ahead < this.duration)) {
        each.ahead = each.ahead ? 2 * each.ahead : AHEAD_SECONDS;
        video.currentTime = Math.min(this.position + each.ahead, this.duration);
      } else if (video.readyState >= 3 && Math.abs(ahead) < LEAD_SECONDS) {
        each.inStep = true;
        start(video);
      }
    }
  }

  const start = (video) => video.play().catch(() => {}); // a pause that comes before it has started

  const setRate = (video, rate) => {
    if (Math.abs(video.playbackRate - rate) > 0.01 || rate === 1) video.playbackRate = rate;
  };

  let autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const groups = new Map(); // by row, while any of its videos is on screen
  const playAll = $("#play-all");

  function showPlaying() {
    const playing = [...groups.values()].some((group) => group.playing && group.videos.size) || (!groups.size && autoplay);
    playAll.textContent = playing ? "Pause" : "Play";
    playAll.setAttribute("aria-pressed", String(playing));
  }

  function toggleAll() {
    autoplay = playAll.getAttribute("aria-pressed") !== "true";
    for (const group of groups.values()) group.set(autoplay);
    if (closer.group) closer.group.set(autoplay);
    showPlaying();
  }

  function addVideo(frame, group) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", disableRemotePlayback: true });
    video.tabIndex = -1;
    video.setAttribute("aria-hidden", "true");
    video.style.visibility = "hidden"; // the picture stays until the first frame is there
    video.addEventListener("loadeddata", () => (video.style.visibility = ""));
    video.addEventListener("error", () => frame.classList.add("unplayable"));
    video.src = frame.dataset.src;
    frame.append(video);
    group.add(video);
    return video;
  }

  function removeVideo(video, group) {
    group.videos.delete(video);
    video.pause();
    video.removeAttribute("src");
    video.load(); // lets go of the file and the decoder
    video.remove();
  }

  let before = performance.now();
  function tick(now) {
    const seconds = Math.min((now - before) / 1000, 0.2);
    before = now;
    if (closer.group) closer.group.tick(seconds);
    else for (const group of groups.values()) group.tick(seconds);
    requestAnimationFrame(tick);
  }

  // Only what is on screen has a video.

  const rowElements = $$(".row");
  const rowGroup = (row) => {
    const number = Number(row.dataset.row);
    if (!groups.has(number)) groups.set(number, new Group(row, data.rows[number].frames, data.rows[number].fps));
    return groups.get(number);
  };
  const waiting = new Map();
  const playing = new Map();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(waiting.get(target));
      waiting.delete(target);
      if (isIntersecting && !playing.has(target)) {
        waiting.set(target, setTimeout(() => {
          waiting.delete(target);
          const group = rowGroup(target.closest(".row"));
          playing.set(target, [addVideo(target, group), group]);
          showPlaying();
        }, SETTLE_MILLISECONDS));
      } else if (!isIntersecting && playing.has(target)) {
        const [video, group] = playing.get(target);
        playing.delete(target);
        removeVideo(video, group);
        showPlaying();
      }
    }
  });
  for (const frame of $$(".frame[data-src]")) observer.observe(frame);
  for (const row of rowElements) {
    // Before its videos are there, a row's controls make its clock.
    row.addEventListener("pointerdown", () => rowGroup(row), { capture: true });
    row.addEventListener("focusin", () => rowGroup(row));
  }

  // Filters, which stand in the address.

  const figures = $$(".result", $("#rows"));
  const texts = figures.map((figure, number) =>
    [data.videos[number].id, $(".prompt", figure).textContent, $(".why", figure)?.textContent ?? ""].join("\n").normalize("NFC").toLowerCase());
  const search = $("#search");
  const order = $("#order");
  const single = $$("select[data-filter]");
  const chips = $$(".chip[data-filter]");
  let view = "videos";

  function chosen() {
    const filters = new Map();
    for (const select of single) if (select.value) filters.set(select.dataset.filter, [select.value]);
    for (const chip of chips) {
      if (chip.getAttribute("aria-pressed") !== "true") continue;
      const { filter, value } = chip.dataset;
      filters.set(filter, [...(filters.get(filter) ?? []), value]);
    }
    return filters;
  }

  const matches = {
    category: (video, values) => values.includes(video.category),
    state: (video, values) => values.includes(video.state),
    seed: (video, values) => values.includes(video.seed),
    prompt: (video, values) => values.includes(video.prompt),
    flag: (video, values) => video.flags.some((flag) => values.includes(flag)),
  };

  function apply() {
    const filters = [...chosen()];
    const words = search.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
    const shown = data.videos.map((video, number) =>
      filters.every(([name, values]) => matches[name](video, values)) && words.every((word) => texts[number].includes(word)));
    const counts = new Array(data.rows.length).fill(0);
    figures.forEach((figure, number) => {
      figure.hidden = !shown[number];
      counts[data.videos[number].row] += shown[number];
    });
    rowElements.forEach((row) => (row.hidden = !counts[row.dataset.row]));
    const numVideos = shown.filter(Boolean).length;
    const numRows = counts.filter(Boolean).length;
    $("#showing").textContent = `${numVideos} of ${data.videos.length} videos, ${numRows} of ${data.rows.length} references`;
    $("#nothing").hidden = numVideos > 0;
    $("#clear").hidden = !filters.length && !words.length;
    sort(shown);
  }

  const NOT_THERE = ["failed", "corrupt", "changed", "missing"];
  const collator = new Intl.Collator(undefined, { numeric: true });
  let sorted = "";
  function sort(shown) {
    if (order.value === sorted && !order.value) return;
    sorted = order.value;
    const least = new Array(data.rows.length).fill(Infinity);
    const worst = new Array(data.rows.length).fill(0);
    data.videos.forEach((video, number) => {
      if (!shown[number]) return;
      least[video.row] = Math.min(least[video.row], video.likeness ?? Infinity);
      worst[video.row] += NOT_THERE.includes(video.state) ? 1000 : video.flags.length;
    });
    const by = {
      "": () => 0,
      name: (a, b) => collator.compare(data.rows[a].name, data.rows[b].name),
      likeness: (a, b) => (least[a] === least[b] ? 0 : least[a] - least[b]),
      problems: (a, b) => worst[b] - worst[a],
    }[order.value];
    const wanted = rowElements.map((row) => Number(row.dataset.row)).sort((a, b) => by(a, b) || a - b);
    const elements = new Map(rowElements.map((row) => [Number(row.dataset.row), row]));
    $("#rows").append(...wanted.map((number) => elements.get(number)));
  }

  function address() {
    const parameters = new URLSearchParams();
    if (view !== "videos") parameters.set("view", view);
    for (const [name, values] of chosen()) for (const value of values) parameters.append(name, value);
    if (search.value) parameters.set("q", search.value);
    if (order.value) parameters.set("order", order.value);
    if (closer.element.open) parameters.set("video", data.videos[closer.number].id);
    return `#${parameters}`;
  }

  function remember() {
    try {
      history.replaceState(null, "", address());
    } catch {
      // an address that the browser does not want changed is no reason to stop
    }
  }

  function recall() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    for (const select of single) setValue(select, parameters.get(select.dataset.filter));
    for (const chip of chips) chip.setAttribute("aria-pressed", String(parameters.getAll(chip.dataset.filter).includes(chip.dataset.value)));
    search.value = parameters.get("q") ?? "";
    setValue(order, parameters.get("order"));
    show(VIEWS.includes(parameters.get("view")) ? parameters.get("view") : "videos");
    apply();
    const number = data.videos.findIndex((video) => video.id === parameters.get("video"));
    if (number >= 0) closer.open(number);
    else if (closer.element.open) closer.element.close();
  }

  function setValue(select, value) {
    select.value = value ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }

  function changed() {
    apply();
    remember();
  }

  function show(name) {
    view = name;
    for (const each of VIEWS) $(`#${each}`).hidden = each !== name;
    for (const button of $$("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }

  function go(name) {
    show(name);
    scrollTo(0, 0);
    remember();
  }

  for (const button of $$("[data-view]")) button.addEventListener("click", () => go(button.dataset.view));
  for (const select of [...single, order]) select.addEventListener("change", changed);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      changed();
    });
  }
  search.addEventListener("input", changed);
  $("#clear").addEventListener("click", () => {
    for (const select of single) select.value = "";
    for (const chip of chips) chip.setAttribute("aria-pressed", "false");
    search.value = "";
    changed();
    search.focus();
  });
  addEventListener("hashchange", recall);
  if (matchMedia("(max-width: 720px)").matches) $(".filters").open = false;

  // One video larger, beside its reference.

  const closer = {
    element: $("#closer"),
    group: null,
    number: 0,

    open(number) {
      this.leave();
      for (const group of groups.values()) group.rest();
      this.number = number;
      const video = data.videos[number];
      const row = data.rows[video.row];
      const figure = figures[number];
      this.group = new Group(this.element, row.frames, row.fps);
      this.element.style.setProperty("--aspect", figure.closest(".row").style.getPropertyValue("--aspect"));
      const title = $("#closer-title");
      title.replaceChildren(bdi(row.name), ` \u00b7 prompt ${video.prompt} \u00b7 seed ${video.seed}`);
      this.fill($(".reference", this.element), row, "Reference", "there is no preview of the reference");
      this.fill($(".result", this.element), video, "Result", `${video.state}: ${$(".why", figure)?.textContent ?? ""}`);
      $(".prompt", this.element).textContent = $(".prompt", figure).textContent;
      const shown = facts(video).map(([name, value]) => [name, String(value)]);
      shown.sort(([, a], [, b]) => isLong(a) - isLong(b));
      $("dl", this.element).replaceChildren(...shown.map(([name, value]) => {
        const pair = document.createElement("div");
        if (isLong(value)) pair.className = "long";
        pair.append(text("dt", name), text("dd", value));
        return pair;
      }));
      if (!this.element.open) this.element.showModal();
      remember();
    },

    fill(figure, source, caption, otherwise) {
      const frame = document.createElement("div");
      frame.className = source.src ? "frame" : "frame empty";
      if (source.src) {
        frame.dataset.src = source.src;
        if (source.poster) {
          const picture = document.createElement("img");
          Object.assign(picture, { src: source.poster, alt: "" });
          frame.append(picture);
        }
        addVideo(frame, this.group);
      } else {
        frame.append(text("span", otherwise));
      }
      figure.replaceChildren(frame, text("figcaption", caption));
    },

    step(by) {
      for (let number = this.number + by; number >= 0 && number < data.videos.length; number += by) {
        if (!figures[number].hidden) return this.open(number);
      }
    },

    leave() {
      if (!this.group) return;
      for (const video of [...this.group.videos.keys()]) removeVideo(video, this.group);
      // Another group takes the buttons over, so the old one's listeners go with the old buttons.
      for (const control of $$(".play, .scrub", this.element)) control.replaceWith(control.cloneNode(true));
      this.group = null;
    },
  };

  const isLong = (value) => value.length > 48;
  const text = (tag, content) => Object.assign(document.createElement(tag), { textContent: content });
  const bdi = (content) => text("bdi", content);

  function facts(video) {
    const settings = data.settings[video.settings];
    const seconds = Object.entries(video.seconds ?? {});
    const total = seconds.reduce((sum, [, value]) => sum + value, 0);
    return [
      ["Video", video.id],
      ["State", video.state],
      ["Flags", video.flags.join(", ")],
      ["Moves like its reference", video.likeness?.toFixed(2)],
      ["Its camera does", video.camera?.toFixed(2)],
      ["Its speed, of the reference's", video.speed?.toFixed(2)],
      ["Attempts", video.attempts || ""],
      ["Went on after step", video.resumed?.join(", ")],
      ["Made", video.finished && `${video.started} to ${video.finished}`],
      ["Seconds", seconds.length ? `${total.toFixed(1)}: ${seconds.map(([name, value]) => `${name} ${value.toFixed(1)}`).join(", ")}` : ""],
      ["Rank", video.rank ?? ""],
      ["Device", video.device],
      ["Model", video.model],
      ["Reference in the first latent", video.share != null ? `${(100 * video.share).toFixed(1)} %` : ""],
      ["Run", video.run],
      ...Object.entries(settings).map(([name, value]) => [name.replaceAll("_", " "), value]),
    ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  }

  closer.element.addEventListener("close", () => {
    closer.leave();
    remember();
  });
  $("#closer-previous").addEventListener("click", () => closer.step(-1));
  $("#closer-next").addEventListener("click", () => closer.step(1));
  for (const button of $$("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const dialog of $$("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  $("#rows").addEventListener("click", (event) => {
    const frame = event.target.closest(".result .frame");
    if (!frame || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    closer.open(Number(frame.closest(".result").dataset.video));
  });
  for (const link of $$("[data-show]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      closer.open(Number(link.dataset.show));
    });
  }

  // Keys, theme.

  function currentRow(by) {
    const shown = $$(".row", $("#rows")).filter((row) => !row.hidden);
    let at = shown.findIndex((row) => row.contains(document.activeElement));
    const top = $(".filters").getBoundingClientRect().bottom;
    if (at < 0) at = by > 0 ? shown.findIndex((row) => row.getBoundingClientRect().top >= top - 1) - by : shown.findIndex((row) => row.getBoundingClientRect().bottom > top + 1) - by;
    return shown[Math.min(Math.max(at + by, 0), shown.length - 1)];
  }

  function moveTo(row) {
    if (!row) return;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "start" });
  }

  function stepFrame(by) {
    const row = document.activeElement?.closest(".row") ?? currentRow(0);
    if (!row) return;
    const group = rowGroup(row);
    const frame = group.frame;
    if (group.playing) group.set(false);
    group.show(frame + by);
  }

  const THEMES = ["system", "light", "dark"];
  const themeButton = $("#theme");
  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    themeButton.textContent = `Theme: ${theme}`;
    try {
      localStorage.setItem("wan-ddp-theme", theme);
    } catch {
      // not remembered, then
    }
  }
  function nextTheme() {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  }
  let remembered = null;
  try {
    remembered = localStorage.getItem("wan-ddp-theme");
  } catch {
    // as the system has it
  }
  setTheme(THEMES.includes(remembered) ? remembered : "system");
  themeButton.addEventListener("click", nextTheme);
  playAll.addEventListener("click", toggleAll);
  $("#help-open").addEventListener("click", () => $("#help").showModal());

  const keys = {
    " ": toggleAll,
    ArrowDown: () => moveTo(currentRow(1)),
    ArrowUp: () => moveTo(currentRow(-1)),
    ArrowRight: () => stepFrame(1),
    ArrowLeft: () => stepFrame(-1),
    "/": () => {
      show("videos");
      $(".filters").open = true;
      search.focus();
      search.select();
    },
    "?": () => $("#help").showModal(),
    t: nextTheme,
    v: () => go("videos"),
    p: () => go("problems"),
    c: () => go("charts"),
  };
  const inCloser = { " ": toggleAll, ArrowRight: () => closer.step(1), ArrowLeft: () => closer.step(-1) };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target, key } = event;
    if (target.matches("input, select, textarea")) {
      if (key === "Escape" && target === search) search.blur();
      return;
    }
    if (key === " " && target.closest("button, summary")) return;
    const open = closer.element.open ? inCloser : $("#help").open ? {} : keys;
    const act = open[key];
    if (!act || (view !== "videos" && key.startsWith("Arrow") && open === keys)) return;
    event.preventDefault();
    act();
  });

  recall();
  requestAnimationFrame(tick);
})();
