// Data as a tree that opens and folds, built as it is opened; large parts in pages. Arrow keys move in it.

import { make, marked, number } from './text.js';

const PAGE = 200;
const OPEN_ENTRIES = 12; // what is this small is open from the start
const OPEN_DEPTH = 3;

/** JSON with whole numbers that JavaScript cannot hold kept as they are written. */
export function parseExactly(text) {
  return JSON.parse(text, (_, value, context) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value) || !context?.source) return value;
    return /^-?\d+$/.test(context.source) ? new Digits(context.source) : value;
  });
}

class Digits {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
}

const isBranch = (value) => value !== null && typeof value === 'object' && !(value instanceof Digits) && !isBytes(value);

function isBytes(value) {
  const keys = Object.keys(value);
  return keys.length === 1 && keys[0] === '$bytes' && typeof value.$bytes === 'string';
}

/** The tree of a value. */
export function tree(value, needle = '') {
  const root = make('div', { className: 'tree', role: 'tree', 'aria-label': 'Data' });
  if (isBranch(value)) fill(root, value, 0, needle);
  else root.append(make('div', { className: 'leaf', role: 'treeitem', tabindex: '0' }, leaf(value, needle)));
  root.querySelector('[role=treeitem]')?.setAttribute('tabindex', '0');
  root.addEventListener('keydown', move);
  root.addEventListener('click', (event) => {
    const twig = event.target.closest('.twig');
    if (twig) toggle(twig.parentElement);
  });
  return root;
}

/** Opens or folds everything below an element, within reason. */
export function openAll(root, open) {
  let left = 2000;
  const visit = (element) => {
    for (const item of element.querySelectorAll(':scope > [role=treeitem][aria-expanded]')) {
      left -= 1;
      if (left < 0) return;
      if ((item.getAttribute('aria-expanded') === 'true') !== open) toggle(item);
      const group = item.querySelector(':scope > [role=group]');
      if (group) visit(group);
    }
  };
  visit(root);
}

function fill(group, value, depth, needle, from = 0) {
  const isList = Array.isArray(value);
  const keys = isList ? value : Object.keys(value);
  const until = Math.min(keys.length, from + PAGE);
  for (let index = from; index < until; index += 1) {
    const key = isList ? index : keys[index];
    group.append(item(key, value[key], depth, isList, needle));
  }
  if (until < keys.length) {
    group.append(make('button', {
      type: 'button', className: 'more', onclick: (event) => { event.target.remove(); fill(group, value, depth, needle, until); },
    }, `${number(keys.length - until)} more…`));
  }
  if (keys.length === 0) group.append(make('div', { className: 'leaf none', role: 'treeitem', tabindex: '-1' }, 'empty'));
}

function item(key, value, depth, isList, needle) {
  const name = make('span', { className: isList ? 'index' : 'key' }, ...marked(String(key), needle));
  if (!isBranch(value)) return make('div', { className: 'leaf', role: 'treeitem', tabindex: '-1' }, name, leaf(value, needle));
  const count = Array.isArray(value) ? value.length : Object.keys(value).length;
  const brackets = Array.isArray(value) ? `[${number(count)}]` : `{${number(count)}}`;
  const element = make('div', { className: 'branch', role: 'treeitem', tabindex: '-1', 'aria-expanded': 'false' },
    make('span', { className: 'twig' }, name, make('span', { className: 'count' }, brackets)));
  element.open = () => {
    const group = make('div', { className: 'group', role: 'group' });
    fill(group, value, depth + 1, needle);
    element.append(group);
  };
  if (depth < OPEN_DEPTH && count <= OPEN_ENTRIES) toggle(element);
  return element;
}

function leaf(value, needle) {
  if (value instanceof Digits) return make('span', { className: 'num' }, value.text);
  if (value !== null && typeof value === 'object') {
    return make('span', { className: 'bin', title: 'bytes, as base64' }, value.$bytes || '(no bytes)');
  }
  const kind = value === null ? 'nil' : { string: 'str', number: 'num', boolean: 'bool' }[typeof value];
  return make('span', { className: kind }, ...marked(value === null ? 'null' : String(value), needle));
}

function toggle(element) {
  const group = element.querySelector(':scope > [role=group]');
  const opens = element.getAttribute('aria-expanded') !== 'true';
  element.setAttribute('aria-expanded', opens);
  if (opens && !group) element.open();
  else if (group) group.hidden = !opens;
}

function move(event) {
  const here = event.target.closest('[role=treeitem]');
  if (!here || event.target.tagName === 'BUTTON') return;
  const items = [...event.currentTarget.querySelectorAll('[role=treeitem]')].filter((one) => one.offsetParent !== null);
  const at = items.indexOf(here);
  const expanded = here.getAttribute('aria-expanded');
  let to = null;
  switch (event.key) {
    case 'ArrowDown': to = items[at + 1]; break;
    case 'ArrowUp': to = items[at - 1]; break;
    case 'Home': [to] = items; break;
    case 'End': to = items.at(-1); break;
    case 'ArrowRight': if (expanded === 'false') toggle(here); else if (expanded) to = items[at + 1]; break;
    case 'ArrowLeft':
      if (expanded === 'true') toggle(here);
      else to = here.parentElement.closest('[role=treeitem]');
      break;
    case 'Enter': if (expanded) toggle(here); break;
    default: return;
  }
  event.preventDefault();
  event.stopPropagation();
  if (to) {
    here.setAttribute('tabindex', '-1');
    to.setAttribute('tabindex', '0');
    to.focus();
  }
}
