// The classes that a visitor names: each has one output of the model, and pictures.

const HELD_BACK = 5; // of so many pictures one is held back

export class Classes {
  /** @param {{classes: number, labels: ?string[], new_classes: boolean}} about model.json */
  constructor({ classes, labels, new_classes: fresh }) {
    this.most = classes;
    this.list = []; // of {name, output, pictures: {name, features, thumbnail, seen}[]}
    const names = labels ?? (fresh ? ["Class 1", "Class 2"] : Array.from({ length: classes }, (_, i) => `class ${i}`));
    names.forEach((name, output) => this.list.push({ name, output, pictures: [] }));
  }

  /** A new class, on the first output that has none. */
  add() {
    const output = this.labels().indexOf(null);
    if (output < 0) throw new Error(`The model has ${this.most} outputs, and each has a class already`);
    let number = 1;
    while (this.#named(`Class ${number}`)) number += 1;
    const item = { name: `Class ${number}`, output, pictures: [] };
    this.list.push(item);
    return item;
  }

  rename(item, name) {
    const wanted = name.trim().replace(/\s+/g, " ");
    if (!wanted) throw new Error(`A class needs a name. This one is “${item.name}” still`);
    if (this.#named(wanted, item)) {
      throw new Error(`Two classes can't have the name “${wanted}”. This one is “${item.name}” still`);
    }
    item.name = wanted;
  }

  remove(item) {
    this.list.splice(this.list.indexOf(item), 1);
  }

  /** The names by output; null where an output has no class. */
  labels() {
    return Array.from({ length: this.most }, (_, i) => this.list.find(({ output }) => output === i)?.name ?? null);
  }

  /** Take the classes of a file; pictures stay with the class of their name. */
  take(labels) {
    const lost = this.list.find(({ name, pictures }) => pictures.length && !labels.includes(name));
    if (lost) {
      throw new Error(
        `The file has the classes ${labels.filter(Boolean).map((name) => `“${name}”`).join(", ")}, and “${lost.name}” ` +
          "here has pictures. Rename it to one of them, or remove it, and load the file then. Nothing was changed",
      );
    }
    this.list = labels.flatMap((name, output) =>
      name === null ? [] : [{ name, output, pictures: this.#named(name)?.pictures ?? [] }],
    );
  }

  /** Throws unless there are two classes or more, and pictures of each. */
  check() {
    if (this.list.length < 2) {
      throw new Error(
        `There ${this.list.length ? "is one class" : "is no class"}, and training needs two or more. Add a class`,
      );
    }
    const empty = this.list.filter(({ pictures }) => !pictures.length).map(({ name }) => `“${name}”`);
    if (empty.length) {
      throw new Error(
        `${empty.join(", ")} ${empty.length > 1 ? "have" : "has"} no picture. Add some, or remove the class`,
      );
    }
  }

  /**
   * The pictures to train on, and those held back: of five that no training has seen the last one, if that is so in
   * each class; else none.
   */
  divided() {
    const held = this.list.map(({ pictures }) => {
      const unseen = pictures.filter(({ seen }) => !seen);
      const most = Math.min(unseen.length, Math.floor(pictures.length / HELD_BACK));
      return most ? unseen.slice(-most) : [];
    });
    const enough = held.every((some) => some.length);
    const [training, back] = [[], []];
    this.list.forEach(({ output, pictures }, i) => {
      for (const picture of pictures) {
        (enough && held[i].includes(picture) ? back : training).push({ picture, features: picture.features, output });
      }
    });
    return { training, held: back };
  }

  /** Let no training have seen any picture. */
  forget() {
    for (const { pictures } of this.list) for (const picture of pictures) picture.seen = false;
  }

  #named(name, beside) {
    return this.list.find((item) => item !== beside && item.name === name);
  }
}
