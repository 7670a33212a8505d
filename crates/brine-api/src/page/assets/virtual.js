// A list of any length of which only what is in view exists as elements. Rows have one height.
// It is a listbox: one row is active, named by aria-activedescendant.

const BEYOND = 6; // rows kept above and below the view

export class VirtualList {
  active = -1;
  #box;
  #sheet;
  #pool = [];
  #source = { length: 0, at: () => undefined };
  #render;
  #rowHeight = 28;
  #height = 0;
  #drawn = false;
  #isStale = false;
  #ownScroll = 0;
  #pressed = null;
  #onPick;

  /**
   * `render(element, row, index)` fills a row. `onScroll(top)` is told of what a person scrolls,
   * `onPick(row)` of the row that was clicked.
   */
  constructor(box, { render, onScroll, onPick }) {
    this.#box = box;
    this.#render = render;
    this.#onPick = onPick;
    this.#sheet = document.createElement('div');
    this.#sheet.className = 'sheet';
    this.#sheet.setAttribute('role', 'presentation');
    box.append(this.#sheet);
    new ResizeObserver(() => this.measure()).observe(box);
    box.addEventListener('scroll', () => {
      this.draw();
      if (Math.abs(box.scrollTop - this.#ownScroll) > 2) onScroll(box.scrollTop);
      this.#ownScroll = box.scrollTop;
    }, { passive: true });
    // At an end nothing scrolls any more, but somebody may want more.
    box.addEventListener('wheel', () => { if (this.isAtEnd || this.isAtStart) onScroll(box.scrollTop); }, { passive: true });
    document.addEventListener('pointerdown', (event) => { this.#pressed = this.#press(event); }, { passive: true });
    document.addEventListener('pointercancel', () => { this.#pressed = null; }, { passive: true });
    document.addEventListener('click', (event) => this.#click(event));
  }

  /** A row under the pointer as it was drawn: until the pointer is released, others may take its place. */
  #press(event) {
    const row = event.isPrimary && event.button === 0 ? this.#rowOf(event.target) : null;
    return row ? { row, y: event.clientY } : null;
  }

  #click(event) {
    const pressed = this.#pressed;
    this.#pressed = null;
    // What helps people without a pointer clicks without a press.
    const row = !pressed ? this.#rowOf(event.target) : Math.abs(event.clientY - pressed.y) < this.#rowHeight / 2 ? pressed.row : null;
    if (row) this.#onPick(row);
  }

  #rowOf(target) {
    const element = target.closest?.('[data-index]');
    return element && this.#box.contains(element) ? element.rowShown : null;
  }

  get perPage() { return Math.max(1, Math.floor(this.#height / this.#rowHeight)); }
  get top() { return this.#box.scrollTop; }
  get #end() { return Math.max(0, this.#source.length * this.#rowHeight - this.#height); }
  get isAtEnd() { return this.#box.scrollTop >= this.#end - this.#rowHeight; }
  get isAtStart() { return this.#box.scrollTop < this.#rowHeight * 2; }

  show(source) {
    this.#source = source;
    this.active = -1;
    this.draw();
  }

  measure() {
    this.#rowHeight = parseFloat(getComputedStyle(this.#box).getPropertyValue('--row')) || 28;
    this.#height = this.#box.clientHeight;
    this.draw();
  }

  /** Draws in the next frame. */
  draw() {
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => { this.#drawn = false; this.#draw(); });
  }

  toStart() {
    this.#ownScroll = 0;
    this.#box.scrollTop = 0;
    this.draw();
  }

  toEnd() {
    this.#grow();
    this.#ownScroll = this.#end;
    this.#box.scrollTop = this.#end;
    this.draw();
  }

  /** Moves the view along with rows that were added or lost above it. */
  shift(rows) {
    this.#grow();
    this.#ownScroll = Math.max(0, this.#box.scrollTop + rows * this.#rowHeight);
    this.#box.scrollTop = this.#ownScroll;
    if (this.active >= 0) this.active = Math.max(-1, this.active + rows);
    this.draw();
  }

  /** Makes a row the active one and brings it into view. */
  activate(index, where = 'nearest') {
    this.active = index;
    const top = index * this.#rowHeight;
    const box = this.#box;
    this.#grow();
    if (where === 'start') box.scrollTop = top;
    else if (top < box.scrollTop) box.scrollTop = top;
    else if (top + this.#rowHeight > box.scrollTop + this.#height) box.scrollTop = top + this.#rowHeight - this.#height;
    this.#ownScroll = box.scrollTop;
    this.draw();
  }

  #grow() { this.#sheet.style.height = `${this.#source.length * this.#rowHeight}px`; }

  #draw() {
    this.#grow();
    const { length } = this.#source;
    const first = Math.max(0, Math.floor(this.#box.scrollTop / this.#rowHeight) - BEYOND);
    const room = Math.ceil(this.#height / this.#rowHeight) + 2 * BEYOND;
    const count = Math.min(length - first, room);
    // All at once: one more would move every row to another element.
    while (this.#pool.length < room) this.#pool.push(this.#element());
    const size = this.#pool.length;
    const isStale = this.#isStale;
    this.#isStale = false;
    let active = '';
    for (let slot = 0; slot < size; slot += 1) {
      // A row stays in its element while the view moves by a row.
      const index = first + ((slot - first % size + size) % size);
      const element = this.#pool[slot];
      if (index >= first + count) {
        if (!element.hidden) { element.hidden = true; element.rowShown = null; }
        continue;
      }
      const row = this.#source.at(index);
      if (element.hidden) element.hidden = false;
      if (element.indexShown !== index) {
        element.indexShown = index;
        element.dataset.index = index;
        element.style.transform = `translateY(${index * this.#rowHeight}px)`;
      }
      if (element.rowShown !== row || isStale) {
        element.rowShown = row;
        this.#render(element, row, index);
      }
      if (element.lengthShown !== length || element.placeShown !== index) {
        element.lengthShown = length;
        element.placeShown = index;
        element.setAttribute('aria-posinset', index + 1);
        element.setAttribute('aria-setsize', length);
      }
      const isActive = index === this.active;
      if (element.isActiveShown !== isActive) {
        element.isActiveShown = isActive;
        element.setAttribute('aria-selected', isActive);
      }
      if (isActive) active = element.id;
    }
    if (active) this.#box.setAttribute('aria-activedescendant', active);
    else this.#box.removeAttribute('aria-activedescendant');
  }

  /** Fills every row in view again: what they show has changed although they are the same. */
  refresh() {
    this.#isStale = true;
    this.draw();
  }

  #element() {
    const element = document.createElement('div');
    element.className = 'row';
    element.hidden = true;
    element.id = `row-${this.#pool.length}`;
    element.setAttribute('role', 'option');
    this.#sheet.append(element);
    return element;
  }
}
