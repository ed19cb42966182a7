// The description of the API (/openapi.json), to read: what can be asked, with what, and what is answered.

import { byId, el, fillTexts } from "./dom.js";
import { json } from "./api.js";
import { setUpLogin } from "./login.js";
import { texts } from "./texts.js";
import { setUpTheme } from "./theme.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

let api;

fillTexts();
setUpTheme();
setUpLogin();
json("/openapi.json").then(draw, (problem) => byId("api").replaceChildren(el("p", { role: "alert" }, problem.message)));

function draw(description) {
  api = description;
  const groups = new Map((api.tags ?? []).map(({ name, description: text }) => [name, { text, operations: [] }]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? texts.docsOther;
      if (!groups.has(tag)) groups.set(tag, { operations: [] });
      groups.get(tag).operations.push({ path, method, shared: item.parameters ?? [], ...item[method] });
    }
  }
  const used = Array.from(groups).filter(([, { operations }]) => operations.length);
  const { title, version, description: about } = api.info;
  byId("api").replaceChildren(
    el("h1", {}, `${title} ${version}`),
    el("p.lead", {}, about ? `${about} ` : "", texts.docsLead, " ", el("a", { href: "/openapi.json" }, "/openapi.json")),
    ...used.map(([tag, { text, operations }]) =>
      el("section", {}, el("h2", {}, tag), text && prose(text), operations.map(article))));
  byId("list").replaceChildren(...used.map(([tag, { operations }]) =>
    el("div", {}, el("h2", {}, tag), operations.map((operation) =>
      el("a", { href: `#${anchor(operation)}` }, verb(operation.method), operation.path)))));
  byId("find").addEventListener("input", find);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const anchor = ({ method, path }) => `${method}${path.replace(/[^\w]+/g, "-")}`;

const verb = (method) => el(`span.method.${method}`, {}, method.toUpperCase());

function find() {
  const wanted = byId("find").value.toLowerCase();
  for (const link of byId("list").querySelectorAll("a")) {
    const card = document.getElementById(link.hash.slice(1));
    const hidden = !card.textContent.toLowerCase().includes(wanted);
    link.hidden = hidden;
    card.hidden = hidden;
  }
}

function article(operation) {
  const { path, method, summary, description, requestBody, responses } = operation;
  const parameters = [...operation.shared, ...(operation.parameters ?? [])].map(resolve);
  return el("article", { id: anchor(operation) },
    el("h3", {}, verb(method), path),
    summary && prose(summary),
    description && description !== summary && prose(description),
    parameters.length > 0 && [el("h4", {}, texts.docsParameters), el("div.rows", {}, parameters.map(parameter))],
    requestBody && [el("h4", {}, texts.docsBody), ...contents(resolve(requestBody).content)],
    el("h4", {}, texts.docsAnswers),
    el("div.rows", {}, Object.entries(responses ?? {}).map(([status, response]) => answer(status, resolve(response)))),
    el("h4", {}, texts.docsExample),
    el("pre", {}, example(operation)));
}

function parameter({ name, in: place, required, description, schema }) {
  return row(name, required, [typeName(schema), place === "path" ? texts.docsInPath : ""].filter(Boolean).join(", "), description, schema);
}

function row(name, required, type, description, schema) {
  const standard = schema?.default !== undefined && typeof schema.default !== "object" && texts.docsDefault(JSON.stringify(schema.default));
  return el("div", {},
    el("div", {}, el("code", {}, name), el("small", {}, type, required && el("span.needed", {}, ` ${texts.docsRequired}`))),
    el("div", {}, words(description ?? ""), standard && el("small", {}, standard)));
}

/** Paragraphs, as comments in code have them: lines are broken anywhere, a blank one ends a paragraph. */
const prose = (text) => text.split(/\n\s*\n/).map((paragraph) => el("p", {}, words(paragraph)));

/** Text in which what stands between backticks is code. */
const words = (text) => text.replace(/\s*\n\s*/g, " ").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));

function answer(status, { description, content }) {
  return el("div", {}, el("div", {}, el("code", {}, status)),
    el("div", {}, words(description ?? ""), content && contents(content, new Set())));
}

const contents = (content, seen) => Object.entries(content ?? {}).map(([type, { schema }]) =>
  el("details", {}, el("summary", {}, `${type} · ${typeName(schema)}`), fields(schema, seen ?? new Set())));

/** The fields of a schema; nested ones open on demand. `seen`: names above it, so that cycles end. */
function fields(schema, seen) {
  const name = schema?.$ref;
  if (name && seen.has(name)) return null;
  const inside = name ? new Set([...seen, name]) : seen;
  const flat = flatten(schema);
  const rows = Object.entries(flat.properties ?? {}).map(([field, value]) => {
    const made = row(field, flat.required?.includes(field), typeName(value), value.description ?? resolve(value).description, value);
    const deeper = nested(value);
    const below = deeper && !inside.has(deeper.$ref) ? fields(deeper, inside) : null;
    if (below) made.lastChild.append(el("details", {}, el("summary", {}, texts.docsFields), below));
    return made;
  });
  if (rows.length) return el("div.rows", {}, rows);
  const deeper = nested(schema);
  return deeper && deeper !== schema ? fields(deeper, inside) : null;
}

/** An object's own fields and those of what it is put together from. */
function flatten(schema) {
  const whole = resolve(schema ?? {});
  const parts = (whole.allOf ?? []).map(flatten);
  return {
    properties: Object.assign({}, ...parts.map((part) => part.properties), whole.properties),
    required: [whole.required ?? [], ...parts.map((part) => part.required)].flat(),
  };
}

/** The schema with fields of its own inside a list or a choice. */
function nested(schema) {
  const whole = resolve(schema ?? {});
  if (whole.items) return whole.items.$ref || whole.items.properties ? whole.items : nested(whole.items);
  const choice = [...(whole.oneOf ?? []), ...(whole.anyOf ?? [])].find((one) => one.$ref || one.properties);
  if (choice) return choice;
  return schema?.$ref && (whole.properties || whole.allOf) ? schema : null;
}

function resolve(schema) {
  let found = schema;
  for (let depth = 0; found?.$ref && depth < 20; depth += 1) {
    found = found.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return found ?? {};
}

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.filter(({ type }) => type !== "null").map(typeName).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const types = [schema.type ?? "any"].flat().filter((type) => type !== "null");
  return types.map((type) => (type === "array" ? `[${typeName(schema.items)}]` : schema.format ? `${type} (${schema.format})` : type)).join(" | ");
}

/** A command that asks this. */
function example({ method, path, parameters, shared, requestBody }) {
  const needed = [...shared, ...(parameters ?? [])].map(resolve).filter(({ in: place, required }) => place === "query" && required);
  const query = needed.map(({ name }) => `${name}=…`).join("&");
  const url = `${location.origin}${path}${query ? `?${query}` : ""}`;
  const verbFlag = method === "get" ? "" : ` -X ${method.toUpperCase()}`;
  const types = Object.keys(resolve(requestBody ?? {}).content ?? {});
  if (types.includes("application/json")) {
    const { schema } = resolve(requestBody).content["application/json"];
    return `curl${verbFlag} '${url}' -H 'content-type: application/json' \\\n  -d '${JSON.stringify(sample(schema))}'`;
  }
  return `curl${verbFlag} '${url}'${types.includes("multipart/form-data") ? " -F image=@picture.jpg" : ""}`;
}

/** The smallest body that makes sense: what is required, or the first field. */
function sample(schema, depth = 0) {
  const whole = resolve(schema ?? {});
  if (whole.example !== undefined) return whole.example;
  if (whole.examples?.length) return whole.examples[0];
  const choice = (whole.oneOf ?? whole.anyOf)?.find(({ type }) => type !== "null");
  if (choice && depth < 5) return sample(choice, depth + 1);
  const { properties, required } = flatten(schema);
  const names = required.length ? required : Object.keys(properties).slice(0, 1);
  if (names.length && depth < 5) return Object.fromEntries(names.map((name) => [name, sample(properties[name], depth + 1)]));
  const type = [whole.type ?? "string"].flat()[0];
  return { string: "…", integer: 1, number: 0.5, boolean: true, array: depth < 5 ? [sample(whole.items, depth + 1)] : [] }[type] ?? {};
}
