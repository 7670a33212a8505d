// Rows that are kept: a bounded window of the log, and those of it that match the text searched for.

const MAX_ROWS = 20_000;
const MAX_CHARACTERS = 24_000_000;

/** A list that loses its front cheaply. */
class Deque {
  #items = [];
  #head = 0;
  get length() { return this.#items.length - this.#head; }
  at(index) { return this.#items[this.#head + index]; }
  get first() { return this.#items[this.#head]; }
  get last() { return this.length ? this.#items[this.#items.length - 1] : undefined; }
  push(item) { this.#items.push(item); }
  pop() { return this.#items.pop(); }
  shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head > 4096 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
  prepend(items) {
    this.#items = items.concat(this.#items.slice(this.#head));
    this.#head = 0;
  }
  *[Symbol.iterator]() {
    for (let index = this.#head; index < this.#items.length; index += 1) yield this.#items[index];
  }
}

export class Rows {
  all = new Deque();
  /** What is shown; the same list if no text is searched for. */
  shown = this.all;
  #characters = 0;
  #holes = 0;
  #needle = '';
  #next = 0;

  get length() { return this.shown.length; }
  at(index) { return this.shown.at(index); }
  /** How many of the rows are events, and not gaps. */
  get events() { return this.all.length - this.#holes; }

  clear() {
    this.all = new Deque();
    this.shown = this.#needle ? new Deque() : this.all;
    this.#characters = 0;
    this.#holes = 0;
  }

  /** Whether no more fits without giving something up. */
  get isFull() { return this.all.length >= MAX_ROWS || this.#characters >= MAX_CHARACTERS; }

  /** Adds at the end; gives how many shown rows were lost at the front. */
  append(rows) {
    for (const row of rows) {
      row.id = this.#next;
      this.#next += 1;
      this.all.push(row);
      this.#weigh(row, 1);
      if (this.#needle && this.#matches(row)) this.shown.push(row);
    }
    return this.#trim();
  }

  /** Adds at the front; gives how many of them are shown. What is too much goes at the end. */
  prepend(rows) {
    let id = (this.all.first?.id ?? this.#next) - rows.length;
    for (const row of rows) {
      row.id = id;
      id += 1;
      this.#weigh(row, 1);
    }
    this.all.prepend(rows);
    const shown = this.#needle ? rows.filter((row) => this.#matches(row)) : rows;
    if (this.#needle) this.shown.prepend(shown);
    while (this.isFull && this.all.length > 1) {
      const row = this.all.pop();
      this.#weigh(row, -1);
      if (this.#needle && this.shown.last === row) this.shown.pop();
    }
    return shown.length;
  }

  /** Shows only rows that hold a text, whatever its case. */
  search(text) {
    this.#needle = text.toLowerCase();
    if (!this.#needle) { this.shown = this.all; return; }
    this.shown = new Deque();
    for (const row of this.all) if (this.#matches(row)) this.shown.push(row);
  }

  /** Where a row is among those shown; -1 if it is not. */
  indexOf(row) {
    let low = 0;
    let high = this.shown.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { id } = this.shown.at(middle);
      if (id === row.id) return middle;
      if (id < row.id) low = middle + 1; else high = middle - 1;
    }
    return -1;
  }

  #weigh(row, sign) {
    this.#characters += sign * (row.line?.length ?? 0);
    if (row.kind !== 'event') this.#holes += sign;
  }

  #matches(row) {
    return row.kind !== 'event' || row.line.toLowerCase().includes(this.#needle);
  }

  #trim() {
    let lost = 0;
    while (this.all.length > 1 && (this.all.length > MAX_ROWS || this.#characters > MAX_CHARACTERS)) {
      const row = this.all.shift();
      this.#weigh(row, -1);
      if (!this.#needle) lost += 1;
      else if (this.shown.first === row) { this.shown.shift(); lost += 1; }
    }
    return lost;
  }
}
