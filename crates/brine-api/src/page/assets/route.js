// What is looked at, as the part of the address after #: it can be linked, and never reaches a server's log.

const VIEWS = ['events', 'jobs', 'minions', 'readers'];
const MATCHES = ['glob', 'startswith', 'endswith', 'find', 'regex'];

/** `{view, tag: [], exclude: [], match, filter, q, at}` of an address; `at` is '' for live. */
export function read(hash = location.hash) {
  const [view, query = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
  const params = new URLSearchParams(query);
  const match = params.get('match') ?? 'glob';
  return {
    view: VIEWS.includes(view) ? view : 'events',
    tag: params.getAll('tag').filter(Boolean),
    exclude: params.getAll('exclude').filter(Boolean),
    match: MATCHES.includes(match) ? match : 'glob',
    filter: params.get('filter') ?? '',
    q: params.get('q') ?? '',
    at: params.get('at') ?? '',
  };
}

export function write(route) {
  const params = filters(route);
  if (route.q) params.append('q', route.q);
  if (route.at) params.append('at', route.at);
  // Tags are read more easily with their slashes and stars.
  const query = params.toString().replaceAll('%2F', '/').replaceAll('%3A', ':');
  return `#${route.view}${query ? `?${query}` : ''}`;
}

/** What the server filters by. */
export function filters(route) {
  const params = new URLSearchParams();
  for (const tag of route.tag) params.append('tag', tag);
  for (const tag of route.exclude) params.append('exclude', tag);
  if (route.match !== 'glob' && (route.tag.length || route.exclude.length)) params.append('match', route.match);
  if (route.filter) params.append('filter', route.filter);
  return params;
}

export const words = (text) => text.split(/\s+/).filter(Boolean);
