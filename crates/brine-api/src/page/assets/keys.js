// Keyboard shortcuts, and the dialog that lists them.

import { make } from './text.js';

const SETTING = 'brine.keys';

/** `shortcuts`: `{keys, on, what, act}`: keys as shown, values of `event.key`, what they do. */
export class Keys {
  #dialog;
  #shortcuts;

  constructor(dialog, shortcuts) {
    this.#dialog = dialog;
    this.#shortcuts = shortcuts;
    dialog.querySelector('#keys-list').replaceChildren(...shortcuts.filter(({ keys }) => keys.length).flatMap(({ keys, what }) => [
      make('dt', {}, ...keys.flatMap((key, index) => [index ? ' ' : '', make('kbd', {}, key)])), make('dd', {}, what)]));
    const on = dialog.querySelector('#keys-on');
    on.checked = localStorage.getItem(SETTING) !== 'off';
    on.addEventListener('change', () => localStorage.setItem(SETTING, on.checked ? 'on' : 'off'));
    document.addEventListener('keydown', (event) => this.#press(event, on.checked));
  }

  show() { if (!this.#dialog.open) this.#dialog.showModal(); }

  #press(event, isOn) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector('dialog[open]')) return;
    const { target } = event;
    const isTyping = target.matches('input, select, textarea');
    if (isTyping && event.key !== 'Escape') return;
    // A button keeps its own keys.
    if (target.matches('button, a, [role=treeitem]') && (event.key === ' ' || event.key === 'Enter')) return;
    if (!isOn && event.key.length === 1) return;
    const found = this.#shortcuts.find(({ on }) => on.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found.act(event);
  }
}
