// Colours and shapes: of values, and of the types of messages. A shape always stands beside a colour.

import { s } from "./dom.js";

const NAMED = ["blue", "red", "green", "yellow", "orange", "purple", "pink", "brown"];
const GLYPHS = ["●", "■", "▲", "◆", "⬢", "✚", "★", "▬"];
const CLIENT = "client";
const values = new Map();

// Returns the class of a value's colour and the glyph that stands for it. The same value has the same ones on the whole page.
export function valueMark(text) {
  const name = text.replace(/^['"]|['"]$/g, "");
  let number = NAMED.indexOf(name);
  const named = number >= 0;
  if (!named) {
    if (!values.has(text)) values.set(text, values.size);
    number = values.get(text);
  }
  return { css: named ? `v-${name}` : `v-${number % 8}`, glyph: GLYPHS[number % GLYPHS.length], name };
}

// Gives values the colours that they have elsewhere on the page: `colours` has the class of each, by its text.
export function colourValues(colours) {
  for (const [text, css] of Object.entries(colours)) if (/^v-\d+$/.test(css)) values.set(text, Number(css.slice(2)));
}

// The outlines of the shapes, around the point 0, 0.
const OUTLINES = [
  "M0 -8A8 8 0 1 1 0 8A8 8 0 1 1 0 -8Z",
  "M-7 -7H7V7H-7Z",
  "M0 -9L8.5 6.5H-8.5Z",
  "M0 -9.5L9.5 0L0 9.5L-9.5 0Z",
  "M-3 -9H3V-3H9V3H3V9H-3V3H-9V-3H-3Z",
  "M0 -9.5L9 -3L5.6 8H-5.6L-9 -3Z",
  "M-9 -6H9L0 9Z",
  "M-4.5 -8.5H4.5L9 0L4.5 8.5H-4.5L-9 0Z",
];

export class TypeMarks {
  constructor(types) {
    this.types = [...types];
  }

  isOfClient(message) {
    return message.from === CLIENT || message.to === CLIENT;
  }

  of(message) {
    if (this.isOfClient(message)) return this.ofType(null);
    if (!this.types.includes(message.type)) this.types.push(message.type); // of a system that is not ours, or a broken record
    return this.ofType(message.type);
  }

  ofType(type) {
    const number = this.types.indexOf(type);
    if (number < 0) return { css: "quiet", outline: OUTLINES[0] };
    const turn = Math.floor(number / OUTLINES.length); // the ninth type has the first one's colour, and another shape
    return { css: `t-${number % 8}`, outline: OUTLINES[(number + turn) % OUTLINES.length] };
  }

  icon(type) {
    const mark = this.ofType(type);
    return s("svg", { viewBox: "-11 -11 22 22", class: "icon", "aria-hidden": "true" },
      s("path", { d: mark.outline, class: `type ${mark.css}` }));
  }
}
