// SPDX-License-Identifier: Apache-2.0
// Live pictures with the foreseen path of the hand drawn in.

import { byId, make } from "./dom.js";

const OLD_MS = 1000;
const PATH_OLD_MS = 1500;

export class Cameras {
  constructor() {
    this.views = [];
    this.pathsAt = -Infinity;
    this.paths = {};
    setInterval(() => this.look(), 250);
  }

  /** Make a view for each camera of the robot. */
  open(cameras) {
    this.views = cameras.map((camera) => {
      const canvas = make("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `camera ${camera.name}`);
      const turned = camera.rotate % 180 !== 0;
      [canvas.width, canvas.height] = turned ? [camera.size[1], camera.size[0]] : camera.size;
      const note = make("span", "note", "no picture yet");
      const problem = make("p", "problem");
      problem.hidden = true;
      const caption = make("figcaption", "", null, make("b", "", camera.name), make("span", "topic", camera.topic), note);
      return { camera, canvas, note, problem, at: -Infinity, busy: false, figure: make("figure", "", null, canvas, caption, problem) };
    });
    byId("cameras").replaceChildren(...this.views.map((view) => view.figure));
  }

  async frame(number, blob) {
    const view = this.views[number];
    // One that is still being decoded is not waited for.
    if (!view || view.busy) return;
    view.busy = true;
    try {
      const picture = await createImageBitmap(blob);
      this.draw(view, picture);
      picture.close();
      view.at = performance.now();
    } catch {
      view.note.textContent = "a picture that can't be decoded";
    } finally {
      view.busy = false;
    }
  }

  show(paths) {
    this.paths = paths;
    this.pathsAt = performance.now();
  }

  problems(problems) {
    for (const view of this.views) {
      const text = problems[view.camera.name] || "";
      view.problem.hidden = !text;
      view.problem.textContent = text ? `The policy doesn't see this: ${text}` : "";
    }
  }

  draw(view, picture) {
    const { canvas, camera } = view;
    const turned = camera.rotate % 180 !== 0;
    const [width, height] = turned ? [picture.height, picture.width] : [picture.width, picture.height];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    pen.save();
    pen.translate(width / 2, height / 2);
    pen.rotate((camera.rotate * Math.PI) / 180);
    pen.drawImage(picture, -picture.width / 2, -picture.height / 2);
    pen.restore();
    const path = this.paths[camera.name];
    if (path && performance.now() - this.pathsAt < PATH_OLD_MS) drawPath(pen, path, width, height);
  }

  look() {
    for (const view of this.views) {
      const age = performance.now() - view.at;
      const old = age > OLD_MS;
      view.figure.classList.toggle("old", old);
      if (view.at === -Infinity) continue;
      view.note.textContent = old ? `■ OLD: ${(age / 1000).toFixed(0)} s` : "● live";
    }
  }
}

function drawPath(pen, path, width, height) {
  pen.lineJoin = pen.lineCap = "round";
  for (const [style, thickness] of [["rgba(0, 0, 0, 0.75)", 7], ["#ffd24a", 3]]) {
    pen.strokeStyle = style;
    pen.lineWidth = (thickness * width) / 640;
    pen.beginPath();
    path.forEach(([u, v], i) => (i ? pen.lineTo(u * width, v * height) : pen.moveTo(u * width, v * height)));
    pen.stroke();
  }
  const [u, v] = path[path.length - 1];
  pen.fillStyle = "#ffd24a";
  pen.strokeStyle = "rgba(0, 0, 0, 0.8)";
  pen.lineWidth = (2 * width) / 640;
  pen.beginPath();
  pen.arc(u * width, v * height, (7 * width) / 640, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
}
