// What the scripts of the pages have in common: the status page's, and those of the pages of services. Text goes into a
// page as text only, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);

// A number with commas between its thousands.
const count = (n) => Number(n).toLocaleString("en-US");

// A time in milliseconds, in its two largest units; one below zero, as clocks that disagree bring about, is 0.
function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

// A new element with a text and a class; both may be left out.
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A cell of a table.
function cell(text, className) { return element("td", text, className); }

// A new element of SVG.
function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Replaces what was there with what it is given, and leaves alone what is the same: a selection stays.
function fill(parent, children) {
  children.forEach((child, place) => {
    const old = parent.children[place];
    if (!old) parent.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}
