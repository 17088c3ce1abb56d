// The frame of every page: navigation, colours, token, and the page that the address names.
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { useKeys } from "./keys.js";
import { SECTIONS, usePage } from "./pages.js";
import { ErrorBox } from "./parts/common.js";
import { TokenPanel } from "./parts/token_panel.js";
import { link, useRoute } from "./router.js";
import { storedToken, takeTokenFromAddress } from "./token.js";
import { useApi } from "./use_api.js";

function App() {
  const current = useRoute();
  const about = useApi("/api/about");
  const main = useRef(null);
  useKeys();
  const { isKnown, View, error, title: titleOf } = usePage(current.page);
  const title = titleOf(current.item);
  const place = `${current.page}/${current.item}`;
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${title} · pointsman`;
    if (!isFirst.current) {
      main.current.focus({ preventScroll: true }); // so that screen readers and Tab go on from the new page
      window.scrollTo(0, 0);
    }
    isFirst.current = false;
  }, [place]);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} about=${about} page=${current.page} />
    <main id="main" tabindex="-1" ref=${main}>
      ${about.error && about.error.status !== 401 && html`<${ErrorBox} error=${about.error} />`}
      ${about.data && View && html`<${View} key=${place} route=${current} about=${about.data} />`}
      ${error && html`<${ErrorBox} error=${error} /><button type="button" onClick=${() => location.reload()}>Load it again</button>`}
      ${!isKnown && html`<${Unknown} />`}
    </main>
    <footer>
      ${about.data && html`<span>pointsman ${about.data.version}</span> <span class="faint">registry ${about.data.registry.slice(0, 12)}</span>`}
      <span class="faint keys"><kbd>/</kbd> search <kbd>↑</kbd><kbd>↓</kbd> rows <kbd>Enter</kbd> open <kbd>Esc</kbd> leave a field</span>
    </footer>
  `;
}

function Header({ about, page }) {
  const [isAsking, setAsking] = useState(false);
  useEffect(() => {
    const needed = () => setAsking(true);
    window.addEventListener("tokenneeded", needed);
    return () => window.removeEventListener("tokenneeded", needed);
  }, []);
  const sections = SECTIONS.filter((section) => !section.served || about.data?.serves);
  const changed = () => {
    setAsking(false);
    about.reload();
  };
  return html`
    <header>
      <div class="bar">
        <a class="brand" href=${link("versions")}><img src="/ui/icon.svg" alt="" width="22" height="22" />pointsman</a>
        <nav aria-label="Pages">
          ${sections.map(
            ({ name, label, pages }) => html`
              <a href=${link(name)} aria-current=${pages.includes(page) ? "page" : null} key=${name}>${label}</a>
            `,
          )}
        </nav>
        <div class="tools">
          ${about.data && html`<span class="role" title="What your token may do">${about.data.role}</span>`}
          <button type="button" class="quiet" aria-expanded=${isAsking} onClick=${() => setAsking(!isAsking)}>
            ${storedToken() ? "Token ✓" : "Token"}
          </button>
          <${ThemeButton} />
        </div>
      </div>
      ${isAsking && html`<${TokenPanel} isRefused=${about.error?.status === 401} onChange=${changed} />`}
    </header>
  `;
}

function ThemeButton() {
  const [theme, setTheme] = useState(window.pointsmanTheme.current());
  useEffect(() => {
    const changed = () => setTheme(window.pointsmanTheme.current());
    window.addEventListener("themechange", changed);
    return () => window.removeEventListener("themechange", changed);
  }, []);
  const sign = { auto: "◐", light: "☀", dark: "☾" }[theme];
  return html`
    <button type="button" class="quiet" onClick=${window.pointsmanTheme.next} title="Colours: as the system's, light, dark">
      <span aria-hidden="true">${sign}</span> <span>${theme}</span>
    </button>
  `;
}

function Unknown() {
  return html`<h1>Not found</h1><p>There is no such page. <a href=${link("versions")}>Versions</a> is the first one.</p>`;
}

takeTokenFromAddress();
render(html`<${App} />`, document.getElementById("app"));
