// The colours: as the system's, light, or dark. A plain script, so that it runs before anything is drawn.
(() => {
  const key = "pointsman.theme";
  const choices = ["auto", "light", "dark"];

  function current() {
    const stored = localStorage.getItem(key);
    return choices.includes(stored) ? stored : "auto";
  }

  function apply() {
    document.documentElement.dataset.theme = current();
    window.dispatchEvent(new Event("themechange"));
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  window.addEventListener("storage", apply);
  window.pointsmanTheme = {
    current,
    next() {
      localStorage.setItem(key, choices[(choices.indexOf(current()) + 1) % choices.length]);
      apply();
    },
  };
  apply();
})();
