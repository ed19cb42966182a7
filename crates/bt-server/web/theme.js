// Light, dark, or as the system is.

import { byId, toast } from "./dom.js";
import { texts } from "./texts.js";

const THEMES = ["system", "light", "dark"];

/** Applies the remembered theme and lets the button change it. */
export function setUpTheme() {
  let theme = "system";
  try {
    theme = localStorage.getItem("theme") ?? "system";
  } catch {
    // Storage may be forbidden; then the system's theme it is.
  }
  const apply = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  apply();
  byId("theme")?.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    apply();
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Not remembered, then.
    }
    toast(texts.themes[theme]);
  });
}
