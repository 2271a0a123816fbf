// SPDX-License-Identifier: Apache-2.0
// The operator's page: what the server says onto the screen, what the operator does back.

import { Cameras } from "./cameras.js";
import { byId, fill, make, retag, say } from "./dom.js";
import { Link } from "./link.js";
import { Plot } from "./plot.js";
import * as show from "./sections.js";

const PROVEN_MS = 1000;
const DRAG_MS = 100;
// So long after somebody moved it, the slider is not moved to what is asked for: that is still on its way.
const DRAGGED_MS = 1000;
const MOST_ANSWERS = 6;
const BUTTONS = [
  ...["start", "stop", "reset", "take_over", "give_back", "save_black_box", "check_preflight"],
  ...["demonstration_begin", "demonstration_re_record", "demonstration_finish"],
];
// As JudgeEpisode numbers them.
const VERDICTS = { succeeded: 0, failed: 1, discarded: 2 };

const known = {};
const cameras = new Cameras();
const plot = new Plot();
let you = null;
let draggedAt = -Infinity;

const sections = {
  robot(robot) {
    say("robot", `${robot.robot}${robot.namespace === "/" ? "" : ` ${robot.namespace}`}`);
    document.title = `${robot.robot} · SwiftVLA operator`;
    cameras.open(robot.cameras);
    plot.open(robot.joints);
    show.openJoints(robot);
  },
  executor(section) {
    show.executor(section);
    showHand();
    if (section) plot.executor(section);
    if (section && performance.now() - draggedAt > DRAGGED_MS) speedAsked(section.speed_asked);
  },
  joints: (section) => known.robot && show.joints(known.robot, section),
  chunk(section) {
    plot.chunk(section);
    cameras.show(section.paths);
  },
  policy: show.policy,
  latency: show.latency,
  topics: show.topics,
  instructions: show.history,
  preflight: show.preflight,
  monitors: (section) => show.monitors(section, known.limits || []),
  limits: (section) => show.monitors(known.monitors || [], section),
  problems: (section) => cameras.problems(section),
  demonstration: show.demonstration,
  teleop: showHand,
  operators: showHand,
  health: show.health,
};

const link = new Link({
  state(message) {
    you = message.you;
    Object.assign(known, message.sections);
    // The robot first: others need its joints.
    for (const name of Object.keys(sections)) if (name in message.sections) sections[name](message.sections[name]);
    if (["topics", "disk", "policy"].some((name) => name in message.sections)) show.drops(known.policy, known.executor, known.disk, you);
    showControls();
    showStopWay();
  },
  frame: (camera, _stamp, blob) => cameras.frame(camera, blob),
  answer(message) {
    if (message.do === "read_card" && message.ok) return;
    const sign = message.ok ? "●" : "■";
    byId("answers").prepend(make("li", message.ok ? "good" : "bad", `${sign} ${(message.do || "").replaceAll("_", " ")}: ${message.text}`));
    while (byId("answers").children.length > MOST_ANSWERS) byId("answers").lastChild.remove();
  },
  alive(live) {
    byId("lost").classList.toggle("shown", !live);
    document.body.classList.toggle("dead", !live);
    showStopWay();
    showControls();
  },
});

function showControls() {
  if (!you || !link.live) {
    retag("link", "bad", "connection lost");
    return;
  }
  retag("link", "good", you.round_trip_ms === null ? "connected" : `connected · ${Math.round(you.round_trip_ms)} ms`);
  document.body.classList.toggle("watching", !you.holds);
  byId("link").classList.add("chip");
  const others = you.pages > 1 ? ` · ${you.pages} pages` : "";
  const holder = you.holds ? "you hold the controls" : you.holder ? `${you.holder} holds the controls${you.gone ? ", and is gone" : ""}` : "nobody holds the controls";
  retag("holder", you.holds ? "good" : "quiet", `${holder}${others}`);
  byId("holder").classList.add("chip");
  byId("take").hidden = you.holds;
  say("take", you.holder && !you.gone && !you.holds ? (you.asking.includes(you.name) ? "Asked; waiting" : "Ask for the controls") : "Take the controls");
  byId("give").hidden = !you.holds;
  byId("request").hidden = !(you.holds && you.asking.length);
  if (you.asking.length) fill("request", make("b", "", "ASKED"), ` ${you.asking.join(", ")} asks for the controls: give them away, or keep them`);
  for (const control of document.querySelectorAll(".control")) control.disabled = !you.holds;
}

function showStopWay() {
  const way = known.stop_way;
  const age = you ? you.node_age_ms : Infinity;
  let why = "";
  if (!link.live) why = "the connection is lost";
  else if (!way || !you || you.round_trip_ms === null) why = "not proven yet";
  else if (age > PROVEN_MS) why = "the node behind this page stands still";
  else if (you.round_trip_ms > PROVEN_MS) why = `the way there and back takes ${Math.round(you.round_trip_ms)} ms`;
  else if (!way.alive) why = way.why;
  byId("emergency").classList.toggle("dead", Boolean(why));
  byId("emergency").classList.toggle("proven", !why);
  say("stop-way", why ? `✕ DEAD: ${why}` : `✓ way proven within the last second`);
}

function showHand() {
  show.hand(known.teleop, known.operators, known.executor);
}

/** Where the slider stands on every page: at what operators ask for, by the topic and the executor's word. */
function speedAsked(percent) {
  if (percent !== null) byId("speed").value = String(percent);
  say("speed-asked", percent === null ? "not known" : `${percent} %`);
}

async function readCard() {
  const answer = await link.order("read_card", { text: byId("checkpoint").value.trim() });
  byId("card").hidden = !answer.ok;
  say("card", answer.ok ? answer.text : "");
}

const order = (what, more) => link.order(what, more);

byId("emergency").addEventListener("click", () => order("emergency_stop"));
byId("take").addEventListener("click", () => order("take_controls"));
byId("give").addEventListener("click", () => order("give_controls"));
for (const id of BUTTONS) byId(id).addEventListener("click", () => order(id));
for (const [id, verdict] of Object.entries(VERDICTS)) {
  byId(id).addEventListener("click", () => order("demonstration_judge", { number: verdict, text: byId("note").value.trim() }));
}
byId("demonstration_instruct").addEventListener("click", () => order("demonstration_instruct", { text: byId("shown").value.trim() }));
byId("read_card").addEventListener("click", readCard);
byId("use_checkpoint").addEventListener("click", () => order("use_checkpoint", { text: byId("checkpoint").value.trim() }));
byId("instruct").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("instruction").value.trim();
  if (text) order("instruct", { text });
});
byId("history").addEventListener("click", (event) => {
  if (event.target.dataset.text === undefined) return;
  byId("instruction").value = event.target.dataset.text;
  byId("instruction").focus();
});

let dragging = 0;
byId("speed").addEventListener("input", () => {
  draggedAt = performance.now();
  say("speed-asked", `${byId("speed").value} %`);
  if (dragging) return;
  // What the slider ends on is always sent.
  dragging = setTimeout(() => {
    dragging = 0;
    order("speed", { number: Number(byId("speed").value) });
  }, DRAG_MS);
});

const isText = (element) => element instanceof HTMLInputElement && ["text", "password"].includes(element.type);

function key(event) {
  if (event.key === "Escape") {
    event.preventDefault();
    if (event.type === "keydown" && !event.repeat) order("emergency_stop");
  } else if (event.key === " " && !isText(event.target)) {
    // Also on a button that has the focus: space never starts anything here; Enter presses buttons.
    event.preventDefault();
    if (event.type === "keydown" && !event.repeat) order("stop");
  }
}
document.addEventListener("keydown", key, { capture: true });
document.addEventListener("keyup", key, { capture: true });
