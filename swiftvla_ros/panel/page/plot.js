// SPDX-License-Identifier: Apache-2.0
// Rows of the newest chunks and what was commanded of one joint, over the last seconds.

import { byId, make } from "./dom.js";

const BEFORE_S = 5;
const AFTER_S = 2;
const MOST_CHUNKS = 60;

export class Plot {
  constructor() {
    this.chunks = [];
    this.trail = [];
    this.joint = 0;
    this.stamp = 0;
    this.canvas = byId("plot");
    byId("plot-joint").addEventListener("change", (event) => {
      this.joint = Number(event.target.value);
    });
    const draw = () => {
      this.draw();
      setTimeout(() => requestAnimationFrame(draw), 80);
    };
    draw();
  }

  open(joints) {
    const options = joints.map((joint, i) => {
      const option = make("option", "", joint.name);
      option.value = String(i);
      return option;
    });
    byId("plot-joint").replaceChildren(...options);
    this.joint = 0;
  }

  chunk(chunk) {
    if (!chunk.rows.length) return;
    const last = this.chunks[this.chunks.length - 1];
    // The clock went back: a bag was played again, or the policy was started again.
    if (last && chunk.stamp < last.stamp) this.chunks = [];
    this.chunks.push(chunk);
    if (this.chunks.length > MOST_CHUNKS) this.chunks.shift();
  }

  executor(section) {
    if (section.stamp < this.stamp) this.trail = [];
    this.stamp = section.stamp;
    this.heardAt = performance.now();
    for (const [at, position] of section.trail) this.trail.push({ at, position });
    const oldest = this.stamp - BEFORE_S - 1;
    while (this.trail.length && this.trail[0].at < oldest) this.trail.shift();
  }

  draw() {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const now = this.stamp;
    const [from, to] = [now - BEFORE_S, now + AFTER_S];
    const chunks = this.chunks.filter((chunk) => chunk.stamp + chunk.rows.length * chunk.step > from);
    const values = [
      ...this.trail.map((each) => each.position[this.joint]),
      ...chunks.flatMap((chunk) => chunk.rows.map((row) => row[this.joint])),
    ].filter((value) => typeof value === "number");
    pen.font = "12px system-ui, sans-serif";
    if (!now || !values.length) {
      pen.fillStyle = "#93a1b3";
      pen.fillText("nothing is commanded", 12, 24);
      return;
    }
    const middle = (Math.min(...values) + Math.max(...values)) / 2;
    const half = Math.max(0.05, (Math.max(...values) - Math.min(...values)) / 2) * 1.15;
    const x = (at) => ((at - from) / (to - from)) * width;
    const y = (value) => height / 2 - ((value - middle) / half) * (height / 2 - 18);
    this.axes(pen, width, height, x, y, now, middle, half);
    chunks.forEach((chunk, i) => {
      const newest = i === chunks.length - 1;
      line(pen, chunk.rows.map((row, k) => [x(chunk.stamp + k * chunk.step), y(row[this.joint])]), newest ? "#ffd24a" : "rgba(98, 160, 234, 0.45)", newest ? 2 : 1);
      pen.fillStyle = "rgba(147, 161, 179, 0.6)";
      pen.fillRect(x(chunk.stamp), height - 6, 1, 6);
    });
    line(pen, this.trail.map((each) => [x(each.at), y(each.position[this.joint])]), "#ffffff", 2.5);
  }

  axes(pen, width, height, x, y, now, middle, half) {
    pen.strokeStyle = "#2a3442";
    pen.fillStyle = "#93a1b3";
    pen.lineWidth = 1;
    for (const value of [middle - 0.8 * half, middle, middle + 0.8 * half]) {
      pen.beginPath();
      pen.moveTo(0, y(value));
      pen.lineTo(width, y(value));
      pen.stroke();
      pen.fillText(value.toFixed(2), 4, y(value) - 3);
    }
    for (let back = -BEFORE_S + 1; back < AFTER_S; back += 1) {
      pen.fillText(back === 0 ? "now" : `${back} s`, x(now + back) + 3, height - 8);
    }
    pen.strokeStyle = "#93a1b3";
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(x(now), 0);
    pen.lineTo(x(now), height);
    pen.stroke();
    pen.setLineDash([]);
  }
}

function line(pen, points, style, width) {
  pen.strokeStyle = style;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
  pen.stroke();
}
