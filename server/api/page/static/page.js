// The page works without this for reading. This renews it, asks before it drops, and runs the bench.
const EVERY_MS = 2000;
const status = document.getElementById("status");
let silent = 0;

function say(text) {
  status.textContent = text;
  clearTimeout(silent);
  silent = setTimeout(() => { status.textContent = ""; }, 6000);
}

function whisper(text) {
  document.getElementById("whisper").textContent = text;
}

function headers() {
  return { "Accept": "application/json", "X-Form-Token": document.body.dataset.formToken };
}

async function fault(reply) {
  if (reply.status === 401) {
    location.assign("/sign-in");
    return "Signed out.";
  }
  const said = await reply.json().catch(() => ({}));
  return said.error ?? `The server says ${reply.status}.`;
}

// -- the live view

const live = document.getElementById("live");
const freshness = document.getElementById("freshness");
const pause = document.getElementById("pause");
let paused = false, renewing = null;

function showFreshness(kind, text) {
  freshness.className = `freshness ${kind}`;
  document.getElementById("freshness-text").textContent = text;
}

// Of each part what the server sent last: what the browser makes of it differs.
const sent = new Map();

function put(text) {
  const next = new DOMParser().parseFromString(text, "text/html").body;
  const parts = [...next.querySelectorAll("[data-live]")];
  const same = parts.length === live.querySelectorAll("[data-live]").length && parts.every((part) => document.getElementById(part.id));
  const focused = document.activeElement?.id;
  if (!same) {
    live.replaceChildren(...next.childNodes);
    for (const part of parts) sent.set(part.id, part.outerHTML);
  } else {
    for (const part of parts) putPart(part);
  }
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus({ preventScroll: true });
}

function putPart(part) {
  const html = part.outerHTML, shown = document.getElementById(part.id);
  if (sent.get(part.id) === html) return;
  const news = part.dataset.announce;
  if (news && shown.dataset.announce !== news) whisper(news);
  sent.set(part.id, html);
  shown.replaceWith(document.adoptNode(part));
}

function renew() {
  renewing ??= look().finally(() => { renewing = null; });
  return renewing;
}

async function look() {
  try {
    const reply = await fetch("/live", { headers: headers(), cache: "no-store" });
    if (!reply.ok) throw new Error(await fault(reply));
    put(await reply.text());
    if (!paused) showFreshness("", "live");
  } catch (error) {
    if (!paused) showFreshness("lost", "no connection");
  }
}

async function ask(question) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}

async function act(form) {
  const question = form.dataset.confirm, button = form.querySelector("button");
  const part = form.closest("[data-live]")?.id, action = form.action, body = new URLSearchParams(new FormData(form));
  if (question && !await ask(question)) return;
  button.disabled = true;
  say("Working …");
  try {
    const reply = await fetch(action, { method: "POST", headers: headers(), body });
    say(reply.ok ? (await reply.json()).said : await fault(reply));
  } catch (error) {
    say("The server does not answer.");
  }
  button.disabled = false;
  await renewing;  // which may have begun before the change
  await renew();
  // Where the button is gone, whoever uses the keyboard goes on at its section.
  if (document.activeElement === document.body) document.querySelector(`#${part} h2`)?.focus();
}

if (live) {
  freshness.hidden = pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    showFreshness(paused ? "paused" : "", paused ? "paused" : "live");
    if (!paused) renew();
  });
  live.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-action]")) return;
    event.preventDefault();
    act(event.target);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) renew(); });
  setInterval(() => { if (!document.hidden && !paused) renew(); }, EVERY_MS);
}

// -- the bench

const bench = document.getElementById("bench-form");

function readyBench() {
  const input = document.getElementById("picture"), drop = document.getElementById("drop");
  const preview = document.getElementById("preview"), result = document.getElementById("result");
  const go = document.getElementById("attack-go"), cancel = document.getElementById("attack-cancel");
  const progress = document.getElementById("attack-progress"), told = document.getElementById("attack-status");
  let shown = "", running = null;

  input.classList.add("visually-hidden");
  input.tabIndex = -1;
  input.required = false;
  bench.querySelector(".pick label").htmlFor = "drop";
  drop.hidden = false;

  function look() {
    const file = input.files[0];
    if (shown) URL.revokeObjectURL(shown);
    shown = file ? URL.createObjectURL(file) : "";
    preview.hidden = !file;
    if (file) preview.src = shown;
    document.getElementById("drop-name").textContent = file ? file.name : "Choose a picture";
  }

  function take(files) {
    const picture = [...files].find((file) => file.type.startsWith("image/"));
    if (!picture) {
      say("That is no picture.");
      return;
    }
    const moved = new DataTransfer();
    moved.items.add(picture);
    input.files = moved.files;
    look();
    answer();
  }

  function hasPicture() {
    if (input.files.length) return true;
    say("Choose a picture first.");
    drop.focus();
    return false;
  }

  function show(html, name) {
    const part = new DOMParser().parseFromString(html, "text/html").body;
    result.querySelector(`.${name}`)?.remove();
    if (name === "answer") result.replaceChildren(...part.childNodes);
    else result.prepend(...part.childNodes);
  }

  async function answer() {
    if (!hasPicture()) return;
    running?.abort();
    whisper("Asking …");
    try {
      const body = new FormData(bench);
      const reply = await fetch("/bench", { method: "POST", headers: headers(), body });
      if (!reply.ok) {
        say(await fault(reply));
        return;
      }
      show((await reply.json()).html, "answer");
      whisper("Answered.");
    } catch (error) {
      say("The server does not answer.");
    }
  }

  function step(line) {
    const said = JSON.parse(line);
    if (said.error) throw new Error(said.error);
    if (said.html) {
      show(said.html, "outcome");
      told.textContent = "Done.";
      result.focus({ preventScroll: true });
      result.querySelector(".outcome").scrollIntoView({ block: "nearest" });
      return;
    }
    progress.max = said.steps;
    progress.value = said.step;
    const flipped = said.flipped_at ? `, another answer at ${said.flipped_at}` : "";
    told.textContent = `Candidate ${said.step} of ${said.steps}${flipped}`;
  }

  async function follow(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) step(line);
    }
  }

  function busy(is) {
    progress.hidden = cancel.hidden = !is;
    go.disabled = is;
  }

  async function attack() {
    if (!hasPicture()) return;
    running = new AbortController();
    busy(true);
    progress.removeAttribute("value");
    told.textContent = "Begins …";
    cancel.focus();
    try {
      const body = new FormData(bench);
      const reply = await fetch("/bench/attack", { method: "POST", headers: headers(), body, signal: running.signal });
      if (!reply.ok) throw new Error(await fault(reply));
      await follow(reply);
    } catch (error) {
      told.textContent = error.name === "AbortError" ? "Cancelled." : error.message;
    }
    running = null;
    const held = document.activeElement === cancel;
    busy(false);
    if (held) go.focus();
  }

  drop.addEventListener("click", () => input.click());
  input.addEventListener("change", () => { look(); if (input.files.length) answer(); });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
  document.addEventListener("paste", (event) => { if (event.clipboardData?.files.length) take(event.clipboardData.files); });
  bench.addEventListener("submit", (event) => { event.preventDefault(); answer(); });
  go?.addEventListener("click", attack);
  cancel?.addEventListener("click", () => running?.abort());
  for (const norm of bench.querySelectorAll("[name=norm]")) {
    norm.addEventListener("change", () => { document.getElementById("epsilon").value = norm.value === "linf" ? "8/255" : "0.5"; });
  }
}

if (bench) readyBench();
