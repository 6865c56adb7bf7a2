// A card for each class: its name, its pictures, and what a visitor can do with them.
import { $ } from "./page.js";

const cards = new WeakMap(); // by class
const buttons = new WeakMap(); // by picture

/**
 * Show the cards of all classes; those that are there already stay, with the keyboard's focus.
 *
 * @param {Classes} classes
 * @param {{rename, remove, add, film, discard}} actions each takes the class first
 */
export function showCards(classes, actions) {
  const wanted = classes.list.map((item) => {
    if (!cards.has(item)) cards.set(item, card(item, actions));
    return cards.get(item);
  });
  arrange($("cards"), wanted);
  classes.list.forEach((item, i) => update(wanted[i], item, i + 1, actions));
  const left = classes.most - classes.list.length;
  $("add").disabled = !left;
  $("limit").textContent = left
    ? `The model has room for ${left} more.`
    : `The model has ${classes.most} outputs, and each has its class. A file with more is exported with new_classes=….`;
}

/** Write into the name of a class. */
export function focusName(item) {
  cards.get(item).querySelector(".title").select();
}

function card(item, { rename, remove, add, film }) {
  const node = $("card").content.firstElementChild.cloneNode(true);
  const on = (part, type, action) => node.querySelector(part).addEventListener(type, action);
  on(".title", "change", ({ target }) => rename(item, target.value));
  on(".title", "keydown", (event) => event.key === "Enter" && event.target.blur());
  on(".remove", "click", () => remove(item));
  on(".film", "click", () => film(item));
  on(".files", "change", ({ target }) => {
    add(item, [...target.files]);
    target.value = ""; // so that the same files can be chosen again
  });
  node.addEventListener("drop", (event) => {
    if (event.dataTransfer?.files.length) add(item, [...event.dataTransfer.files]);
  });
  return node;
}

function update(node, item, place, actions) {
  const { name, pictures } = item;
  const part = (selector) => node.querySelector(selector);
  const count = pictures.length;
  if (document.activeElement !== part(".title")) part(".title").value = name; // nobody is writing in it
  part(".title").setAttribute("aria-label", `Name of class ${place}`);
  part(".count").textContent = `${count || "No"} ${count === 1 ? "picture" : "pictures"}`;
  part(".remove").setAttribute("aria-label", `Remove ${name}`);
  part(".film").setAttribute("aria-label", `Use the webcam for ${name}`);
  part(".files").setAttribute("aria-label", `Add pictures to ${name}`);
  const thumbs = pictures.map((picture, i) => {
    if (!buttons.has(picture)) buttons.set(picture, thumb(picture));
    const button = buttons.get(picture);
    button.onclick = () => {
      actions.discard(item, picture);
    };
    button.setAttribute("aria-label", `Remove picture ${i + 1} of ${name}, ${picture.name}`);
    return button;
  });
  const focus = [...part(".thumbs").children].indexOf(document.activeElement);
  arrange(part(".thumbs"), thumbs);
  if (focus >= 0 && !thumbs.includes(document.activeElement)) (thumbs[focus] ?? thumbs.at(-1) ?? part(".files")).focus();
}

function thumb({ name, thumbnail }) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = `Remove ${name}`;
  button.append(thumbnail);
  return button;
}

/** Let an element have these children, in this order, and leave alone those that are there. */
function arrange(parent, wanted) {
  for (const child of [...parent.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
}
