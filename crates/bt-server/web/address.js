// The view, all of it, as the address says it: what is asked, what filters, in what order, which picture is open.

/** A view of everything, newest first. */
export const everything = Object.freeze({
  text: "",
  like: "", // id of an indexed picture
  given: "", // key of a dropped picture in given.js
  not: [],
  folders: [],
  types: [],
  after: "",
  before: "",
  camera: "",
  sort: "", // search: "" relevance, "date"; browse: "" date, "path"
  all: false,
  index: "",
  open: "", // id of the picture that is shown large
});

const single = { q: "text", like: "like", given: "given", after: "after", before: "before", camera: "camera",
  sort: "sort", index: "index", open: "open" };
const many = { not: "not", folder: "folders", type: "types" };

/** The view that an address says. */
export function read(search) {
  const params = new URLSearchParams(search);
  const view = { ...everything };
  for (const [name, field] of Object.entries(single)) view[field] = params.get(name) ?? "";
  for (const [name, field] of Object.entries(many)) view[field] = params.getAll(name);
  view.all = params.get("all") === "1";
  return view;
}

/** The address of a view; empty fields are not in it. */
export function write(view) {
  const params = new URLSearchParams();
  for (const [name, field] of Object.entries(single)) if (view[field]) params.set(name, view[field]);
  for (const [name, field] of Object.entries(many)) for (const value of view[field]) params.append(name, value);
  if (view.all) params.set("all", "1");
  const text = params.toString();
  return text ? `/?${text}` : "/";
}

/** What decides which pictures are shown: two views with the same key show the same. */
export const resultsKey = (view) => write({ ...view, open: "" });

/** Whether something is asked; else the album is browsed. */
export const asks = (view) => Boolean(view.text.trim() || view.like || view.given);

/** Whether any filter is on. */
export const filtered = (view) =>
  Boolean(view.folders.length || view.types.length || view.after || view.before || view.camera);

/** The view without filters. */
export const unfiltered = (view) => ({ ...view, folders: [], types: [], after: "", before: "", camera: "" });

/** The filters as query parameters, for browse, facets and similar; `except` names a filter to leave out. */
export function filterParams(view, except = "") {
  const params = new URLSearchParams();
  if (except !== "folder") for (const folder of view.folders) params.append("folder", folder);
  if (except !== "type") for (const type of view.types) params.append("type", type);
  if (except !== "camera" && view.camera) params.set("camera", view.camera);
  if (except !== "date" && view.after) params.set("after", view.after);
  if (except !== "date" && view.before) params.set("before", view.before);
  if (view.index) params.set("index", view.index);
  return params;
}

/** The filters as the `filter` field of a search. */
export function filterBody(view) {
  const filter = {};
  if (view.folders.length) filter.folders = view.folders;
  if (view.types.length) filter.types = view.types;
  for (const field of ["after", "before", "camera"]) if (view[field]) filter[field] = view[field];
  return filter;
}
