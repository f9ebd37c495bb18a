'use strict';
// Renders /openapi.json. Text reaches the page through textContent only.
const $ = (id) => document.getElementById(id);
const el = (tag, props, ...children) => {
  const node = Object.assign(document.createElement(tag), props || {});
  for (const child of children) node.append(child);
  return node;
};
const auth = () => ($('token').value ? { authorization: 'Bearer ' + $('token').value.trim() } : {});
let doc = null;

function resolve(schema, depth) {
  if (!schema || typeof schema !== 'object' || depth > 6) return schema;
  if (schema.$ref) {
    const name = schema.$ref.split('/').pop();
    return resolve(doc.components.schemas[name], depth + 1);
  }
  if (Array.isArray(schema)) return schema.map((item) => resolve(item, depth + 1));
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value, depth + 1)]));
}

function schemaBlock(title, schema, example) {
  const box = el('details', {}, el('summary', { textContent: title }));
  if (example !== undefined) box.append(el('pre', { textContent: JSON.stringify(example, null, 2) }));
  if (schema) box.append(el('pre', { textContent: JSON.stringify(resolve(schema, 0), null, 2) }));
  return box;
}

function tryBox(path, method, operation) {
  const box = el('details', {}, el('summary', { textContent: 'Try it' }));
  const fields = (operation.parameters || []).filter((p) => p.in !== 'header' || p.name !== 'authorization');
  const inputs = fields.map((p) => [p, el('input', { placeholder: (p.schema && p.schema.type) || '' })]);
  for (const [p, input] of inputs) box.append(el('div', {}, el('label', {}, el('code', { textContent: p.name + ' ' }), input)));
  const content = operation.requestBody && operation.requestBody.content['application/json'];
  const body = content && el('textarea', { value: JSON.stringify(content.example || {}, null, 2), spellcheck: false });
  if (body) box.append(body);
  const out = el('pre', { hidden: true });
  const send = el('button', { textContent: 'Send' });
  const stop = el('button', { textContent: 'Stop', hidden: true });
  send.onclick = async () => {
    let url = path;
    const query = new URLSearchParams();
    const headers = auth();
    for (const [p, input] of inputs) {
      if (p.in === 'path') url = url.replace('{' + p.name + '}', encodeURIComponent(input.value));
      else if (input.value && p.in === 'query') query.set(p.name, input.value);
      else if (input.value && p.in === 'header') headers[p.name] = input.value;
    }
    if (query.size) url += '?' + query;
    if (body) headers['content-type'] = 'application/json';
    const abort = new AbortController();
    stop.hidden = false;
    stop.onclick = () => abort.abort();
    out.hidden = false;
    out.textContent = '';
    const from = performance.now();
    try {
      const answer = await fetch(url, { method: method.toUpperCase(), headers, body: body ? body.value : undefined, signal: abort.signal });
      out.textContent = answer.status + ' ' + answer.statusText + ' in ' + Math.round(performance.now() - from) + ' ms\n\n';
      const type = answer.headers.get('content-type') || '';
      if (type.startsWith('text/event-stream')) {
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let next = await reader.read(); !next.done; next = await reader.read()) out.textContent += next.value;
      } else if (type.includes('json')) {
        const text = await answer.text();
        try { out.textContent += JSON.stringify(JSON.parse(text), null, 2).slice(0, 200000); } catch { out.textContent += text; }
      } else if (type.startsWith('text/')) {
        out.textContent += (await answer.text()).slice(0, 200000);
      } else {
        out.textContent += (await answer.arrayBuffer()).byteLength + ' bytes of ' + type;
      }
    } catch (error) {
      out.textContent += String(error);
    }
    stop.hidden = true;
  };
  box.append(el('div', {}, send, ' ', stop), out);
  return box;
}

function operationBox(path, method, operation) {
  const head = el('summary', {}, el('span', { className: 'method', textContent: method.toUpperCase() }), el('code', { textContent: path }), ' ',
    el('span', { className: 'muted', textContent: operation.summary || '' }));
  const box = el('details', {}, head);
  if (operation.description) box.append(el('p', { textContent: operation.description }));
  if ((operation.parameters || []).length) {
    const table = el('table', {}, el('tr', {}, el('th', { textContent: 'parameter' }), el('th', { textContent: 'in' }), el('th', { textContent: 'what' })));
    for (const p of operation.parameters) {
      table.append(el('tr', {}, el('td', {}, el('code', { textContent: p.name + (p.required ? ' *' : '') })), el('td', { textContent: p.in }),
        el('td', { textContent: p.description || '' })));
    }
    box.append(table);
  }
  for (const [type, media] of Object.entries((operation.requestBody && operation.requestBody.content) || {})) {
    box.append(schemaBlock('Body ' + type, media.schema, media.example));
  }
  for (const [status, answer] of Object.entries(operation.responses || {})) {
    const media = Object.values(answer.content || {})[0];
    box.append(schemaBlock(status + ' ' + (answer.description || ''), media && media.schema));
  }
  box.append(tryBox(path, method, operation));
  return box;
}

async function load() {
  $('state').textContent = 'loading';
  $('state').className = 'muted';
  const answer = await fetch('/openapi.json', { headers: auth() });
  if (!answer.ok) {
    $('state').textContent = answer.status === 401 ? 'this worker wants its token (tallow prints it at start)' : 'status ' + answer.status;
    $('state').className = 'bad';
    return;
  }
  doc = await answer.json();
  $('state').textContent = doc.info.version;
  $('doc').replaceChildren(el('p', { textContent: doc.info.description || '' }));
  for (const tag of doc.tags || []) {
    $('doc').append(el('h2', { textContent: tag.name }), el('p', { className: 'muted', textContent: tag.description || '' }));
    for (const [path, methods] of Object.entries(doc.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if ((operation.tags || [])[0] === tag.name) $('doc').append(operationBox(path, method, operation));
      }
    }
  }
}
$('load').onclick = load;
$('token').onkeydown = (event) => { if (event.key === 'Enter') load(); };
load();
