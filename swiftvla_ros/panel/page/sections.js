// SPDX-License-Identifier: Apache-2.0
// What each section of the state shows.

import { byId, bytes, clock, fill, fixed, make, retag, say, table, tag } from "./dom.js";

// Mode → big word, sign, kind.
const MODES = {
  IDLE: ["IDLE", "○", "quiet"],
  FRESH: ["MOVING", "▶", "good"],
  TAIL: ["LAST ROWS", "▷", "warn"],
  DECELERATING: ["SLOWING DOWN", "▼", "warn"],
  HOLD: ["HOLDING", "‖", "quiet"],
  RELEASED: ["RELEASED", "◇", "warn"],
  STOPPED: ["EMERGENCY STOPPED", "■", "bad"],
};
const LEVELS = { usual: "good", slow: "warn", hold: "bad", blind: "quiet" };
const STATUSES = { green: "good", yellow: "warn", red: "bad" };

export function executor(section) {
  const state = byId("state");
  if (section === null) {
    state.className = "bad";
    say("glyph", "?");
    say("mode", "NO WORD FROM THE EXECUTOR");
    say("reason", "Nobody says what the arm does: start the system, or look why trajectory_executor ended.");
    for (const id of ["speed-now", "chunk-now", "age-now"]) say(id, "–");
    return;
  }
  const [word, sign, kind] = MODES[section.mode] || [section.mode, "?", "bad"];
  const paused = section.mode === "FRESH" && section.speed === 0;
  state.className = paused ? "warn" : kind;
  say("glyph", paused ? "‖" : sign);
  say("mode", paused ? "STANDING ON THE PATH" : word);
  say("reason", section.reason);
  say("speed-now", `${Math.round(100 * section.speed)} %`);
  say("chunk-now", section.chunk ? `${section.chunk} · row ${fixed(Math.max(0, section.row), 0)}` : "none");
  say("age-now", section.chunk_age_s === null ? "–" : section.chunk_age_s > 99 ? "old" : `${fixed(section.chunk_age_s)} s`);
  say("speed-why", section.speed_source ? `limited by ${section.speed_source}: ${section.speed_reason}` : "nobody limits the speed");
  byId("shadow").hidden = !section.shadow;
}

/** Who has the arm, and what may be done about it. */
export function hand(teleop, operators, section) {
  const holds = Boolean(section && section.operator_holds);
  const policy = section && section.source === "policy" && section.moving;
  const who = holds ? "a person" : policy ? "the policy" : section ? "nobody" : "–";
  say("arm-now", who);
  byId("arm-now").className = holds ? "warn" : "";
  byId("hand").hidden = !holds;
  const what = teleop ? `${teleop.source}, ${teleop.phase}: ${teleop.reason}` : "the policy's chunks are refused until it is given back";
  fill("hand", make("b", "", "A PERSON HAS THE ARM"), ` ${what}`);
  // Where nobody sends an operator's chunks, nobody's hand could lead; one that was taken can always be given back.
  byId("hands").hidden = !operators && !holds;
  byId("take_over").hidden = holds && !(teleop && teleop.phase === "held");
  say("take_over", holds ? "Lead on" : "Take over");
  byId("give_back").hidden = !holds;
}

/** Rows that are made once for a robot's joints, and then only moved. */
export function joints(robot, section) {
  const rows = byId("joints").children;
  robot.joints.forEach((joint, i) => {
    const told = section[i];
    if (!rows[i] || !told) return;
    const [, bar, value] = rows[i].children;
    const span = joint.highest - joint.lowest;
    const part = (at) => (joint.lowest === null ? ((at / (2 * Math.PI)) % 1) + 0.5 : (at - joint.lowest) / span);
    const [measured, commanded] = bar.children;
    measured.hidden = told.measured === null;
    commanded.hidden = told.commanded === null;
    if (told.measured !== null) measured.style.left = `${100 * Math.min(1, Math.max(0, part(told.measured)))}%`;
    if (told.commanded !== null) commanded.style.left = `${100 * Math.min(1, Math.max(0, part(told.commanded)))}%`;
    const near = told.measured !== null && joint.lowest !== null && Math.min(part(told.measured), 1 - part(told.measured)) < 0.02;
    rows[i].classList.toggle("near", near);
    const text = `${fixed(told.measured)}${near ? " ▲ at its limit" : ""}${told.clamps ? ` · cut ${told.clamps}×` : ""}`;
    if (value.textContent !== text) value.textContent = text;
  });
}

export function openJoints(robot) {
  const rows = robot.joints.map((joint) => {
    const bar = make("span", "bar", null, make("i", "measured"), make("i", "commanded"));
    const row = make("div", "joint", null, make("span", "joint-name", joint.name), bar, make("span", "value", "–"));
    row.title = joint.lowest === null ? "turns without end" : `${fixed(joint.lowest)} to ${fixed(joint.highest)}`;
    return row;
  });
  fill("joints", ...rows);
}

export function policy(section) {
  if (section === null) {
    say("policy-now", "silent");
    say("checkpoint-now", "no policy speaks");
    return;
  }
  say("policy-now", section.ready ? section.computed_by || "ready" : "waits");
  byId("policy-now").title = section.reason;
  const sha = section.checkpoint_sha256 ? section.checkpoint_sha256.slice(0, 12) : "none";
  say("checkpoint-now", `now: ${sha}, ${section.computed_by || "not loaded"}, guidance ${section.guidance || "none"}`);
}

/** Where the time goes from a camera's stamp to the arm, and what to turn. */
export function latency(section) {
  if (!section.chunks) return;
  const ms = (value) => (value === null ? "–" : `${fixed(1000 * value, 0)} ms`);
  const stages = section.stages.filter((stage) => !stage.whole);
  const parts = stages.map((stage) => {
    const part = make("i", stage.limits ? "limits" : "", "");
    part.style.flexGrow = String(Math.max(0.001, stage.p95));
    part.title = stage.name;
    return part;
  });
  const rows = section.stages.map((stage) => [stage.limits ? tag("warn", stage.name) : stage.name, ms(stage.p50), ms(stage.p95)]);
  rows.push(["from one chunk to the next", ms(section.period.p50), ms(section.period.p95)]);
  const said = section.advice.length
    ? make("ul", "advice", null, ...section.advice.map((text) => make("li", "", text)))
    : make("p", "quiet", section.chunks < 5 ? "Too few chunks to judge." : "Chunks come in time: there is nothing to turn.");
  fill("latency", make("div", "stages", null, ...parts), table([`newest ${section.chunks} chunks`, "half within", "95 % within"], rows), said);
}

export function drops(policySection, executorSection, disk, you) {
  const rows = [];
  if (policySection) for (const [why, count] of Object.entries(policySection.dropped)) rows.push([`observations dropped: ${why}`, count]);
  if (executorSection) rows.push(["chunks refused", `${executorSection.refused} of ${executorSection.refused + executorSection.accepted}`]);
  if (you) rows.push(["pictures dropped for this page", you.frames_dropped]);
  const children = [table(["since the start", ""], rows)];
  if (executorSection && executorSection.last_refusal) children.push(make("p", "quiet", `last refusal: ${executorSection.last_refusal}`));
  if (disk) {
    const low = disk.free < 2e9;
    children.push(make("p", "", null, tag(low ? "bad" : "good", low ? "disk nearly full" : "disk"), ` ${bytes(disk.free)} of ${bytes(disk.total)} free for ${disk.folder}`));
  }
  fill("drops", ...children);
}

export function topics(section) {
  const kinds = { good: "good", slow: "warn", silent: "quiet" };
  const rows = section.map((each) => [each.name, `${fixed(each.rate, 1)}${each.expected ? ` / ${each.expected}` : ""}`, tag(each.expected && each.word === "silent" ? "bad" : kinds[each.word], each.word)]);
  fill("topics", table(["topic", "per s", ""], rows));
}

export function history(section) {
  const entries = section.map((each) => {
    const again = make("button", "again small", "again");
    again.type = "button";
    again.dataset.text = each.text;
    again.setAttribute("aria-label", `again: ${each.text}`);
    let told = tag("quiet", "not in effect yet");
    if (each.effect) told = tag("good", `in effect ${clock(each.effect)}, after ${fixed(each.after)} s`);
    const item = make("li", "", null, make("span", "said", each.text), told, again);
    if (each.effect_text) item.title = each.effect_text;
    return item;
  });
  fill("history", ...entries);
}

export function preflight(section) {
  retag("preflight-word", STATUSES[section.status] || "quiet", `${section.status} at ${clock(section.stamp)}`);
  const order = { red: 0, yellow: 1, green: 2 };
  const rows = [...section.rows].sort((a, b) => order[a.status] - order[b.status]);
  fill("preflight", table(["", "row", "found", "fix"], rows.map((row) => [tag(STATUSES[row.status] || "quiet", row.status), row.name, row.finding, row.fix])));
}

export function monitors(verdicts, limits) {
  const children = verdicts.map((each) => {
    const worst = each.parts.reduce((a, b) => (a && a.value / a.slow_at > b.value / b.slow_at ? a : b), null);
    const measured = worst ? `${worst.name} ${fixed(worst.value)} (slows from ${fixed(worst.slow_at)}, holds from ${fixed(worst.hold_at)})` : "";
    return make("div", "monitor", null, tag(LEVELS[each.level] || "quiet", each.level), make("b", "", each.monitor), make("span", "", `${each.percent} %`), make("p", "", each.text), make("p", "quiet", measured));
  });
  if (!children.length) children.push(make("p", "quiet", "No monitor speaks."));
  const active = limits.filter((limit) => limit.percent < 100);
  if (active.length) children.push(table(["speed limit of", "%", "why"], active.map((limit) => [limit.source, limit.percent, limit.reason])));
  fill("monitors", ...children);
}

export function demonstration(section) {
  byId("demonstration-controls").hidden = section === null;
  if (section === null) {
    retag("demonstration-word", "quiet", "NONE");
    fill("demonstration", make("p", "quiet", "No session runs: ", make("code", "", "swiftvla demonstrate")));
    return;
  }
  const kinds = { ready: "good", recording: "bad", resetting: "warn", ended: "quiet" };
  retag("demonstration-word", kinds[section.phase] || "quiet", section.phase.toUpperCase());
  const facts = [
    ["shows", section.instruction],
    ["episode", section.elapsed_s ? `${section.episode}, ${section.elapsed_s.toFixed(0)} s` : section.episode],
    ["succeeded", `${section.succeeded} of ${section.wanted}`],
    ["failed, discarded, unjudged", `${section.failed}, ${section.discarded}, ${section.unjudged}`],
    ["last", section.last || "–"],
    ["disk", bytes(section.disk_free_bytes)],
  ];
  const slow = section.topics.filter((each) => each.lost || (each.expected && each.rate < 0.8 * each.expected));
  const lines = [section.blocked && `can't begin: ${section.blocked}`, ...section.warnings, ...slow.map((t) => `${t.name}: ${fixed(t.rate, 1)} of ${t.expected} per s, ${t.lost} lost`)];
  fill("demonstration", table(["", ""], facts), ...lines.filter(Boolean).map((text) => make("p", "problem", text)));
}

export function health(section) {
  const kinds = ["good", "warn", "bad"];
  const words = ["good", "odd", "wrong"];
  const rows = [...section].sort((a, b) => b.level - a.level || a.name.localeCompare(b.name));
  fill("health", table(["", "node", "says"], rows.map((each) => [tag(kinds[each.level] || "quiet", words[each.level] || "?"), each.name, each.text])));
}
