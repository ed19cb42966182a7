// Every English text of the page. Markup names them by `data-text` (content), `data-label` (aria-label and
// tooltip) and `data-hint` (placeholder); scripts import them.

const number = new Intl.NumberFormat("en");
const pictures = (n) => `${number.format(n)} ${n === 1 ? "picture" : "pictures"}`;

export const texts = {
  title: "Find pictures by meaning",
  brand: "All pictures",
  skip: "Skip to the pictures",
  search: "Search",
  searchHint: "What should it show?",
  searchHintPicture: "Add words, if you like",
  clear: "Clear the search",
  addPicture: "Search by a picture",
  dropHere: "Drop the picture to search by it",
  yourPicture: "Your picture",
  thisPicture: "This picture",
  removePicture: "Take the picture out of the search",
  pictureGone: "The picture of this search was dropped into another browser. Drop it again to repeat the search.",
  addToAlbum: "Add the picture to the album",
  added: "It is in the album now.",
  wasThere: "It was in the album before.",
  notAPicture: "That is not a picture.",
  theme: "Light, dark or as the system is",
  themes: { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" },
  help: "Keyboard shortcuts",
  signOut: "Sign out",
  index: "Index",

  // The line above the pictures
  searching: "Searching",
  closer: (done, total) => (total ? `Looking closer: ${done} of ${total}` : "Looking closer"),
  browsing: pictures,
  found: (n, more) => (more ? `At least ${pictures(n)}` : pictures(n)),
  showsThat: (n) => (n === 1 ? "1 picture shows that" : `${number.format(n)} pictures show that`),
  nearest: (n) => `The nearest ${pictures(n)}, however improbable`,
  onlyMatches: "Only what matches",
  lessLikely: "Show less likely pictures",
  byRelevance: "Best",
  byDate: "Newest",
  timeline: "Timeline",
  folders: "Folders",
  order: "Order",
  undated: "Without a date",
  noFolder: "No longer on disk",

  // Scores
  match: (p) => `${percent(p)} match`,
  matchLong: (p) => `The model is ${percent(p)} sure that this shows what you asked.`,
  likenessShort: (s) => s.toFixed(2),
  likeness: (s) => `${s.toFixed(2)} alike`,
  likenessLong: (s) => `Likeness ${s.toFixed(2)}, where 1 is the same picture.`,
  words: "by its words",
  wordsLong: "Found by its name, folder, caption or keywords.",

  // States
  nothing: "Nothing here shows that",
  nothingAlike: "Nothing here looks like that",
  nothingHow: (best, looked) =>
    `The nearest of ${pictures(looked)} comes to ${percent(best)}, which is too little to call it a match.`,
  nothingPlain: (looked) => `None of ${pictures(looked)} is a match.`,
  showNearest: "Show the nearest anyway",
  nothingPasses: "No picture passes these filters",
  clearFilters: "Clear the filters",
  empty: "No pictures are indexed yet",
  emptyHow: "Index a folder and they appear here:",
  emptyCommand: "bt-index ~/Pictures",
  failed: "That did not work",
  offline: "The server does not answer",
  offlineHow: "It may be restarting, or the connection is gone.",
  again: "Try again",

  // Filters
  filters: "Filters",
  folder: "Folder",
  date: "Date",
  camera: "Camera",
  type: "Type",
  without: "Without",
  withoutHint: "What should not be seen",
  withoutHow: "Pictures that show one of these are left out.",
  add: "Add",
  from: "From",
  to: "Before",
  dateHint: "2024, 2024-07 or 2024-07-03",
  apply: "Apply",
  count: (n) => number.format(n),
  several: (n, what) => `${n} ${what}`,
  foldersMany: "folders",
  typesMany: "types",
  removeFilter: (name) => `Remove the filter ${name}`,
  filterValue: (name, value) => `${name}: ${value}`,
  noFacet: "None of these pictures says.",
  findIn: "Find in this list",
  since: (date) => `from ${date}`,
  until: (date) => `before ${date}`,
  between: (from, to) => `${from} to ${to}`,
  photographs: (month, n) => `${month}: ${pictures(n)}`,

  // Pictures
  results: "Pictures",
  name: (parts) => parts.filter(Boolean).join(", "),
  select: (name) => `Select ${name}`,

  // One picture
  viewer: "Picture",
  close: "Close",
  previous: "Previous picture",
  next: "Next picture",
  place: (i, n) => `${number.format(i)} of ${number.format(n)}`,
  similar: "Similar",
  similarLong: "Search for pictures like this one",
  copyPath: "Copy path",
  copied: "Copied",
  copyFailed: "The browser did not allow copying.",
  download: "Download",
  selectOne: "Select",
  selectedOne: "Selected",
  why: "Why this picture?",
  whyHint: "Where does it show …",
  whyHow: "The warmer the colour, the more the model looked there for this word. What it does not see of the picture is dark.",
  whyNone: "No word of this could be looked for.",
  whyShow: "Show",
  whyWords: "Words",
  whyOff: "The picture alone",
  taken: "Taken",
  lens: "Lens",
  size: "Size",
  file: "File",
  location: "Location",
  path: "Path",
  alsoAt: "Also at",
  keywords: "Keywords",
  damaged: "Damaged",
  pixels: (w, h) => {
    const millions = (w * h) / 1e6;
    return `${w} × ${h}` + (millions >= 0.95 ? ` · ${millions.toFixed(millions < 10 ? 1 : 0)} MP` : "");
  },
  fileSize: (bytes) =>
    bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`,
  coordinates: (lat, lon) =>
    `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? "W" : "E"}`,

  // Selection
  selection: "Selection",
  selected: (n) => `${number.format(n)} selected`,
  copyPaths: "Copy paths",
  pathsFile: "List of paths",
  zip: "Download as ZIP",
  zipping: "Packing …",
  unselect: "Clear the selection",

  // Login
  login: "This server asks for a token",
  loginHow: "It was set by whoever runs the server. It is kept in a cookie that scripts cannot read.",
  token: "Token",
  enter: "Enter",
  wrongToken: "The server does not know this token.",

  // The description of the API
  docsContents: "Contents",
  docsHome: "← The pictures",
  docsFind: "Find in the description",
  docsLead: "For programs, the same as OpenAPI 3.1:",
  docsOther: "other",
  docsParameters: "Parameters",
  docsBody: "Body",
  docsAnswers: "Answers",
  docsExample: "Example",
  docsFields: "Fields",
  docsRequired: "required",
  docsInPath: "in the path",
  docsDefault: (value) => `Default: ${value}`,

  // Keyboard
  keys: [
    ["/", "Search"],
    ["← → ↑ ↓", "Move among the pictures"],
    ["Enter", "Open the picture"],
    ["Space", "Select it"],
    ["S", "Similar pictures"],
    ["W", "Why this picture?"],
    ["C", "Copy its path"],
    ["D", "Download it"],
    ["Esc", "Close, clear, step back"],
    ["?", "These shortcuts"],
  ],

  // Announced to screen readers
  announceFound: (n, best) => (best ? `${texts.showsThat(n)}, best ${percent(best)}` : pictures(n)),
};

/** A probability as whole per cent; only certainty is 100 %, and only impossibility 0 %. */
export function percent(p) {
  if (p > 0 && p < 0.005) return "< 1 %";
  return `${Math.min(p >= 1 ? 100 : 99, Math.round(p * 100))} %`;
}

/** A month or day in words: `2024-07` is "July 2024". */
export function dateWords(date) {
  const [year, month, day] = date.split(/[-T]/).map(Number);
  if (!month) return String(year);
  const options = { year: "numeric", month: day ? "short" : "long", timeZone: "UTC" };
  if (day) options.day = "numeric";
  return new Intl.DateTimeFormat("en-GB", options).format(Date.UTC(year, month - 1, day || 1));
}

/** Day and time by the camera's clock. */
export function momentWords(taken) {
  const time = taken.slice(11, 16);
  return dateWords(taken.slice(0, 10)) + (time ? `, ${time}` : "");
}
