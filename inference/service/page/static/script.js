"use strict";

// The slider of the operating point: it moves the marker and the figures that the server computed, and rests at what is
// certified where that is near.
const slider = document.getElementById("at");
if (slider && slider.dataset.stops) {
  const stops = JSON.parse(slider.dataset.stops);
  const near = share => {
    const certified = stops.filter(stop => stop.target && Math.abs(stop.share - share) <= 0.012);
    const among = certified.length ? certified : stops;
    return among.reduce((best, stop) => Math.abs(stop.share - share) < Math.abs(best.share - share) ? stop : best);
  };
  const marker = document.getElementById("marker");
  const [line] = marker.getElementsByTagName("line");
  const bottom = Number(line.getAttribute("y2")) + Number(/ ([-\d.]+)\)/.exec(marker.getAttribute("transform"))[1]);
  const show = () => {
    const stop = near(slider.value / 100);
    marker.setAttribute("transform", `translate(${stop.x} ${stop.y})`);
    line.setAttribute("y1", 10 - stop.y);
    line.setAttribute("y2", bottom - stop.y);
    for (const place of document.querySelectorAll("[data-at]")) place.textContent = stop[place.dataset.at];
    slider.setAttribute("aria-valuetext", `${stop.answered} answered, ${stop.agreement} right, ${stop.promise}`);
    return stop;
  };
  slider.addEventListener("input", show);
  slider.addEventListener("change", () => { slider.value = show().share * 100; });
}

// The review queue: one key for each intent, undo, progress. Without it the form works as it stands.
const form = document.getElementById("review");
if (form) {
  const queries = [...form.querySelectorAll(".query")];
  const progress = document.getElementById("progress");
  const keys = document.getElementById("keys");
  const done = [];
  const chosen = new Map();
  let now = 0;
  let saving = false;
  const mark = place => {
    now = place;
    queries.forEach((query, i) => query.classList.toggle("now", i === now));
  };
  const field = query => query.querySelector("input:checked, select");
  const decided = () => queries.filter(query => field(query) && field(query).value).length;
  const tell = word => { progress.textContent = `${word}${decided()} of ${queries.length} on this page are decided`; };
  const go = place => {
    mark(Math.max(0, Math.min(queries.length - 1, place)));
    queries[now].scrollIntoView({ block: "nearest" });
    queries[now].querySelector(".text").focus({ preventScroll: true });
  };
  const undo = () => {
    const last = done.pop();
    if (!last) return;
    last.query.querySelectorAll("input").forEach(input => { input.checked = input === last.before; });
    chosen.set(last.query, last.before);
    go(queries.indexOf(last.query));
    tell("Undone. ");
  };
  const record = (query, input) => {
    done.push({ query, before: chosen.get(query) });
    chosen.set(query, input);
    tell(`${input.value}. `);
  };
  const choose = (query, input) => {
    input.checked = true;
    go(queries.indexOf(query) + 1);
    record(query, input);
  };
  document.getElementById("help").hidden = false;
  tell("");
  go(0);
  // A key is for the query where the person is, however they came there: by Tab, by touch or by mouse.
  const follow = event => {
    const query = event.target.closest(".query");
    if (query) mark(queries.indexOf(query));
  };
  form.addEventListener("focusin", follow);
  form.addEventListener("pointerdown", follow);
  form.addEventListener("change", event => {
    if (event.target.type === "radio") record(event.target.closest(".query"), event.target); else tell("");
  });
  form.addEventListener("submit", () => { saving = true; });
  addEventListener("beforeunload", event => { if (decided() && !saving) event.preventDefault(); });
  addEventListener("keydown", event => {
    const elsewhere = event.target !== document.body && !form.contains(event.target);
    if (!keys.checked || elsewhere || event.ctrlKey || event.metaKey || event.altKey || /^(select|textarea)$/i.test(event.target.tagName)) return;
    const key = event.key.toLowerCase();
    const moves = { u: undo, j: () => go(now + 1), k: () => go(now - 1), s: () => form.requestSubmit() };
    const label = [...queries[now].querySelectorAll(".choice")].find(one => one.querySelector("kbd").textContent === key);
    if (!moves[key] && !label) return;
    event.preventDefault();
    if (moves[key]) moves[key](); else choose(queries[now], label.querySelector("input"));
  });
}
