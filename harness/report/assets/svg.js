// Makes elements, and saves a drawing as an SVG file. Every string of a run becomes a text node or an attribute, never markup.
const NAMESPACE = "http://www.w3.org/2000/svg";

// Makes an SVG element. The attribute "style" is set by the style object, which a strict policy allows.
export function make(name, attributes, parent, text) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") element.style.cssText = value; else element.setAttribute(key, value);
  }
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

export const line = (parent, kind, x1, y1, x2, y2) => make("line", { class: kind, x1, y1, x2, y2 }, parent);

export function html(name, text, parent, className) {
  const element = document.createElement(name);
  if (text !== null) element.textContent = text;
  if (className) element.className = className;
  parent.appendChild(element);
  return element;
}

export const cut = (text, most) => text.length > most ? text.slice(0, Math.max(most - 1, 1)) + "…" : text;

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
  const background = make("rect", { x, y, width, height, fill: getComputedStyle(drawing).getPropertyValue("--panel") || "white" });
  copy.insertBefore(background, copy.firstChild);
  copy.setAttribute("xmlns", NAMESPACE);
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
