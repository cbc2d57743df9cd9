// Makes elements, and saves a drawing as an SVG file. Every string of a cluster becomes a text node or the value of an attribute,
// never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value; // a strict policy allows this, and not the attribute
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
}

export const h = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
export const s = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

// Returns a text as nodes in which what stands between backticks is code.
export const coded = (text) => text.split("`").map((piece, number) => (number % 2 ? h("code", {}, piece) : piece));

export function button(text, act, attributes = {}) {
  return h("button", { type: "button", onclick: act, ...attributes }, text);
}

// Sets properties of an element that are not so already: the browser lays out anew what is set, even if it is the same.
export function say(element, properties) {
  for (const [name, value] of Object.entries(properties)) if (element[name] !== value) element[name] = value;
}

export const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(most - 1, 1))}…` : text);
export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const seconds = (us, digits = 3) => `${(us / 1e6).toFixed(digits)} s`;

// The properties that a drawing takes from the page's style sheet. A file has no style sheet, so they are written into it.
const PROPERTIES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-family",
  "font-size", "font-style", "font-weight", "text-anchor", "paint-order"];

// Returns a drawing as the text of an SVG file that looks as it does on the page.
export function svgText(drawing) {
  const copy = drawing.cloneNode(true), box = drawing.getBoundingClientRect();
  const originals = [drawing, ...drawing.querySelectorAll("*")], copies = [copy, ...copy.querySelectorAll("*")];
  originals.forEach((original, i) => {
    const style = getComputedStyle(original);
    copies[i].removeAttribute("class");
    copies[i].removeAttribute("style");
    for (const name of PROPERTIES) if (style.getPropertyValue(name)) copies[i].setAttribute(name, style.getPropertyValue(name));
  });
  const [x, y, width, height] = drawing.viewBox.baseVal && drawing.viewBox.baseVal.width
    ? [drawing.viewBox.baseVal.x, drawing.viewBox.baseVal.y, drawing.viewBox.baseVal.width, drawing.viewBox.baseVal.height]
    : [0, 0, box.width, box.height];
  const background = s("rect", { x, y, width, height, fill: getComputedStyle(drawing).getPropertyValue("--panel") || "white" });
  copy.insertBefore(background, copy.firstChild);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", Math.round(width));
  copy.setAttribute("height", Math.round(height));
  return new XMLSerializer().serializeToString(copy);
}

// Lets the browser save a drawing as a file.
export function saveSvg(drawing, name) {
  const address = URL.createObjectURL(new Blob([svgText(drawing)], { type: "image/svg+xml" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
